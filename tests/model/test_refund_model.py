"""What a reading of the PG proves about a refund: never twice, and never taken for done by mistake."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quickcommerce.payment.codes import CANCEL, OURS, TossError, classify_cancel
from quickcommerce.payment.model import Cancelled, Found, Later, Missing, Unknown, Unreadable
from quickcommerce.payment.refund_model import (
    Cancel,
    Foreign,
    Means,
    Refunded,
    Refused,
    Said,
    Withheld,
    conclude_cancel,
    not_given_back,
)  # fmt: skip

ASKED = Cancel("ref_1", "tgen_1", "pay_1", 5_800, 5_000, 1_000, "no", "key", frozenset({"T1"}))
OURS_TOLD = "ref_1: no"
"""800 of 5,800 won are back already; 1,000 more are asked for."""
BEFORE = (Cancelled(800, "T1"),)
SAID = st.none() | st.builds(
    Said, st.text(max_size=9), st.text(max_size=9), st.sampled_from([Means.TRANSIENT, Means.MOVED, Means.FINAL])
)


def shown(left: int | None, *cancels: Cancelled, status: str = "PARTIAL_CANCELED", **facts: object) -> Found:
    """The payment as the PG shows it."""
    told = {"payment_key": "tgen_1", "payment_id": "pay_1", "amount": 5_800, "currency": "KRW"} | facts
    return Found(**told, status=status, code="", message="", left=left, cancels=cancels)  # type: ignore[arg-type]


def test_what_is_left_and_a_new_cancel_of_the_sum_are_a_refund() -> None:
    found = shown(4_000, *BEFORE, Cancelled(1_000, "T2", OURS_TOLD))
    for said in (None, Said("ALREADY_CANCELED_PAYMENT", "", Means.MOVED), Said("REFUND_REJECTED", "", Means.FINAL)):
        assert conclude_cancel(found, ASKED, said=said) == Refunded("T2"), "whatever was said, the money is back"
    assert conclude_cancel(shown(4_000), ASKED, said=None) == Refunded(""), "a PG that lists no cancels"
    assert conclude_cancel(shown(4_000, *BEFORE, Cancelled(1_000, "T2")), ASKED, said=None) == Refunded("T2"), (
        "a PG that tells no reasons"
    )
    assert not not_given_back(found, ASKED)


def test_the_pg_is_told_whose_a_cancel_is_however_long_the_reason() -> None:
    assert ASKED.told == OURS_TOLD
    long = msgspec.structs.replace(ASKED, reason="x" * 200).told
    assert (long[:7], len(long)) == ("ref_1: ", 200)


def test_as_much_left_as_before_proves_nothing_where_no_answer_came() -> None:
    found = shown(5_000, *BEFORE)
    assert isinstance(conclude_cancel(found, ASKED, said=None), Unknown), "the request may still be on its way"
    assert not_given_back(found, ASKED), "and the same request again makes sense"


@pytest.mark.parametrize(("means", "end"), [(Means.TRANSIENT, Later), (Means.MOVED, Later), (Means.FINAL, Refused)])
def test_as_much_left_as_before_after_an_answer(means: Means, end: type) -> None:
    outcome = conclude_cancel(shown(5_000, *BEFORE), ASKED, said=Said("CODE", "why", means))
    assert isinstance(outcome, end)
    assert getattr(outcome, "code", "") == "CODE"


def test_a_refusal_for_good_of_what_may_not_fail_is_not_the_last_word() -> None:
    asked = msgspec.structs.replace(ASKED, may_fail=False)
    said = Said("REFUND_REJECTED", "why", Means.FINAL)
    assert conclude_cancel(shown(5_000, *BEFORE), asked, said=said) == Withheld("REFUND_REJECTED", "why")


FOREIGN = Cancelled(1_000, "T2", "by hand")
"""The same sum, and somebody else's."""


@settings(deadline=None)
@given(said=SAID)
def test_what_somebody_else_gave_back_is_never_taken_for_this_refund(said: Said | None) -> None:
    assert conclude_cancel(shown(4_000, *BEFORE, FOREIGN), ASKED, said=said) == Foreign((FOREIGN,), beside=False)
    other = Cancelled(500, "T2", "ref_2: another refund, which was believed to have failed")
    assert conclude_cancel(shown(4_500, *BEFORE, other), ASKED, said=said) == Foreign((other,), beside=False)
    both = shown(3_000, *BEFORE, FOREIGN, Cancelled(1_000, "T3", OURS_TOLD))
    assert conclude_cancel(both, ASKED, said=said) == Foreign((FOREIGN,), beside=True)


def test_the_same_sum_given_back_twice_for_one_refund_is_not_one_refund() -> None:
    twice = (Cancelled(1_000, "T2", OURS_TOLD), Cancelled(1_000, "T3", OURS_TOLD))
    assert conclude_cancel(shown(3_000, *BEFORE, *twice), ASKED, said=None) == Foreign(twice[1:], beside=True)


