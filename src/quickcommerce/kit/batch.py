"""Group commit: requests queue, and a runner takes all that wait as one list in one transaction.

While one commit is in flight the next list fills: an idle shop commits each order at once, a busy one commits hundreds
together. The submitter may be cancelled; the runner is another task, so what it took is finished whoever still listens.
"""

import asyncio
import contextvars
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from prometheus_client import Counter, Gauge, Histogram

from quickcommerce.kit.problem import Unavailable
from quickcommerce.kit.repeating import Undone, singly
from quickcommerce.kit.telemetry import log

Q = TypeVar("Q")
A = TypeVar("A")
Handle = Callable[[list[Q]], Awaitable[Sequence[A | Exception]]]

ENOUGH = 16
"""So many requests are a list of their own, beside one that is in flight."""
WHOLE = 64
"""So many requests are always one list."""
STUCK_S = 0.05
"""Who has waited for longer seems to be behind a list that waits for somebody's row, and sets out beside it."""
GATHER_LISTS, GATHER_MAX_S = 2, 0.01
"""Where fewer than `ENOUGH` came while a list was in flight, the next one begins when the first of them has waited for
as long as so many such lists take, and for so many seconds at most. At 625 orders a second of the original's plan, on
two cores with everything else, the longest wait saves a tenth of the CPU of the process that answers and a sixth of
the database's, and orders are answered no later; where a list is done sooner, less is to be saved, and nobody waits so
long.
"""

LIST_SIZE = Histogram("qc_batch_list_size", "Requests per list", ["batch"], buckets=[2**n for n in range(10)])
WAITING = Gauge("qc_batch_waiting", "Requests in the queue", ["batch"])
REFUSED = Counter("qc_batch_refused_total", "Requests refused because the queue was full", ["batch"])
SINGLED = Counter("qc_batch_singled_total", "Lists that failed as a whole and were retried one by one", ["batch"])


def _tell_late(future: asyncio.Future[A]) -> None:
    if not future.done():
        future.set_exception(Unavailable("there is no answer yet; ask again, with the same key if there is one"))


