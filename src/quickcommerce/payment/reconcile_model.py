"""Reconciliation: what moved at the PG, held to payments, and payments to orders. Pure: three lists in, mismatches out.

A mismatch is a suspicion: lists lag, and things have gone on since they were read. Nothing is believed, written or
reported before the payment was read again (`mending.py`).
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Protocol

import msgspec

SETTLE_S = 90
"""So long may stores, bus and PG tell different stories of the same money: until then it is on its way."""
PAID = frozenset({"PAID", "REFUNDED"})
HOLDING = frozenset({"PLACED", "PAYING"})
"""Statuses of orders, in the shop's words: those that know of their money, and those that wait for it."""


class Kind(StrEnum):
    """How PG, payments and orders can disagree."""

    CAPTURED_NOT_RECORDED = "captured-not-recorded"
    """The PG has captured one of our payments, and we do not hold it as captured, or not under this key."""
    RECORDED_NOT_CAPTURED = "recorded-not-captured"
    """We hold as captured what the PG has not."""
    AMOUNT = "amount"
    """Both have a capture or a cancel, with different sums."""
    CANCEL_MISSING_HERE = "cancel-missing-here"
    """The PG gave money back that no refund knows."""
    CANCEL_MISSING_THERE = "cancel-missing-there"
    """A refund that is done here, under a transaction that the PG has not."""
    ORPHAN = "orphan"
    """A capture at the PG that belongs to no payment of ours."""
    ORDER_BEHIND = "order-behind"
    """Captured or refunded, and its order does not say so."""


class Transaction(msgspec.Struct, frozen=True):
    """Money that moved at the PG: a capture, or a cancel of one. `won` is never negative (of whatever `currency`).

    `payment_id` is what the PG calls orderId; `at_us` is microseconds UTC by the PG's clock.
    """

    transaction_key: str
    payment_key: str
    payment_id: str
    won: int
    currency: str
    cancel: bool
    at_us: int


class RefundFact(msgspec.Struct, frozen=True):
    """A refund in short. `transaction_key` is empty where the PG told none."""

    refund_id: str
    payment_id: str
    amount: int
    status: str
    transaction_key: str
    ended_us: int

    @property
    def done(self) -> bool:
        """Whether its money is back."""
        return self.status == "DONE"


class PaymentFact(msgspec.Struct, frozen=True):
    """A payment in short, with its refunds. Money is won; times are microseconds UTC, 0 where it never happened."""

    payment_id: str
    order_id: str
    amount: int
    captured: int
    refunded: int
    refunding: int
    payment_key: str | None
    captured_us: int
    updated_us: int
    refunds: tuple[RefundFact, ...] = ()

    @property
    def moved_us(self) -> int:
        """When its money moved last: only one span holds that."""
        return max([self.captured_us, *(each.ended_us for each in self.refunds)])


class OrderFact(Protocol):
    """An order in short."""

    @property
    def order_id(self) -> str:
        """Its id."""
        ...

    @property
    def status(self) -> str:
        """In the shop's words."""
        ...

    @property
    def refunded(self) -> int:
        """What it knows to be back, in won."""
        ...


class Span(msgspec.Struct, frozen=True):
    """From a moment to another, microseconds UTC; `before_us` is no part of it."""

    from_us: int
    before_us: int

    def holds(self, at_us: int) -> bool:
        """Whether a moment is in it."""
        return self.from_us <= at_us < self.before_us


class Mismatch(msgspec.Struct, frozen=True):
    """A suspicion. `subject` names it among those of its kind: the PG's transaction, else our refund or payment.

    `pg_won` and `our_won`: what each side has of it, 0 where it has nothing. `order_id` is empty where there is none of
    ours. `note` says what sums cannot.
    """

    kind: Kind
    subject: str
    payment_id: str
    order_id: str
    at_us: int
    refund_id: str = ""
    payment_key: str = ""
    transaction_key: str = ""
    pg_won: int = 0
    our_won: int = 0
    note: str = ""


def compare(
    span: Span,
    transactions: Iterable[Transaction],
    payments: Iterable[PaymentFact],
    orders: Iterable[OrderFact],
    settled_us: int,
) -> list[Mismatch]:
    """What does not fit, of all that moved within the span. What changed after `settled_us` may be on its way.

    The PG's list and the payments may reach further on both sides: what stands there is no mismatch by itself, and
    answers for what is in the span. Payments are those of the transactions and those that changed in the span; orders
    are those of the payments.
    """
    moved = list({each.transaction_key: each for each in transactions}.values())
    ours = {each.payment_id: each for each in payments}
    shop = {each.order_id: each for each in orders}
    of_payment: dict[str, list[Transaction]] = defaultdict(list)
    for each in moved:
        of_payment[each.payment_id].append(each)
    found: list[Mismatch] = []
    for each in moved:
        if span.holds(each.at_us):
            payment, beside = ours.get(each.payment_id), of_payment[each.payment_id]
            found += _cancel(each, payment, beside) if each.cancel else _capture(each, payment, beside)
    for payment in ours.values():
        found += _absent(span, payment, of_payment[payment.payment_id])
        if span.holds(payment.moved_us) and behind(payment, shop.get(payment.order_id), settled_us):
            found.append(
                Mismatch(
                    Kind.ORDER_BEHIND, payment.payment_id, payment.payment_id, payment.order_id, payment.moved_us,
                    our_won=payment.captured - payment.refunded,
                )
            )  # fmt: skip
    return found