@pytest.mark.parametrize(
    "found",
    [
        shown(4_500, *BEFORE, Cancelled(500, "T2")),
        shown(4_500, *BEFORE, Cancelled(500, "", "by hand")),
        shown(4_000, *BEFORE, Cancelled(500, "T2"), Cancelled(500, "T3")),
        shown(4_500, *BEFORE, Cancelled(1_000, "T2", "by hand")),
        shown(3_500, *BEFORE, Cancelled(1_000, "T2", OURS_TOLD)),
        shown(3_000, *BEFORE, Cancelled(1_000, "T2"), Cancelled(1_000, "T3")),
        shown(0, status="CANCELED"),
    ],
)
def test_money_that_moved_nobody_can_say_how_is_for_a_human(found: Found) -> None:
    outcome = conclude_cancel(found, ASKED, said=None)
    assert isinstance(outcome, Unknown)
    assert outcome.code == "MISMATCH"
    assert not not_given_back(found, ASKED)


@pytest.mark.parametrize(
    "reading",
    [
        Missing(),
        Unreadable("ReadTimeout"),
        shown(5_000, payment_key="tgen_2"),
        shown(4_000, payment_id="pay_2"),
        shown(4_000, amount=5_801),
        shown(4_000, currency="USD"),
        shown(5_800),
        shown(None),
    ],
)
@settings(deadline=None)
@given(said=SAID)
def test_what_cannot_be_compared_is_unknown_and_nothing_is_asked_again(reading: Found, said: Said | None) -> None:
    assert isinstance(conclude_cancel(reading, ASKED, said=said), Unknown)
    assert not not_given_back(reading, ASKED)


@settings(deadline=None)
@given(
    left=st.sampled_from([4_000, 5_000, 5_800]) | st.integers(0, 5_800),
    cancels=st.lists(
        st.builds(Cancelled, st.sampled_from([500, 1_000]), st.sampled_from(["", "T1", "T2"])), max_size=3
    ),
    said=SAID,
)
def test_a_refund_is_done_only_if_what_is_left_says_so(left: int, cancels: list[Cancelled], said: Said | None) -> None:
    found = shown(left, *cancels)
    outcome = conclude_cancel(found, ASKED, said=said)
    assert not isinstance(outcome, Refunded) or left == 4_000
    assert not (isinstance(outcome, Refunded) and not_given_back(found, ASKED))
    assert not isinstance(outcome, Later) or left == 5_000, "another request only where nothing went back"


TRANSIENT = """
    PROVIDER_ERROR FORBIDDEN_CONSECUTIVE_REQUEST NOT_AVAILABLE_BANK FAILED_REFUND_PROCESS FAILED_PARTIAL_REFUND
    FAILED_METHOD_HANDLING_CANCEL COMMON_ERROR FAILED_PAYMENT_INTERNAL_SYSTEM_PROCESSING A_CODE_OF_NEXT_YEAR
    """.split()
FINAL = """
    NOT_CANCELABLE_AMOUNT NOT_CANCELABLE_PAYMENT EXCEED_MAX_REFUND_DUE NOT_ALLOWED_PARTIAL_REFUND REFUND_REJECTED
    EXCEED_CANCEL_LIMIT INVALID_BANK NOT_CANCELABLE_PAYMENT_FOR_DORMANT_USER INVALID_REFUND_ACCOUNT_NUMBER
    """.split()


@pytest.mark.parametrize(
    ("codes", "means"),
    [
        (TRANSIENT, Means.TRANSIENT),
        (FINAL, Means.FINAL),
        (["ALREADY_CANCELED_PAYMENT", "ALREADY_REFUND_PAYMENT", "NOT_MATCHES_REFUNDABLE_AMOUNT"], Means.MOVED),
    ],
)
def test_an_error_is_read_back_before_it_is_believed(codes: list[str], means: Means) -> None:
    for code in codes:
        assert classify_cancel(400, TossError(code, "why")) == Said(code, "why", means)
        assert classify_cancel(500, TossError(code, "why")) == Said(code, "why", Means.TRANSIENT), "nobody refused"


@pytest.mark.parametrize("code", [*sorted(OURS), "NOT_FOUND_PAYMENT"])
def test_a_refusal_of_the_shop_is_tried_again_and_somebody_must_look(code: str) -> None:
    assert classify_cancel(403, TossError(code, "")) == Later(code, "", ours=True, sent=False)


def test_a_first_request_that_still_runs_is_no_answer() -> None:
    assert classify_cancel(409, TossError("IDEMPOTENT_REQUEST_PROCESSING", "")) == Unknown(
        "IDEMPOTENT_REQUEST_PROCESSING", ""
    )


@settings(deadline=None)
@given(status=st.integers(100, 599), code=st.sampled_from(sorted(CANCEL)) | st.text(max_size=20))
def test_no_error_answer_is_ever_money(status: int, code: str) -> None:
    assert not isinstance(classify_cancel(status, TossError(code, "")), Refunded)
