"""Captures: attempts that are committed before the PG is called, and outcomes that are committed after.

Whoever works on a payment holds its lease: a token in the row, and a due time until which nobody else takes it. Every
outcome is written under that token; if it is gone, somebody else took over, and the late outcome changes nothing,
because the other reads the PG back and comes to the same truth.
"""

import asyncio
import random
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

import msgspec
from prometheus_client import Counter

from quickcommerce import events
from quickcommerce.kit import outbox
from quickcommerce.kit.clock import SECOND_US, Clock
from quickcommerce.kit.db import Database, Tx
from quickcommerce.kit.ids import Ids, PaymentId
from quickcommerce.kit.outbox import Message
from quickcommerce.kit.policy import Backoff
from quickcommerce.kit.problem import Unavailable
from quickcommerce.kit.telemetry import log, tracing
from quickcommerce.payment import store
from quickcommerce.payment.model import (
    DECLINES_MAX,
    NEXT,
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
    still_open,
)  # fmt: skip
from quickcommerce.payment.store import NEVER_US, Attempt, Payment

SOURCE = "payment"
DUE_MAX = 50
"""How many payments one pass of the due loop takes; they are worked on side by side."""
BACKOFF = Backoff(base_s=1, cap_s=20)
"""1-2 s, 2-4 s, 4-8 s, 8-16 s, then 20-40 s: an outcome is known soon after the PG answers again."""

OUTCOMES = Counter("qc_payment_outcomes_total", "What attempts to capture came to", ["outcome"])
ALERTS = Counter("qc_payment_alerts_total", "Outcomes that somebody must look at", ["code"])


class Pg(Protocol):
    """The payment provider."""

    async def confirm(self, asked: Asked) -> Reply:
        """Capture. Money moves here."""
        ...

    async def read(self, asked: Asked) -> Reading:
        """Read a payment back."""
        ...


