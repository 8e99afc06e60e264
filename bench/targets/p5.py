"""P5: the CPU of an order."""

from collections.abc import AsyncIterator
from dataclasses import replace

from bench import planned, saturate
from bench.bare import bare
from bench.figures import Figure, Run
from bench.room import Room, workload
from bench.shapes import spread
from bench.spent import Spent

name = "P5"
what = (
    "CPU of the api process (0.5 vCPU) per accepted order, by the kernel's account: under P4's plan with the whole shop"
    " beside it, and at saturation with nothing but MariaDB and Redis"
)
target = "at most 400 us at P4's rate, at most 150 us at saturation"

VCPU = 0.5


async def run(room: Room) -> AsyncIterator[Run]:
    """See `targets.table`."""
    plan, full = workload("plan", planned.Workload), workload("saturate", saturate.Workload)
    await planned.warm(room, plan)
    for number in range(1, room.runs + 1):
        room.tell(f"{name} run {number} of {room.runs}")
        async with spread(room, plan.goods, vcpu=VCPU) as shop:
            calm = await planned.measured(room, shop, plan)
        async with bare(room) as on:
            await on.stock(full.goods)
            async with on.ours(VCPU) as process:
                busy = await saturate.measured_alone(on, on.shop(process), full, on.units_reserved)
        figures = [
            *_figures("at P4's rate", calm.api_us_per_order, calm.report.orders_per_s, most=400),
            *_servers("at P4's rate", calm.sending, calm.report.sending_s),
            *_figures("at saturation", busy.api_us_per_order, busy.answers.accepted_per_s, most=150),
            *_servers("at saturation", busy.spent, busy.answers.span_s),
        ]
        notes = [f"at saturation: {busy.limit(VCPU if room.place else None)}."]
        faults = [*calm.faults("at P4's rate"), *busy.faults]
        yield Run(figures, [*calm.counts, *busy.counts], faults, busy.charts("at saturation"), notes)


def _figures(when: str, us_per_order: float, per_s: float, most: float) -> list[Figure]:
    return [
        Figure("api", us_per_order, "us/order", most=most, variant=when),
        Figure("orders", per_s, "/s", variant=when),
    ]


def _servers(when: str, spent: Spent, span_s: float) -> list[Figure]:
    """What the servers behind it used meanwhile."""
    return [replace(each, variant=when) for each in spent.servers(span_s)]
