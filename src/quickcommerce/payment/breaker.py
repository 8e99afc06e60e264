"""Sparing a PG that fails: a circuit breaker for each kind of call, and a pace for all of them together.

A shop that keeps asking a PG which cannot answer makes its trouble longer, and its own. So where half of the last calls
of a kind failed, no more of that kind are made for a while; then one goes first, and if it is answered others follow.
What is not asked has not happened: a capture is tried again at its time, a reading says that nothing could be read.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final, Protocol, TypeVar

from prometheus_client import Counter, Gauge

from quickcommerce.kit.telemetry import log
from quickcommerce.payment import capture, refunding
from quickcommerce.payment.codes import trouble
from quickcommerce.payment.listing import Pages
from quickcommerce.payment.model import (
    NO_REPLY,
    NOT_SENT,
    Asked,
    Doubtful,
    Later,
    Reading,
    Reply,
    Unknown,
    Unreadable,
)  # fmt: skip
from quickcommerce.payment.reconcile_model import Span
from quickcommerce.payment.refund_model import Cancel, CancelReply, Said
from quickcommerce.payment.toss_transactions import NoSuchPage, Page

T = TypeVar("T")

WINDOW_S: Final = 10
"""Calls that ended longer ago say nothing of now."""
CALLS_MIN: Final = 10
"""Of fewer calls in the window nothing is concluded."""
REST_S: Final = 1.0
REST_MAX_S: Final = 8.0
"""How long no call is made at first, and at most: each first call that fails doubles it."""
TURN_S: Final = 1.0
"""How long a call waits for its turn, at most."""

HELD: Final = Later("PG_RESTS", "not asked: the PG fails", ours=False, sent=False)
NOT_READ: Final = Unreadable(HELD.code)
"""What is told in place of an answer, where the PG was not asked."""

OPEN = Gauge("qc_pg_breaker_open", "Whether calls of this kind are held back because the PG fails: 1 or 0", ["call"])
HELD_BACK = Counter("qc_pg_held_back_total", "Calls not made, because the PG fails or had its share", ["call"])


class Pg(capture.Pg, refunding.Pg, Pages, Protocol):
    """The payment provider, as captures, refunds and reconciliation ask it."""


class Turn(Enum):
    """Whether a call is made."""

    HELD_BACK = auto()
    ASK = auto()
    FIRST = auto()
    """The one after a rest, which others wait for."""


@dataclass
class Breaker:
    """Whether a kind of call is made now. `now_s`: any clock that never goes back, in seconds."""

    call: str
    now_s: Callable[[], float]
    _ended: deque[tuple[float, bool]] = field(default_factory=deque)
    """When calls ended that were made in the window, and whether they failed."""
    _rest_s: float = 0
    """How long the present rest is; 0: there is none."""
    _until_s: float = 0
    _first: bool = False
    """The first call after a rest is under way."""

    def turn(self) -> Turn:
        """Whether a call may be made now. One that may must be told of with `ended`."""
        if not self._rest_s:
            return Turn.ASK
        if self._first or self.now_s() < self._until_s:
            return Turn.HELD_BACK
        self._first = True
        return Turn.FIRST

    def ended(self, turn: Turn, *, failed: bool | None) -> None:
        """What became of a call; None: it ended without an answer to learn from, as when its caller went away."""
        if turn is Turn.FIRST:
            self._first = False
        if failed is None:
            return
        if not self._rest_s:
            self._count(failed=failed)
        elif not failed:
            self._rest_s = 0
            self._ended.clear()
            OPEN.labels(self.call).set(0)
            log.info("pg.answers_again", call=self.call)
        elif turn is Turn.FIRST:
            self._rest(min(2 * self._rest_s, REST_MAX_S))

    def _count(self, *, failed: bool) -> None:
        now = self.now_s()
        self._ended.append((now, failed))
        while self._ended[0][0] < now - WINDOW_S:
            self._ended.popleft()
        failures = sum(failed for _, failed in self._ended)
        if len(self._ended) >= CALLS_MIN and 2 * failures >= len(self._ended):
            log.error("pg.rests", call=self.call, calls=len(self._ended), failed=failures)
            self._rest(REST_S)

    def _rest(self, rest_s: float) -> None:
        self._rest_s, self._until_s = rest_s, self.now_s() + rest_s
        OPEN.labels(self.call).set(1)


@dataclass
class Pace:
    """At most `per_s` calls a second, in the order in which they came; 0: any number."""

    per_s: float
    now_s: Callable[[], float]
    _next_s: float = 0

    async def turn(self, *, patient: bool = False) -> bool:
        """Wait for a turn. False, at once, where that would take longer than `TURN_S`; then there is none, but for who
        is patient.
        """
        if not self.per_s:
            return True
        now_s = self.now_s()
        at_s = max(self._next_s, now_s)
        if at_s - now_s > TURN_S and not patient:
            return False
        self._next_s = at_s + 1 / self.per_s
        if at_s > now_s:
            await asyncio.sleep(at_s - now_s)
        return True


class Sparing:
    """The PG, asked no more than it can answer. `per_s`: calls of all kinds a second; 0: any number."""

    def __init__(self, pg: Pg, per_s: float) -> None:
        def now_s() -> float:
            return asyncio.get_running_loop().time()

        self._pg = pg
        self._pace = Pace(per_s, now_s)
        # One for each: a PG whose captures fail can still be read, and that is how it becomes known what happened.
        self._confirm, self._cancel, self._read = (Breaker(call, now_s) for call in ("confirm", "cancel", "read"))

    async def confirm(self, asked: Asked) -> Reply:
        """See `Pg`. What is held back was not sent."""
        return await self._ask(self._confirm, lambda: self._pg.confirm(asked), _unanswered, HELD)

    async def cancel(self, cancel: Cancel) -> CancelReply:
        """See `Pg`. What is held back was not sent."""
        return await self._ask(self._cancel, lambda: self._pg.cancel(cancel), _unanswered, HELD)

    async def read(self, asked: Asked) -> Reading:
        """See `Pg`. What is held back could not be read."""
        return await self._ask(self._read, lambda: self._pg.read(asked), _unanswered, NOT_READ)

    async def read_order(self, asked: Asked) -> Reading:
        """See `Pg`. What is held back could not be read."""
        return await self._ask(self._read, lambda: self._pg.read_order(asked), _unanswered, NOT_READ)

    async def withdraw(self, asked: Asked) -> Reading:
        """See `Pg`. What is held back was not sent."""
        return await self._ask(self._cancel, lambda: self._pg.withdraw(asked), _unanswered, NOT_READ)

    async def transactions(self, span: Span, after: str | None, limit: int) -> Page | NoSuchPage | Unreadable:
        """See `Pages`. Nobody waits for the list: its pages wait for their turn, however long the others' line is."""
        await self._pace.turn(patient=True)
        return await self._pg.transactions(span, after, limit)

    async def _ask(
        self, breaker: Breaker, ask: Callable[[], Awaitable[T]], unanswered: Callable[[T], bool], held_back: T
    ) -> T:
        turn = breaker.turn()
        failed: bool | None = None
        try:
            if turn is Turn.HELD_BACK or not await self._pace.turn():
                HELD_BACK.labels(breaker.call).inc()
                return held_back
            answer = await ask()
            failed = unanswered(answer)
            return answer
        finally:
            breaker.ended(turn, failed=failed)


def _unanswered(answer: Reply | CancelReply | Reading) -> bool:
    """Whether the PG did not do its work. That it refuses, knows nothing or is busy with the same call is an answer."""
    match answer:
        case Unreadable():
            return True
        case Unknown(code=code) | Later(code=code):
            return code in (NO_REPLY, NOT_SENT)
        case Doubtful(code=code) | Said(code=code):
            return trouble(code)
    return False
