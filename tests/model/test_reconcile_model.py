"""What a comparison of PG, payments and orders calls a mismatch, and what it leaves alone."""

from dataclasses import dataclass

import msgspec
import pytest

from quickcommerce.payment.reconcile_model import Kind, PaymentFact, RefundFact, Span, Transaction, compare

SPAN = Span(1_000, 2_000)
CAPTURE = Transaction("T1", "K1", "pay_1", 5_000, "KRW", cancel=False, at_us=1_500)
CANCEL = Transaction("T2", "K1", "pay_1", 2_000, "KRW", cancel=True, at_us=1_600)
REFUND = RefundFact("ref_1", "pay_1", 2_000, "DONE", "T2", 1_600)
PAYMENT = PaymentFact("pay_1", "ord_1", 5_000, 5_000, 0, 0, "K1", 1_500, 1_500)
REFUNDED = msgspec.structs.replace(PAYMENT, refunded=2_000, refunds=(REFUND,), updated_us=1_600)
OPEN = msgspec.structs.replace(PAYMENT, captured=0, captured_us=0)


@dataclass(frozen=True)
class Order:
    order_id: str = "ord_1"
    status: str = "PAID"
    refunded: int = 0


def of(transaction: Transaction, **changes: object) -> Transaction:
    return msgspec.structs.replace(transaction, **changes)


def kinds(
    transactions: list[Transaction], payments: list[PaymentFact], orders: list[Order], span: Span = SPAN
) -> list[Kind]:
    return [each.kind for each in compare(span, transactions, payments, orders, SPAN.before_us)]


def test_what_fits_is_no_mismatch() -> None:
    assert kinds([CAPTURE], [PAYMENT], [Order()]) == []
    assert kinds([CAPTURE, CANCEL], [REFUNDED], [Order(refunded=2_000)]) == []
    assert kinds([], [OPEN], [Order(status="PLACED")]) == []
    assert kinds([], [], []) == []


def test_each_kind_has_its_name() -> None:
    assert kinds([CAPTURE], [OPEN], [Order(status="PLACED")]) == [Kind.CAPTURED_NOT_RECORDED]
    assert kinds([], [PAYMENT], [Order()]) == [Kind.RECORDED_NOT_CAPTURED]
    assert kinds([of(CAPTURE, won=5_001)], [PAYMENT], [Order()]) == [Kind.AMOUNT]
    assert kinds([CAPTURE, CANCEL], [PAYMENT], [Order()]) == [Kind.CANCEL_MISSING_HERE]
    assert kinds([CAPTURE], [REFUNDED], [Order(refunded=2_000)]) == [Kind.CANCEL_MISSING_THERE]
    assert kinds([CAPTURE], [], []) == [Kind.ORPHAN]
    assert kinds([CAPTURE], [PAYMENT], [Order(status="PAYING")]) == [Kind.ORDER_BEHIND]


def test_a_mismatch_says_what_each_side_has() -> None:
    [found] = compare(SPAN, [CAPTURE, of(CANCEL, won=1_999)], [REFUNDED], [Order(refunded=2_000)], SPAN.before_us)
    assert (found.kind, found.refund_id, found.pg_won, found.our_won) == (Kind.AMOUNT, "ref_1", 1_999, 2_000)
    assert (found.payment_id, found.order_id, found.transaction_key) == ("pay_1", "ord_1", "T2")


def test_another_currency_is_another_sum() -> None:
    [found] = compare(SPAN, [of(CAPTURE, currency="USD")], [PAYMENT], [Order()], SPAN.before_us)
    assert (found.kind, found.note) == (Kind.AMOUNT, "the PG has it in USD")


def test_a_second_capture_of_a_payment_under_another_key_is_not_ours() -> None:
    assert kinds([CAPTURE, of(CAPTURE, transaction_key="T9", payment_key="K9")], [PAYMENT], [Order()]) == [
        Kind.CAPTURED_NOT_RECORDED
    ]


@pytest.mark.parametrize("at_us", [999, 2_000])
def test_what_moved_outside_the_span_is_no_mismatch_and_answers_for_what_is_inside(at_us: int) -> None:
    """The PG's clock is not ours: it captured a moment before the span, and we learned of it within."""
    there = of(CAPTURE, at_us=at_us)
    assert kinds([there], [PAYMENT], [Order()]) == []
    assert kinds([there], [], []) == []
    assert kinds([there], [OPEN], [Order(status="PLACED")]) == []
    assert kinds([of(CAPTURE, at_us=1_000)], [], []) == [Kind.ORPHAN], "the span begins with its first moment"


