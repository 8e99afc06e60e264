"""Two processes of each role: everything is exact, and no group moves."""

from collections.abc import AsyncIterator

from bench import counts, opened
from bench.figures import Count, Figure, Run
from bench.planned import Measured, Workload, measured, warm
from bench.room import Room, workload
from bench.shapes import spread
from bench.targets.p4 import PARTS

name = "split"
what = (
    "open loop, 625 orders/s for 16 s from 10,000 different buyers, a fifth pays meanwhile, on two processes of each"
    " role, MariaDB, Redis, Kafka and Elasticsearch"
)
target = "every count exact, the history complete, no dead letter, 0 rebalances"

EACH = 2


async def run(room: Room) -> AsyncIterator[Run]:
    """See `targets.table`."""
    load = workload("plan-split", Workload)
    await warm(room, load)
    for number in range(1, room.runs + 1):
        room.tell(f"{name} run {number} of {room.runs}")
        async with spread(room, load.goods, api=EACH, others=EACH) as shop:
            seen = await measured(room, shop, load)
            letters = Count("dead letters", 0, await counts.dead_letters(shop.url))
        yield Run(_figures(seen), [*seen.counts, letters], seen.faults("split"), opened.charts(seen.report, "split"))


def _figures(seen: Measured) -> list[Figure]:
    report = seen.report
    order = report.latencies["order"]
    figures = [
        Figure("orders", report.orders_per_s, "/s"),
        Figure("p50", order.p50_ms, "ms"),
        Figure("p99", order.p99_ms, "ms"),
        Figure("paid", report.answers.captured + report.answers.checking),
        Figure("asked again", report.answers.retried, "times"),
        Figure("rebalances", seen.rebalances, most=0),
        Figure("evictions", seen.evictions, most=0),
        Figure("CPU of the buyers", report.client_cpu_s, "s"),
    ]
    figures += [] if report.drain_s is None else [Figure("the last event taken after", report.drain_s, "s")]
    figures += [Figure(f"CPU of {part}", seen.sending.cores(report.sending_s, part), "cores") for part in PARTS]
    return figures + seen.sending.machine(report.sending_s)
