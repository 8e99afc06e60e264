"""Events of payments, told in the transactions in which they happen."""

from quickcommerce import events
from quickcommerce.kit import outbox
from quickcommerce.kit.db import Tx
from quickcommerce.kit.ids import Ids
from quickcommerce.kit.outbox import Message
from quickcommerce.payment.store import Payment

SOURCE = "payment"


async def tell(tx: Tx, ids: Ids, payment: Payment, event: events.PaymentEvent) -> None:
    """Say what happened to a payment, in the transaction in which it did."""
    await outbox.append(tx, [message(ids, payment, event)])


def message(ids: Ids, payment: Payment, event: events.PaymentEvent) -> Message:
    """An event of a payment on its way; the key is the order's id."""
    name, data = type(event).__name__, events.encode(event)
    return Message(ids.event(), name, SOURCE, payment.order_id, payment.updated_us, payment.trace, data)
