"""Attempts to capture, as committed: begun before the PG is called, settled after it answered.

Whoever works on a payment holds its lease: a token in the row, and a due time until which nobody else takes it. Every
outcome is written under that token; if it is gone, somebody else took over, and the late outcome changes nothing,
because the other reads the PG back and comes to the same truth.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from quickcommerce import events
from quickcommerce.kit import outbox
from quickcommerce.kit.clock import SECOND_US, Clock
from quickcommerce.kit.db import Database, Tx
from quickcommerce.kit.ids import Ids, PaymentId
from quickcommerce.kit.outbox import Message
from quickcommerce.kit.policy import Backoff
from quickcommerce.kit.problem import AmountMismatch, InvalidState, NotFound, PaymentDeclined, Problem
from quickcommerce.payment import store
from quickcommerce.payment.model import (
    DECLINES_MAX,
    MONEY_TAKEN,
    NEXT,
    UNDER_WAY,
    Captured,
    Declined,
    Ended,
    Later,
    Outcome,
    Status,
    Unknown,
)  # fmt: skip
from quickcommerce.payment.store import NEVER_US, Attempt, Payment

SOURCE = "payment"
BACKOFF = Backoff(base_s=1, cap_s=20)
"""1-2 s, 2-4 s, 4-8 s, 8-16 s, then 20-40 s: an outcome is known soon after the PG answers again."""


class Confirming(msgspec.Struct, frozen=True):
    """A buyer came back from the PG's page with this key."""

    payment_id: PaymentId
    payment_key: str
    amount: int
    trace: str


class Begun(msgspec.Struct, frozen=True):
    """A new attempt is committed: the PG is to be called."""

    payment: Payment
    attempt: Attempt


class Joined(msgspec.Struct, frozen=True):
    """The same key is under way already, or its outcome is known."""


class Result(msgspec.Struct, frozen=True):
    """What came of working on a payment, as it was when its lease was taken."""

    payment: Payment
    outcome: Outcome