def behind(payment: PaymentFact, order: OrderFact | None, settled_us: int) -> bool:
    """Whether an order has not heard of its payment's money. What changed after `settled_us` may be on its way.

    Of an order that has ended, money is to be back or owed; how it went back is no matter of its status.
    """
    if not payment.captured or payment.updated_us >= settled_us:
        return False
    if order is None or order.status in HOLDING:
        return True
    if order.status in PAID:
        return order.refunded < payment.refunded
    return payment.captured > payment.refunded + payment.refunding


def _capture(there: Transaction, payment: PaymentFact | None, beside: list[Transaction]) -> Iterator[Mismatch]:
    if payment is None:
        back = sum(each.won for each in beside if each.cancel and each.payment_key == there.payment_key)
        if back < there.won:
            yield _pg(Kind.ORPHAN, there, None)
    elif not payment.captured or payment.payment_key != there.payment_key:
        yield _pg(Kind.CAPTURED_NOT_RECORDED, there, payment)
    elif there.currency != "KRW" or there.won != payment.captured:
        yield _pg(Kind.AMOUNT, there, payment, our_won=payment.captured)


def _cancel(there: Transaction, payment: PaymentFact | None, beside: list[Transaction]) -> Iterator[Mismatch]:
    if payment is None or not payment.captured or payment.payment_key != there.payment_key:
        return  # its capture is a mismatch of its own, and whoever mends that reads the cancels as well
    mine = next((each for each in payment.refunds if each.done and each.transaction_key == there.transaction_key), None)
    if mine is None:
        if there.transaction_key not in _unnamed(payment, beside):
            yield _pg(Kind.CANCEL_MISSING_HERE, there, payment)
    elif there.currency != "KRW" or there.won != mine.amount:
        yield _pg(Kind.AMOUNT, there, payment, our_won=mine.amount, refund_id=mine.refund_id)


def _unnamed(payment: PaymentFact, beside: list[Transaction]) -> set[str]:
    """The cancels that are those of refunds of which the PG told no key: for each one of its sum that is nobody's."""
    named = {each.transaction_key for each in payment.refunds}
    free = [each for each in beside if each.cancel and each.transaction_key not in named]
    taken: set[str] = set()
    for refund in payment.refunds:
        if refund.done and not refund.transaction_key:
            fits = (each for each in free if each.won == refund.amount and each.transaction_key not in taken)
            taken |= {each.transaction_key for each in [next(fits, None)] if each}
    return taken


def _absent(span: Span, payment: PaymentFact, there: list[Transaction]) -> Iterator[Mismatch]:
    """What we hold, within the span, and the PG's list has not."""
    keys = {each.transaction_key for each in there if each.cancel}
    captured = any(not each.cancel and each.payment_key == payment.payment_key for each in there)
    facts = (payment.payment_id, payment.order_id)
    if payment.captured and span.holds(payment.captured_us) and not captured:
        yield Mismatch(
            Kind.RECORDED_NOT_CAPTURED, payment.payment_id, *facts, payment.captured_us,
            payment_key=payment.payment_key or "", our_won=payment.captured,
        )  # fmt: skip
    for refund in payment.refunds:
        key = refund.transaction_key
        if refund.done and key and key not in keys and span.holds(refund.ended_us):
            yield Mismatch(
                Kind.CANCEL_MISSING_THERE, refund.refund_id, *facts, refund.ended_us, refund_id=refund.refund_id,
                payment_key=payment.payment_key or "", transaction_key=key, our_won=refund.amount,
            )  # fmt: skip


def _pg(kind: Kind, there: Transaction, payment: PaymentFact | None, our_won: int = 0, refund_id: str = "") -> Mismatch:
    note = "" if there.currency == "KRW" else f"the PG has it in {there.currency}"
    return Mismatch(
        kind, there.transaction_key, there.payment_id, payment.order_id if payment else "", there.at_us, refund_id,
        there.payment_key, there.transaction_key, there.won, our_won, note,
    )  # fmt: skip
