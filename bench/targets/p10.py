"""P10: what an order costs when a million are stored."""

from collections.abc import AsyncIterator

import msgspec

from bench.figures import Figure, Run
from bench.room import Room, in_turn, workload
from bench.saturate import Measured, Workload, measured
from bench.shapes import Shop
from bench.targets.p9 import SHAPES, Shape

name = "P10"
what = "orders/s at saturation with 1,000,000 stored orders, and with none, in turn"
target = "at least 0.9 of the rate of the empty database"

PARTS = 10
EMPTY, STORED = "empty", "1,000,000 stored"


async def run(room: Room) -> AsyncIterator[Run]:
    """See `targets.table`. The shops are filled once, and all runs are made with them.

    Beside the one that is measured the other is open too, each time, with nothing to do but to look for work.
    """
    runs = [Run() for _ in range(room.runs)]
    for label, shape in SHAPES.items():
        try:
            await _in_shape(room, label, shape, runs)
        except Exception as failed:  # noqa: BLE001 - what was measured in the other shape took an hour
            runs[0].faults.append(f"{label}: {type(failed).__name__}: {failed}")
            room.keep = True
    for each in runs:
        yield each


async def _in_shape(room: Room, label: str, shape: Shape, runs: list[Run]) -> None:
    """Fill a shop of this shape, and put what it came to in each run beside an empty one into the runs."""
    load = workload("saturate", Workload)
    async with shape(room, load.goods) as full:
        filled = await _fill(room, full, label)
        runs[0].counts += [count for seen in filled for count in seen.counts]
        runs[0].faults += [fault for seen in filled for fault in seen.faults]
        for number, each in enumerate(runs, 1):
            async with shape(room, load.goods) as empty:
                seen = {}
                for which, shop in in_turn(((EMPTY, empty), (STORED, full)), number):
                    room.tell(f"{name} run {number} of {room.runs}, {label}: {which}")
                    seen[which] = await measured(room, shop, load)
            rates = {which: seen[which].answers.accepted_per_s for which in (EMPTY, STORED)}
            each.figures += [Figure(which, rate, "/s", variant=label) for which, rate in rates.items()]
            ratio = rates[STORED] / max(rates[EMPTY], 1e-9)
            each.figures.append(Figure("ratio", ratio, "", least=0.9, variant=label))
            for which, one in seen.items():
                each.counts += one.counts
                each.faults += one.faults
                each.charts += one.charts(f"{label}, {which}")


async def _fill(room: Room, shop: Shop, label: str) -> list[Measured]:
    """Store the orders, in parts, each of which is drained and counted."""
    whole = workload("stored", Workload)
    part = msgspec.structs.replace(whole, load=msgspec.structs.replace(whole.load, orders=whole.load.orders // PARTS))
    filled = []
    for at in range(1, PARTS + 1):
        room.tell(f"{name} fills the shop, {label}: part {at} of {PARTS}")
        filled.append(await measured(room, shop, part))
    return filled
