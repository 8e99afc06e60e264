"""P8: several api processes."""

from contextlib import AsyncExitStack

from msgspec.structs import replace

from bench.bare import bare
from bench.figures import Chart, Count, Curve, Figure, Round
from bench.front import one_port
from bench.room import Room, workload
from bench.saturate import Measured, Workload, measured_alone

name = "P8"
what = (
    "1, 2 and 4 api processes of 0.25 vCPU each behind one port (haproxy), on MariaDB and Redis and with nothing beside"
    " them, 128 connections for each (wrk)"
)
target = "at least 0.8 of linear while the database has CPU left; what ends it is named"

VCPU = 0.25
SIZES = (1, 2, 4)
FULL = 0.95
"""The share of what it may have from which on something is at its limit."""


async def run(room: Room) -> list[Round]:
    """See `targets.table`."""
    load = workload("scale-out", Workload)
    rounds = []
    for number in range(1, room.runs + 1):
        figures: list[Figure] = []
        counts: list[Count] = []
        faults: list[str] = []
        charts: list[Chart] = []
        notes: list[str] = []
        rates: list[float] = []
        for size in SIZES:
            room.tell(f"{name} run {number} of {room.runs}, api processes: {size}")
            # As many connections for each: the lists of each process are as long, however many there are.
            each = replace(load.load, connections=size * load.load.connections)
            seen = await _behind_one_port(room, replace(load, load=each), size)
            rates.append(seen.answers.accepted_per_s)
            figures += _figures(seen, size, rates[-1] / size / max(rates[0], 1e-9))
            notes.append(f"{size} api: at its limit was {limit(seen, size, limited=room.place is not None)}.")
            counts += seen.counts
            faults += seen.faults
            charts += seen.charts(f"{size} api")
        charts.append(_scaling(rates))
        rounds.append(Round(figures, counts, faults, charts, notes))
    return rounds


async def _behind_one_port(room: Room, load: Workload, size: int) -> Measured:
    """So many api processes with nothing beside them: what limits them is theirs, or the database's."""
    async with bare(room) as on, AsyncExitStack() as stack:
        await on.stock(load.goods)
        api = [await stack.enter_async_context(on.ours(VCPU, number)) for number in range(1, size + 1)]
        behind = await stack.enter_async_context(one_port(on.shop(*api), on.folder))
        return await measured_alone(on, behind, load, on.units_reserved)


def limit(seen: Measured, size: int, *, limited: bool) -> str:
    """What kept the rate from being higher."""
    span_s = seen.answers.span_s
    if limited and _api_s(seen) >= FULL * VCPU * size * span_s:
        return "the CPU that the api processes may have"
    if seen.idle <= 1 - FULL:
        greediest = max(seen.cpu_s, key=lambda name: seen.cpu_s[name])
        return f"the CPU of the machine, most of it used by {greediest}"
    return "no CPU: orders waited for each other or for the disk"


def _figures(seen: Measured, size: int, of_linear: float) -> list[Figure]:
    span_s = max(seen.answers.span_s, 1e-9)
    others_s = sum(seen.cpu_s.values()) - _api_s(seen) - seen.cpu_s["mariadb"] - seen.cpu_s["haproxy"]
    variant = f"{size} api"
    return [
        Figure("orders", seen.answers.accepted_per_s, "/s", variant=variant),
        Figure("of linear", of_linear, "", least=0.8 if size > 1 else None, variant=variant),
        Figure("p99", seen.answers.percentile_ms(99), "ms", variant=variant),
        Figure("CPU of api", _api_s(seen) / span_s, "cores", variant=variant),
        Figure("CPU of MariaDB", seen.cpu_s["mariadb"] / span_s, "cores", variant=variant),
        Figure("CPU of haproxy", seen.cpu_s["haproxy"] / span_s, "cores", variant=variant),
        Figure("CPU of the rest", others_s / span_s, "cores", variant=variant),
        Figure("machine idle", 100 * seen.idle, "%", variant=variant),
    ]


def _scaling(rates: list[float]) -> Chart:
    """The rate by the number of processes, beside that which would be linear."""
    x = [float(size) for size in SIZES]
    linear = Curve("linear", x, [rates[0] * size for size in SIZES])
    return Chart("orders by api processes", "api processes", "orders/s", [Curve("measured", x, rates), linear])


def _api_s(seen: Measured) -> float:
    return sum(seconds for name, seconds in seen.cpu_s.items() if name.startswith("api-"))
