"""The circuit breaker before the PG: when it holds calls back, and when it lets them through again."""

import pytest

from quickcommerce.payment.breaker import CALLS_MIN, FIRST_S, IN_A_ROW, REST_MAX_S, REST_S, WINDOW_S, Breaker
from quickcommerce.payment.codes import trouble
from quickcommerce.payment.pace import FIRM_TURN_S, LAST_TURN_S, TURN_S, Pace


class Now:
    """A clock that a test moves, in seconds."""

    at_s = 1_000.0

    def __call__(self) -> float:
        return self.at_s


@pytest.fixture
def now() -> Now:
    return Now()


@pytest.fixture
def breaker(now: Now) -> Breaker:
    return Breaker("read", now)


def calls(breaker: Breaker, *, failed: bool, times: int = 1) -> None:
    """Make calls, one after the other."""
    for _ in range(times):
        turn = breaker.turn()
        assert turn.asked
        breaker.ended(turn, failed=failed)


def rests(breaker: Breaker) -> bool:
    """Whether a call that comes now is held back."""
    turn = breaker.turn()
    breaker.ended(turn, failed=None)
    return not turn.asked


def test_a_few_calls_that_fail_hold_nobody_back(breaker: Breaker) -> None:
    calls(breaker, failed=True, times=IN_A_ROW - 1)
    assert not rests(breaker)
    calls(breaker, failed=False)
    calls(breaker, failed=True, times=CALLS_MIN - IN_A_ROW - 1)
    assert not rests(breaker)