@dataclass(frozen=True)
class Captures:
    """Works on attempts: right after a confirm, and again from the due loop until each is known."""

    db: Database
    pg: Pg
    clock: Clock
    ids: Ids
    rng: random.Random
    lease_s: float
    unknown_hold_s: int
    _running: dict[PaymentId, asyncio.Task[None]] = field(default_factory=dict)

    async def begin(self, tx: Tx, old: Payment, payment_key: str, trace: str) -> tuple[Payment, Attempt]:
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
            unknown_us=0,
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
        return new, attempt

    def launch(self, payment: Payment, attempt: Attempt) -> None:
        """Call the PG in a task of its own: a buyer who leaves does not stop it."""
        task = asyncio.create_task(self._capture(payment, attempt), name=f"capture {payment.payment_id}")
        self._running[payment.payment_id] = task
        task.add_done_callback(lambda _: self._running.pop(payment.payment_id, None))

    async def settled(self, payment_id: PaymentId, within_s: float) -> None:
        """Wait until this process's work on a payment is done, or for `within_s` where another does it."""
        task = self._running.get(payment_id)
        if task:
            await asyncio.wait([task], timeout=within_s)
        else:
            await asyncio.sleep(within_s)

    async def drain(self, within_s: float) -> None:
        """Let calls that are under way end; what is left is found by its lease."""
        if self._running:
            await asyncio.wait(self._running.values(), timeout=within_s)

    async def due(self) -> bool:
        """Take what is due: leases that ended, unknown outcomes, retries. Returns whether more may be due."""
        jobs = await self.db.run(self._claim)
        await asyncio.gather(*(self._look(payment, attempt) for payment, attempt in jobs))
        return len(jobs) == DUE_MAX

    async def _claim(self, tx: Tx) -> list[tuple[Payment, Attempt]]:
        now = self.clock()
        jobs = []
        for old in await store.due(tx, now, DUE_MAX):
            if old.status is Status.RETRY and old.payment_key:
                if now >= old.expires_us:
                    await self._move(tx, old, msgspec.structs.replace(old, due_us=NEVER_US))
                else:
                    jobs.append(await self.begin(tx, old, old.payment_key, old.trace))
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

    async def _look(self, payment: Payment, attempt: Attempt) -> None:
        """One job of the due loop: a fresh attempt is captured, an unknown one is read back before any repeat."""
        if payment.status is Status.CAPTURING:
            await self._capture(payment, attempt)
            return
        asked = attempt.asked(payment.amount)
        reading = await self.pg.read(asked)
        held_us = self.clock() - payment.unknown_us
        if still_open(reading, asked) and held_us < self.unknown_hold_s * SECOND_US:
            # Not captured: the same request again, under the same Idempotency-Key, cannot capture twice.
            outcome = await self._ask(asked)
        else:
            outcome = conclude(reading, asked, answered=None)
        await self._settle(payment, outcome)

    async def _capture(self, payment: Payment, attempt: Attempt) -> None:
        with tracing(payment.trace), suppress(Unavailable):
            # If the outcome cannot be stored now, the lease ends and the due loop reads it back.
            await self._settle(payment, await self._ask(attempt.asked(payment.amount)))

    async def _ask(self, asked: Asked) -> Outcome:
        """Capture; where the reply leaves a doubt, read back at once."""
        reply = await self.pg.confirm(asked)
        match reply:
            case Doubtful():
                return conclude(await self.pg.read(asked), asked, answered=reply)
            case Unknown():
                return conclude(await self.pg.read(asked), asked, answered=None)
            case _:
                return reply

    async def _settle(self, payment: Payment, outcome: Outcome) -> None:
        with tracing(payment.trace):
            mine = await self.db.run(lambda tx: self._write(tx, payment, outcome))
            OUTCOMES.labels(type(outcome).__name__).inc()
            code = getattr(outcome, "code", None)
            alert = (isinstance(outcome, Later) and outcome.ours) or code == "MISMATCH"
            if alert:
                ALERTS.labels(code).inc()
            (log.error if alert else log.info)(
                "payment.outcome",
                payment_id=payment.payment_id,
                order_id=payment.order_id,
                outcome=type(outcome).__name__,
                code=code,
                mine=mine,
            )

    async def _write(self, tx: Tx, old: Payment, outcome: Outcome) -> bool:
        """Commit an outcome, if the lease under which it was found still stands."""
        now = self.clock()
        wait_us = int(BACKOFF.delay_s(old.tries, self.rng) * SECOND_US)
        base = msgspec.structs.replace(old, updated_us=now, lease_token="", due_us=NEVER_US)
        facts = (old.payment_id, old.order_id, old.version + 1, old.amount)
        told: events.PaymentEvent | None = None
        match outcome:
            case Captured():
                new = msgspec.structs.replace(
                    base, status=Status.CAPTURED, version=old.version + 1, captured=old.amount, unknown_us=0
                )
                ended, told = "captured", events.PaymentSettled(*facts)
            case Declined(code, _):
                final = old.declines + 1 >= DECLINES_MAX
                new = msgspec.structs.replace(
                    base,
                    status=Status.FAILED if final else Status.DECLINED,
                    version=old.version + 1,
                    declines=old.declines + 1,
                    unknown_us=0,
                )
                ended = "declined"
                told = events.PaymentFailed(*facts, code) if final else events.PaymentDeclined(*facts, code)
            case Later(ours=ours):
                new = msgspec.structs.replace(
                    base, status=Status.RETRY, tries=old.tries + 1, due_us=now + wait_us, unknown_us=0
                )
                ended = "refused us" if ours else "later"
            case Unknown():
                new = msgspec.structs.replace(
                    base,
                    status=Status.UNKNOWN,
                    tries=old.tries + 1,
                    due_us=now + wait_us,
                    unknown_us=old.unknown_us or now,
                )
                ended = ""
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
