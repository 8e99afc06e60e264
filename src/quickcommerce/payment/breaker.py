"""Sparing a PG that fails: a circuit breaker for each kind of call, and a pace for all of them together.

A shop that keeps asking a PG which cannot answer makes its trouble longer, and its own. So where the last few calls of
a kind failed, or half of more, no more of that kind are made for a while; then one goes first, and if it is answered
others follow. What is not asked has not happened: a capture is tried again at its time, a reading says that nothing
could be read. What is under way is known before more is begun: readings go before captures, and what follows from a
reading before more readings.
"""

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol, TypeVar

from prometheus_client import Counter, Gauge

from quickcommerce.kit.telemetry import log
from quickcommerce.payment import capture, refunding
from quickcommerce.payment.capture import HELD, held
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
from quickcommerce.payment.pace import FIRM_TURN_S, LAST_TURN_S, TURN_S, Pace
from quickcommerce.payment.reconcile_model import Span
from quickcommerce.payment.refund_model import Cancel, CancelReply, Said
from quickcommerce.payment.toss_transactions import NoSuchPage, Page

T = TypeVar("T")

WINDOW_S: Final = 10
"""Calls that ended longer ago say nothing of now."""
CALLS_MIN: Final = 10
"""So many calls in the window, half of which failed, make the PG rest."""
IN_A_ROW: Final = 5
"""So do so many, all of which failed."""
REST_S: Final = 1.0
REST_MAX_S: Final = 20.0
"""How long no call is made at first, and at most: each first call that fails doubles it."""
FIRST_S: Final = 10.0
"""How long others wait for a first call: one that hangs may have been swallowed by a PG that answers by now."""

OPEN = Gauge("qc_pg_breaker_open", "Whether calls of this kind are held back because the PG fails: 1 or 0", ["call"])
HELD_BACK = Counter("qc_pg_held_back_total", "Calls not made, because the PG fails or had its share", ["call"])


class Pg(capture.Pg, refunding.Pg, Pages, Protocol):
    """The payment provider, as captures, refunds and reconciliation ask it."""


class Turn(NamedTuple):
    """Whether a call is made. `first_s`: since when the one after a rest is under way, which others wait for."""

    asked: bool
    first_s: float | None = None


@dataclass
class Breaker:
    """Whether a kind of call is made now. `now_s`: any clock that never goes back, in seconds."""

    call: str
    now_s: Callable[[], float]
    _ended: deque[tuple[float, bool]] = field(default_factory=deque)
    """When calls ended that were made in the window, and whether they failed."""
    _failures: int = 0
    """How many of these failed."""
    _rest_s: float = 0
    """How long the present rest is; 0: there is none."""
    _until_s: float = 0
    _first_s: float | None = None
    """Since when the first call after a rest is under way."""

    @property
    def rests_s(self) -> float:
        """How long calls are held back from now on, as far as is known; 0: they are not."""
        if not self._rest_s:
            return 0
        until_s = self._until_s if self._first_s is None else max(self._until_s, self._first_s + FIRST_S)
        return max(0, until_s - self.now_s())

    def turn(self) -> Turn:
        """Whether a call may be made now. One that may must be told of with `ended`."""
        if not self._rest_s:
            return Turn(asked=True)
        if self.rests_s:
            return Turn(asked=False)
        self._first_s = self.now_s()
        return Turn(asked=True, first_s=self._first_s)

    def ended(self, turn: Turn, *, failed: bool | None) -> None:
        """What became of a call; None: it ended without an answer to learn from, as when its caller went away."""
        if turn.first_s is not None and turn.first_s == self._first_s:
            # Of those that hung, others have taken the place.
            self._first_s = None
        if failed is None:
            return
        if not self._rest_s:
            self._count(failed=failed)
        elif not failed:
            self._rest_s = 0
            self._ended.clear()
            self._failures = 0
            OPEN.labels(self.call).set(0)
            log.info("pg.answers_again", call=self.call)
        elif turn.first_s is not None:
            # From when it began: while it hung, it was a rest as well.
            self._rest(min(2 * self._rest_s, REST_MAX_S), turn.first_s)

    def _count(self, *, failed: bool) -> None:
        now = self.now_s()
        self._ended.append((now, failed))
        self._failures += failed
        while self._ended[0][0] < now - WINDOW_S:
            self._failures -= self._ended.popleft()[1]
        calls, failures = len(self._ended), self._failures
        if (calls >= CALLS_MIN and 2 * failures >= calls) or (calls >= IN_A_ROW and failures == calls):
            log.error("pg.rests", call=self.call, calls=calls, failed=failures)
            self._rest(REST_S, now)

    def _rest(self, rest_s: float, from_s: float) -> None:
        self._rest_s, self._until_s = rest_s, max(self._until_s, from_s + rest_s)
        OPEN.labels(self.call).set(1)


