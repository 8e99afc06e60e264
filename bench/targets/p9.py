"""P9: a flash sale of one product."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from bench.figures import Chart, Count, Figure, Round
from bench.room import Room, workload
from bench.saturate import Measured, Workload, measured
from bench.shapes import Goods, Shop, embedded, spread

name = "P9"
what = "10,000 buyers want 100 units of one product, as fast as they come (wrk, 1,000 connections)"
target = "exactly 100 sold, losers answered within 1 s (p99)"

SHAPES: dict[str, Callable[[Room, Goods], AbstractAsyncContextManager[Shop]]] = {
    "MariaDB and Redis": spread,
    "embedded": embedded,
}


async def run(room: Room) -> list[Round]:
    """See `targets.table`."""
    load = workload("flash", Workload)
    rounds = []
    for number in range(1, room.runs + 1):
        figures: list[Figure] = []
        counts: list[Count] = []
        faults: list[str] = []
        charts: list[Chart] = []
        for label, shape in SHAPES.items():
            room.tell(f"{name} run {number} of {room.runs}, {label}")
            async with shape(room, load.goods) as shop:
                seen = await measured(room, shop, load)
            figures += _figures(seen, label)
            counts += [*seen.counts, Count(f"{label}: sold", load.goods.stock, seen.answers.accepted)]
            faults += seen.faults
            charts += seen.charts(label)
        rounds.append(Round(figures, counts, faults, charts))
    return rounds


def _figures(seen: Measured, label: str) -> list[Figure]:
    answers = seen.answers
    return [
        Figure("sold", answers.accepted, variant=label),
        Figure("told that it is sold out", answers.statuses.get(409, 0), variant=label),
        Figure("answers", answers.answered / answers.span_s, "/s", variant=label),
        Figure("p50", answers.percentile_ms(50), "ms", variant=label),
        Figure("p99", answers.percentile_ms(99), "ms", most=1_000, variant=label),
    ]
