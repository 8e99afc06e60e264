"""Attempts to capture, as committed: begun before the PG is called, settled after it answered.

Whoever works on a payment holds its lease: a token in the row, and a due time until which nobody else takes it. Every
outcome is written under that token; if it is gone, somebody else took over, and the late outcome changes nothing,
because the other reads the PG back and comes to the same truth.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from quickcommerce import events
from quickcommerce.kit import outbox
from quickcommerce.kit.auth import Caller
from quickcommerce.kit.clock import SECOND_US, Clock
from quickcommerce.kit.db import Database, Tx
from quickcommerce.kit.ids import Ids, PaymentId
from quickcommerce.kit.problem import AmountMismatch, InvalidState, NotFound, PaymentDeclined, Problem
from quickcommerce.payment import store
from quickcommerce.payment.model import (
    HELD,
    MONEY_TAKEN,
    NEXT,
    PAID_OTHERWISE,
    Ended,
    Status,
)  # fmt: skip
from quickcommerce.payment.store import NEVER_US, Attempt, Payment, Whole
from quickcommerce.payment.telling import message
from quickcommerce.payment.waits import longest_us


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
    """A new attempt is committed, the last of these: the PG is to be called."""

    payment: Payment
    attempts: list[Attempt]

    @property
    def attempt(self) -> Attempt:
        """The new one."""
        return self.attempts[-1]


class Joined(msgspec.Struct, frozen=True):
    """The same key is under way already, or its outcome is known: the payment as it was then."""

    payment: Payment
    attempts: list[Attempt]


class _Step(msgspec.Struct, frozen=True):
    """A payment that is to be captured: as it was, as it is then, and the attempt. `starting`: its order is told."""

    old: Payment
    new: Payment
    attempt: Attempt
    starting: bool


@dataclass(frozen=True)
class Attempts:
    """The transactions of captures on store B."""

    db: Database
    clock: Clock
    ids: Ids
    lease_s: float

    async def begin(self, requests: list[Confirming]) -> Sequence[Begun | Joined | Problem]:
        """Decide what each confirm is, as one transaction. A refusal fails alone."""
        by_id = sorted(range(len(requests)), key=lambda at: requests[at].payment_id)

        async def work(tx: Tx) -> list[Begun | Joined | Problem]:
            known = await store.whole(tx, {request.payment_id for request in requests}, locked=True)
            answers: dict[int, Begun | Joined | Problem] = {}
            steps: list[_Step] = []
            for at in by_id:
                try:
                    answers[at] = self._confirming(requests[at], known, steps)
                except Problem as refusal:
                    answers[at] = refusal
            await self._write(tx, steps)
            return [answers[at] for at in range(len(requests))]

        return await self.db.run(work)

    async def judge(self, request: Confirming) -> None:
        """Raise what this confirm would be refused with; nothing comes of it."""

        async def work(tx: Tx) -> None:
            self._joins(*_asked(request, await store.whole(tx, [request.payment_id])), request.payment_key)

        await self.db.look(work)

    async def take_due(self, limit: int) -> list[tuple[Payment, Attempt]]:
        """Take what is due under a new lease: fresh attempts (CAPTURING) and attempts to be read back."""
        return await self.db.run(lambda tx: self._take_due(tx, limit))

    def _confirming(self, request: Confirming, known: dict[PaymentId, Whole], steps: list[_Step]) -> Begun | Joined:
        """Decide, before anything is written. Raises NotFound, AmountMismatch (always) and the other refusals.

        What is to be done for it is added to `steps`, and `known` is what is so then: whoever confirms next finds that.
        """
        old, attempts = _asked(request, known)
        if old.lease_token == request.token:
            return Begun(old, attempts)
        if self._joins(old, attempts, request.payment_key):
            return Joined(old, attempts)
        step = self._step(old, request.payment_key, request.token, request.trace)
        steps.append(step)
        known[old.payment_id] = step.new, [*attempts, step.attempt]
        return Begun(*known[old.payment_id])

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

    def _step(self, old: Payment, payment_key: str, token: str, trace: str) -> _Step:
        """A new attempt under its lease, and (unless the order knows already) that paying has started."""
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
        key, at_us = self.ids.token(), new.updated_us
        attempt = Attempt(new.payment_id, new.attempt, payment_key, key, None, None, None, at_us, None)
        return _Step(old, new, attempt, starting)

    async def _write(self, tx: Tx, steps: Sequence[_Step]) -> None:
        for step in steps:
            await move(tx, step.old, step.new)
        await store.start(tx, [step.attempt for step in steps])
        started = [step.new for step in steps if step.starting]
        await outbox.append(
            tx,
            [
                message(self.ids, new, events.PaymentStarted(new.payment_id, new.order_id, new.version, new.amount))
                for new in started
            ],
        )

    def _leased(self, payment: Payment, token: str) -> Payment:
        """The payment under a lease from now on."""
        now = self.clock()
        return msgspec.structs.replace(
            payment, lease_token=token, due_us=now + int(self.lease_s * SECOND_US), updated_us=now
        )

    async def _take_due(self, tx: Tx, limit: int) -> list[tuple[Payment, Attempt]]:
        now = self.clock()
        steps: list[_Step] = []
        looked: list[tuple[Payment, Payment]] = []
        rested: list[tuple[Payment, Payment]] = []
        due = await store.due(tx, now, limit, longest_us(self.lease_s))
        for old in due:
            if old.status is Status.RETRY and now < old.expires_us and old.payment_key:
                steps.append(self._step(old, old.payment_key, self.ids.token(), old.trace))
                continue
            if old.status is Status.RETRY and not old.unknown_us:
                rested.append((old, msgspec.structs.replace(old, due_us=NEVER_US)))
                continue
            new = self._leased(old, self.ids.token())
            if old.status is not Status.AWAITING_DEPOSIT:
                new = msgspec.structs.replace(new, status=Status.UNKNOWN, unknown_us=old.unknown_us or now)
            looked.append((old, new))
        for old, new in (*looked, *rested):
            await move(tx, old, new)
        await self._write(tx, steps)
        attempts = await store.attempts_of(tx, [new.payment_id for _, new in looked])
        jobs = {step.new.payment_id: (step.new, step.attempt) for step in steps}
        jobs |= {new.payment_id: (new, attempts[new.payment_id][-1]) for _, new in looked}
        return [jobs[old.payment_id] for old in due if old.payment_id in jobs]


def _asked(request: Confirming, known: Mapping[PaymentId, Whole]) -> Whole:
    """The payment that a confirm is about. Raises NotFound, AmountMismatch."""
    old, attempts = known.get(request.payment_id, (None, []))
    if old is None or (request.caller and not request.caller.may_see(old.user_id)):
        raise NotFound("there is no such payment")
    if request.amount != old.amount:
        raise AmountMismatch(f"{old.amount} won are asked, not {request.amount}")
    return old, attempts


async def move(tx: Tx, old: Payment, new: Payment) -> None:
    """Change a payment as `NEXT` allows. It must still be as `old` was read; see `store.move`."""
    check(old, new)
    await store.move(tx, old, new)


def check(old: Payment, new: Payment) -> None:
    """Whether `NEXT` allows such a change. Raises AssertionError."""
    if new.status is not old.status and new.status not in NEXT[old.status]:
        raise AssertionError(f"a payment that is {old.status} cannot become {new.status}")


def refusal(attempt: Attempt) -> PaymentDeclined | InvalidState:
    """The same answer each time for an attempt that was declined."""
    if attempt.code == PAID_OTHERWISE:
        return InvalidState("the order is paid, under another payment key")
    pg = {"pg_code": attempt.code or "", "pg_message": attempt.message or ""}
    return PaymentDeclined("the payment was declined; another card may work", extra=pg)
