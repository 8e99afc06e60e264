"""Where the CPU of an order goes: at P1's and P3's saturation, and under P4's plan."""

from collections.abc import AsyncIterator

from bench import planned, saturate
from bench.bare import bare
from bench.figures import Figure, Run
from bench.profile import samples
from bench.profile.samples import Samples
from bench.room import Room, workload
from bench.shapes import embedded, spread

name = "profile"
what = (
    f"CPU per order by what it is spent for, sampled {samples.PER_S} times a second, no CPU limit: of the api process"
    " at saturation with nothing but MariaDB and Redis, and under P4's plan with the whole shop beside it; of the"
    " embedded shop at saturation, with all that it does for an order"
)
target = "the figures are there to be used, not to be reached"


async def run(room: Room) -> AsyncIterator[Run]:
    """See `targets.table`."""
    plan, full = workload("plan", planned.Workload), workload("saturate", saturate.Workload)
    for number in range(1, room.runs + 1):
        room.tell(f"{name} run {number} of {room.runs}")
        async with bare(room) as on:
            await on.stock(full.goods)
            async with on.ours() as api, samples.taken(api, room.folder / f"full-{number}") as at_full:
                busy = await saturate.measured_alone(on, on.shop(api), full, on.units_reserved)
        async with (
            spread(room, plan.goods) as shop,
            samples.taken(shop.api[0], room.folder / f"plan-{number}") as at_plan,
        ):
            calm = await planned.measured(room, shop, plan)
        async with (
            embedded(room, full.goods) as shop,
            samples.taken(shop.api[0], room.folder / f"embedded-{number}") as at_home,
        ):
            one = await saturate.measured(room, shop, full)
        figures = [
            *_figures("at saturation", at_full, busy.accepted),
            *_figures("under P4's plan", at_plan, calm.accepted),
            *_figures("embedded, at saturation", at_home, one.accepted),
        ]
        faults = [*busy.faults, *calm.faults("under P4's plan"), *one.faults]
        yield Run(figures, [*busy.counts, *calm.counts, *one.counts], faults, [])


def _figures(when: str, seen: Samples, orders: int) -> list[Figure]:
    """The CPU of an order of so many, and what of it each part took."""
    us_per_order = seen.cpu_s * 1e6 / max(orders, 1)
    return [
        Figure("all", us_per_order, "us/order", variant=when),
        *(Figure(part, share * us_per_order, "us/order", variant=when) for part, share in seen.shares.items()),
    ]
