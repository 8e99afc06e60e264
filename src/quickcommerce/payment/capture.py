"""Captures: the PG is called between two transactions, never inside one.

Each attempt was committed before the call and its outcome is committed after (`attempts.py`). Right after a confirm
the call is made here; whatever is left open, by a crash, a timeout or a PG that is down, the due loop finds by its
lease, and reads back before it repeats anything.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from prometheus_client import Counter

from quickcommerce.kit.batch import GroupCommit
from quickcommerce.kit.clock import SECOND_US, Clock
from quickcommerce.kit.ids import PaymentId
from quickcommerce.kit.problem import Unavailable
from quickcommerce.kit.telemetry import log, tracing
from quickcommerce.payment.attempts import Attempts, Begun, Result
from quickcommerce.payment.model import (
    Asked,
    Doubtful,
    Later,
    Outcome,
    Reading,
    Reply,
    Status,
    Unknown,
    conclude,
    may_ask_again,
)  # fmt: skip
from quickcommerce.payment.store import Attempt, Payment

DUE_MAX = 50
"""How many payments one pass of the due loop takes; they are worked on side by side."""

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

    attempts: Attempts
    settling: GroupCommit[Result, bool]
    pg: Pg
    clock: Clock
    unknown_hold_s: int
    _running: dict[PaymentId, asyncio.Task[None]] = field(default_factory=dict)

    def launch(self, begun: Begun) -> None:
        """Call the PG in a task of its own: a buyer who leaves does not stop it."""
        payment_id = begun.payment.payment_id
        task = asyncio.create_task(self._capture(begun.payment, begun.attempt), name=f"capture {payment_id}")
        self._running[payment_id] = task
        task.add_done_callback(lambda _: self._running.pop(payment_id, None))

    async def settled(self, payment_id: PaymentId, within_s: float) -> None:
        """Wait until this process's work on a payment is done, or for `within_s` where another does it."""
        task = self._running.get(payment_id)
        if task:
            await asyncio.wait([task], timeout=within_s)
        else:
            await asyncio.sleep(within_s)

    async def drain(self, within_s: float) -> None:
        """Let calls that are under way end; what is left then is cut off, and found again by its lease."""
        if self._running:
            _, late = await asyncio.wait(self._running.values(), timeout=within_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def due(self) -> bool:
        """Take what is due: leases that ended, unknown outcomes, retries. Returns whether more may be due."""
        jobs = await self.attempts.take_due(DUE_MAX)
        await asyncio.gather(*(self._look(payment, attempt) for payment, attempt in jobs))
        return len(jobs) == DUE_MAX

    async def _look(self, payment: Payment, attempt: Attempt) -> None:
        """One job of the due loop: a fresh attempt is captured, an unknown one is read back before any repeat."""
        if payment.status is Status.CAPTURING:
            await self._capture(payment, attempt)
            return
        asked = attempt.asked(payment.amount)
        reading = await self.pg.read(asked)
        held_us = self.clock() - payment.unknown_us
        if may_ask_again(reading, asked) and held_us < self.unknown_hold_s * SECOND_US:
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
            mine = await self.settling.submit(Result(payment, outcome))
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
