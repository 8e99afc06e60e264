"""P8: several api processes."""

from bench.figures import Chart, Count, Curve, Figure, Round
from bench.front import one_port
from bench.room import Room, workload
from bench.saturate import Measured, Workload, measured
from bench.shapes import spread

name = "P8"
what = "1, 2 and 4 api processes of 0.25 vCPU each behind one port (haproxy), MariaDB and Redis, 128 connections (wrk)"
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
            async with spread(room, load.goods, vcpu=VCPU, api=size) as shop, one_port(shop, room.folder) as behind:
                seen = await measured(room, behind, load)
            rates.append(seen.answers.accepted_per_s)
            figures += _figures(seen, size, rates[-1] / size / max(rates[0], 1e-9))
            notes.append(f"{size} api: at its limit was {limit(seen, size, limited=room.place is not None)}.")
            counts += seen.counts
            faults += seen.faults
            charts += seen.charts(f"{size} api")
        charts.append(_scaling(rates))
        rounds.append(Round(figures, counts, faults, charts, notes))
    return rounds


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
