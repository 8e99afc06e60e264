"""P4: the original's load plan on half a CPU, one, and two."""

from collections.abc import AsyncIterator

from bench import opened
from bench.figures import Figure, Run
from bench.opened import Plan
from bench.planned import Measured, Workload, measured, warm
from bench.room import Room, in_turn, workload
from bench.shapes import OTHERS, spread
from bench.spent import ANSWERING

name = "P4"
what = (
    "open loop, 625 orders/s for 16 s from 10,000 different buyers, a tenth pays meanwhile, MariaDB, Redis, Kafka and"
    " Elasticsearch, the api process at 0.5, 1 and 2 vCPU"
)
target = (
    "at 0.5 vCPU mean at most 8 ms, p99 at most 40 ms, no error, nothing lost or stuck, the rest of the loop done"
    " within 60 s"
)

SIZES = (0.5, 1.0, 2.0)
DECIDES = 0.5
PARTS = ("api", *OTHERS, "emulator", "mariadb", "redis", "kafka", "elasticsearch")


async def run(room: Room) -> AsyncIterator[Run]:
    """See `targets.table`."""
    load = workload("plan", Workload)
    await warm(room, load)
    for number in range(1, room.runs + 1):
        this = Run()
        limits: dict[float, str] = {}
        for vcpu in in_turn(SIZES, number):
            room.tell(f"{name} run {number} of {room.runs} at {vcpu:g} vCPU")
            async with spread(room, load.goods, vcpu=vcpu) as shop:
                seen = await measured(room, shop, load)
            this.figures += _figures(seen, load.plan, vcpu)
            this.counts += seen.counts
            limits[vcpu] = seen.sending.limit(seen.report.sending_s, vcpu if room.place else None, *ANSWERING)
            this.faults += seen.faults(f"{vcpu:g} vCPU")
            this.charts += opened.charts(seen.report, f"{vcpu:g} vCPU")
        this.notes += [f"{vcpu:g} vCPU: {limits[vcpu]}." for vcpu in SIZES]
        yield this


def _figures(seen: Measured, plan: Plan, vcpu: float) -> list[Figure]:
    """The bounds are those of the smallest size."""
    order, decides = seen.report.latencies["order"], vcpu == DECIDES
    confirm = seen.report.latencies["confirm"]

    def figure(what: str, value: float, unit: str = "", most: float | None = None) -> Figure:
        return Figure(what, value, unit, most=most if decides else None, variant=f"{vcpu:g} vCPU")

    return [
        figure("mean", order.mean_ms, "ms", most=8),
        figure("p95", order.p95_ms, "ms"),
        figure("p99", order.p99_ms, "ms", most=40),
        figure("orders", seen.report.orders_per_s, "/s"),
        figure("errors", seen.report.errors),
        figure("paid", seen.report.answers.captured + seen.report.answers.checking),
        figure("confirm p99", confirm.p99_ms, "ms"),
        figure("buyers later than meant, p99", seen.report.latencies["generator lag"].p99_ms, "ms"),
        figure("asked again", seen.report.answers.retried, "times", most=0),
        figure("drained after", plan.drain_s if seen.report.drain_s is None else seen.report.drain_s, "s"),
        figure("CPU of the api process", seen.api_us_per_order, "us/order"),
        figure("CPU of the buyers", seen.report.client_cpu_s, "s"),
        figure("throttled", seen.sending.throttled_s, "s"),
        figure("rebalances", seen.rebalances),
        figure("evictions", seen.evictions),
        *(figure(f"CPU of {part}", seen.sending.cores(seen.report.sending_s, part), "cores") for part in PARTS),
        *(figure(each.name, each.value, each.unit) for each in seen.sending.machine(seen.report.sending_s)),
    ]
