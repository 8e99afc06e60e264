"""What became of the money of an order, as every page says it. Pure, but for the reads of `of_one` and `of_listed`."""

from collections.abc import Collection, Mapping
from enum import StrEnum

import msgspec

from quickcommerce.kit.clock import rfc3339
from quickcommerce.kit.ids import OrderId
from quickcommerce.order.model import CLOSED, Status
from quickcommerce.order.store import Row
from quickcommerce.payment.flow import Payments
from quickcommerce.payment.model import HELD, MONEY_TAKEN
from quickcommerce.payment.model import Status as PaymentStatus
from quickcommerce.payment.store import Payment


class Money(StrEnum):
    """What is known of the money of an order."""

    NONE = "none"
    """None came, and none is on its way."""
    CHECKING = "checking"
    """It may be there: the buyer must not pay again."""
    AWAITED = "awaited"
    """The buyer is to pay it into an account."""
    TAKEN = "taken"
    """It is there, and pays the order."""
    GIVEN_BACK = "given_back"
    """It paid the order, and all of it went back."""
    LATE = "late"
    """It came after the order had ended, and goes back."""
    LATE_BACK = "late_back"
    """It came after the order had ended, and all of it is back."""


LOOK_S = 2
"""Seconds after which a page looks again by itself at what is known within moments."""
DEPOSIT_LOOK_S = 60
"""The same of a deposit, which may take the buyer a day."""
TOO_LATE = frozenset({Money.LATE, Money.LATE_BACK})
_TITLES: Mapping[Money, str] = {
    Money.CHECKING: "pay_checking",
    Money.AWAITED: "deposit_title",
    Money.TAKEN: "paid_title",
    Money.GIVEN_BACK: "status_REFUNDED",
    Money.LATE: "money_late",
    Money.LATE_BACK: "money_late_back",
}
_PICTURES: Mapping[Money, str] = {
    Money.CHECKING: "status-paying.svg",
    Money.AWAITED: "status-placed.svg",
    Money.TAKEN: "status-paid.svg",
    Money.GIVEN_BACK: "status-refunded.svg",
    Money.LATE: "status-expired.svg",
    Money.LATE_BACK: "status-refunded.svg",
}


class Said(msgspec.Struct, frozen=True):
    """What the pages say of it: `won` came (or is awaited), of which `back` went back. `ended`: the order is closed."""

    kind: Money
    ended: bool = False
    won: int = 0
    back: int = 0

    @property
    def under_way(self) -> bool:
        """Whether there is more to be heard, so that a page looks again by itself."""
        return self.kind in (Money.CHECKING, Money.LATE)

    @property
    def look_s(self) -> int:
        """Seconds after which a page that does not follow the order looks again by itself; 0: never."""
        return DEPOSIT_LOOK_S if self.kind is Money.AWAITED else LOOK_S * self.under_way

    @property
    def title(self) -> str:
        """The text that says it in a few words."""
        return _TITLES[self.kind]

    @property
    def picture(self) -> str:
        """The picture beside it."""
        return _PICTURES[self.kind]

    @property
    def note(self) -> str | None:
        """The text that says it whole, with a place for the `amount` that came; None where there is nothing to add."""
        if self.ended and self.kind is not Money.NONE:
            return f"ended_{self.kind}"
        if self.kind is Money.AWAITED:
            return "deposit_note"
        return "pay_checking_note" if self.kind is Money.CHECKING else None


NOTHING = Said(Money.NONE)


class Deposit(msgspec.Struct, frozen=True):
    """Where a deposit is to be paid to, and until when, as a page tells it."""

    bank: str
    number: str
    holder: str
    due_at: str


def of(order: Row, payment: Payment | None) -> Said:
    """What became of the money of an order, from what the order and its payment know of it.

    The payment knows of money before its order does. Late money of an order that has expired may still buy everything
    again, and none of it is owed back until that is decided: so long nobody can say more than that it is looked at.
    """
    if payment is None:
        return NOTHING
    ended = order.status in CLOSED
    owed = payment.refunding + payment.refunded
    undecided = order.status is Status.EXPIRED and payment.status is PaymentStatus.CAPTURED and not owed
    if payment.status is PaymentStatus.AWAITING_DEPOSIT and not ended:
        return Said(Money.AWAITED, won=payment.amount)
    if payment.status in HELD or undecided:
        return Said(Money.CHECKING, ended)
    if payment.status not in MONEY_TAKEN:
        return NOTHING
    whole = payment.status is PaymentStatus.REFUNDED
    part, all_of_it = (Money.LATE, Money.LATE_BACK) if ended else (Money.TAKEN, Money.GIVEN_BACK)
    return Said(all_of_it if whole else part, ended, payment.captured, payment.refunded)


async def of_one(payments: Payments, order: Row) -> tuple[Said, Deposit | None]:
    """What became of the money of an order that is closed or awaits a deposit; and where that is to be paid to."""
    payment = (await _payments_of(payments, [order])).get(order.order_id)
    said = _said(order, payment)
    return said, await deposit(payments, payment) if payment and said.kind is Money.AWAITED else None


async def deposit(payments: Payments, payment: Payment) -> Deposit | None:
    """Where a payment's deposit is to be paid to, if one is awaited."""
    account = await payments.account(payment)
    return Deposit(account.bank, account.number, account.holder, rfc3339(payment.deposit_us)) if account else None


async def of_listed(payments: Payments, orders: Collection[Row]) -> dict[OrderId, Said]:
    """What became of the money of each of these orders that is closed or awaits a deposit."""
    found = await _payments_of(payments, orders)
    return {order.order_id: _said(order, found.get(order.order_id)) for order in orders}


async def _payments_of(payments: Payments, orders: Collection[Row]) -> dict[OrderId, Payment]:
    """The payments of which more may be told than their orders tell: one read for all of them, none for none."""
    wanted = [order.order_id for order in orders if order.status in CLOSED or order.status is Status.PAYING]
    return await payments.known(wanted) if wanted else {}


def _said(order: Row, payment: Payment | None) -> Said:
    """What is told of the money beside an order: nothing, where the order itself tells it."""
    said = of(order, payment)
    return said if said.ended or said.kind is Money.AWAITED else NOTHING
