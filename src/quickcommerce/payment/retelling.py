"""The transactions in which reconciliation heals: what went back at the PG is written down, an order is told again."""

from collections.abc import Iterable

import msgspec

from quickcommerce import events
from quickcommerce.kit.db import Tx
from quickcommerce.kit.ids import Ids, OrderId, PaymentId
from quickcommerce.payment import refund_books, refund_store, store
from quickcommerce.payment.attempts import move
from quickcommerce.payment.model import Cancelled
from quickcommerce.payment.reconcile_model import PAID, OrderFact
from quickcommerce.payment.refund_model import RefundStatus
from quickcommerce.payment.store import Payment
from quickcommerce.payment.telling import tell


async def write_back(tx: Tx, ids: Ids, seen: Payment, cancels: Iterable[Cancelled], at_us: int) -> bool:
    """Write down what the PG gave back by itself, if the payment still is as it was when that was read.

    Returns whether it was, or this was done already: a second run of the transaction finds what the first one wrote.
    """
    payment = await store.get(tx, seen.payment_id, locked=True)
    known = {each.transaction_key for each in await refund_store.of_payment(tx, seen.payment_id)}
    if all(each.transaction_key[:100] in known for each in cancels):
        return True
    if payment is None or _money(payment) != _money(seen):
        return False
    await refund_books.foreign(tx, ids, payment, cancels, at_us)
    await refund_store.wake_next(tx, payment.payment_id, at_us)
    return True


async def tell_again(tx: Tx, ids: Ids, seen: Payment, order: OrderFact, at_us: int) -> bool:
    """Tell an order what became of its payment: that it was captured where the order does not know, then all that went
    back of it, as new events. An order that knows already, from an event that was only late, does nothing.

    Returns whether the payment still was as it was seen.
    """
    payment = await store.get(tx, seen.payment_id, locked=True)
    if payment is None or (payment.version, _money(payment)) != (seen.version, _money(seen)):
        return False
    if order.status not in PAID:
        left = payment.captured - payment.refunded if payment.refunded else None
        payment = await _next(tx, payment, at_us)
        await tell(tx, ids, payment, events.PaymentSettled(*_facts(payment), left))
    if payment.refunded > (order.refunded if order.status in PAID else 0):
        done = [
            each
            for each in await refund_store.of_payment(tx, payment.payment_id)
            if each.status is RefundStatus.DONE
        ]  # fmt: skip
        last = max(done, key=lambda each: (each.ended_us or 0, each.seq))
        restock = last.restock and payment.refunded == payment.captured
        payment = await _next(tx, payment, at_us)
        facts = (*_facts(payment), payment.refunded)
        await tell(tx, ids, payment, events.PaymentRefunded(*facts, restock=restock, refund_id=last.refund_id))
    return True


async def _next(tx: Tx, old: Payment, at_us: int) -> Payment:
    """The payment with one more event to tell."""
    new = msgspec.structs.replace(old, version=old.version + 1, updated_us=at_us)
    await move(tx, old, new)
    return new


def _facts(payment: Payment) -> tuple[PaymentId, OrderId, int, int]:
    return payment.payment_id, payment.order_id, payment.version, payment.amount


def _money(payment: Payment) -> tuple[int, int, int, str | None]:
    return payment.captured, payment.refunded, payment.refunding, payment.payment_key
