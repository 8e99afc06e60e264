"""P9: a flash sale of one product."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from itertools import product

from bench.figures import Count, Figure, Run
from bench.room import Room, in_turn, workload
from bench.saturate import Measured, Workload, measured
from bench.shapes import Goods, Shop, embedded, spread

name = "P9"
what = (
    "10,000 buyers want 100 units of one product: as fast as they are answered, 1,000 of them at a time, and all of"
    " them in the same moment (wrk)"
)
target = "exactly 100 sold, losers answered within 1 s (p99)"

Shape = Callable[[Room, Goods], AbstractAsyncContextManager[Shop]]
SHAPES: dict[str, Shape] = {
    "MariaDB and Redis": spread,
    "embedded": embedded,
}

CROWDS = {"1,000 at a time": "flash", "all at once": "flash-at-once"}
"""Files of workloads."""
LOSERS_MS = 1_000


async def run(room: Room) -> AsyncIterator[Run]:
    """See `targets.table`."""
    loads = {crowd: workload(file, Workload) for crowd, file in CROWDS.items()}
    for number in range(1, room.runs + 1):
        this = Run()
        for shape, crowd in in_turn(product(SHAPES, CROWDS), number):
            label, load = f"{shape}, {crowd}", loads[crowd]
            room.tell(f"{name} run {number} of {room.runs}, {label}")
            async with SHAPES[shape](room, load.goods) as shop:
                seen = await measured(room, shop, load)
            this.figures += _figures(seen, label)
            this.counts += [*seen.counts, Count(f"{label}: sold", load.goods.stock, seen.answers.accepted)]
            this.faults += seen.faults
            this.charts += seen.charts(label)
        yield this


def _figures(seen: Measured, label: str) -> list[Figure]:
    answers = seen.answers
    return [
        Figure("sold", answers.accepted, variant=label),
        Figure("answered 409: sold out", answers.statuses.get(409, 0), variant=label),
        Figure("answered 503: come again", answers.come_again, variant=label),
        Figure("answers", answers.answered / answers.span_s, "/s", variant=label),
        Figure("p50", answers.percentile_ms(50), "ms", variant=label),
        Figure("p99", answers.percentile_ms(99), "ms", most=LOSERS_MS, variant=label),
    ]
