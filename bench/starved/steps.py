"""How a group is put under a flood and watched: it becomes whole, what it handles is measured, ten times that comes."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from bench.bare import Bare
from bench.processes import Failed
from bench.servers import patiently
from bench.starved.flood import Flood
from bench.starved.watch import Look, Watch

SECONDS, FACTOR = 120.0, 11
"""Of the flood: how long, and how many times what the consumer handles; a tenth more, so that it is ten in the end."""
TRIES = {"starved": 60, "ended": 600, "ours": 20_000}
"""Events by which is measured how many it handles."""
FIRST = 10
"""Events to begin with."""
LOOK_S = 1.0
JOIN_S, CALM_S = 60.0, 4.0
DRAIN_S = 1_800.0

Handled = Callable[[], Awaitable[int]]
"""How many events a consumer has handled, by the rows that it has made."""


@dataclass
class Seen:
    """What a run of a variant gave. `begun_s` is when the flood began, by the watch; `before` were poured until then.

    `lag_after` is what was not acknowledged when the flood ended, `drained_s` the time until that was nothing.
    """

    watch: Watch
    flood: Flood
    capacity_per_s: float
    begun_s: float
    before: int
    poured_s: float = 0.0
    lag_after: int = 0
    drained_s: float | None = None

    @property
    def factor(self) -> float:
        """How many times what the consumer handles was poured."""
        return (self.flood.poured - self.before) / self.poured_s / self.capacity_per_s


async def flooded(
    on: Bare, watch: Watch, handled: Handled, variant: str, *, at_begin: Callable[[], Awaitable[None]] | None = None
) -> Seen:
    """Waits until the group is whole, measures what the consumer handles, and pours more than ten times that.

    All but `starved` meet the event that cannot be handled right before: behind the flood they would never come to it.
    """
    flood = Flood(on.kafka, watch.topic)
    await asyncio.to_thread(flood.pour, FIRST)
    await calm(watch, handled, FIRST)
    tries = on.room.scaled(TRIES[variant])
    capacity_per_s = await capacity(flood.pour, handled, tries)
    on.room.tell(f"{variant} handles {capacity_per_s:,.0f} events/s; {FACTOR} times that is poured")
    if at_begin:
        await at_begin()
    seen = Seen(watch, flood, capacity_per_s, time.monotonic() - watch.begun_s, flood.poured)
    if variant != "starved":
        await asyncio.to_thread(flood.poison)
    seconds, stop = SECONDS * on.room.scale, threading.Event()
    pouring = asyncio.create_task(asyncio.to_thread(flood.pour_for, seconds, FACTOR * capacity_per_s, stop))
    try:
        while not pouring.done():
            await watched(watch, LOOK_S)
    finally:
        stop.set()
        await pouring
    seen.poured_s = time.monotonic() - watch.begun_s - seen.begun_s
    seen.lag_after = (await looked(watch)).lag
    return seen


async def calm(watch: Watch, handled: Handled, events: int, members: int = 1) -> None:
    """Waits until the group has so many members, which share its partitions and stay, and has handled so many events.

    Raises Failed. A member gives partitions up and another takes them some seconds later, when each next speaks to the
    brokers: until they are shared, a group that seems to rest is about to change.
    """
    until_s, same_since_s = time.monotonic() + JOIN_S, time.monotonic()
    while time.monotonic() < until_s:
        before = watch.looks[-1].members if watch.looks else None
        now = await looked(watch)
        if now.members != before:
            same_since_s = time.monotonic()
        whole = now.shared(members, len(watch.places)) and time.monotonic() > same_since_s + CALM_S
        if whole and await handled() >= events:
            return
        await asyncio.sleep(LOOK_S / 4)
    raise Failed(f"the group {watch.group} did not become whole: {watch.looks[-1:]}")


async def capacity(pour: Callable[[int], None], handled: Handled, count: int) -> float:
    """Events handled in a second, of so many that wait. `pour` sends them, and blocks."""
    before = await handled()
    await asyncio.to_thread(pour, count)
    begun_s, begun = time.monotonic(), await handled()
    while (now := await handled()) < before + count:
        if time.monotonic() > begun_s + 10 * JOIN_S:
            raise Failed(f"of {count} events {now - before} were handled in {10 * JOIN_S:g} s")
        await asyncio.sleep(0.1)
    return (now - begun) / (time.monotonic() - begun_s)


async def watched(watch: Watch, seconds: float) -> None:
    """Looks at the group for so many seconds, and at least once."""
    until_s = time.monotonic() + seconds
    while True:
        await looked(watch)
        if time.monotonic() + LOOK_S >= until_s:
            await asyncio.sleep(max(0.0, until_s - time.monotonic()))
            return
        await asyncio.sleep(LOOK_S)


async def looked(watch: Watch) -> Look:
    """A look at the group. Raises Failed."""
    return await patiently(lambda: asyncio.to_thread(watch.look))


async def behind(watch: Watch) -> int:
    """How many events the group has not acknowledged. Raises Failed."""
    return await patiently(lambda: asyncio.to_thread(watch.lag))


async def drained(seen: Seen) -> None:
    """Waits until nothing is left to handle, or too long."""
    begun_s = time.monotonic()
    while time.monotonic() < begun_s + DRAIN_S:
        if (await looked(seen.watch)).lag == 0:
            seen.drained_s = time.monotonic() - begun_s
            return
        await asyncio.sleep(LOOK_S)
