"""P1: the order route of the shop beside the yardstick's, one process each, on the same MariaDB and Redis, in turn."""

from dataclasses import replace
from functools import partial

from bench import closed
from bench.bare import Bare, bare
from bench.figures import Chart, Count, Curve, Figure, Round
from bench.room import Room, workload
from bench.saturate import Workload, measured_alone
from bench.shapes import Goods
from bench.yardstick import same

name = "P1"
what = (
    "POST /v1/orders with everything on, one api process on MariaDB and Redis and nothing beside it, 256 connections"
    " (wrk), in turn with the same route in FastAPI and SQLAlchemy"
)
target = "at least 15 times the yardstick of the same run, and 8,000 orders/s"

LEAST_PER_S, LEAST_RATIO = 8_000, 15
VARIANTS = ("yardstick", "ours")


async def run(room: Room) -> list[Round]:
    """See `targets.table`."""
    loads = {variant: workload(f"p1-{variant}", Workload) for variant in VARIANTS}
    rounds = []
    for number in range(1, room.runs + 1):
        room.tell(f"{name} run {number} of {room.runs}: do both give the same answers?")
        alike, differing = await _compared(room)
        figures: list[Figure] = []
        counts = [alike]
        curves: list[Curve] = []
        rates: dict[str, float] = {}
        for variant in VARIANTS:
            room.tell(f"{name} run {number} of {room.runs}: {variant}")
            async with bare(room) as on:
                rates[variant], found, counted, curve = await _measured(on, variant, loads[variant])
            figures += found
            counts += counted
            curves.append(curve)
        figures.append(
            Figure("ours / yardstick", rates["ours"] / max(rates["yardstick"], 1e-9), "x", least=LEAST_RATIO)
        )
        chart = Chart("orders over time", "s", "orders/s", curves, log_y=True)
        rounds.append(Round(figures, counts, differing, [chart]))
    return rounds


async def _compared(room: Room) -> tuple[Count, list[str]]:
    """Both at once: the yardstick's stock is in Redis and ours in the rows, so neither takes from the other."""
    async with bare(room) as on:
        await on.stock(Goods(products=50, stock=same.UNITS))
        async with on.ours() as ours, on.yardstick() as yardstick:
            return await same.alike(ours.url, yardstick.url)


async def _measured(on: Bare, variant: str, load: Workload) -> tuple[float, list[Figure], list[Count], Curve]:
    """The rate of one variant, with its figures, its counts, and its rate over time."""
    await on.stock(load.goods)
    ours = variant == "ours"
    held = on.units_reserved if ours else partial(on.units_taken, load.goods)
    async with on.ours() if ours else on.yardstick() as process:
        seen = await measured_alone(on, on.shop(process), load, held)
    rate = seen.answers.accepted_per_s
    figures = [
        Figure("orders", rate, "/s", least=LEAST_PER_S if ours else None),
        Figure("p50", seen.answers.percentile_ms(50), "ms"),
        Figure("p99", seen.answers.percentile_ms(99), "ms"),
        Figure("CPU of Python per order", seen.api_us_per_order, "us"),
        Figure("CPU of MariaDB per order", seen.us_per_order("mariadb"), "us"),
        Figure("CPU of Redis per order", seen.us_per_order("redis-1"), "us"),
        Figure("memory", seen.rss_mb, "MB"),
        Figure("CPU that the host gave to others", 100 * seen.stolen, "%"),
    ]
    return (
        rate,
        [replace(each, variant=variant) for each in figures],
        [replace(each, name=f"{variant}: {each.name}") for each in seen.counts],
        Curve(variant, [at * closed.BUCKET_S for at in range(len(seen.answers.per_s))], seen.answers.per_s),
    )
