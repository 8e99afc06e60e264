"""What the pages say of the money of an order, for every state that the order and its payment can be in together."""

import msgspec
import pytest

from quickcommerce.events import Line
from quickcommerce.kit.ids import OrderId, PaymentId
from quickcommerce.order.model import CLOSED, HOLDING, Status
from quickcommerce.order.store import Row
from quickcommerce.payment.model import UNDER_WAY
from quickcommerce.payment.model import Status as Payment
from quickcommerce.payment.store import NEVER_US
from quickcommerce.payment.store import Payment as Stored
from quickcommerce.shop.money import NOTHING, Money, of
from quickcommerce.shop.texts import TEXTS

WON = 5_000
ORDER = Row(
    OrderId("ord_1"), 7, Status.EXPIRED, 2, WON, 0, WON, 0, 0, 0, 0, 0, "", "", 0,
    [Line(1, "우유 1L", 1, WON, 0, WON, None)], ["Milk 1L"], [None],
)  # fmt: skip
PAYMENT = Stored(
    PaymentId("pay_1"), OrderId("ord_1"), 7, WON, "우유 1L", Payment.READY, 1, 0, 0, 0, None, 0, 0, 0, 0, NEVER_US,
    "", "", 0, 0, 0, 0,
)  # fmt: skip


def said(order: Status, payment: Payment, *, refunding: int = 0, refunded: int = 0) -> Money:
    captured = WON if payment in (Payment.CAPTURED, Payment.PARTLY_REFUNDED, Payment.REFUNDED) else 0
    row = msgspec.structs.replace(ORDER, status=order)
    stored = msgspec.structs.replace(PAYMENT, status=payment, captured=captured, refunding=refunding, refunded=refunded)
    told = of(row, stored)
    assert told.ended == (order in CLOSED and told != NOTHING)
    assert told.won == (captured if told.kind is not Money.CHECKING else 0)
    for language in TEXTS.values():
        assert told.note is None or told.note in language
        assert told == NOTHING or told.title in language
    return told.kind


@pytest.mark.parametrize("order", list(Status))
def test_while_money_may_be_on_its_way_nobody_is_told_that_it_is_over(order: Status) -> None:
    assert {said(order, payment) for payment in UNDER_WAY} == {Money.CHECKING}


@pytest.mark.parametrize("order", list(Status))
def test_of_a_payment_that_took_no_money_nothing_is_told(order: Status) -> None:
    none = (Payment.READY, Payment.DECLINED, Payment.FAILED, Payment.CLOSED)
    assert {said(order, payment) for payment in none} == {Money.NONE}
    assert of(msgspec.structs.replace(ORDER, status=order), None) == NOTHING


@pytest.mark.parametrize("order", sorted(CLOSED))
def test_money_of_an_order_that_has_ended_is_never_called_a_payment(order: Status) -> None:
    assert said(order, Payment.CAPTURED, refunding=WON) is Money.LATE
    assert said(order, Payment.PARTLY_REFUNDED, refunding=WON - 1, refunded=1) is Money.LATE
    assert said(order, Payment.REFUNDED, refunded=WON) is Money.LATE_BACK


def test_late_money_is_being_checked_until_it_is_decided_whether_it_buys_everything_again() -> None:
    assert said(Status.EXPIRED, Payment.CAPTURED) is Money.CHECKING
    assert said(Status.CANCELLED, Payment.CAPTURED) is Money.LATE
    assert said(Status.FAILED, Payment.CAPTURED) is Money.LATE


@pytest.mark.parametrize("order", [*sorted(HOLDING), Status.PAID, Status.REFUNDED])
def test_money_that_came_in_time_is_told_before_its_order_knows(order: Status) -> None:
    assert said(order, Payment.CAPTURED) is Money.TAKEN
    assert said(order, Payment.PARTLY_REFUNDED, refunded=1) is Money.TAKEN
    assert said(order, Payment.REFUNDED, refunded=WON) is Money.GIVEN_BACK
