"""P2: how many orders half a CPU takes."""

from collections.abc import AsyncIterator

from bench.bare import bare
from bench.figures import Figure, Run
from bench.room import Room, workload
from bench.saturate import Workload, measured_alone

name = "P2"
what = (
    "POST /v1/orders with everything on, one api process of 0.5 vCPU on MariaDB and Redis and nothing beside it,"
    " 256 connections (wrk)"
)
target = "at least 3,000 orders/s, no error, p99 at most 150 ms"

VCPU = 0.5


async def run(room: Room) -> AsyncIterator[Run]:
    """See `targets.table`."""
    load = workload("saturate", Workload)
    for number in range(1, room.runs + 1):
        room.tell(f"{name} run {number} of {room.runs}")
        async with bare(room) as on:
            await on.stock(load.goods)
            async with on.ours(VCPU) as process:
                seen = await measured_alone(on, on.shop(process), load, on.units_reserved)
        figures = [
            Figure("orders", seen.answers.accepted_per_s, "/s", least=3_000),
            Figure("errors", seen.answers.errors),
            Figure("p50", seen.answers.percentile_ms(50), "ms"),
            Figure("p99", seen.answers.percentile_ms(99), "ms", most=150),
            Figure("CPU of the api process", seen.api_us_per_order, "us/order"),
            Figure("throttled", seen.spent.throttled_s, "s"),
            *seen.machine(),
        ]
        limit = f"0.5 vCPU: {seen.limit(VCPU if room.place else None)}."
        yield Run(figures, seen.counts, seen.faults, seen.charts("0.5 vCPU"), [limit])
