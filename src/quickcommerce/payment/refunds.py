"""How refunds begin: somebody asks, or the shop has no use for the money.

A refund is owed from the moment its row is committed; what is owed counts against what was captured, so that no two
can give back the same money. What comes of it is found by `refund_steps.py`.
"""

from dataclasses import dataclass

import msgspec

from quickcommerce import events
from quickcommerce.kit import idempotency
from quickcommerce.kit.auth import Caller, Role
from quickcommerce.kit.clock import SECOND_US, Clock
from quickcommerce.kit.db import Database, Tx
from quickcommerce.kit.ids import Ids, PaymentId, RefundId
from quickcommerce.kit.inbox import Poison
from quickcommerce.kit.outbox import Message
from quickcommerce.kit.problem import IdempotencyInProgress, InvalidState, NotFound
from quickcommerce.payment import refund_store, store
from quickcommerce.payment.model import MONEY_TAKEN, Status
from quickcommerce.payment.refund_model import REASON_MAX, RefundStatus
from quickcommerce.payment.refund_store import Refund, existing
from quickcommerce.payment.store import NEVER_US, Payment

REFUNDABLE = frozenset({Status.CAPTURED, Status.PARTLY_REFUNDED})
RETRY_AFTER_S = 3


class Asking(msgspec.Struct, frozen=True):
    """Somebody wants money back: `amount` won, or all that is left (None). `refund_id` is made before any effect."""

    refund_id: RefundId
    payment_id: PaymentId
    amount: int | None
    reason: str
    restock: bool
    caller: Caller
    claim: idempotency.Claim | None
    trace: str


@dataclass(frozen=True)
class Refunds:
    """The transactions on store B that owe money back.

    `window_s`: how long after the capture a buyer may ask. `claim_s`: how long a request may still be running under its
    Idempotency-Key.
    """

    db: Database
    clock: Clock
    ids: Ids
    window_s: int
    claim_s: float

    async def ask(self, asking: Asking) -> Refund:
        """Owe a refund, or find the one that the same key led to.

        Raises NotFound, IdempotencyInProgress, IdempotencyKeyReused, InvalidState.
        """
        return await self.db.run(lambda tx: self._ask(tx, asking))

    async def get(self, refund_id: RefundId) -> Refund:
        """A refund that is there."""
        return await self.db.read(lambda tx: existing(tx, refund_id))

    async def answer(self, refund: Refund) -> Refund:
        """Keep what the first request under a key is answered with; another's that was quicker stays."""

        async def work(tx: Tx) -> Refund:
            await refund_store.answer(tx, refund.refund_id, refund.status)
            return await existing(tx, refund.refund_id)

        return await self.db.run(work)

    async def refund_whole(self, tx: Tx, messages: list[Message]) -> None:
        """MoneyUnclaimed: all that is left of a payment is owed back. What is owed already is not left."""
        for message in messages:
            told: events.MoneyUnclaimed = events.decode(message.type, message.data)
            payment = await store.get(tx, told.payment_id, locked=True)
            if payment is None or payment.status not in MONEY_TAKEN:
                raise Poison(f"nothing was captured for {told.payment_id}")
            left = payment.captured - payment.refunded - payment.refunding
            if left:
                reason = told.reason[:REASON_MAX].strip() or "unclaimed"
                await self._owe(tx, payment, self.ids.refund(), left, reason, cause=message.id, trace=message.trace)

    async def _ask(self, tx: Tx, asking: Asking) -> Refund:
        claim = asking.claim
        kept = (await idempotency.find(tx, [claim])).get(claim.scoped) if claim else None
        if claim and kept:
            earlier = await self._earlier(tx, asking, claim, kept)
            if earlier:
                return earlier
        payment = await store.get(tx, asking.payment_id, locked=True)
        if payment is None or not asking.caller.may_see(payment.user_id):
            raise NotFound("there is no such payment")
        mine = await refund_store.get(tx, asking.refund_id)
        if mine:
            return mine
        amount = self._allowed(payment, asking)
        refund = await self._owe(
            tx, payment, asking.refund_id, amount, asking.reason,
            restock=asking.restock, asked_by=asking.caller.user_id, trace=asking.trace,
        )  # fmt: skip
        if claim:
            await idempotency.keep(tx, [(claim, refund.refund_id)], refund.created_us)
        return refund

    async def _earlier(self, tx: Tx, asking: Asking, claim: idempotency.Claim, kept: idempotency.Kept) -> Refund | None:
        """The refund that this key led to; None where that was refused, so that the key is free again."""
        refund = await existing(tx, RefundId(kept.resource), locked=True)
        if refund.status is RefundStatus.FAILED and not refund.answered:
            await idempotency.forget(tx, [claim])
            return None
        reused = idempotency.reused(claim, kept)
        if reused:
            raise reused
        if refund.answered or refund.refund_id == asking.refund_id:
            return refund
        now = self.clock()
        if now < refund.claimed_us:
            raise IdempotencyInProgress("the first call with this key is still running", retry_after_s=RETRY_AFTER_S)
        # Whoever asked first has died or hung up.
        await refund_store.claim(tx, refund.refund_id, now + int(self.claim_s * SECOND_US))
        return refund

    def _allowed(self, payment: Payment, asking: Asking) -> int:
        """How much goes back. Raises InvalidState."""
        if payment.status not in REFUNDABLE:
            raise InvalidState(f"the payment is {payment.status}")
        over = self.clock() >= payment.captured_us + self.window_s * SECOND_US
        if over and asking.caller.role is not Role.MASTER:
            raise InvalidState("the time to ask for a refund has ended")
        left = payment.captured - payment.refunded - payment.refunding
        amount = left if asking.amount is None else asking.amount
        if not left or amount > left:
            raise InvalidState(f"{left} won are left to give back")
        if asking.restock and amount < left:
            raise InvalidState("goods come back only with the refund that makes it whole")
        return amount

    async def _owe(
        self, tx: Tx, payment: Payment, refund_id: RefundId, amount: int, reason: str, *,
        restock: bool = False, asked_by: int = 0, cause: str = "", trace: str,
    ) -> Refund:  # fmt: skip
        """Write a refund that is owed from now on. Raises InvalidState where so much is not left."""
        if not await store.owe(tx, payment.payment_id, amount):
            raise InvalidState("so much is not left to give back")
        now = self.clock()
        earlier = await refund_store.of_payment(tx, payment.payment_id)
        waits = any(each.status is RefundStatus.PENDING for each in earlier)
        refund = Refund(
            refund_id=refund_id, payment_id=payment.payment_id, seq=len(earlier) + 1, amount=amount, reason=reason,
            restock=restock, status=RefundStatus.PENDING, cause=cause or refund_id, asked_by=asked_by, attempt=0,
            tries=0, due_us=NEVER_US if waits else now, lease_token="",
            claimed_us=now + int(self.claim_s * SECOND_US), answered="", transaction_key="", code=None, message=None,
            trace=trace, created_us=now, updated_us=now, ended_us=None,
        )  # fmt: skip
        await refund_store.insert(tx, refund)
        return refund
