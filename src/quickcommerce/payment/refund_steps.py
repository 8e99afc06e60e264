"""The steps of a refund, as committed: taken under a lease before the PG is called, settled after it answered.

The refunds of one payment are worked on one after the other, so that what must be left at the PG before and after each
is known. Whoever works on one holds its lease, as with captures (`attempts.py`).
"""

import random
from dataclasses import dataclass

import msgspec

from quickcommerce.kit.clock import SECOND_US, Clock
from quickcommerce.kit.db import Database, Tx
from quickcommerce.kit.ids import Ids, PaymentId
from quickcommerce.kit.policy import Backoff
from quickcommerce.payment import refund_books, refund_store, store
from quickcommerce.payment.model import Later, Unknown
from quickcommerce.payment.refund_model import (
    RUNS_S,
    Cancel,
    Foreign,
    Refunded,
    RefundOutcome,
    RefundStatus,
    Refused,
    Tried,
    Withheld,
)  # fmt: skip
from quickcommerce.payment.refund_store import Refund, RefundAttempt, existing
from quickcommerce.payment.store import NEVER_US
from quickcommerce.payment.waits import BACKOFF, doubt_us

WITHHELD = Backoff(base_s=60, cap_s=3_600)
"""What the shop owes by itself, refused: 1-2 minutes, 2-4, 4-8 and so on to 1-2 hours. Somebody was told, and must mend
something before it can work."""


class Job(msgspec.Struct, frozen=True):
    """A refund under a lease, and what the PG is asked. `fresh`: it never was before, so there is nothing to read."""

    refund: Refund
    cancel: Cancel
    fresh: bool


class Settled(msgspec.Struct, frozen=True):
    """An outcome as it was committed; `mine` is False where the lease was another's by then, and nothing was."""

    outcome: RefundOutcome
    mine: bool


