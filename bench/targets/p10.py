"""P10: what an order costs when a million are stored."""

import msgspec

from bench.figures import Count, Figure, Round
from bench.room import Room, workload
from bench.saturate import Workload, measured
from bench.shapes import Shop
from bench.targets.p9 import SHAPES

name = "P10"
what = "orders/s at saturation with 1,000,000 stored orders, and with none, in turn"
target = "at least 0.9 of the rate of the empty database"

PARTS = 10


async def run(room: Room) -> list[Round]:
    """See `targets.table`. The shops are filled once, and all runs are made with them."""
    load = workload("saturate", Workload)
    rounds = [Round([], [], [], []) for _ in range(room.runs)]
    for label, shape in SHAPES.items():
        async with shape(room, load.goods) as full:
            counts, faults = await _fill(room, full, label)
            for number, each in enumerate(rounds, 1):
                room.tell(f"{name} run {number} of {room.runs}, {label}")
                async with shape(room, load.goods) as shop:
                    empty = await measured(room, shop, load)
                stored = await measured(room, full, load)
                ratio = stored.answers.accepted_per_s / max(empty.answers.accepted_per_s, 1e-9)
                each.figures.extend(
                    [
                        Figure("empty", empty.answers.accepted_per_s, "/s", variant=label),
                        Figure("1,000,000 stored", stored.answers.accepted_per_s, "/s", variant=label),
                        Figure("ratio", ratio, "", least=0.9, variant=label),
                    ]
                )
                each.counts.extend([*counts, *empty.counts, *stored.counts])
                each.faults.extend([*faults, *empty.faults, *stored.faults])
                each.charts.extend([*empty.charts(f"{label}, empty"), *stored.charts(f"{label}, full")])
    return rounds


async def _fill(room: Room, shop: Shop, label: str) -> tuple[list[Count], list[str]]:
    """Store the orders, in parts, each of which is drained and counted."""
    whole = workload("stored", Workload)
    part = msgspec.structs.replace(whole, load=msgspec.structs.replace(whole.load, orders=whole.load.orders // PARTS))
    counts: list[Count] = []
    faults: list[str] = []
    for at in range(1, PARTS + 1):
        room.tell(f"{name} fills the shop, {label}: part {at} of {PARTS}")
        seen = await measured(room, shop, part)
        counts += seen.counts
        faults += seen.faults
    return counts, faults