def test_what_we_hold_from_outside_the_span_is_not_looked_for_in_the_list() -> None:
    old = msgspec.structs.replace(PAYMENT, captured_us=999, updated_us=999)
    assert kinds([], [old], [Order()]) == []
    refund = msgspec.structs.replace(REFUND, ended_us=2_000)
    assert kinds([CAPTURE], [msgspec.structs.replace(REFUNDED, refunds=(refund,))], [Order(refunded=2_000)]) == []


def test_the_same_transaction_on_two_pages_is_one() -> None:
    assert kinds([CAPTURE, CAPTURE], [], []) == [Kind.ORPHAN]


def test_transactions_of_the_same_moment_are_told_apart() -> None:
    more = [of(CANCEL, transaction_key=f"T{at}", won=100) for at in (3, 4, 5)]
    assert kinds([CAPTURE, *more], [PAYMENT], [Order()]) == [Kind.CANCEL_MISSING_HERE] * 3


def test_a_foreign_payment_that_went_back_whole_is_nobodys_business() -> None:
    assert kinds([CAPTURE, of(CANCEL, won=5_000)], [], []) == []
    assert kinds([CAPTURE, of(CANCEL, won=4_999)], [], []) == [Kind.ORPHAN]
    assert kinds([of(CANCEL, won=5_000)], [], []) == []


def test_a_cancel_whose_key_the_pg_never_told_us_is_known_by_its_sum_and_once() -> None:
    unnamed = msgspec.structs.replace(REFUND, transaction_key="")
    held = msgspec.structs.replace(REFUNDED, refunds=(unnamed,))
    assert kinds([CAPTURE, CANCEL], [held], [Order(refunded=2_000)]) == []
    twice = [CAPTURE, CANCEL, of(CANCEL, transaction_key="T3")]
    assert kinds(twice, [held], [Order(refunded=2_000)]) == [Kind.CANCEL_MISSING_HERE]


def test_a_cancel_of_what_we_do_not_hold_as_captured_is_part_of_that_mismatch() -> None:
    assert kinds([CAPTURE, CANCEL], [OPEN], [Order(status="PLACED")]) == [Kind.CAPTURED_NOT_RECORDED]


def test_a_refund_that_is_not_done_claims_no_cancel() -> None:
    owed = msgspec.structs.replace(
        PAYMENT, refunding=2_000, refunds=(msgspec.structs.replace(REFUND, status="PENDING"),)
    )
    assert kinds([CAPTURE], [owed], [Order()]) == []


@pytest.mark.parametrize(
    ("payment", "order", "behind"),
    [
        (PAYMENT, Order(status="PLACED"), True),
        (PAYMENT, Order(status="PAYING"), True),
        (REFUNDED, Order(refunded=1_999), True),
        (PAYMENT, Order(status="CANCELLED"), True),
        (msgspec.structs.replace(PAYMENT, refunding=5_000), Order(status="CANCELLED"), False),
        (msgspec.structs.replace(PAYMENT, updated_us=2_000), Order(status="PLACED"), False),
        (msgspec.structs.replace(PAYMENT, updated_us=1_999), Order(status="PLACED"), True),
        (OPEN, Order(status="PLACED"), False),
        (OPEN, Order(status="EXPIRED"), False),
    ],
)
def test_an_order_is_behind_when_its_money_is_not_told_and_had_time_to_be(
    payment: PaymentFact, order: Order, *, behind: bool
) -> None:
    there = [of(CAPTURE), of(CANCEL)] if payment.refunds else [CAPTURE]
    there = there if payment.captured else []
    assert kinds(there, [payment], [order]) == [Kind.ORDER_BEHIND] * behind


def test_an_order_is_behind_in_the_span_in_which_its_money_moved_last() -> None:
    """Else two spans that are compared one after the other would both tell it again."""
    earlier, later = Span(1_000, 1_550), Span(1_550, 2_000)
    for span, behind in ((earlier, False), (later, True)):
        found = kinds([CAPTURE, CANCEL], [REFUNDED], [Order(status="PLACED")], span)
        assert found == [Kind.ORDER_BEHIND] * behind


def test_an_order_that_is_not_there_is_behind() -> None:
    assert kinds([CAPTURE], [PAYMENT], []) == [Kind.ORDER_BEHIND]
