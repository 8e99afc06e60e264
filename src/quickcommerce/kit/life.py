"""Supervised loops: a crash restarts the loop with backoff and never silently ends it; stopping drains it.

A loop's body is a `step`: it does one bounded piece of work and returns whether more is waiting. Between steps the
loop waits for its wake-up event or its interval. A dependency that is down (`Unavailable`) is waited for, without
limit and without noise; any other exception is a defect, logged with its traceback and counted.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

from prometheus_client import Counter, Gauge

from quickcommerce.kit.policy import Backoff
from quickcommerce.kit.problem import Unavailable
from quickcommerce.kit.telemetry import log

HEARTBEAT = Gauge(
    "qc_loop_heartbeat_seconds", "When the loop last finished a step, or started, seconds since the epoch", ["loop"]
)
CRASHES = Counter("qc_loop_crashes_total", "Steps that ended in an unexpected exception", ["loop"])
WAITS = Counter("qc_loop_waits_total", "Steps that found a dependency down", ["loop"])

_BACKOFF = Backoff(base_s=0.1, cap_s=2.5)
STALLED_FROM = 3
"""So many steps in a row that found a dependency down make a loop stalled, until one succeeds; fewer are a hiccup."""


@dataclass(frozen=True)
class Loop:
    """One loop: `step` again and again, at least every `every_s` seconds (None: only when woken).

    `rest_s` is the shortest pause after a step that left nothing: work that comes in small pieces gathers meanwhile,
    and is done as one.
    """

    name: str
    step: Callable[[], Awaitable[bool]]
    every_s: float | None
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    rest_s: float = 0.0


@dataclass(frozen=True)
class LoopState:
    """How a loop does. `beat_s`: seconds since it last finished a step, None where it never did; `crashes`: how often
    it was started again; `waits_for`: what its last step found down, empty where it found nothing so.
    """

    name: str
    running: bool
    beat_s: float | None
    crashes: int
    waits_for: str


class Supervisor:
    """Runs loops until told to stop, then lets each finish the step in hand."""

    def __init__(self, loops: list[Loop], *, rng: random.Random) -> None:
        self._loops = loops
        self._rng = rng
        self._stop = asyncio.Event()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._down: dict[str, tuple[int, str]] = {}
        """The loops whose last step found a dependency down: how many did in a row, and what the last one found."""
        self._beats: dict[str, float] = {}
        self._crashes: dict[str, int] = {}

    def start(self) -> None:
        """Start every loop."""
        for loop in self._loops:
            # From the start: an alert compares with what was before, and one that never ends a step must show too.
            CRASHES.labels(loop.name)
            WAITS.labels(loop.name)
            HEARTBEAT.labels(loop.name).set_to_current_time()
            self._tasks[loop.name] = asyncio.create_task(self._keep(loop), name=loop.name)

    async def stop(self, *, drain_s: float) -> None:
        """End every loop after its current step, in parallel; after `drain_s` seconds what still runs is cancelled.

        Cancelling is safe: what a step leaves behind is a lease that ends, and whoever comes next finds it.
        """
        self._stop.set()
        for loop in self._loops:
            loop.wake.set()
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks.values(), timeout=drain_s)
        for task in late:
            log.warning("loop.cancelled", loop=task.get_name(), drain_s=drain_s)
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    def stalled(self) -> list[str]:
        """What a readiness probe should name: the loops that wait for something that is down."""
        return [f"{name}: {reason}" for name, (steps, reason) in self._down.items() if steps >= STALLED_FROM]

    def states(self) -> list[LoopState]:
        """How each loop does, in the order in which they were given."""
        now = asyncio.get_running_loop().time()
        found = []
        for name in [loop.name for loop in self._loops]:
            task, beat = self._tasks.get(name), self._beats.get(name)
            running = task is not None and not task.done()
            waits_for = self._down.get(name, (0, ""))[1]
            beat_s = None if beat is None else now - beat
            found.append(LoopState(name, running, beat_s, self._crashes.get(name, 0), waits_for))
        return found

    def _crashed(self, loop: Loop) -> None:
        CRASHES.labels(loop.name).inc()
        self._crashes[loop.name] = self._crashes.get(loop.name, 0) + 1

    async def _keep(self, loop: Loop) -> None:
        """Run a loop again should it end before it is told to: then supervising itself has failed."""
        while not self._stop.is_set():
            with suppress(Exception):
                await self._run(loop)
            if not self._stop.is_set():
                self._crashed(loop)
                await self._pause(loop, _BACKOFF.cap_s)

    async def _run(self, loop: Loop) -> None:
        failures = 0
        while not self._stop.is_set():
            try:
                more = await loop.step()
            except Unavailable as down:
                WAITS.labels(loop.name).inc()
                steps, _ = self._down.get(loop.name, (0, ""))
                if not steps:
                    log.warning("loop.waiting", loop=loop.name, reason=down.detail)
                self._down[loop.name] = (steps + 1, down.detail)
            except Exception:  # noqa: BLE001 - a loop never ends by a defect
                self._crashed(loop)
                log.exception("loop.crashed", loop=loop.name)
            else:
                failures = 0
                self._down.pop(loop.name, None)
                HEARTBEAT.labels(loop.name).set_to_current_time()
                self._beats[loop.name] = asyncio.get_running_loop().time()
                if not more:
                    await self._rest(loop)
                    await self._pause(loop, loop.every_s)
                continue
            await self._pause(loop, _BACKOFF.delay_s(failures, self._rng))
            failures += 1

    async def _rest(self, loop: Loop) -> None:
        if loop.rest_s:
            with suppress(TimeoutError):
                async with asyncio.timeout(loop.rest_s):
                    await self._stop.wait()

    async def _pause(self, loop: Loop, seconds: float | None) -> None:
        if self._stop.is_set():
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await loop.wake.wait()
        loop.wake.clear()


class Opening:
    """What loops need may not be there yet: then it is tried again while the process serves, and they start later."""

    def __init__(self, supervisor: Supervisor, refusal: type[Exception], *, rng: random.Random) -> None:
        """`refusal`: what is raised of what is there and not fit yet."""
        self._supervisor, self._refusal = supervisor, refusal
        self._keeper = Supervisor([Loop("opening", self._step, None)], rng=rng)
        self._open: Callable[[], Awaitable[None]]
        self._waits_for = ""

    async def by(self, open_now: Callable[[], Awaitable[None]]) -> None:
        """Open by this, now, or later by the same. Raises `refusal`: whoever starts a process is told at once."""
        self._open = open_now
        try:
            await self._open()
        except Unavailable as down:
            self._waits_for = down.detail

    def start(self) -> None:
        """Start the loops, or what starts them later."""
        (self._keeper if self._waits_for else self._supervisor).start()

    async def stop(self) -> None:
        """Do not try again."""
        await self._keeper.stop(drain_s=0)

    def stalled(self) -> list[str]:
        """As `Supervisor.stalled`, from the first try on."""
        return [f"opening: {self._waits_for}"] if self._waits_for else []

    async def _step(self) -> bool:
        try:
            await self._open()
        except (self._refusal, Unavailable) as unfit:
            self._waits_for = str(unfit)
            raise Unavailable(str(unfit)) from unfit
        self._waits_for = ""
        self._supervisor.start()
        return False
