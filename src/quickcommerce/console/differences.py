"""What the stores say of the same orders, held to each other: the invariants that are broken, once for each time."""

from collections.abc import Iterator, Mapping

from quickcommerce.order import audit as orders
from quickcommerce.order.model import Status
from quickcommerce.payment import audit as payments
from quickcommerce.payment.model import MONEY_TAKEN

_PAID = (Status.PAID, Status.REFUNDED)


def of_money(placed: Mapping[str, orders.Fact], paid: Mapping[str, payments.Fact], settled_us: int) -> Iterator[str]:
    """Money that orders and payments tell differently. What changed after `settled_us` may be on its way.

    A dead letter excuses nothing here: that somebody could know of it does not put the money where it belongs.
    """
    for order_id, payment in paid.items():
        order = placed.get(order_id)
        if payment.status not in payments.LEGAL:
            yield "I9"
        if payment.refunded < 0 or payment.refunding < 0 or payment.refunded + payment.refunding > payment.captured:
            yield "I8"
        if payment.captured and payment.captured != (order.payable if order else payment.amount):
            yield "I3"
        at_rest = payment.updated_us < settled_us
        is_paid = order is not None and order.status in _PAID
        if at_rest and not is_paid and payment.captured > payment.refunded + payment.refunding:
            yield "I4"
        if at_rest and order and is_paid and order.updated_us < settled_us and order.refunded != payment.refunded:
            yield "I8"
    for order_id, order in placed.items():
        taken = paid.get(order_id)
        if order.refunded > order.paid:
            yield "I8"
        if order.paid and not (taken and taken.status in MONEY_TAKEN):
            yield "I4"


def of_tellings(
    placed: Mapping[str, orders.Fact],
    paid: Mapping[str, payments.Fact],
    shown: Mapping[str, int],
    buried: set[str],
    settled_us: int,
) -> Iterator[str]:
    """Orders that payment or the history have not heard of. `buried`: somebody is told of these."""
    for order_id, order in placed.items():
        settled = order.updated_us < settled_us and order_id not in buried
        if settled and (shown.get(order_id, 0) < order.version or (order.payable and order_id not in paid)):
            yield "I6"
