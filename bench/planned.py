"""A shop under the original's load plan: what P4 and P5 measure."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import itemgetter

import msgspec

from bench import opened
from bench.figures import Count
from bench.opened import Plan, Report
from bench.room import Room
from bench.shapes import Goods, Shop

LOOK_EVERY_S = 0.25
_Look = tuple[datetime, dict[str, float]]
"""When, and the CPU seconds that each process had used by then."""


class Workload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A plan, the goods it is about, and what runs before it is measured, unless that would take what it is about."""

    goods: Goods
    plan: Plan
    warm_up: Plan | None = None


@dataclass(frozen=True)
class Measured:
    """What came of it; `before` is the warm-up, where there was one, which is counted too.

    `cpu_s` are CPU seconds by process, from before the first order to after the last document: `took_s` seconds.
    `sending_cpu_s` are those until the last answer, without the looks at the counts that follow.
    """

    before: Report | None
    report: Report
    cpu_s: dict[str, float]
    took_s: float
    sending_cpu_s: dict[str, float]
    throttled_s: float
    rebalances: int
    evictions: int

    @property
    def api_us_per_order(self) -> float:
        """CPU microseconds of the processes that answer, per accepted order; its share of payments is in it."""
        used_s = sum(seconds for name, seconds in self.sending_cpu_s.items() if name.startswith(("api-", "shop")))
        return used_s * 1e6 / max(self.report.answers.accepted, 1)

    @property
    def counts(self) -> list[Count]:
        """The exact counts."""
        return [count for each in self._every for count in each.counts]

    def faults(self, label: str) -> list[str]:
        """What makes the run worth nothing beside counts that differ."""
        return [f"{label}: {each.failure}" for each in self._every if each.failure]

    @property
    def _every(self) -> list[Report]:
        return [self.before, self.report] if self.before else [self.report]


async def measured(room: Room, shop: Shop, workload: Workload) -> Measured:
    """Run the plan. Raises Failed."""
    before, plan = None, _scaled(room, workload.plan)
    if workload.warm_up:
        before = await opened.run(shop.urls, shop.pg_url, _scaled(room, workload.warm_up), room.folder)
    cpu_s, throttled_s, start_s = shop.cpu(), shop.throttled_s(), time.monotonic()
    moved, put_out = await shop.rebalances()
    looks: list[_Look] = []
    looking = asyncio.create_task(_look(shop, looks))
    try:
        report = await opened.run(shop.urls, shop.pg_url, plan, room.folder)
    finally:
        looking.cancel()
    looks.append((datetime.now(UTC), shop.cpu()))
    moved_after, put_out_after = await shop.rebalances()
    return Measured(
        before,
        report,
        {name: seconds - cpu_s[name] for name, seconds in shop.cpu().items()},
        time.monotonic() - start_s,
        _between(looks, report.sent_from, report.answered_by),
        shop.throttled_s() - throttled_s,
        moved_after - moved,
        put_out_after - put_out,
    )


async def _look(shop: Shop, looks: list[_Look]) -> None:
    """Note what every process has used, again and again."""
    while True:
        looks.append((datetime.now(UTC), shop.cpu()))
        await asyncio.sleep(LOOK_EVERY_S)


def _between(looks: Sequence[_Look], begin: datetime, end: datetime) -> dict[str, float]:
    """What was used from the last look before the begin to the first after the end. Raises ValueError without those."""
    first = max((look for look in looks if look[0] <= begin), key=itemgetter(0))
    last = min((look for look in looks if look[0] >= end), key=itemgetter(0))
    return {name: seconds - first[1][name] for name, seconds in last[1].items()}


def _scaled(room: Room, plan: Plan) -> Plan:
    """A plan as the room's scale says: fewer buyers at the same rate."""
    return msgspec.structs.replace(plan, buyers=room.scaled(plan.buyers), ramp_up_s=plan.ramp_up_s * room.scale)
