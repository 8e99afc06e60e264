"""Payments that the PG has told of are read, and what a reading proves is written down by the ways that it always
takes: a capture as the outcome of its own attempt, all else as reconciliation takes it.

One reading serves all that was told of an attempt before it. Where a webhook says what is known here, as almost all do,
nothing is read. Whoever dies here leaves a lease behind, and the next one reads.
"""

import asyncio
import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import msgspec
from prometheus_client import Counter

from quickcommerce.kit.clock import SECOND_US, Clock
from quickcommerce.kit.db import Database, Tx
from quickcommerce.kit.ids import Ids, PaymentId
from quickcommerce.kit.policy import Backoff
from quickcommerce.kit.problem import Unavailable
from quickcommerce.kit.telemetry import log, tracing
from quickcommerce.payment import store, webhook_store
from quickcommerce.payment.capture import Captures
from quickcommerce.payment.mending import Held, held_of
from quickcommerce.payment.model import (
    ENDED_UNPAID,
    MONEY_TAKEN,
    TAKEN,
    Asked,
    Ended,
    Found,
    Reading,
    Status,
    Unreadable,
)  # fmt: skip
from quickcommerce.payment.reconcile import Reconciling
from quickcommerce.payment.reconcile_model import Kind, Mismatch
from quickcommerce.payment.refund_model import RefundStatus
from quickcommerce.payment.store import Attempt
from quickcommerce.payment.webhook_store import State, Webhook

SIDE_BY_SIDE = 8
"""Payments that are read at the same time: a flood of webhooks leaves the PG to those who capture and refund."""
AGAIN = Backoff(base_s=1, cap_s=150)
"""1-2 s, 2-4 s and so on to 150-300 s, while the PG cannot be read."""
GIVE_WAY = 2
"""So often a webhook waits for whoever works on the payment this moment, and will know by itself: 3 to 6 seconds."""

READINGS = Counter("qc_webhook_readings_total", "What was done about webhooks", ["end"])


class Pg(Protocol):
    """The payment provider."""

    async def read(self, asked: Asked) -> Reading:
        """Read a payment back."""
        ...


class Job(msgspec.Struct, frozen=True):
    """An attempt, and all that was told of it, under a lease."""

    payment_id: PaymentId
    attempt: int
    told: list[Webhook]

    @property
    def tries(self) -> int:
        """How often this was tried in vain."""
        return max(each.tries for each in self.told)


