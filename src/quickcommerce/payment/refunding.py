"""Refunds: owed in one transaction, asked of the PG outside of any, settled in another (`refund_steps.py`).

The request that asks for one starts on it at once and waits a moment; whatever is left open, by a crash, a timeout or
a PG that is down, the due loop finds by its lease, and reads back before it repeats anything.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from prometheus_client import Counter

from quickcommerce.kit.ids import PaymentId
from quickcommerce.kit.problem import InvalidState, Unavailable
from quickcommerce.kit.telemetry import log, tracing
from quickcommerce.payment.capture import ALERTS, FOREIGN_CANCEL
from quickcommerce.payment.model import MISMATCH, Asked, Later, Reading, Unknown
from quickcommerce.payment.refund_model import (
    Cancel,
    CancelReply,
    Foreign,
    RefundOutcome,
    RefundStatus,
    Refused,
    Said,
    Withheld,
    conclude_cancel,
    not_given_back,
)  # fmt: skip
from quickcommerce.payment.refund_steps import Job, RefundSteps, Settled
from quickcommerce.payment.refund_store import Refund
from quickcommerce.payment.refunds import Asking, Refunds
from quickcommerce.payment.running import MOMENT_S, POLL_S, Running

OUTCOMES = Counter("qc_refund_outcomes_total", "What refunds came to", ["outcome"])


class Pg(Protocol):
    """The payment provider."""

    async def cancel(self, cancel: Cancel) -> CancelReply:
        """Give money back."""
        ...

    async def read(self, asked: Asked) -> Reading:
        """Read a payment back."""
        ...


@dataclass(frozen=True)
class Refunding:
    """Works on refunds: right after somebody asked, and again from the due loop until each is known."""

    refunds: Refunds
    steps: RefundSteps
    pg: Pg
    answer_within_s: float
    running: Running[None] = field(default_factory=Running)

    async def refund(self, asking: Asking) -> tuple[Refund, RefundStatus, bool]:
        """Owe a refund and wait a moment for it. Returns it, the status to tell, and whether that is a replay.

        Raises NotFound, IdempotencyInProgress, IdempotencyKeyReused, InvalidState (also where the PG refuses for good,
        which frees the key), Unavailable.
        """
        refund = await self.refunds.ask(asking)
        if refund.answered:
            return refund, RefundStatus(refund.answered), True
        with suppress(Unavailable):
            # It is owed already: the due loop finds it.
            await self._start(refund.payment_id)
        refund = await self._known(refund)
        if refund.status is RefundStatus.FAILED:
            raise InvalidState(f"the payment provider refuses this refund ({refund.code}): {refund.message}")
        if asking.claim:
            refund = await self.refunds.answer(refund)
            return refund, RefundStatus(refund.answered), False
        return refund, refund.status, False

    async def due(self) -> bool:
        """Start on what is due. Returns whether more may be due."""
        free = self.running.free
        jobs = await self.steps.take(free) if free else []
        for job in jobs:
            self._launch(job, due=True)
        return 0 < len(jobs) == free

    async def drain(self, within_s: float) -> None:
        """Let calls that are under way end; what is left then is cut off, and found again by its lease."""
        await self.running.drain(within_s)

    async def _known(self, refund: Refund) -> Refund:
        """The refund when it has ended, or as it is after `answer_within_s`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.answer_within_s
        while True:
            refund = await self.refunds.get(refund.refund_id)
            left_s = deadline - loop.time()
            if refund.status is not RefundStatus.PENDING or left_s < MOMENT_S:
                return refund
            if not await self.running.wait(refund.lease_token, left_s):
                await asyncio.sleep(min(POLL_S, left_s))

    async def _start(self, payment_id: PaymentId) -> None:
        """Start on the refund of this payment whose turn it is, if it is due."""
        for job in await self.steps.take(1, payment_id):
            self._launch(job, due=False)

    def _launch(self, job: Job, *, due: bool) -> None:
        self.running.launch(job.refund.lease_token, self._work(job), f"refund {job.refund.refund_id}", due=due)

    async def _work(self, job: Job) -> None:
        """A refund that was never asked for is; any other is read back before it is repeated."""
        with tracing(job.refund.trace):
            try:
                outcome = await self._ask(job.cancel) if job.fresh else await self._look(job)
                if outcome is None:
                    return
                settled = await self.steps.settle(job.refund, outcome)
                self._report(job.refund, settled)
                await self._start(job.refund.payment_id)
            except Unavailable:
                # What came of it cannot be stored now: the lease ends, and the due loop reads it back.
                return
            except Exception:  # noqa: BLE001 - logged whole; the lease ends, and the due loop reads it back
                log.exception("refund.crashed", refund_id=job.refund.refund_id)

    async def _look(self, job: Job) -> RefundOutcome | None:
        """Read back; ask again only where nothing was given back. None where the lease is another's by then."""
        reading = await self.pg.read(job.cancel.payment)
        if not_given_back(reading, job.cancel):
            again = await self.steps.again(job)
            return await self._ask(again.cancel) if again else None
        return conclude_cancel(reading, job.cancel, said=None)

    async def _ask(self, cancel: Cancel) -> RefundOutcome:
        """Ask for the money back; where the reply leaves a doubt, read back at once."""
        reply = await self.pg.cancel(cancel)
        match reply:
            case Said():
                return conclude_cancel(await self.pg.read(cancel.payment), cancel, said=reply)
            case Unknown():
                return conclude_cancel(await self.pg.read(cancel.payment), cancel, said=None)
            case _:
                return reply

    def _report(self, refund: Refund, settled: Settled) -> None:
        outcome = settled.outcome
        OUTCOMES.labels(type(outcome).__name__).inc()
        code = FOREIGN_CANCEL if isinstance(outcome, Foreign) else getattr(outcome, "code", None)
        refused = isinstance(outcome, Refused | Withheld | Foreign)
        alert = refused or (isinstance(outcome, Later) and outcome.ours) or code == MISMATCH.code
        if alert:
            ALERTS.labels(code).inc()
        (log.error if alert else log.info)(
            "refund.outcome",
            refund_id=refund.refund_id,
            payment_id=refund.payment_id,
            amount=refund.amount,
            outcome=type(outcome).__name__,
            code=code,
            mine=settled.mine,
        )
