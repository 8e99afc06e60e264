"""What the end of a refund is to its payment: the sums, and what the shop is told, in the transaction of the end."""

from collections.abc import Iterable

import msgspec

from quickcommerce import events
from quickcommerce.kit.db import Tx
from quickcommerce.kit.ids import Ids
from quickcommerce.payment import ledger_store as ledger
from quickcommerce.payment import refund_store
from quickcommerce.payment.attempts import move
from quickcommerce.payment.model import Cancelled, Status
from quickcommerce.payment.refund_model import REASON_MAX, RefundStatus
from quickcommerce.payment.refund_store import Refund
from quickcommerce.payment.store import NEVER_US, Payment
from quickcommerce.payment.telling import tell

GONE = "MONEY_GONE"
"""The code of a refund whose money went back at the PG before it could be asked for."""


async def done(tx: Tx, ids: Ids, payment: Payment, refund: Refund, *, owed: int) -> Payment:
    """The money of a refund is back; `owed` won of it had been counted as owed. Returns the payment as it is then."""
    refunded = payment.refunded + refund.amount
    whole = refunded == payment.captured
    new = msgspec.structs.replace(
        payment,
        status=Status.REFUNDED if whole else Status.PARTLY_REFUNDED,
        version=payment.version + 1,
        refunded=refunded,
        refunding=payment.refunding - owed,
        updated_us=refund.updated_us,
    )
    await move(tx, payment, new)
    await ledger.refund(tx, new.payment_id, refund.refund_id, refund.amount, refund.updated_us)
    facts = (new.payment_id, new.order_id, new.version, new.amount, refunded)
    await tell(
        tx, ids, new, events.PaymentRefunded(*facts, restock=refund.restock and whole, refund_id=refund.refund_id)
    )
    return new


async def failed(tx: Tx, ids: Ids, payment: Payment, refund: Refund) -> Payment:
    """A refund will not be made; its money is free again. Returns the payment as it is then.

    It is told, unless all the money is back: then nobody waits for any.
    """
    waited_for = payment.refunded < payment.captured
    new = msgspec.structs.replace(
        payment,
        version=payment.version + waited_for,
        refunding=payment.refunding - refund.amount,
        updated_us=refund.updated_us,
    )
    await move(tx, payment, new)
    if waited_for:
        facts = (new.payment_id, new.order_id, new.version, new.amount, refund.amount, refund.refund_id)
        await tell(tx, ids, new, events.RefundFailed(*facts, refund.code or ""))
    return new


async def foreign(
    tx: Tx, ids: Ids, payment: Payment, cancels: Iterable[Cancelled], at_us: int, *, restock: bool = False
) -> Payment:
    """The PG gave money back that nobody here asked for: a refund of its own for each, which is done. What is owed and
    is not there any more is owed no more. `restock`: the goods are for sale again where all the money is back.
    """
    known = await refund_store.of_payment(tx, payment.payment_id)
    keys = {each.transaction_key for each in known}
    new = [each for each in cancels if each.transaction_key[:100] not in keys]
    for seq, cancel in enumerate(new, start=len(known) + 1):
        refund_id = ids.refund()
        refund = Refund(
            refund_id=refund_id, payment_id=payment.payment_id, seq=seq, amount=cancel.amount,
            reason=f"at the PG: {cancel.reason}"[:REASON_MAX], restock=restock, status=RefundStatus.DONE,
            cause=refund_id, asked_by=0, attempt=0, tries=0, due_us=NEVER_US, lease_token="", claimed_us=at_us,
            answered="", transaction_key=cancel.transaction_key[:100], code=None, message=None, trace=payment.trace,
            created_us=at_us, updated_us=at_us, ended_us=at_us,
        )  # fmt: skip
        await refund_store.insert(tx, refund)
        payment = await done(tx, ids, payment, refund, owed=0)
    return await _fit(tx, ids, payment, at_us)


async def _fit(tx: Tx, ids: Ids, payment: Payment, at_us: int) -> Payment:
    """End what is owed beyond what is left, in the order in which it is worked on.

    What the shop owes by itself is all that is left, however little that is by now.
    """
    left = payment.captured - payment.refunded
    for refund in await refund_store.of_payment(tx, payment.payment_id):
        if refund.status is not RefundStatus.PENDING or refund.amount <= left:
            left -= refund.amount if refund.status is RefundStatus.PENDING else 0
            continue
        if left and not refund.asked_by:
            cut = msgspec.structs.replace(payment, refunding=payment.refunding - refund.amount + left)
            await move(tx, payment, cut)
            await refund_store.move(tx, msgspec.structs.replace(refund, amount=left, updated_us=at_us), "")
            payment, left = cut, 0
            continue
        ended = msgspec.structs.replace(
            refund, status=RefundStatus.FAILED, code=GONE, message="the money went back at the PG", due_us=NEVER_US,
            updated_us=at_us, ended_us=at_us,
        )  # fmt: skip
        await refund_store.move(tx, ended, "")
        payment = await failed(tx, ids, payment, ended)
    return payment
