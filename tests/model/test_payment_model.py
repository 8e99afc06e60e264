"""Money counts only where the PG itself says so, in every fact; what is not known is never called a failure."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quickcommerce.payment.codes import ABSENT, OURS, REFUSED, REFUSED_REQUEST, TossError, classify
from quickcommerce.payment.deposit_model import Account, Awaiting, awaited_until
from quickcommerce.payment.model import (
    CLOSABLE,
    DECLINES_MAX,
    ENDED_UNPAID,
    MONEY_TAKEN,
    NEXT,
    OPEN,
    UNDER_WAY,
    Asked,
    Cancelled,
    Captured,
    Declined,
    Doubtful,
    Found,
    Later,
    Missing,
    Outcome,
    Reading,
    Status,
    Unknown,
    Unreadable,
    conclude,
    may_ask_again,
)  # fmt: skip
from quickcommerce.payment.toss import KEY

ASKED = Asked("key-1", "pay_1", 2_900, "attempt-1")
DONE = Found("key-1", "pay_1", 2_900, "KRW", "DONE", "", "")
ANSWERED = Doubtful("PROVIDER_ERROR", "try again later")


def found(status: str = "DONE", **facts: object) -> Found:
    return msgspec.structs.replace(DONE, status=status, **facts)


Kind = type[Outcome]
READINGS: list[tuple[Reading, Kind, Kind]] = [
    # The reading, what it proves where the PG gave no answer, and where it answered with an error.
    (DONE, Captured, Captured),
    (Unreadable("ReadTimeout"), Unknown, Unknown),
    (Missing(), Unknown, Unknown),
    (found("READY"), Unknown, Later),
    (found("IN_PROGRESS"), Unknown, Later),
    (found("WAITING_FOR_DEPOSIT"), Awaiting, Awaiting),
    (found("ABORTED"), Declined, Declined),
    (found("EXPIRED"), Declined, Declined),
    (found("CANCELED"), Unknown, Unknown),
    (found("PARTIAL_CANCELED"), Unknown, Unknown),
    (found("A_STATUS_OF_NEXT_YEAR"), Unknown, Unknown),
    (found("done"), Unknown, Unknown),
    (found(""), Unknown, Unknown),
    (found(amount=2_901), Unknown, Unknown),
    (found(amount=-2_900), Unknown, Unknown),
    (found(currency="USD"), Unknown, Unknown),
    (found(payment_key="key-2"), Captured, Captured),
    (found(payment_key="key-2", amount=2_901), Unknown, Unknown),
    (found("IN_PROGRESS", payment_key="key-2"), Unknown, Later),
    (found("EXPIRED", payment_key="key-2"), Unknown, Later),
    (found(payment_id="pay_2"), Declined, Declined),
    (found("IN_PROGRESS", payment_id="pay_2"), Declined, Declined),
    (found("EXPIRED", payment_id="pay_2"), Declined, Declined),
]


@pytest.mark.parametrize(("reading", "unanswered", "answered"), READINGS)
def test_what_a_reading_proves(reading: Reading, unanswered: Kind, answered: Kind) -> None:
    assert type(conclude(reading, ASKED, answered=None)) is unanswered
    assert type(conclude(reading, ASKED, answered=ANSWERED)) is answered


def test_the_buyer_is_told_the_reason_of_the_pg_where_there_is_one() -> None:
    refused = found("ABORTED", code="REJECT_CARD_COMPANY", message="ask your bank")
    assert conclude(refused, ASKED, answered=ANSWERED) == Declined("REJECT_CARD_COMPANY", "ask your bank")
    assert conclude(found("EXPIRED"), ASKED, answered=None) == Declined("EXPIRED", "the PG says EXPIRED")
    gone = Doubtful("NOT_FOUND_PAYMENT", "no such payment", absent=True)
    assert conclude(Missing(), ASKED, answered=gone) == Declined("NOT_FOUND_PAYMENT", "the PG knows no such payment")
    assert conclude(found("READY", payment_key="key-2"), ASKED, answered=gone) == Declined(
        "NOT_FOUND_PAYMENT", "the PG knows no such payment key"
    )
    assert conclude(found("READY"), ASKED, answered=ANSWERED) == Later(
        "PROVIDER_ERROR", "try again later", ours=False, sent=True
    )
    assert conclude(Unreadable("ReadTimeout"), ASKED, answered=None) == Unknown("NO_ANSWER", "ReadTimeout")
    assert conclude(found(amount=1), ASKED, answered=None) == Unknown(
        "MISMATCH", "the PG captured something else than was asked"
    )


ASKABLE = OPEN - {"WAITING_FOR_DEPOSIT"}
"""An account that is open is the answer to what was asked."""
TAKEN = Doubtful("ALREADY_PROCESSED_PAYMENT", "paid already", taken=True)


@pytest.mark.parametrize("reading", [found(status) for status in sorted(ASKABLE | ENDED_UNPAID)])
@pytest.mark.parametrize("key", ["key-1", "key-2"])
def test_a_pg_that_says_paid_already_is_not_believed_to_have_declined(reading: Found, key: str) -> None:
    """It is asked again, under a new Idempotency-Key: it gives the same answer to the same one."""
    reading = msgspec.structs.replace(reading, payment_key=key)
    assert conclude(reading, ASKED, answered=TAKEN) == Later(TAKEN.code, TAKEN.message, ours=False, sent=True)
    assert isinstance(conclude(Missing(), ASKED, answered=TAKEN), Unknown)


NAMES = st.sampled_from(["", "key-1", "key-2", "KEY-1", "pay_1", "pay_2", " key-1", "KRW", "krw"]) | st.text(max_size=9)
STATUSES = st.sampled_from(
    ["DONE", "done", "READY", "ABORTED", "EXPIRED", "CANCELED", "IN_PROGRESS", "", "DONE "]
) | st.text(max_size=9)
FOUND = st.builds(
    Found, payment_key=NAMES, payment_id=NAMES, amount=st.integers(), currency=NAMES, status=STATUSES,
    code=st.text(max_size=9), message=st.text(max_size=9),
)  # fmt: skip
DOUBTS = st.none() | st.builds(Doubtful, code=st.text(max_size=9), message=st.text(max_size=9))


@settings(deadline=None)
@given(reading=FOUND, answered=DOUBTS)
def test_money_counts_exactly_if_all_facts_agree_and_under_the_key_that_was_read(
    reading: Found, answered: Doubtful | None
) -> None:
    facts = (reading.payment_id, reading.amount, reading.currency, reading.status)
    agrees = facts == (ASKED.payment_id, ASKED.amount, "KRW", "DONE")
    outcome = conclude(reading, ASKED, answered=answered)
    assert (outcome == Captured(reading.payment_key)) == agrees
    assert isinstance(outcome, Captured) == agrees


@settings(deadline=None)
@given(data=st.data(), answered=DOUBTS)
def test_one_fact_that_differs_is_enough(data: st.DataObject, answered: Doubtful | None) -> None:
    field = data.draw(st.sampled_from(["payment_id", "amount", "currency", "status"]))
    values: st.SearchStrategy[int | str] = st.integers() if field == "amount" else NAMES | STATUSES
    value = data.draw(values.filter(lambda other: other != getattr(DONE, field)))
    reading = msgspec.structs.replace(DONE, **{field: value})
    assert not isinstance(conclude(reading, ASKED, answered=answered), Captured)
    assert isinstance(
        conclude(msgspec.structs.replace(DONE, code="x", message="y"), ASKED, answered=answered), Captured
    )


@settings(deadline=None)
@given(reading=FOUND)
def test_without_an_answer_an_open_payment_is_never_called_a_failure(reading: Found) -> None:
    """The request may still be on its way, and the stock must be held until it is known."""
    reading = msgspec.structs.replace(reading, payment_key=ASKED.payment_key, payment_id=ASKED.payment_id)
    if reading.status not in ENDED_UNPAID:
        assert not isinstance(conclude(reading, ASKED, answered=None), Declined | Later)


@settings(deadline=None)
@given(reading=FOUND | st.just(Missing()) | st.builds(Unreadable, reason=st.text(max_size=9)))
def test_asking_again_makes_sense_only_for_this_payment_and_while_it_is_open(reading: Reading) -> None:
    """Or while it is not found: one reading that finds nothing may only lag behind a capture."""
    if isinstance(reading, Found):
        askable = ASKABLE if reading.payment_key == "key-1" else OPEN | ENDED_UNPAID
        assert may_ask_again(reading, ASKED) == (reading.payment_id == "pay_1" and reading.status in askable)
    else:
        assert may_ask_again(reading, ASKED) == isinstance(reading, Missing)


@pytest.mark.parametrize("status", sorted(ASKABLE))
def test_an_open_payment_may_be_asked_for_again_and_an_ended_one_may_not(status: str) -> None:
    assert may_ask_again(found(status), ASKED)
    assert not may_ask_again(found(status, payment_id="pay_2"), ASKED)
    assert may_ask_again(found(status, payment_key="key-2"), ASKED), "the key asked for is missing"
    assert not may_ask_again(found("DONE", payment_key="key-2"), ASKED)
    for other in ("DONE", "ABORTED", "EXPIRED", "CANCELED", "PARTIAL_CANCELED", "WAITING_FOR_DEPOSIT", ""):
        assert not may_ask_again(found(other), ASKED)


# Accounts

ACCOUNT = Account("20", "X123", "김하나", 9_000_000)


@pytest.mark.parametrize("answered", [None, ANSWERED, Doubtful("ALREADY_PROCESSED_PAYMENT", "", taken=True)])
def test_an_account_of_this_payment_and_sum_is_awaited_and_no_other(answered: Doubtful | None) -> None:
    waiting = found("WAITING_FOR_DEPOSIT", account=ACCOUNT, secret="ps_1")
    assert conclude(waiting, ASKED, answered=answered) == Awaiting(ACCOUNT, "ps_1")
    assert not may_ask_again(waiting, ASKED), "a second account is asked for"
    untold = msgspec.structs.replace(waiting, account=None)
    assert conclude(untold, ASKED, answered=answered) == Awaiting(None, "ps_1")
    for facts in ({"amount": 1}, {"currency": "USD"}, {"payment_key": "k"}, {"payment_id": "p"}):
        other = msgspec.structs.replace(waiting, **facts)
        assert not isinstance(conclude(other, ASKED, answered=answered), Awaiting | Captured)


def test_an_account_that_was_closed_before_any_deposit_took_no_money() -> None:
    closed = found("CANCELED", left=0, cancels=(Cancelled(ASKED.amount, "T1"),))
    assert isinstance(conclude(closed, ASKED, answered=None), Captured)
    unpaid = msgspec.structs.replace(closed, unpaid=True)
    assert conclude(unpaid, ASKED, answered=None) == Declined(
        "DEPOSIT_CANCELED", "the account was closed before a deposit came"
    )


def test_goods_are_held_until_the_due_date_and_no_longer_than_the_shop_wants() -> None:
    assert awaited_until(ACCOUNT, 1_000_000, 10_000_000) == 9_000_000
    assert awaited_until(ACCOUNT, 1_000_000, 5_000_000) == 6_000_000


# Statuses


def test_where_a_payment_may_go_is_this_table() -> None:
    answered = {Status.CAPTURED, Status.DECLINED, Status.UNKNOWN, Status.RETRY, Status.FAILED}
    assert {
        Status.READY: {Status.CAPTURING, Status.CLOSED},
        Status.CAPTURING: answered | {Status.AWAITING_DEPOSIT},
        Status.CAPTURED: {Status.PARTLY_REFUNDED, Status.REFUNDED},
        Status.DECLINED: {Status.CAPTURING, Status.CLOSED, Status.CAPTURED},
        Status.UNKNOWN: answered | {Status.AWAITING_DEPOSIT},
        Status.AWAITING_DEPOSIT: answered - {Status.RETRY},
        Status.RETRY: {Status.CAPTURING, Status.UNKNOWN, Status.CLOSED, Status.CAPTURED},
        Status.FAILED: {Status.CAPTURED},
        Status.CLOSED: {Status.CAPTURED},
        Status.PARTLY_REFUNDED: {Status.REFUNDED},
        Status.REFUNDED: set(),
    } == NEXT
    assert {Status.CAPTURED, Status.PARTLY_REFUNDED, Status.REFUNDED} == MONEY_TAKEN
    assert {Status.READY, Status.DECLINED, Status.RETRY} == CLOSABLE


def test_ten_declines_end_a_payment() -> None:
    assert DECLINES_MAX == 10


def reachable(start: Status) -> set[Status]:
    known: set[Status] = set()
    ahead = {start}
    while ahead:
        known |= ahead
        ahead = {following for status in ahead for following in NEXT[status]} - known
    return known


def test_every_status_is_known_and_reachable() -> None:
    assert set(NEXT) == reachable(Status.READY) == set(Status)


def test_what_has_ended_changes_only_when_the_pg_proves_that_money_was_taken() -> None:
    assert {status for status, following in NEXT.items() if not following} == {Status.REFUNDED}
    assert NEXT[Status.FAILED] == NEXT[Status.CLOSED] == {Status.CAPTURED}


def test_only_a_payment_without_a_capture_under_way_can_be_closed() -> None:
    """Before stock is given back the payment is closed; one that may yet be captured must refuse."""
    assert {status for status, following in NEXT.items() if Status.CLOSED in following} == CLOSABLE
    assert not CLOSABLE & {Status.CAPTURING, Status.UNKNOWN}
    assert not CLOSABLE & MONEY_TAKEN


def test_what_the_due_loop_takes_up_is_neither_ended_nor_waiting_for_the_buyer() -> None:
    assert {Status.CAPTURING, Status.UNKNOWN, Status.RETRY} == UNDER_WAY
    assert all(NEXT[status] for status in UNDER_WAY)
    assert not UNDER_WAY & MONEY_TAKEN


def test_money_that_was_taken_stays_in_the_books() -> None:
    for status in MONEY_TAKEN:
        assert NEXT[status] <= MONEY_TAKEN
    assert {status for status, following in NEXT.items() if Status.CAPTURED not in following} - MONEY_TAKEN == {
        Status.READY
    }, "only where nothing was ever asked can the PG have nothing to say"


def test_a_capture_begins_only_where_no_other_may_be_under_way() -> None:
    assert {status for status, following in NEXT.items() if Status.CAPTURING in following} == CLOSABLE


@pytest.mark.parametrize("status", [200, 302, 500, 502])
def test_a_refusal_that_does_not_come_as_one_is_read_back(status: int) -> None:
    for code in sorted(REFUSED | REFUSED_REQUEST | OURS | ABSENT):
        assert classify(status, TossError(code, "no")) == Doubtful(code, "no")


@pytest.mark.parametrize(
    "key", ["confirm", "orders", "key-in", "..", ".", "a/b", "a?b", "a#b", "a%2Fb", "", "a b", "é"]
)
def test_a_buyers_key_does_not_choose_what_is_read(key: str) -> None:
    assert not KEY.fullmatch(key)
    assert KEY.fullmatch("tgen_20260131abcDEF-_=")
