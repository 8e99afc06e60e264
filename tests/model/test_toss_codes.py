"""What Toss's error codes mean for the buyer and for the shop; none of them ever means money."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quickcommerce.payment.codes import ABSENT, AT_WORK, OURS, REFUSED, REFUSED_REQUEST, TossError, classify
from quickcommerce.payment.model import Declined, Doubtful, Later, Reply, Unknown
from quickcommerce.payment.toss import KEY

LISTED = {
    "refused 403": """
        REJECT_CARD_PAYMENT REJECT_CARD_COMPANY REJECT_ACCOUNT_PAYMENT REJECT_TOSSPAY_INVALID_ACCOUNT
        EXCEED_MAX_AUTH_COUNT EXCEED_MAX_ONE_DAY_AMOUNT INVALID_PASSWORD FDS_ERROR NOT_AVAILABLE_BANK
        """,
    "refused 400": """
        INVALID_REJECT_CARD INVALID_STOPPED_CARD INVALID_CARD_EXPIRATION INVALID_CARD_NUMBER
        INVALID_CARD_LOST_OR_STOLEN EXCEED_MAX_DAILY_PAYMENT_COUNT EXCEED_MAX_PAYMENT_AMOUNT EXCEED_MAX_AMOUNT
        EXCEED_MAX_MONTHLY_PAYMENT_AMOUNT EXCEED_MAX_ONE_DAY_WITHDRAW_AMOUNT EXCEED_MAX_ONE_TIME_WITHDRAW_AMOUNT
        RESTRICTED_TRANSFER_ACCOUNT INVALID_ACCOUNT_INFO_RE_REGISTER NOT_ALLOWED_POINT_USE
        EXCEED_MAX_CARD_INSTALLMENT_PLAN NOT_SUPPORTED_INSTALLMENT_PLAN_CARD_OR_MERCHANT
        INVALID_CARD_INSTALLMENT_PLAN NOT_SUPPORTED_MONTHLY_INSTALLMENT_PLAN NOT_AVAILABLE_PAYMENT
        """,
    "refused request 400": "INVALID_REQUEST BELOW_MINIMUM_AMOUNT",
    "ours 400": """
        INVALID_API_KEY INVALID_AUTHORIZE_AUTH UNAPPROVED_ORDER_ID NOT_FOUND_TERMINAL_ID NOT_REGISTERED_BUSINESS
        INVALID_UNREGISTERED_SUBMALL INVALID_IDEMPOTENCY_KEY
        """,
    "ours 401": "UNAUTHORIZED_KEY",
    "ours 403": "INCORRECT_BASIC_AUTH_FORMAT FORBIDDEN_REQUEST",
    "absent 404": "NOT_FOUND_PAYMENT_SESSION NOT_FOUND_PAYMENT NOT_FOUND",
    "taken 400": "ALREADY_PROCESSED_PAYMENT",
    "at work 409": "IDEMPOTENT_REQUEST_PROCESSING",
    "doubtful 400": "PROVIDER_ERROR CARD_PROCESSING_ERROR",
    "doubtful 403": "FORBIDDEN_CONSECUTIVE_REQUEST",
    "doubtful 429": "TOO_MANY_REQUESTS",
    "doubtful 500": """
        FAILED_INTERNAL_SYSTEM_PROCESSING FAILED_PAYMENT_INTERNAL_SYSTEM_PROCESSING UNKNOWN_PAYMENT_ERROR
        """,
}
"""What Toss lists for the confirm, by what it means and its status: written by hand from its list, not from ours."""
MEANS: dict[str, Callable[[str], Reply]] = {
    "refused": lambda code: Declined(code, "no"),
    "refused request": lambda code: Declined(code, "no"),
    "ours": lambda code: Later(code, "no", ours=True, sent=False),
    "absent": lambda code: Doubtful(code, "no", absent=True),
    "taken": lambda code: Doubtful(code, "no", taken=True),
    "at work": lambda code: Unknown(code, "no"),
    "doubtful": lambda code: Doubtful(code, "no"),
}


@pytest.mark.parametrize(
    ("means", "code"),
    [pytest.param(means, code, id=f"{code} {means}") for means, codes in LISTED.items() for code in codes.split()],
)
def test_every_code_that_toss_lists_for_a_capture_means_what_its_list_says(means: str, code: str) -> None:
    kind, status = means.rsplit(" ", 1)
    assert classify(int(status), TossError(code, "no")) == MEANS[kind](code)


def test_no_code_is_taken_for_a_refusal_or_for_our_fault_that_toss_does_not_list_so() -> None:
    def listed(kind: str) -> set[str]:
        return {code for means, codes in LISTED.items() if means.rsplit(" ", 1)[0] == kind for code in codes.split()}

    known = {"refused": REFUSED, "refused request": REFUSED_REQUEST, "ours": OURS, "absent": ABSENT, "at work": AT_WORK}
    assert {kind: listed(kind) for kind in known} == known


@pytest.mark.parametrize(
    "code",
    [
        "NOT_FOUND_PAYMENT_SESSION",
        "NOT_FOUND_PAYMENT",
        "NOT_FOUND",
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
