"""Captures: the PG is called between two transactions, never inside one.

Each attempt was committed before the call and its outcome is committed after (`attempts.py`). Right after a confirm
the call is made here; whatever is left open, by a crash, a timeout or a PG that is down, the due loop finds by its
lease, and reads back before it repeats anything.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec
from prometheus_client import Counter

from quickcommerce.kit.batch import GroupCommit
from quickcommerce.kit.clock import SECOND_US, Clock
from quickcommerce.kit.problem import Problem, Unavailable
from quickcommerce.kit.telemetry import log, tracing
from quickcommerce.payment.attempts import Attempts, Begun, Confirming, Joined
from quickcommerce.payment.codes import NEVER_NOW, REFUSED_REQUEST
from quickcommerce.payment.deposit_model import Awaiting
from quickcommerce.payment.model import (
    MISMATCH,
    NO_ACCOUNTS,
    NO_REPLY,
    UNDER_WAY,
    Asked,
    Captured,
    Declined,
    Doubtful,
    Later,
    Outcome,
    Reading,
    Reply,
    Status,
    Unknown,
    conclude,
    let_go,
    may_ask_again,
)  # fmt: skip
from quickcommerce.payment.outcomes import Result, Settled
from quickcommerce.payment.running import POLL_S, Running
from quickcommerce.payment.store import Attempt, Payment

OUTCOMES = Counter("qc_payment_outcomes_total", "What attempts to capture came to", ["outcome"])
ALERTS = Counter("qc_payment_alerts_total", "Outcomes that somebody must look at", ["code"])
ALERTING = REFUSED_REQUEST | {MISMATCH.code}
"""The codes of outcomes that somebody must look at, whatever else they are."""
FOREIGN_CANCEL = "FOREIGN_CANCEL"
for _code in (FOREIGN_CANCEL, *ALERTING, *NEVER_NOW):
    # From the start: an alert compares with what was before, and the first of its code must show.
    ALERTS.labels(_code)


HELD = "PG_RESTS"
"""The code where the PG was not asked, since it fails or has had its share."""
READ_EVERY = 8
"""While captures are held back, a payment that took no money when it was last read is read at every so many tries."""


class Pg(Protocol):
    """The payment provider."""

    async def confirm(self, asked: Asked) -> Reply:
        """Capture. Money moves here."""
        ...

    def rests_s(self) -> float:
        """How long no capture is asked for, since the PG fails, in seconds; 0: it may be."""
        ...

    async def read(self, asked: Asked) -> Reading:
        """Read a payment back."""
        ...

    async def read_order(self, asked: Asked) -> Reading:
        """Read what there is of the payment, under whichever key."""
        ...

    async def withdraw(self, asked: Asked) -> Reading:
        """Close an account into which no deposit has come. Returns the payment as it is then."""
        ...


def held(rests_s: float) -> Later:
    """What becomes of a capture that is not asked for, since the PG fails or has had its share."""
    return Later(HELD, "not asked: the PG fails", ours=False, sent=False, rests_s=rests_s)


@dataclass(frozen=True)
class Captures:
    """Works on attempts: right after a confirm, and again from the due loop until each is known."""

    attempts: Attempts
    settling: GroupCommit[Result, Settled]
    pg: Pg
    clock: Clock
    unknown_hold_s: int
    running: Running[Settled | None] = field(default_factory=Running)

    async def begin(self, requests: list[Confirming]) -> Sequence[Begun | Joined | Problem]:
        """Decide what confirms are, and start on each attempt that was committed.

        Here and not with the buyer: whoever leaves while the list is committed has an attempt all the same.
        """
        answers = await self.attempts.begin(requests)
        for answer in answers:
            if isinstance(answer, Begun):
                self._launch(answer.payment, answer.attempt, due=False)
        return answers

    def _launch(self, payment: Payment, attempt: Attempt, *, due: bool) -> None:
        """Work on an attempt in a task of its own: a buyer who leaves does not stop it, a slow one delays no other."""
        self.running.launch(payment.lease_token, self._work(payment, attempt), f"capture {payment.payment_id}", due=due)

    async def settled(self, payment: Payment, within_s: float) -> Settled | None:
        """Wait for news of a payment: until this process's work on it is done, or until its next try, or a moment
        where another process works on it; at most `within_s`. Gives what this process's work came to, if that is known.
        """
        if work := await self.running.wait(payment.lease_token, within_s):
            return work.result() if work.done() and not work.cancelled() else None
        idle_s = 0.0 if payment.status is Status.CAPTURING else (payment.due_us - self.clock()) / SECOND_US
        await asyncio.sleep(min(max(idle_s, POLL_S), within_s))
        return None

    async def drain(self, within_s: float) -> None:
        """Let calls that are under way end; what is left then is cut off, and found again by its lease."""
        await self.running.drain(within_s)

    async def due(self) -> bool:
        """Start on what is due: leases that ended, unknown outcomes, retries. Returns whether more may be due."""
        free = self.running.free
        jobs = await self.attempts.take_due(free) if free else []
        for payment, attempt in jobs:
            self._launch(payment, attempt, due=True)
        return 0 < len(jobs) == free

    async def proven(self, payment: Payment, attempt: Attempt, reading: Reading) -> Outcome:
        """What a reading proves of an attempt. Only that it was captured is written down, whoever works on the payment
        meanwhile. Raises Unavailable.
        """
        with tracing(payment.trace):
            outcome = conclude(reading, attempt.asked(payment.amount), answered=None)
            if not isinstance(outcome, Captured) or outcome.payment_key != attempt.payment_key:
                return MISMATCH if isinstance(outcome, Captured) else outcome
            settled = await self.settling.submit(Result(payment, outcome))
            self._report(payment, settled)
            return settled.outcome

    async def _work(self, payment: Payment, attempt: Attempt) -> Settled | None:
        """A fresh attempt is captured; one whose outcome is unknown is read back before any repeat. None where what
        came of it could not be stored.
        """
        asked = attempt.asked(payment.amount)
        with tracing(payment.trace):
            try:
                fresh = payment.status is Status.CAPTURING and not payment.unknown_us
                outcome = await self._ask(asked) if fresh else await self._look(payment, asked)
                if isinstance(outcome, Awaiting) and not outcome.account and payment.status in UNDER_WAY:
                    outcome = await self._refuse(asked)
                settled = await self.settling.submit(Result(payment, outcome))
            except Unavailable:
                # The outcome cannot be stored now: the lease ends, and the due loop reads it back.
                return None
            except Exception:  # noqa: BLE001 - logged whole; the lease ends, and the due loop reads it back
                log.exception("payment.crashed", payment_id=payment.payment_id)
                return None
            self._report(payment, settled)
            return settled

    async def _look(self, payment: Payment, asked: Asked) -> Outcome:
        rests_s = self.pg.rests_s()
        if payment.status is Status.CAPTURING and rests_s and payment.tries % READ_EVERY:
            # It was read after it was last asked for, and took no money. Nothing can be asked for now.
            return held(rests_s)
        reading = await self.pg.read(asked)
        if payment.status is Status.AWAITING_DEPOSIT:
            outcome = conclude(reading, asked, answered=None)
            if not isinstance(outcome, Awaiting) or self.clock() < payment.deposit_us:
                return outcome
            # Its time is over. A deposit that comes first keeps the PG from closing it, and is captured.
            closed = conclude(await self.pg.withdraw(asked), asked, answered=None)
            return outcome if isinstance(closed, Unknown) else closed
        over = let_go(payment.unknown_us, self.clock(), self.unknown_hold_s * SECOND_US)
        if may_ask_again(reading, asked) and not over:
            # Not captured: the same request again, under the same Idempotency-Key, cannot capture twice.
            return await self._ask(msgspec.structs.replace(asked, again=True))
        return conclude(reading, asked, answered=None)

    async def _refuse(self, asked: Asked) -> Outcome:
        """Close an account that nobody is told of, at once: goods that are held for it are held for no money. A deposit
        that comes first keeps the PG from closing it, and is captured.
        """
        closed = conclude(await self.pg.withdraw(asked), asked, answered=None)
        if isinstance(closed, Awaiting):
            return Unknown(NO_REPLY, "the account is still open")
        return NO_ACCOUNTS if isinstance(closed, Declined) else closed

    async def _ask(self, asked: Asked) -> Outcome:
        """Capture; where the reply leaves a doubt, read back at once.

        While an earlier request may still be worked on at the PG, a refusal of this one does not say that the other
        takes no money; only the PG's own record of the payment does.
        """
        reply = await self.pg.confirm(asked)
        if asked.again and isinstance(reply, Declined):
            reply = Doubtful(reply.code, reply.message)
        match reply:
            case Doubtful(taken=True):
                return conclude(await self.pg.read_order(asked), asked, answered=reply)
            case Doubtful():
                return conclude(await self.pg.read(asked), asked, answered=reply)
            case Unknown():
                return conclude(await self.pg.read(asked), asked, answered=None)
            case _:
                return reply

    def _report(self, payment: Payment, settled: Settled) -> None:
        outcome = settled.outcome
        OUTCOMES.labels(type(outcome).__name__).inc()
        code = getattr(outcome, "code", None)
        alert = (isinstance(outcome, Later) and outcome.ours) or code in ALERTING
        if alert:
            ALERTS.labels(code).inc()
        (log.error if alert else log.info)(
            "payment.outcome",
            payment_id=payment.payment_id,
            order_id=payment.order_id,
            outcome=type(outcome).__name__,
            code=code,
            mine=settled.mine,
        )
