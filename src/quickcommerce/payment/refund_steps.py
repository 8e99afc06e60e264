"""The steps of a refund, as committed: taken under a lease before the PG is called, settled after it answered.

The refunds of one payment are worked on one after the other, so that what must be left at the PG before and after each
is known. Whoever works on one holds its lease, as with captures (`attempts.py`).
"""

import random
from dataclasses import dataclass

import msgspec

from quickcommerce import events
from quickcommerce.kit.clock import SECOND_US, Clock
from quickcommerce.kit.db import Database, Tx
from quickcommerce.kit.ids import Ids, PaymentId
from quickcommerce.payment import refund_store, store
from quickcommerce.payment.attempts import move, tell
from quickcommerce.payment.model import Later, Status, Unknown
from quickcommerce.payment.outcomes import BACKOFF
from quickcommerce.payment.refund_model import Cancel, Refunded, RefundOutcome, RefundStatus, Refused, Tried
from quickcommerce.payment.refund_store import Refund, RefundAttempt, existing
from quickcommerce.payment.store import NEVER_US


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
            due = await refund_store.due(tx, self.clock(), limit, payment_id)
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
        last = (await refund_store.attempts(tx, old.refund_id))[-1:]
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
            payment.payment_key, payment.payment_id, payment.captured, payment.captured - payment.refunded,
            new.amount, new.reason, last[0].idempotency_key, known,
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
        if new.ended_us is None:
            return Settled(outcome, mine=True)
        paid = msgspec.structs.replace(payment, refunding=payment.refunding - new.amount, updated_us=new.updated_us)
        if new.status is RefundStatus.DONE:
            refunded = payment.refunded + new.amount
            status = Status.REFUNDED if refunded == payment.captured else Status.PARTLY_REFUNDED
            paid = msgspec.structs.replace(paid, status=status, version=payment.version + 1, refunded=refunded)
        if not await move(tx, payment, paid):
            raise AssertionError(f"{payment.payment_id} was locked as {payment.status} and is not")
        if new.status is RefundStatus.DONE:
            whole = new.restock and paid.status is Status.REFUNDED
            facts = (paid.payment_id, paid.order_id, paid.version, paid.amount, paid.refunded)
            await tell(tx, self.ids, paid, events.PaymentRefunded(*facts, whole, new.refund_id))
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
        ended, again = {"ended_us": now}, {"tries": old.tries + 1, "due_us": self._next_us(old, now)}
        match outcome:
            case Refunded(key):
                done = msgspec.structs.replace(base, status=RefundStatus.DONE, transaction_key=key[:100], **ended)
                return done, Tried.DONE
            case Refused():
                return msgspec.structs.replace(base, status=RefundStatus.FAILED, **ended), Tried.FAILED
            case Later(ours=True):
                return msgspec.structs.replace(base, **again), Tried.MISCONFIGURED
            case Later(sent=True):
                return msgspec.structs.replace(base, **again), Tried.LATER
            case Later() | Unknown():
                return msgspec.structs.replace(base, **again), None

    def _next_us(self, refund: Refund, now: int) -> int:
        return now + int(BACKOFF.delay_s(refund.tries, self.rng) * SECOND_US)