def test_where_half_of_many_calls_fail_the_pg_rests(breaker: Breaker) -> None:
    for _ in range(CALLS_MIN // 2):
        assert not rests(breaker)
        calls(breaker, failed=False)
        calls(breaker, failed=True)
    assert rests(breaker)


def test_a_pg_that_answers_most_calls_is_asked_on(breaker: Breaker) -> None:
    for _ in range(20):
        calls(breaker, failed=False, times=2)
        calls(breaker, failed=True)
    assert not rests(breaker)


def test_failures_of_long_ago_say_nothing_of_now(breaker: Breaker, now: Now) -> None:
    calls(breaker, failed=True, times=IN_A_ROW - 1)
    now.at_s += WINDOW_S + 1
    calls(breaker, failed=True, times=IN_A_ROW - 1)
    assert not rests(breaker)


def test_after_a_rest_one_goes_first_and_the_others_follow_when_it_is_answered(breaker: Breaker, now: Now) -> None:
    calls(breaker, failed=True, times=IN_A_ROW)
    assert rests(breaker)
    now.at_s += REST_S
    first = breaker.turn()
    assert first.first_s == now.at_s
    assert rests(breaker), "one at a time"
    breaker.ended(first, failed=False)
    calls(breaker, failed=True, times=IN_A_ROW - 1)
    assert not rests(breaker), "what failed before is forgotten"


def test_a_first_call_that_fails_makes_the_rest_longer_up_to_a_bound(breaker: Breaker, now: Now) -> None:
    calls(breaker, failed=True, times=IN_A_ROW)
    waited = []
    for _ in range(6):
        began_s = now.at_s
        while not (turn := breaker.turn()).asked:
            now.at_s += 0.25
        waited.append(now.at_s - began_s)
        breaker.ended(turn, failed=True)
    assert waited == [REST_S, 2 * REST_S, 4 * REST_S, 8 * REST_S, 16 * REST_S, REST_MAX_S]


def test_a_first_call_whose_caller_goes_away_leaves_its_place_to_another(breaker: Breaker, now: Now) -> None:
    calls(breaker, failed=True, times=IN_A_ROW)
    now.at_s += REST_S
    breaker.ended(breaker.turn(), failed=None)
    assert breaker.turn().first_s == now.at_s


def test_what_was_under_way_before_the_rest_ends_it_only_with_an_answer(breaker: Breaker, now: Now) -> None:
    early = [breaker.turn() for _ in range(3)]
    calls(breaker, failed=True, times=IN_A_ROW)
    breaker.ended(early[0], failed=True)
    now.at_s += REST_S
    first = breaker.turn()
    breaker.ended(early[1], failed=True)
    assert rests(breaker), "the first one is still under way"
    breaker.ended(early[2], failed=False)
    assert not rests(breaker), "the PG answers"
    breaker.ended(first, failed=None)


def test_a_first_call_that_hangs_keeps_nobody_back_for_long(breaker: Breaker, now: Now) -> None:
    """A PG that swallowed it may answer the next one."""
    calls(breaker, failed=True, times=IN_A_ROW)
    now.at_s += REST_S
    hangs = breaker.turn()
    assert rests(breaker)
    now.at_s += FIRST_S
    second = breaker.turn()
    assert second.first_s == now.at_s
    assert rests(breaker), "one at a time"
    breaker.ended(second, failed=False)
    assert not rests(breaker)
    breaker.ended(hangs, failed=True)
    assert not rests(breaker), "what hung says nothing of now"


def test_a_first_call_that_hung_leaves_the_place_of_the_next_one_alone(breaker: Breaker, now: Now) -> None:
    calls(breaker, failed=True, times=IN_A_ROW)
    now.at_s += REST_S
    hangs = breaker.turn()
    now.at_s += FIRST_S
    second = breaker.turn()
    now.at_s += FIRST_S / 2
    breaker.ended(hangs, failed=True)
    assert rests(breaker), "two of them at the same time"
    now.at_s += FIRST_S
    assert not rests(breaker)
    breaker.ended(second, failed=True)
    assert not rests(breaker), "while it hung, it was a rest as well"


def test_what_hung_shortens_no_rest_that_began_after_it(breaker: Breaker, now: Now) -> None:
    calls(breaker, failed=True, times=IN_A_ROW)
    now.at_s += REST_S
    hangs = breaker.turn()
    now.at_s += FIRST_S
    breaker.ended(breaker.turn(), failed=True)
    assert rests(breaker)
    breaker.ended(hangs, failed=True)
    assert rests(breaker), "the PG said a moment ago that it cannot answer"


def test_a_first_call_that_hung_was_a_rest_as_well(breaker: Breaker, now: Now) -> None:
    calls(breaker, failed=True, times=IN_A_ROW)
    now.at_s += REST_S
    hangs = breaker.turn()
    now.at_s += 60
    breaker.ended(hangs, failed=True)
    assert not rests(breaker)


@pytest.mark.parametrize("code", ["TOO_MANY_REQUESTS", "A_NEW_CODE", "HTTP_503", "UNEXPECTED_ANSWER", "PROVIDER_ERROR"])
def test_an_error_that_says_nothing_of_the_payment_is_trouble(code: str) -> None:
    assert trouble(code)


@pytest.mark.parametrize(
    "code", ["REJECT_CARD_COMPANY", "NOT_FOUND_PAYMENT", "ALREADY_CANCELED_PAYMENT", "INVALID_REQUEST"]
)
def test_a_refusal_is_an_answer(code: str) -> None:
    assert not trouble(code)


def test_readings_have_turns_that_captures_do_not_take(now: Now) -> None:
    pace = Pace(per_s=5, now_s=now)
    while pace.wait_s(TURN_S) is not None:
        pass
    waits = []
    while (wait_s := pace.wait_s(FIRM_TURN_S)) is not None:
        waits.append(wait_s)
    assert len(waits) == (FIRM_TURN_S - TURN_S) * 5
    assert TURN_S < waits[0] <= waits[-1] <= FIRM_TURN_S
    last = pace.wait_s(LAST_TURN_S)
    assert last is not None, "what follows from a reading has turns that readings do not take"
    assert FIRM_TURN_S < last <= LAST_TURN_S


def test_without_a_pace_there_is_always_a_turn(now: Now) -> None:
    assert all(Pace(per_s=0, now_s=now).wait_s(0) == 0 for _ in range(100))
