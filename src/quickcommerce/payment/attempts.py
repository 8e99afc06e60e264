"""Attempts to capture, as committed: begun before the PG is called, settled after it answered.

Whoever works on a payment holds its lease: a token in the row, and a due time until which nobody else takes it. Every
outcome is written under that token; if it is gone, somebody else took over, and the late outcome changes nothing,
because the other reads the PG back and comes to the same truth.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import msgspec

from quickcommerce import events
from quickcommerce.kit import outbox
from quickcommerce.kit.auth import Caller
from quickcommerce.kit.clock import SECOND_US, Clock
from quickcommerce.kit.db import Database, Tx
from quickcommerce.kit.ids import Ids, PaymentId
from quickcommerce.kit.outbox import Message
from quickcommerce.kit.problem import AmountMismatch, InvalidState, NotFound, PaymentDeclined, Problem
from quickcommerce.kit.sql import both
from quickcommerce.payment import store
from quickcommerce.payment.model import (
    HELD,
    MONEY_TAKEN,
    NEXT,
    PAID_OTHERWISE,
    Ended,
    Status,
)  # fmt: skip
from quickcommerce.payment.store import NEVER_US, Attempt, Payment
from quickcommerce.payment.waits import longest_us

SOURCE = "payment"


class Confirming(msgspec.Struct, frozen=True):
    """A buyer came back from the PG's page with this key.

    `caller` is who brings it; None where the unguessable id is identity enough.
    `token` is the lease of the attempt that may come of it, made before any effect: when a commit's reply is lost, a
    second run knows its own attempt by it.
    """

    payment_id: PaymentId
    payment_key: str
    amount: int
    caller: Caller | None
    trace: str
    token: str


class Begun(msgspec.Struct, frozen=True):
    """A new attempt is committed: the PG is to be called."""

    payment: Payment
    attempt: Attempt


class Joined(msgspec.Struct, frozen=True):
    """The same key is under way already, or its outcome is known."""


@dataclass(frozen=True)
class Attempts:
    """The transactions of captures on store B."""

    db: Database
    clock: Clock
    ids: Ids
    lease_s: float

    async def begin(self, requests: list[Confirming]) -> Sequence[Begun | Joined | Problem]:
        """Decide what each confirm is, as one transaction, payments by their ids. A refusal fails alone."""
        by_payment: dict[PaymentId, list[int]] = {}
        for at in sorted(range(len(requests)), key=lambda at: requests[at].payment_id):
            by_payment.setdefault(requests[at].payment_id, []).append(at)

        async def work(tx: Tx) -> list[Begun | Joined | Problem]:
            decided = await tx.gather([self._decide(tx, [requests[at] for at in ats]) for ats in by_payment.values()])
            answers = dict(zip(chain.from_iterable(by_payment.values()), chain.from_iterable(decided), strict=True))
            return [answers[at] for at in range(len(requests))]

        return await self.db.run(work)

    async def judge(self, request: Confirming) -> None:
        """Raise what this confirm would be refused with; nothing comes of it."""

        async def work(tx: Tx) -> None:
            self._joins(*await self._asked(tx, request, locked=False), request.payment_key)

        await self.db.look(work)

    async def take_due(self, limit: int) -> list[tuple[Payment, Attempt]]:
        """Take what is due under a new lease: fresh attempts (CAPTURING) and attempts to be read back."""
        return await self.db.run(lambda tx: self._take_due(tx, limit))

    async def _decide(self, tx: Tx, requests: list[Confirming]) -> list[Begun | Joined | Problem]:
        """What each of several confirms of one payment is, one after another."""
        answers: list[Begun | Joined | Problem] = []
        for request in requests:
            try:
                answers.append(await self._confirming(tx, request))
            except Problem as refusal:
                answers.append(refusal)
        return answers

    async def _confirming(self, tx: Tx, request: Confirming) -> Begun | Joined:
        """Decide, before anything is written. Raises NotFound, AmountMismatch (always) and the other refusals."""
        old, attempts = await self._asked(tx, request, locked=True)
        if old.lease_token == request.token:
            return Begun(old, attempts[-1])
        if self._joins(old, attempts, request.payment_key):
            return Joined()
        return await self._begin(tx, old, request.payment_key, request.token, request.trace)

    async def _asked(self, tx: Tx, request: Confirming, *, locked: bool) -> tuple[Payment, list[Attempt]]:
        """The payment that a confirm is about, and its attempts. Raises NotFound, AmountMismatch."""
        # The attempts behind the lock: whoever has it is the only one who begins or ends any.
        old, attempts = await both(
            tx, store.get(tx, request.payment_id, locked=locked), store.attempts(tx, request.payment_id)
        )
        if old is None or (request.caller and not request.caller.may_see(old.user_id)):
            raise NotFound("there is no such payment")
        if request.amount != old.amount:
            raise AmountMismatch(f"{old.amount} won are asked, not {request.amount}")
        return old, attempts

    def _joins(self, old: Payment, attempts: list[Attempt], payment_key: str) -> bool:
        """Whether a key is under way or captured already; else it is to be captured. Raises the refusals."""
        earlier = {attempt.payment_key: attempt for attempt in attempts}.get(payment_key)
        if earlier and earlier.outcome is Ended.DECLINED:
            raise refusal(earlier)
        over = self.clock() >= old.expires_us
        idle = old.status is Status.RETRY and not old.unknown_us
        if (old.status in HELD or old.status in MONEY_TAKEN) and not (over and idle):
            if old.payment_key == payment_key:
                return True
            raise InvalidState(
                "a capture with another payment_key is under way"
                if old.status in HELD
                else "money was taken already, with another payment_key"
            )
        if old.status in (Status.CLOSED, Status.FAILED):
            raise InvalidState(f"the payment is {old.status}")
        if over:
            raise InvalidState("the time to pay has ended")
        return False

    async def _begin(self, tx: Tx, old: Payment, payment_key: str, token: str, trace: str) -> Begun:
        """Write a new attempt, its lease, and (unless the order knows already) that paying has started."""
        starting = old.status is not Status.RETRY
        new = msgspec.structs.replace(
            self._leased(old, token),
            status=Status.CAPTURING,
            version=old.version + starting,
            payment_key=payment_key,
            attempt=old.attempt + 1,
            tries=0 if starting else old.tries,
            trace=trace,
        )
        await self._must_move(tx, old, new)
        started_us, idempotency_key = new.updated_us, self.ids.token()
        attempt = Attempt(new.payment_id, new.attempt, payment_key, idempotency_key, None, None, None, started_us, None)
        await store.start(tx, attempt)
        if starting:
            await tell(tx, self.ids, new, events.PaymentStarted(new.payment_id, new.order_id, new.version, new.amount))
        return Begun(new, attempt)

    def _leased(self, payment: Payment, token: str) -> Payment:
        """The payment under a lease from now on."""
        now = self.clock()
        return msgspec.structs.replace(
            payment, lease_token=token, due_us=now + int(self.lease_s * SECOND_US), updated_us=now
        )

    async def _must_move(self, tx: Tx, old: Payment, new: Payment) -> None:
        if not await move(tx, old, new):
            raise AssertionError(f"{old.payment_id} was locked as {old.status} and is not")

    async def _take_due(self, tx: Tx, limit: int) -> list[tuple[Payment, Attempt]]:
        now = self.clock()
        jobs = []
        for old in await store.due(tx, now, limit, longest_us(self.lease_s)):
            in_time = now < old.expires_us
            if old.status is Status.RETRY and in_time and old.payment_key:
                begun = await self._begin(tx, old, old.payment_key, self.ids.token(), old.trace)
                jobs.append((begun.payment, begun.attempt))
                continue
            if old.status is Status.RETRY and not old.unknown_us:
                await self._must_move(tx, old, msgspec.structs.replace(old, due_us=NEVER_US))
                continue
            new = self._leased(old, self.ids.token())
            if old.status is not Status.AWAITING_DEPOSIT:
                new = msgspec.structs.replace(new, status=Status.UNKNOWN, unknown_us=old.unknown_us or now)
            await self._must_move(tx, old, new)
            jobs.append((new, (await store.attempts(tx, new.payment_id))[-1]))
        return jobs


async def move(tx: Tx, old: Payment, new: Payment) -> bool:
    """Change a payment as `NEXT` allows. Returns whether it still was as `old` was read; see `store.move`."""
    if new.status is not old.status and new.status not in NEXT[old.status]:
        raise AssertionError(f"a payment that is {old.status} cannot become {new.status}")
    return await store.move(tx, old, new)


async def tell(tx: Tx, ids: Ids, payment: Payment, event: events.PaymentEvent) -> None:
    """Say what happened to a payment, in the transaction in which it did."""
    name, data = type(event).__name__, events.encode(event)
    await outbox.append(
        tx, [Message(ids.event(), name, SOURCE, payment.order_id, payment.updated_us, payment.trace, data)]
    )


def refusal(attempt: Attempt) -> PaymentDeclined | InvalidState:
    """The same answer each time for an attempt that was declined."""
    if attempt.code == PAID_OTHERWISE:
        return InvalidState("the order is paid, under another payment key")
    pg = {"pg_code": attempt.code or "", "pg_message": attempt.message or ""}
    return PaymentDeclined("the payment was declined; another card may work", extra=pg)
