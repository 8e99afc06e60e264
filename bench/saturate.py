"""A shop under as many orders as it takes: what several targets measure, each in its own shape."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from bench import closed, counts
from bench.bare import Bare
from bench.closed import Answers, Load
from bench.figures import Chart, Count, Curve, Figure
from bench.opened import latency_curve
from bench.room import Room
from bench.shapes import Goods, Shop
from bench.spent import ANSWERING, Spent


class Workload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A load, the goods it is about, what runs before it is measured, and how long its rest may take afterwards."""

    goods: Goods
    load: Load
    drain_s: float
    warm_up: Load | None = None


@dataclass(frozen=True)
class Measured:
    """What came of a load. `warm_up` are the answers before it; `spent` is CPU while it was sent, and `with_rest` until
    the rest of the loop was done as well, which took `drain_s`, or None where it was not done in time.
    """

    answers: Answers
    warm_up: Answers | None
    spent: Spent
    rss_mb: float
    counts: list[Count]
    with_rest: Spent
    drain_s: float | None

    @property
    def accepted(self) -> int:
        """Orders that were accepted, those of the warm-up with them."""
        return self.answers.accepted + (self.warm_up.accepted if self.warm_up else 0)

    @property
    def faults(self) -> list[str]:
        """What makes the run worth nothing beside counts that differ."""
        faults = [] if self.drain_s is not None else ["the rest of the loop was not done in time"]
        every = [("", self.answers), *([("of the warm-up ", self.warm_up)] if self.warm_up else [])]
        return faults + [
            f"{each.errors} answers {what}were errors: {each.statuses}, {each.lost} connections lost"
            for what, each in every
            if each.errors
        ]

    @property
    def api_us_per_order(self) -> float:
        """CPU microseconds of the processes that answer, per accepted order."""
        return self.us_per_order(self.spent)

    def us_per_order(self, spent: Spent) -> float:
        """Those of any time."""
        return spent.of(*ANSWERING) * 1e6 / max(self.answers.accepted, 1)

    def cores(self, *names: str) -> float:
        """CPUs that processes whose names begin so had on average while orders were sent."""
        return self.spent.cores(self.answers.span_s, *names)

    def machine(self) -> list[Figure]:
        """Who used the machine meanwhile."""
        answering = Figure("CPU of those that answer", self.cores(*ANSWERING), "cores")
        return [answering, *self.spent.servers(self.answers.span_s), *self.spent.machine(self.answers.span_s)]

    def limit(self, vcpu: float | None = None) -> str:
        """Which limit was reached, where those that answer might have so many CPUs, or all there are."""
        return self.spent.limit(self.answers.span_s, vcpu, *ANSWERING)

    def charts(self, label: str) -> list[Chart]:
        """The rate over time, and the latency curve."""
        x = [at * closed.BUCKET_S for at in range(len(self.answers.per_s))]
        return [
            Chart("answers over time", "s", "orders/s", [Curve(label, x, self.answers.per_s)]),
            latency_curve(self.answers.percentiles_ms, label),
        ]


async def measured(room: Room, shop: Shop, workload: Workload) -> Measured:
    """Send the load to a whole shop, and count when the rest of the loop is done. Raises Failed, NoAnswerError."""
    counted = await counts.now(shop.url)
    before, seen = await _sent(room, room.folder, shop, workload)
    settled = await counts.settled(shop.url, counted, *_accepted(seen, workload), workload.drain_s)
    rest = Spent.so_far(shop).since(before)
    return replace(seen, counts=settled.counts, with_rest=rest, drain_s=settled.drain_s)


async def measured_alone(on: Bare, shop: Shop, workload: Workload, held: Callable[[], Awaitable[int]]) -> Measured:
    """Send the load to processes that no other of ours runs beside, and count what they stored.

    `held` are the units that were taken, wherever their guard keeps them. Raises Failed.
    """
    _, seen = await _sent(on.room, on.folder, shop, workload)
    every, units = _accepted(seen, workload)
    counted = [
        *await on.counts(seen.accepted, workload.load.units),
        Count("units held", units, await held()),
        Count("orders refused or lost", 0, sum(answers.sent - answers.accepted for answers in every)),
    ]
    return replace(seen, counts=counted)


async def _sent(room: Room, folder: Path, shop: Shop, workload: Workload) -> tuple[Spent, Measured]:
    """Send the warm-up and the load: what was spent before the load, and what is measured but not counted yet."""
    # Preparing takes longer than sending: it comes first, so that the warm-up is followed by the load at once.
    loads = [scaled(room, load) for load in (workload.warm_up, workload.load) if load]
    files = [await asyncio.to_thread(closed.prepare, load, workload.goods.ids, folder) for load in loads]
    *warm_up, (load, orders) = zip(loads, files, strict=True)
    warmed = [await closed.send(shop.url, *each) for each in warm_up]
    before = Spent.so_far(shop)
    answers = await closed.send(shop.url, load, orders)
    spent = Spent.so_far(shop).since(before)
    rss_mb = max(running.rss_mb for running in shop.api)
    return before, Measured(answers, warmed[0] if warmed else None, spent, rss_mb, [], spent, 0.0)


def _accepted(seen: Measured, workload: Workload) -> tuple[list[Answers], int]:
    """All answers of a workload, and the units in the orders that were accepted."""
    answers = [(seen.answers, workload.load)]
    if seen.warm_up and workload.warm_up:
        answers.append((seen.warm_up, workload.warm_up))
    return [each for each, _ in answers], sum(each.accepted * load.units for each, load in answers)


def scaled(room: Room, load: Load) -> Load:
    """A load as the room's scale says."""
    if load.orders:
        return msgspec.structs.replace(load, orders=room.scaled(load.orders))
    return msgspec.structs.replace(load, seconds=load.seconds * room.scale)
