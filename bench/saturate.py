"""A shop under as many orders as it takes: what several targets measure, each in its own shape."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from bench import closed, counts, processes
from bench.bare import Bare
from bench.closed import Answers, Load
from bench.figures import Chart, Count, Curve
from bench.opened import latency_curve
from bench.room import Room
from bench.shapes import Goods, Shop


class Workload(msgspec.Struct, frozen=True):
    """A load, the goods it is about, what runs before it is measured, and how long its rest may take afterwards."""

    goods: Goods
    load: Load
    drain_s: float
    warm_up: Load | None = None


@dataclass(frozen=True)
class Measured:
    """What came of it. `cpu_s` are CPU seconds by process while orders were sent, `idle` is the share of the machine's
    CPU that nobody used meanwhile, `stolen` what the host of a virtual one gave to others; `throttled_s` see `Shop`.
    """

    answers: Answers
    cpu_s: dict[str, float]
    idle: float
    stolen: float
    throttled_s: float
    rss_mb: float
    counts: list[Count]
    drain_s: float | None

    @property
    def faults(self) -> list[str]:
        """What makes the run worth nothing beside counts that differ."""
        faults = [] if self.drain_s is not None else ["the rest of the loop was not done in time"]
        if self.answers.errors:
            faults.append(f"{self.answers.errors} answers were errors: {self.answers.statuses}")
        return faults

    @property
    def api_us_per_order(self) -> float:
        """CPU microseconds of the processes that answer, per accepted order."""
        return self.us_per_order("api-", "shop", "yardstick")

    def us_per_order(self, *names: str) -> float:
        """CPU microseconds of processes whose names begin so, per accepted order."""
        used_s = sum(seconds for name, seconds in self.cpu_s.items() if name.startswith(names))
        return used_s * 1e6 / max(self.answers.accepted, 1)

    def charts(self, label: str) -> list[Chart]:
        """The rate over time, and the latency curve."""
        x = [at * closed.BUCKET_S for at in range(len(self.answers.per_s))]
        return [
            Chart("answers over time", "s", "orders/s", [Curve(label, x, self.answers.per_s)]),
            latency_curve(self.answers.percentiles_ms, label),
        ]


async def measured(room: Room, shop: Shop, workload: Workload) -> Measured:
    """Send the load to a whole shop, and count when the rest of the loop is done. Raises Failed, NoAnswerError."""
    before = await counts.now(shop.url)
    seen, sent = await _sent(room, room.folder, shop, workload)
    settled = await counts.settled(shop.url, before, sent.answers, sent.units, workload.drain_s)
    return replace(seen, counts=settled.counts, drain_s=settled.drain_s)


async def measured_alone(on: Bare, shop: Shop, workload: Workload, held: Callable[[], Awaitable[int]]) -> Measured:
    """Send the load to processes that have nothing beside them but MariaDB and Redis, and count what they stored.

    `held` are the units that were taken, wherever their guard keeps them. Raises Failed.
    """
    seen, sent = await _sent(on.room, on.folder, shop, workload)
    accepted = sum(answers.accepted for answers in sent.answers)
    lost = sum(answers.errors + answers.sent - answers.accepted for answers in sent.answers)
    counted = [
        *await on.counts(accepted, workload.load.units),
        Count("units held", sent.units, await held()),
        Count("orders refused or lost", 0, lost),
    ]
    return replace(seen, counts=counted)


@dataclass(frozen=True)
class _Sent:
    """The answers to each load, and the units in the orders that were accepted."""

    answers: list[Answers]
    units: int


async def _sent(room: Room, folder: Path, shop: Shop, workload: Workload) -> tuple[Measured, _Sent]:
    """Send the warm-up and the load. What comes of it is not counted yet."""
    # Preparing takes longer than sending: it comes first, so that the warm-up is followed by the load at once.
    loads = [scaled(room, load) for load in (workload.warm_up, workload.load) if load]
    bases = [await asyncio.to_thread(closed.prepare, load, workload.goods.ids, folder) for load in loads]
    every = []
    for load, base in zip(loads, bases, strict=True):
        cpu_s, throttled_s, machine = shop.cpu(), shop.throttled_s(), processes.machine_cpu_s()
        every.append(await closed.send(shop.url, load, base))
    cpu_s = {name: seconds - cpu_s[name] for name, seconds in shop.cpu().items()}
    throttled_s = shop.throttled_s() - throttled_s
    over = zip(processes.machine_cpu_s(), machine, strict=True)
    all_s, idle_s, stolen_s = (now - then for now, then in over)
    rss_mb = max(running.rss_mb for running in shop.api)
    units = sum(answers.accepted * load.units for answers, load in zip(every, loads, strict=True))
    return Measured(every[-1], cpu_s, idle_s / all_s, stolen_s / all_s, throttled_s, rss_mb, [], 0.0), _Sent(
        every, units
    )


def scaled(room: Room, load: Load) -> Load:
    """A load as the room's scale says."""
    if load.orders:
        return msgspec.structs.replace(load, orders=room.scaled(load.orders))
    return msgspec.structs.replace(load, seconds=load.seconds * room.scale)
