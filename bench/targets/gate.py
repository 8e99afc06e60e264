"""What the gate is worth: the same crowd with it, without it, and without any server."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from itertools import product

import msgspec

from bench import http, opened
from bench.figures import Count, Figure, Run
from bench.planned import Measured, Workload, measured
from bench.room import Room, in_turn, workload
from bench.shapes import Goods, Shop, embedded, whole

name = "gate"
what = (
    "10,000 buyers want 100 units of one product, one each, over 16 s and over 4 s (open loop), of one process on"
    " MariaDB with Redis as its gate, of one without a gate, and of an embedded one"
)
target = "exactly 100 sold; the figures are there to be used, not to be reached"

SHAPES: dict[str, Callable[[Room, Goods], AbstractAsyncContextManager[Shop]]] = {
    "gate": partial(whole, gate=True),
    "no gate": partial(whole, gate=False),
    "embedded": embedded,
}
OVER_S = (16.0, 4.0)


async def run(room: Room) -> AsyncIterator[Run]:
    """See `targets.table`."""
    load = workload("plan-scarce", Workload)
    for number in range(1, room.runs + 1):
        this = Run()
        for over_s, shape in in_turn(product(OVER_S, SHAPES), number):
            label = f"{shape}, {over_s:g} s"
            room.tell(f"{name} run {number} of {room.runs}: {label}")
            crowd = msgspec.structs.replace(load, plan=msgspec.structs.replace(load.plan, ramp_up_s=over_s))
            async with SHAPES[shape](room, load.goods) as shop:
                before = await http.text(f"{shop.url}/metrics")
                seen = await measured(room, shop, crowd)
                page = await http.text(f"{shop.url}/metrics")
            lists = _lists(page) - _lists(before)
            this.figures += _figures(seen, label, _committed(page) - _committed(before), lists)
            this.counts += [*seen.counts, Count(f"{label}: sold", load.goods.stock, seen.report.answers.accepted)]
            this.faults += seen.faults(label)
            this.charts += opened.charts(seen.report, label)
        yield this


def _committed(page: str) -> float:
    """Transactions on the connections that may write, in both stores: those too which found nothing to write."""
    return http.metric(page, "qc_db_transactions_total", end="committed")


def _lists(page: str) -> float:
    """Lists of orders that were begun."""
    return http.metric(page, "qc_batch_list_size_count", batch="orders")


def _figures(seen: Measured, label: str, committed: float, lists: float) -> list[Figure]:
    order = seen.report.latencies["order"]
    cpu_s = seen.sending.by_name
    figures = [
        Figure("answered 409: sold out", seen.report.answers.out_of_stock, variant=label),
        Figure("p50", order.p50_ms, "ms", variant=label),
        Figure("p99", order.p99_ms, "ms", variant=label),
        Figure("transactions that may write", committed, variant=label),
        Figure("lists of orders", lists, variant=label),
        Figure("CPU of the shop", cpu_s["shop"], "s", variant=label),
    ]
    figures += [
        Figure(f"CPU of {server}", cpu_s[server], "s", variant=label)
        for server in ("mariadb", "redis-1")
        if server in cpu_s
    ]
    return figures