@dataclass(frozen=True)
class RefundSteps:
    """The transactions on store B around each call to the PG; `lease_s`: how long one keeps others away."""

    db: Database
    clock: Clock
    ids: Ids
    rng: random.Random
    lease_s: float

    async def take(self, limit: int, payment_id: PaymentId | None = None) -> list[Job]:
        """Take what is due (of one payment, or of any) under a new lease; the first request is written with it."""

        async def work(tx: Tx) -> list[Job]:
            due = await refund_store.due(tx, self.clock(), limit, payment_id, doubt_us(self.lease_s))
            return [await self._lease(tx, refund, self.ids.token(), fresh=not refund.attempt) for refund in due]

        return await self.db.run(work)

    async def again(self, job: Job) -> Job | None:
        """Renew a lease before the PG is asked again; None where it is another's by now.

        While no answer has come it is the same request, under the same Idempotency-Key. An answer is kept at the PG
        under its key, so after one it is a new request.
        """
        refund_id, token = job.refund.refund_id, job.refund.lease_token

        async def work(tx: Tx) -> Job | None:
            refund = await existing(tx, refund_id, locked=True)
            return await self._lease(tx, refund, token, fresh=True) if refund.lease_token == token else None

        return await self.db.run(work)

    async def settle(self, refund: Refund, outcome: RefundOutcome) -> Settled:
        """Commit what came of a refund, under the lease that it was found under."""
        return await self.db.run(lambda tx: self._settle(tx, refund, outcome))

    async def _lease(self, tx: Tx, old: Refund, token: str, *, fresh: bool) -> Job:
        """The refund under a lease from now on; `fresh`: the PG is to be asked at once, so the request is written."""
        now = self.clock()
        attempts = await refund_store.attempts(tx, old.refund_id)
        last = attempts[-1:]
        starting = fresh and not (last and last[0].outcome is None)
        new = msgspec.structs.replace(
            old, lease_token=token, due_us=now + int(self.lease_s * SECOND_US), updated_us=now,
            attempt=old.attempt + starting,
        )  # fmt: skip
        if not await refund_store.move(tx, new, old.lease_token):
            raise AssertionError(f"{old.refund_id} was locked and is not as it was")
        if starting:
            last = [RefundAttempt(new.refund_id, new.attempt, self.ids.token(), None, None, None, now, None)]
            await refund_store.start(tx, last[0])
        payment = await store.get(tx, new.payment_id)
        if payment is None or payment.payment_key is None:
            raise AssertionError(f"{new.refund_id} gives back what was never captured")
        refunds = await refund_store.of_payment(tx, new.payment_id)
        known = frozenset(each.transaction_key for each in refunds if each.transaction_key)
        cancel = Cancel(
            new.refund_id, payment.payment_key, payment.payment_id, payment.captured,
            payment.captured - payment.refunded, new.amount, new.reason, last[0].idempotency_key, known,
            # What the shop owes by itself nobody else would ask for again.
            may_fail=bool(new.asked_by) and not any(_may_run(each, now) for each in attempts),
        )  # fmt: skip
        return Job(new, cancel, fresh)

    async def _settle(self, tx: Tx, refund: Refund, outcome: RefundOutcome) -> Settled:
        payment = await store.get(tx, refund.payment_id, locked=True)
        old = await existing(tx, refund.refund_id, locked=True)
        new, tried = self._change(old, outcome)
        if payment is None or not await refund_store.move(tx, new, refund.lease_token):
            return Settled(outcome, mine=False)
        if tried:
            await refund_store.end(tx, new, tried)
        match outcome:
            case Foreign(cancels):
                await refund_books.foreign(tx, self.ids, payment, cancels, new.updated_us)
            case Refunded():
                await refund_books.done(tx, self.ids, payment, new, owed=new.amount)
            case Refused():
                await refund_books.failed(tx, self.ids, payment, new)
            case _:
                return Settled(outcome, mine=True)
        await refund_store.wake_next(tx, payment.payment_id, new.updated_us)
        return Settled(outcome, mine=True)

    def _change(self, old: Refund, outcome: RefundOutcome) -> tuple[Refund, Tried | None]:
        """What an outcome makes of a refund, and how its last request ended, if it did."""
        now = self.clock()
        code, message = getattr(outcome, "code", None), getattr(outcome, "message", None)
        base = msgspec.structs.replace(
            old,
            updated_us=now,
            lease_token="",
            due_us=NEVER_US,
            code=code and code[:100],
            message=message and message[:600],
        )

        def ended(status: RefundStatus, key: str = "") -> Refund:
            return msgspec.structs.replace(base, status=status, transaction_key=key[:100], ended_us=now)

        def again(backoff: Backoff) -> Refund:
            due_us = now + int(backoff.delay_s(old.tries, self.rng) * SECOND_US)
            return msgspec.structs.replace(base, tries=old.tries + 1, due_us=due_us)

        match outcome:
            case Refunded(key):
                return ended(RefundStatus.DONE, key), Tried.DONE
            case Refused():
                return ended(RefundStatus.FAILED), Tried.FAILED
            case Withheld():
                # What somebody asked for waits only until no earlier request can belie the refusal.
                return again(BACKOFF if old.asked_by else WITHHELD), Tried.REFUSED
            case Foreign(beside=beside):
                # A request for what was left before that can be worked on no more: it names another sum as left.
                return msgspec.structs.replace(base, due_us=now), None if beside else Tried.LATER
            case Later(ours=True):
                return again(BACKOFF), Tried.MISCONFIGURED
            case Later(sent=True):
                return again(BACKOFF), Tried.LATER
            case Later() | Unknown():
                return again(BACKOFF), None


def _may_run(attempt: RefundAttempt, now_us: int) -> bool:
    """Whether the PG may still be working on a request to which it gave an answer."""
    ended_us = attempt.ended_us or now_us
    return attempt.outcome is Tried.LATER and now_us - ended_us < RUNS_S * SECOND_US