class Sparing:
    """The PG, asked no more than it can answer. `per_s`: calls of all kinds a second; 0: any number."""

    def __init__(self, pg: Pg, per_s: float) -> None:
        def now_s() -> float:
            return asyncio.get_running_loop().time()

        self._pg = pg
        self._pace = Pace(per_s, now_s)
        self._patient = asyncio.Lock()
        # One for each: a PG whose captures fail can still be read, and that is how it becomes known what happened.
        self._confirm, self._cancel, self._read = (Breaker(call, now_s) for call in ("confirm", "cancel", "read"))

    def rests_s(self) -> float:
        """See `Pg`."""
        return self._confirm.rests_s

    async def confirm(self, asked: Asked) -> Reply:
        """See `Pg`. What is held back was not sent."""
        within_s = LAST_TURN_S if asked.again else TURN_S
        return await self._ask(self._confirm, lambda: self._pg.confirm(asked), _unanswered, held, within_s)

    async def cancel(self, cancel: Cancel) -> CancelReply:
        """See `Pg`. What is held back was not sent."""
        return await self._ask(self._cancel, lambda: self._pg.cancel(cancel), _unanswered, held, LAST_TURN_S)

    async def read(self, asked: Asked) -> Reading:
        """See `Pg`. What is held back could not be read."""
        return await self._ask(self._read, lambda: self._pg.read(asked), _unanswered, _not_read)

    async def read_order(self, asked: Asked) -> Reading:
        """See `Pg`. What is held back could not be read."""
        return await self._ask(self._read, lambda: self._pg.read_order(asked), _unanswered, _not_read)

    async def withdraw(self, asked: Asked) -> Reading:
        """See `Pg`. What is held back was not sent."""
        return await self._ask(self._cancel, lambda: self._pg.withdraw(asked), _unanswered, _not_read, LAST_TURN_S)

    async def transactions(self, span: Span, after: str | None, limit: int) -> Page | NoSuchPage | Unreadable:
        """See `Pages`. Nobody waits for the list: its pages wait for their turn, however long the others' line is."""
        await self._turn_of_the_patient()
        return await self._pg.transactions(span, after, limit)

    async def read_patiently(self, asked: Asked) -> Reading:
        """The same as `read` for whom nobody waits: it has its turn, however long the others' line is."""
        await self._turn_of_the_patient()
        return await self._ask(self._read, lambda: self._pg.read(asked), _unanswered, _not_read, within_s=None)

    async def _turn_of_the_patient(self) -> None:
        """Wait for a turn, one at a time: whoever waits for nobody makes no line for the others."""
        async with self._patient:
            await self._pace.turn(math.inf)

    async def _ask(
        self,
        breaker: Breaker,
        ask: Callable[[], Awaitable[T]],
        unanswered: Callable[[T], bool],
        held_back: Callable[[float], T],
        within_s: float | None = FIRM_TURN_S,
    ) -> T:
        """Ask, unless it is held back. `within_s`: how long it waits for its turn; None: it has had it."""
        turn = breaker.turn()
        failed: bool | None = None
        try:
            if not turn.asked or not (within_s is None or await self._pace.turn(within_s)):
                HELD_BACK.labels(breaker.call).inc()
                return held_back(breaker.rests_s)
            answer = await ask()
            failed = unanswered(answer)
            return answer
        finally:
            breaker.ended(turn, failed=failed)


def _not_read(_rests_s: float) -> Reading:
    """What is told in place of a reading, where the PG was not asked."""
    return Unreadable(HELD)


def _unanswered(answer: Reply | CancelReply | Reading) -> bool:
    """Whether the PG did not do its work. That it refuses, knows nothing or is busy with the same call is an answer."""
    match answer:
        case Unreadable(refused=refused):
            return not refused
        case Unknown(code=code) | Later(code=code):
            return code in (NO_REPLY, NOT_SENT)
        case Doubtful(code=code) | Said(code=code):
            return trouble(code)
    return False
