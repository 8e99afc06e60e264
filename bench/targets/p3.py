"""P3: how many orders the embedded shop takes, every commit on disk."""

from collections.abc import AsyncIterator

from bench.figures import Figure, Run
from bench.room import Room, workload
from bench.saturate import Workload, measured
from bench.shapes import embedded

name = "P3"
what = "POST /v1/orders of the embedded shop, SQLite durable (synchronous=FULL), all loops on, 256 connections (wrk)"
target = "at least 4,000 orders/s, the backlog drained afterwards"


async def run(room: Room) -> AsyncIterator[Run]:
    """See `targets.table`."""
    load = workload("saturate", Workload)
    for number in range(1, room.runs + 1):
        room.tell(f"{name} run {number} of {room.runs}")
        async with embedded(room, load.goods) as shop:
            seen = await measured(room, shop, load)
        drain_s = load.drain_s if seen.drain_s is None else seen.drain_s
        figures = [
            Figure("orders", seen.answers.accepted_per_s, "/s", least=4_000),
            Figure("errors", seen.answers.errors),
            Figure("p50", seen.answers.percentile_ms(50), "ms"),
            Figure("p99", seen.answers.percentile_ms(99), "ms"),
            Figure("drained after", drain_s, "s"),
            Figure(
                "orders, the time of the drain with them", seen.answers.accepted / (seen.answers.span_s + drain_s), "/s"
            ),
            Figure("CPU of the process", seen.api_us_per_order, "us/order"),
            Figure("CPU of the process, the drain with it", seen.us_per_order(seen.with_rest), "us/order"),
            *seen.machine(),
        ]
        yield Run(figures, seen.counts, seen.faults, seen.charts("embedded"), [f"embedded: {seen.limit()}."])
