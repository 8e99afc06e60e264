"""P6: the memory of the process that answers."""

from collections.abc import AsyncIterator

import msgspec

from bench.figures import Chart, Curve, Figure, Run
from bench.room import Room, workload
from bench.saturate import Workload, measured
from bench.shapes import spread

name = "P6"
what = "memory (RSS) of the api process while it takes 100,000 orders, the whole shop on its real servers beside it"
target = "at most 200 MB, and flat: the second half of the orders adds at most 5 %"

PARTS = 4


async def run(room: Room) -> AsyncIterator[Run]:
    """See `targets.table`."""
    whole = workload("memory", Workload)
    orders = whole.load.orders // PARTS
    part = msgspec.structs.replace(whole, load=msgspec.structs.replace(whole.load, orders=orders))
    for number in range(1, room.runs + 1):
        room.tell(f"{name} run {number} of {room.runs}")
        this = Run()
        async with spread(room, whole.goods) as shop:
            (api,) = shop.api
            rss_mb = [api.rss_mb]
            for _ in range(PARTS):
                seen = await measured(room, shop, part)
                rss_mb.append(seen.rss_mb)
                this.counts += seen.counts
                this.faults += seen.faults
            peak_mb = api.peak_rss_mb
        taken = [room.scaled(orders) * at for at in range(PARTS + 1)]
        this.figures += [Figure(f"after {at:,} orders", mb, "MB") for at, mb in zip(taken, rss_mb, strict=True)]
        this.figures += [
            Figure("the most it ever was", peak_mb, "MB", most=200),
            Figure("added by the second half", 100 * (rss_mb[-1] / rss_mb[PARTS // 2] - 1), "%", most=5),
        ]
        rss = Curve("RSS", [float(at) for at in taken], rss_mb)
        this.charts.append(Chart("memory of the api process", "orders", "MB", [rss]))
        yield this