class GroupCommit(Generic[Q, A]):
    """A bounded queue in front of a function that handles lists.

    `handle(list)` returns one answer or exception for each request, in order. If it raises, the list is retried one
    by one, so that a request that breaks it fails alone; one that the database undid again and again too, for those who
    still wait. Any other `Unavailable` is not retried, since it would fail each. Nor is a list with more or fewer
    answers than requests: whatever it did is done, and each request fails.
    `runners` lists are in flight at once, where enough requests wait: one where the database has one writer. A request
    that has no answer after `within_s` seconds is told so: it may still happen, which is why clients send an
    Idempotency-Key.
    """

    def __init__(
        self, name: str, handle: Handle[Q, A], *, list_max: int, queue_max: int, within_s: float, runners: int = 1
    ) -> None:
        self._name = name
        self._handle = handle
        self._list_max = list_max
        self._queue_max = queue_max
        self._within_s = within_s
        self._runners = runners
        self._enough = min(ENOUGH, list_max)
        # From the start: an alert compares with what was before.
        self._refused, self._singled = REFUSED.labels(name), SINGLED.labels(name)
        self._queue: deque[tuple[Q, asyncio.Future[A], float]] = deque()
        self._running: set[asyncio.Task[None]] = set()
        self._looking: asyncio.TimerHandle | None = None
        WAITING.labels(name).set_function(lambda: len(self._queue))

    def admit(self) -> None:
        """Raises `Unavailable` when the queue is full: whoever asks before any other work spares a flood that work."""
        if len(self._queue) >= self._queue_max:
            self._refused.inc()
            raise Unavailable("too many requests are waiting")

    async def submit(self, request: Q) -> A:
        """Queue a request and wait for its answer. Raises `Unavailable` at once when the queue is full."""
        self.admit()
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        future: asyncio.Future[A] = loop.create_future()
        self._queue.append((request, future, now_s))
        if self._sets_out(now_s):
            self._set_out()
        elif self._looking is None:
            self._looking = loop.call_later(STUCK_S, self._look)
        late = loop.call_later(self._within_s, _tell_late, future)
        try:
            return await future
        finally:
            late.cancel()
            # A refusal has a traceback, which has this frame: they would be a cycle, with the whole request in it.
            del future

    async def drain(self) -> None:
        """Return when everything that waits has its answer."""
        while self._running:
            await asyncio.wait(self._running)

    def _sets_out(self, now_s: float) -> bool:
        """Whether those that wait are to be another list now."""
        if not self._running:
            return True
        _, _, came_s = self._queue[0]
        many = len(self._queue) >= self._enough or now_s - came_s >= STUCK_S
        return many and len(self._running) < self._runners

    def _set_out(self) -> None:
        # A context of its own: the runner works for many, and must not log under the trace of the first.
        runner = asyncio.create_task(self._run(), name=f"batch {self._name}", context=contextvars.Context())
        self._running.add(runner)

    def _look(self) -> None:
        """While anybody waits: set out for who is behind a list that is stuck, though nobody else comes."""
        self._looking = None
        if not self._queue:
            return
        loop = asyncio.get_running_loop()
        if self._sets_out(loop.time()):
            self._set_out()
        self._looking = loop.call_later(STUCK_S, self._look)

    async def _run(self) -> None:
        """Handle lists until nothing waits."""
        try:
            while self._queue:
                taken = [self._queue.popleft() for _ in range(self._next())]
                began_s = asyncio.get_running_loop().time()
                # A buyer who left before the list was taken has no effect; after this line, they have a whole one.
                await self._finish([(request, future) for request, future, _ in taken if not future.done()])
                if 0 < len(self._queue) < self._enough:
                    if len(self._running) > 1:
                        return  # the other one takes them
                    took_s = asyncio.get_running_loop().time() - began_s
                    await self._gathered(min(GATHER_LISTS * took_s, GATHER_MAX_S))
        finally:
            # Here and not in a callback: a request that arrives after the last look at the queue must find no runner.
            self._running.difference_update({asyncio.current_task()})

    def _next(self) -> int:
        """How many the next list takes. Where another may be in flight beside it, half of many that wait: if each took
        all, nothing would be left to do while both are in flight. Under 256 connections that is a tenth more orders.
        """
        waiting = len(self._queue)
        half = max(WHOLE, waiting // 2) if self._runners > 1 else waiting
        return min(waiting, half, self._list_max)

    async def _gathered(self, for_s: float) -> None:
        """Wait until the first that waits has waited for so long."""
        _, _, came_s = self._queue[0]
        await asyncio.sleep(max(0.0, came_s + for_s - asyncio.get_running_loop().time()))

    async def _finish(self, taken: list[tuple[Q, asyncio.Future[A]]]) -> None:
        if not taken:
            return
        LIST_SIZE.labels(self._name).observe(len(taken))
        for (_, future), answer in zip(taken, await self._answers(taken), strict=True):
            if future.done():
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)

    async def _answers(self, taken: list[tuple[Q, asyncio.Future[A]]]) -> Sequence[A | Exception]:
        requests = [request for request, _ in taken]
        try:
            answers = await self._handle(requests)
        except Exception as failure:  # noqa: BLE001 - whatever broke the list must not break its neighbours
            if len(requests) == 1 or not singly(failure):
                return [failure] * len(requests)
            self._singled.inc()
            log.warning("batch.singled", batch=self._name, requests=len(requests), error=repr(failure))
            # Who was told meanwhile to ask again is not waited for at a row that somebody holds.
            undone = isinstance(failure, Undone)
            return [failure if undone and each[1].done() else (await self._answers([each]))[0] for each in taken]
        if len(answers) == len(requests):
            return answers
        # A defect of the handler. Which answer is whose cannot be told, but nobody may wait for theirs in vain.
        log.error("batch.miscounted", batch=self._name, requests=len(requests), answers=len(answers))
        return [AssertionError(f"{len(answers)} answers to {len(requests)} requests")] * len(requests)
