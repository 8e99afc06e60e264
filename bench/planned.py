"""A shop under the original's load plan, or one like it: what several targets measure."""

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
from bench.shapes import Goods, Shop, spread
from bench.spent import ANSWERING, Spent

LOOK_EVERY_S = 0.25
_Look = tuple[datetime, Spent]
"""When, and what was spent by then."""


class Workload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A plan, the goods it is about, and what runs before it is measured, unless that would take what it is about.

    `warm_up` is for the processes of each shop, `servers_warm_up` for servers that have just started.
    """

    goods: Goods
    plan: Plan
    warm_up: Plan | None = None
    servers_warm_up: Plan | None = None


@dataclass(frozen=True)
class Measured:
    """What came of it; `before` is the warm-up, where there was one, which is counted too.

    `spent` is CPU from before the first order to after the last document: `took_s` seconds. `sending` is that until the
    last answer, without the looks at the counts that follow.
    """

    before: Report | None
    report: Report
    spent: Spent
    took_s: float
    sending: Spent
    rebalances: int
    evictions: int

    @property
    def api_us_per_order(self) -> float:
        """CPU microseconds of the processes that answer, per accepted order; its share of payments is in it."""
        return self.sending.of(*ANSWERING) * 1e6 / max(self.report.answers.accepted, 1)

    @property
    def accepted(self) -> int:
        """Orders that were accepted, those of the warm-up with them."""
        return sum(each.answers.accepted for each in self._every)

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
    start, start_s = Spent.so_far(shop), time.monotonic()
    moved, evicted = await shop.rebalances()
    looks: list[_Look] = []
    looking = asyncio.create_task(_look(shop, looks))
    try:
        report = await opened.run(shop.urls, shop.pg_url, plan, room.folder)
    finally:
        looking.cancel()
    looks.append((datetime.now(UTC), Spent.so_far(shop)))
    moved_after, evicted_after = await shop.rebalances()
    return Measured(
        before,
        report,
        Spent.so_far(shop).since(start),
        time.monotonic() - start_s,
        _between(looks, report.sent_from, report.answered_by),
        moved_after - moved,
        evicted_after - evicted,
    )


async def warm(room: Room, workload: Workload) -> None:
    """Start the servers, and have them serve a shop that is thrown away. Raises Failed."""
    if workload.servers_warm_up:
        room.tell("the servers warm up")
        async with spread(room, workload.goods) as shop:
            await opened.run(shop.urls, shop.pg_url, _scaled(room, workload.servers_warm_up), room.folder)


async def _look(shop: Shop, looks: list[_Look]) -> None:
    """Note what every process has used, again and again."""
    while True:
        looks.append((datetime.now(UTC), Spent.so_far(shop)))
        await asyncio.sleep(LOOK_EVERY_S)


def _between(looks: Sequence[_Look], begin: datetime, end: datetime) -> Spent:
    """What was spent from the last look before the begin to the first after the end. Raises ValueError without them."""
    first = max((look for look in looks if look[0] <= begin), key=itemgetter(0))
    last = min((look for look in looks if look[0] >= end), key=itemgetter(0))
    return last[1].since(first[1])


def _scaled(room: Room, plan: Plan) -> Plan:
    """A plan as the room's scale says: fewer buyers at the same rate."""
    return msgspec.structs.replace(plan, buyers=room.scaled(plan.buyers), ramp_up_s=plan.ramp_up_s * room.scale)