@dataclass(frozen=True)
class Attempts:
    """The transactions of captures on store B."""

    db: Database
    clock: Clock
    ids: Ids
    rng: random.Random
    lease_s: float

    async def begin(self, requests: list[Confirming]) -> Sequence[Begun | Joined | Problem]:
        """Decide what each confirm is, as one transaction. A refusal fails alone."""

        async def work(tx: Tx) -> list[Begun | Joined | Problem]:
            answers: list[Begun | Joined | Problem] = []
            for request in requests:
                try:
                    answers.append(await self._confirming(tx, request))
                except Problem as refusal:
                    answers.append(refusal)
            return answers

        return await self.db.run(work)

    async def settle(self, results: list[Result]) -> list[bool]:
        """Commit outcomes as one transaction. Each tells whether the lease it was found under still stood."""

        async def work(tx: Tx) -> list[bool]:
            return [await self._settle(tx, result.payment, result.outcome) for result in results]

        return await self.db.run(work)

    async def take_due(self, limit: int) -> list[tuple[Payment, Attempt]]:
        """Take what is due under a new lease: fresh attempts (CAPTURING) and attempts to be read back (UNKNOWN)."""
        return await self.db.run(lambda tx: self._take_due(tx, limit))

    async def _confirming(self, tx: Tx, request: Confirming) -> Begun | Joined:
        """Decide, before anything is written. Raises AmountMismatch (first, always) and the other refusals."""
        old = await store.get(tx, request.payment_id, locked=True)
        if old is None:
            raise NotFound("there is no such payment")
        if request.amount != old.amount:
            raise AmountMismatch(f"{old.amount} won are asked, not {request.amount}")
        tried = {attempt.payment_key: attempt for attempt in await store.attempts(tx, old.payment_id)}
        earlier = tried.get(request.payment_key)
        if earlier and earlier.outcome is Ended.DECLINED:
            raise declined(earlier)
        over = self.clock() >= old.expires_us
        idle = old.status is Status.RETRY and not old.unknown_us
        if (old.status in UNDER_WAY or old.status in MONEY_TAKEN) and not (over and idle):
            if old.payment_key == request.payment_key:
                return Joined()
            raise InvalidState(f"another payment of this order is {old.status}")
        if old.status in (Status.CLOSED, Status.FAILED):
            raise InvalidState(f"the payment is {old.status}")
        if over:
            raise InvalidState("the time to pay has ended")
        return await self._begin(tx, old, request.payment_key, request.trace)

    async def _begin(self, tx: Tx, old: Payment, payment_key: str, trace: str) -> Begun:
        """Write a new attempt, its lease, and (unless the order knows already) that paying has started."""
        now = self.clock()
        starting = old.status is not Status.RETRY
        new = msgspec.structs.replace(
            old,
            status=Status.CAPTURING,
            version=old.version + starting,
            payment_key=payment_key,
            attempt=old.attempt + 1,
            tries=0 if starting else old.tries,
            due_us=now + int(self.lease_s * SECOND_US),
            lease_token=self.ids.token(),
            trace=trace,
            updated_us=now,
        )
        await self._move(tx, old, new)
        attempt = Attempt(new.payment_id, new.attempt, payment_key, self.ids.token(), None, None, None, now, None)
        await store.start(tx, attempt)
        if starting:
            await self._tell(tx, new, events.PaymentStarted(new.payment_id, new.order_id, new.version, new.amount))
        return Begun(new, attempt)

    async def _take_due(self, tx: Tx, limit: int) -> list[tuple[Payment, Attempt]]:
        now = self.clock()
        jobs = []
        for old in await store.due(tx, now, limit):
            in_time = now < old.expires_us
            if old.status is Status.RETRY and in_time and old.payment_key:
                begun = await self._begin(tx, old, old.payment_key, old.trace)
                jobs.append((begun.payment, begun.attempt))
                continue
            if old.status is Status.RETRY and not old.unknown_us:
                await self._move(tx, old, msgspec.structs.replace(old, due_us=NEVER_US))
                continue
            new = msgspec.structs.replace(
                old,
                status=Status.UNKNOWN,
                unknown_us=old.unknown_us or now,
                due_us=now + int(self.lease_s * SECOND_US),
                lease_token=self.ids.token(),
                updated_us=now,
            )
            await self._move(tx, old, new)
            jobs.append((new, (await store.attempts(tx, new.payment_id))[-1]))
        return jobs

    async def _settle(self, tx: Tx, old: Payment, outcome: Outcome) -> bool:
        """Commit an outcome, if the lease under which it was found still stands."""
        now = self.clock()
        wait_us = int(BACKOFF.delay_s(old.tries, self.rng) * SECOND_US)
        base = msgspec.structs.replace(old, updated_us=now, lease_token="", due_us=NEVER_US)
        facts = (old.payment_id, old.order_id, old.version + 1, old.amount)
        told: events.PaymentEvent | None = None
        ended: Ended | None
        match outcome:
            case Captured():
                new = msgspec.structs.replace(
                    base, status=Status.CAPTURED, version=old.version + 1, captured=old.amount, unknown_us=0
                )
                ended, told = Ended.CAPTURED, events.PaymentSettled(*facts)
            case Declined(code, _):
                final = old.declines + 1 >= DECLINES_MAX
                new = msgspec.structs.replace(
                    base,
                    status=Status.FAILED if final else Status.DECLINED,
                    version=old.version + 1,
                    declines=old.declines + 1,
                    unknown_us=0,
                )
                ended = Ended.DECLINED
                told = events.PaymentFailed(*facts, code) if final else events.PaymentDeclined(*facts, code)
            case Later(ours=ours, sent=sent):
                new = msgspec.structs.replace(
                    base,
                    status=Status.RETRY,
                    tries=old.tries + 1,
                    due_us=now + wait_us,
                    unknown_us=old.unknown_us or (now if sent else 0),
                )
                ended = Ended.MISCONFIGURED if ours else Ended.LATER
            case Unknown():
                new = msgspec.structs.replace(
                    base,
                    status=Status.UNKNOWN,
                    tries=old.tries + 1,
                    due_us=now + wait_us,
                    unknown_us=old.unknown_us or now,
                )
                ended = None
        if not await self._move(tx, old, new, must=False):
            return False
        if ended:
            await store.end(tx, old, ended, getattr(outcome, "code", None), getattr(outcome, "message", None), now)
        if told:
            await self._tell(tx, new, told)
        return True

    async def _move(self, tx: Tx, old: Payment, new: Payment, *, must: bool = True) -> bool:
        if new.status is not old.status and new.status not in NEXT[old.status]:
            raise AssertionError(f"a payment that is {old.status} cannot become {new.status}")
        moved = await store.move(tx, old, new)
        if must and not moved:
            raise AssertionError(f"{old.payment_id} was locked as {old.status} and is not")
        return moved

    async def _tell(self, tx: Tx, payment: Payment, event: events.PaymentEvent) -> None:
        data = events.encode(event)
        name = type(event).__name__
        await outbox.append(
            tx, [Message(self.ids.event(), name, SOURCE, payment.order_id, payment.updated_us, payment.trace, data)]
        )


def declined(attempt: Attempt) -> PaymentDeclined:
    """The same 402 each time for an attempt that was declined."""
    pg = {"pg_code": attempt.code or "", "pg_message": attempt.message or ""}
    return PaymentDeclined("the payment was declined; another card may work", extra=pg)