@dataclass(frozen=True)
class WebhookReading:
    """Reads what webhooks tell of."""

    db: Database
    pg: Pg
    captures: Captures
    reconciling: Reconciling
    clock: Clock
    ids: Ids
    rng: random.Random
    lease_s: float

    async def step(self) -> bool:
        """Read the attempts that wait longest. Returns whether more may be waiting. Raises Unavailable."""
        until_us = self.clock() + int(self.lease_s * SECOND_US)
        take = partial(webhook_store.take, now_us=self.clock(), limit=SIDE_BY_SIDE, until_us=until_us)
        token = self.ids.token()
        taken: dict[tuple[PaymentId, int], list[Webhook]] = defaultdict(list)
        for each in await self.db.run(lambda tx: take(tx, token=token)):
            taken[each.payment_id, each.attempt].append(each)
        jobs = [Job(payment_id, attempt, told) for (payment_id, attempt), told in taken.items()]
        down = [each for each in await asyncio.gather(*map(self._work, jobs)) if each]
        if down:
            raise down[0]
        return len(jobs) == SIDE_BY_SIDE

    async def _work(self, job: Job) -> Unavailable | None:
        """One of them. A store that is down is told and not raised: the others go on, and the lease ends by itself."""
        try:
            end = await self._look(job)
            await self.db.run(lambda tx: self._end(tx, job, end))
        except Unavailable as down:
            return down
        except Exception:  # noqa: BLE001 - logged whole; the lease ends, and it is looked at again
            log.exception("webhook.crashed", payment_id=job.payment_id)
            end = None
        READINGS.labels(end or "again").inc()
        return None

    async def _end(self, tx: Tx, job: Job, end: State | None) -> None:
        if end:
            await webhook_store.end(tx, job.told, end, self.clock())
            return
        due_us = self.clock() + int(AGAIN.delay_s(job.tries, self.rng) * SECOND_US)
        await webhook_store.again(tx, job.told, due_us)

    async def _look(self, job: Job) -> State | None:
        """What is done about what was told; None: it is tried again."""
        held = await self.db.read(lambda tx: held_of(tx, job.payment_id))
        if held is None:
            return State.KNOWN
        payment, attempt = held.payment, next(each for each in held.attempts if each.attempt == job.attempt)
        if all(_known(each, held, attempt) for each in job.told):
            return State.KNOWN
        if job.tries < GIVE_WAY and _worked_on(held, self.clock()):
            return None
        with tracing(payment.trace):
            reading = await self.pg.read(attempt.asked(payment.amount))
            if isinstance(reading, Unreadable):
                return None
            if payment.status not in MONEY_TAKEN:
                await self.captures.proven(payment, attempt, reading)
                await self._hurry(held, attempt, reading)
            elif payment.payment_key == attempt.payment_key:
                await self.reconciling.look(_suspicions(held, reading, self.clock()), heal=True)
        return State.READ

    async def _hurry(self, held: Held, attempt: Attempt, reading: Reading) -> None:
        """The end of an attempt that took no money is for the due loop to write, which reads it now."""
        over = isinstance(reading, Found) and (reading.status in ENDED_UNPAID or reading.unpaid)
        if over and attempt.attempt == held.payment.attempt:
            await self.db.run(partial(store.hurry, payment_id=held.payment.payment_id, now_us=self.clock()))


def _known(told: Webhook, held: Held, attempt: Attempt) -> bool:
    """Whether a webhook says what is known here."""
    if told.status in ENDED_UNPAID:
        return attempt.outcome is Ended.DECLINED
    payment = held.payment
    if told.status == "WAITING_FOR_DEPOSIT" and payment.status is Status.AWAITING_DEPOSIT:
        return True
    if payment.status not in MONEY_TAKEN or payment.payment_key != attempt.payment_key:
        return False
    back = {each.transaction_key for each in held.refunds if each.status is RefundStatus.DONE}
    return told.status == "DONE" or (told.status in TAKEN and told.transaction_key in back - {""})


def _worked_on(held: Held, now_us: int) -> bool:
    """Whether somebody waits for the PG's answer about this payment."""
    pending = [each for each in held.refunds if each.status is RefundStatus.PENDING]
    leases = [(each.lease_token, each.due_us) for each in pending]
    return any(token and us > now_us for token, us in ((held.payment.lease_token, held.payment.due_us), *leases))


def _suspicions(held: Held, reading: Reading, now_us: int) -> Iterator[Mismatch]:
    """What a reading of a captured payment says otherwise than we do, as reconciliation would find it in a list."""
    payment, key = held.payment, held.payment.payment_key or ""
    facts = (payment.payment_id, payment.order_id)
    if payment.status not in MONEY_TAKEN or isinstance(reading, Unreadable):
        return
    if not isinstance(reading, Found) or reading.status not in TAKEN:
        yield Mismatch(
            Kind.RECORDED_NOT_CAPTURED, payment.payment_id, *facts, payment.captured_us, payment_key=key,
            our_won=payment.captured,
        )  # fmt: skip
        return
    known = {each.transaction_key for each in held.refunds}
    for each in reading.cancels:
        cancel = each.transaction_key[:100]
        if cancel and cancel not in known:
            yield Mismatch(
                Kind.CANCEL_MISSING_HERE, cancel, *facts, now_us, payment_key=key, transaction_key=cancel,
                pg_won=each.amount,
            )  # fmt: skip
