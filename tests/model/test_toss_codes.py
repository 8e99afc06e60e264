"""What Toss's error codes mean for the buyer and for the shop; none of them ever means money."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quickcommerce.payment.codes import ABSENT, AT_WORK, OURS, REFUSED, REFUSED_REQUEST, TossError, classify
from quickcommerce.payment.model import Declined, Doubtful, Later, Unknown
from quickcommerce.payment.toss import KEY


@pytest.mark.parametrize("code", sorted(REFUSED | REFUSED_REQUEST))
def test_a_refusal_of_the_issuer_ends_the_attempt(code: str) -> None:
    assert classify(403, TossError(code, "no")) == Declined(code, "no")


@pytest.mark.parametrize("code", sorted(OURS))
def test_a_refusal_of_the_shop_is_not_the_buyers_fault_and_is_tried_again(code: str) -> None:
    assert classify(401, TossError(code, "who are you")) == Later(code, "who are you", ours=True, sent=False)


@pytest.mark.parametrize(
    "code",
    [
        *sorted(ABSENT),
        "ALREADY_PROCESSED_PAYMENT",
        "ALREADY_PROCESSING_REQUEST",
        "PROVIDER_ERROR",
        "CARD_PROCESSING_ERROR",
        "FAILED_PAYMENT_INTERNAL_SYSTEM_PROCESSING",
        "FAILED_INTERNAL_SYSTEM_PROCESSING",
        "UNKNOWN_PAYMENT_ERROR",
        "TOO_MANY_REQUESTS",
        "A_CODE_OF_NEXT_YEAR",
        "reject_card_payment",
    ],
)
def test_a_code_that_does_not_say_whether_money_moved_is_read_back(code: str) -> None:
    for status in (400, 403, 404, 409, 429, 500, 503):
        absent = code in ABSENT and 400 <= status < 500
        taken = code == "ALREADY_PROCESSED_PAYMENT" and status < 500
        assert classify(status, TossError(code, "")) == Doubtful(code, "", absent=absent, taken=taken)


@pytest.mark.parametrize("code", ["REJECT_CARD_PAYMENT", "INVALID_REQUEST", "INVALID_API_KEY"])
def test_a_refusal_counts_only_with_a_status_that_says_no(code: str) -> None:
    """A 5xx may come from something before the PG, or after it: the capture may be under way all the same."""
    for status in (200, 302, 399, 500, 502, 504):
        assert classify(status, TossError(code, "")) == Doubtful(code, "")
    for status in (400, 499):
        assert isinstance(classify(status, TossError(code, "")), Declined | Later)


@pytest.mark.parametrize(
    "key", ["5zJ4xY7m0kODnyRpQWGrN2xqGlNvLrKwv1M9ENjbeoPaZdL6", "test_key-1", "a", "orders1", "confirmed", "a=="]
)
def test_a_key_of_the_pg_may_stand_in_a_path(key: str) -> None:
    assert KEY.fullmatch(key)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "confirm",
        "orders",
        "key-in",
        "orders/pay_1",
        "../v2",
        "a%2Fb",
        "a?b",
        "a#b",
        "a b",
        "a;b",
        ".",
        "..",
        "a\n",
        "키",
        "a/cancel",
    ],
)
def test_what_a_buyer_invents_never_chooses_what_is_read(key: str) -> None:
    assert not KEY.fullmatch(key)


def test_the_codes_that_shops_meet_most_mean_what_toss_says() -> None:
    declined = "REJECT_CARD_PAYMENT REJECT_CARD_COMPANY EXCEED_MAX_DAILY_PAYMENT_COUNT INVALID_STOPPED_CARD".split()
    assert {type(classify(403, TossError(code, ""))) for code in declined} == {Declined}
    ours = "INVALID_API_KEY UNAUTHORIZED_KEY FORBIDDEN_REQUEST".split()
    assert {type(classify(403, TossError(code, ""))) for code in ours} == {Later}


def test_an_answer_without_a_code_is_named_by_its_status() -> None:
    assert classify(502, TossError()) == Doubtful("HTTP_502", "")


def test_no_code_means_two_things() -> None:
    sets = (REFUSED, OURS, REFUSED_REQUEST, ABSENT)
    assert sum(map(len, sets)) == len(frozenset().union(*sets))


@settings(deadline=None)
@given(status=st.integers(100, 599), code=st.sampled_from(sorted(REFUSED | OURS | ABSENT)) | st.text(max_size=20))
def test_no_error_answer_is_ever_money_nor_knows_that_it_is_unknown(status: int, code: str) -> None:
    assert isinstance(classify(status, TossError(code, "")), Declined | Later | Doubtful)


@pytest.mark.parametrize("code", sorted(AT_WORK))
def test_a_request_that_the_pg_still_works_on_has_no_outcome(code: str) -> None:
    """Toss says so with 409. A new request under a new key could be refused while the first one captures."""
    for status in (403, 409, 500):
        assert classify(status, TossError(code, "wait")) == Unknown(code, "wait")


def test_that_requests_come_too_fast_is_an_answer_and_not_asked_for_again_under_its_key() -> None:
    """Toss keeps it under the key, and would give it to each repeat until the payment has expired."""
    answer = classify(403, TossError("FORBIDDEN_CONSECUTIVE_REQUEST", "slowly"))
    assert answer == Doubtful("FORBIDDEN_CONSECUTIVE_REQUEST", "slowly")
