"""What the PG's list says of deposits that were taken back."""

import msgspec
import pytest

from quickcommerce.payment.reconcile_deposits import taken_back
from quickcommerce.payment.reconcile_model import Kind, PaymentFact, Span, Transaction

SPAN = Span(1_000, 2_000)
DEPOSIT = Transaction("T1", "K1", "pay_1", 5_000, "KRW", cancel=False, at_us=1_500)
BACK = Transaction("T2", "K1", "pay_1", 5_000, "KRW", cancel=False, at_us=1_600)
PAYMENT = PaymentFact("pay_1", "ord_1", 5_000, 5_000, 0, 0, "K1", 1_500, 1_500)


def at(transaction: Transaction, at_us: int, **changes: object) -> Transaction:
    return msgspec.structs.replace(transaction, at_us=at_us, **changes)


def found(
    waiting: list[Transaction], moved: list[Transaction], payment: PaymentFact = PAYMENT, span: Span = SPAN
) -> list[str]:
    return [each.transaction_key for each in taken_back(span, waiting, moved, [payment])]


def test_a_deposit_that_was_taken_back_after_it_had_paid_is_a_mismatch() -> None:
    [told] = taken_back(SPAN, [BACK], [DEPOSIT], [PAYMENT])
    assert (told.kind, told.subject, told.at_us) == (Kind.RECORDED_NOT_CAPTURED, "pay_1", 1_600)
    assert (told.payment_id, told.order_id, told.payment_key, told.our_won) == ("pay_1", "ord_1", "K1", 5_000)


def test_its_capture_may_be_in_the_list_of_another_day_or_of_the_same_second() -> None:
    old = msgspec.structs.replace(PAYMENT, captured_us=3)
    assert found([BACK], [], old) == ["T2"]
    assert found([BACK], [at(DEPOSIT, 1_600)]) == ["T2"]


def test_an_account_that_was_opened_before_its_deposit_is_none() -> None:
    assert found([at(BACK, 1_400)], [DEPOSIT]) == []


def test_of_a_deposit_that_goes_and_comes_the_last_word_counts() -> None:
    again = at(DEPOSIT, 1_700, transaction_key="T3")
    assert found([BACK], [DEPOSIT, again]) == []
    assert found([BACK, at(BACK, 1_800, transaction_key="T4")], [DEPOSIT, again]) == ["T4"]
    assert found([at(BACK, 1_800, transaction_key="T4"), BACK], [again, DEPOSIT]) == ["T4"], "in whatever order"


def test_money_that_went_back_is_no_deposit_that_came() -> None:
    assert found([BACK], [DEPOSIT, at(BACK, 1_900, cancel=True, transaction_key="T5")]) == ["T2"]


@pytest.mark.parametrize("at_us", [999, 2_000])
def test_what_is_said_outside_the_span_is_for_another(at_us: int) -> None:
    assert found([at(BACK, at_us)], []) == []


def test_what_is_not_held_as_captured_under_this_key_is_none() -> None:
    open_yet = msgspec.structs.replace(PAYMENT, captured=0, captured_us=0)
    assert found([BACK], [], open_yet) == []
    assert found([BACK], [], msgspec.structs.replace(PAYMENT, payment_key="K2")) == []
    assert found([BACK], [], msgspec.structs.replace(PAYMENT, payment_id="pay_2")) == []
