"""Times that sort as text, ids that sort as time, waits that are bounded."""

import random
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from quickcommerce.kit.clock import SECOND_US, from_rfc3339, rfc3339, system_clock
from quickcommerce.kit.ids import Ids, is_id
from quickcommerce.kit.policy import Backoff

ANNO_1000 = int(datetime(1000, 1, 1, tzinfo=UTC).timestamp()) * SECOND_US
ANNO_9999 = int(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()) * SECOND_US + 999_999
TIMES = st.integers(ANNO_1000, ANNO_9999)
NOW_US = 1_767_225_600 * SECOND_US


def ids(now_us: int = NOW_US, seed: int = 1) -> Ids:
    return Ids(lambda: now_us, random.Random(seed))


# Times


@pytest.mark.parametrize(
    ("at_us", "text"),
    [
        (0, "1970-01-01T00:00:00.000000Z"),
        (-1, "1969-12-31T23:59:59.999999Z"),
        (NOW_US + 1, "2026-01-01T00:00:00.000001Z"),
        (2**31 * SECOND_US, "2038-01-19T03:14:08.000000Z"),
        (951_782_400 * SECOND_US, "2000-02-29T00:00:00.000000Z"),
        (ANNO_1000, "1000-01-01T00:00:00.000000Z"),
        (ANNO_9999, "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_a_time_is_written_in_utc_with_six_digits(at_us: int, text: str) -> None:
    assert rfc3339(at_us) == text
    assert from_rfc3339(text) == at_us


@settings(deadline=None)
@given(TIMES)
@example(NOW_US - 1)
def test_every_microsecond_survives_being_written_and_read(at_us: int) -> None:
    assert from_rfc3339(rfc3339(at_us)) == at_us
    assert len(rfc3339(at_us)) == 27


@settings(deadline=None)
@given(TIMES, TIMES, st.integers(-2, 2))
def test_text_order_is_time_order(one: int, other: int, near: int) -> None:
    assert (rfc3339(one) < rfc3339(other)) == (one < other)
    if ANNO_1000 <= one + near <= ANNO_9999:
        assert (rfc3339(one) < rfc3339(one + near)) == (near > 0)


@settings(deadline=None)
@given(TIMES, st.integers(-14 * 60, 14 * 60))
def test_a_time_with_any_offset_is_the_same_moment(at_us: int, minutes: int) -> None:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_us)
    local = timezone(timedelta(minutes=minutes))
    if datetime(1000, 1, 2, tzinfo=UTC) < moment < datetime(9999, 12, 30, tzinfo=UTC):
        assert from_rfc3339(moment.astimezone(local).isoformat()) == at_us


@pytest.mark.parametrize(
    "text", ["2026-01-31T09:00:00", "2026-01-31", "", "now", "2026-02-30T00:00:00Z", "2026-01-31T25:00:00Z", "1"]
)
def test_what_names_no_moment_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        from_rfc3339(text)


def test_the_system_clock_counts_microseconds() -> None:
    assert abs(system_clock() - datetime.now(UTC).timestamp() * SECOND_US) < 60 * SECOND_US
    assert system_clock() <= system_clock()


# Ids


def test_an_id_says_what_it_names_and_fits_where_it_goes() -> None:
    made = ids()
    for prefix, one in (("ord", made.order()), ("pay", made.payment()), ("evt", made.event())):
        assert is_id(prefix, one)
        # Columns hold 30 characters; a PG takes 6 to 64 of letters, digits, - and _.
        assert len(one) == 30
        assert not any(is_id(other, one) for other in {"ord", "pay", "evt"} - {prefix})


@pytest.mark.parametrize(
    "text",
    [
        "", "ord_", "ord", "ord_" + "0" * 25, "ord_" + "0" * 27, "ord_" + "I" * 26, "ord_" + "o" * 26,
        "pay_" + "0" * 26, "ord_" + "0" * 26 + "\n", " ord_" + "0" * 26, "ord_" + "\u0966" * 26, "ord_" + "U" * 26,
    ],
)  # fmt: skip
def test_what_is_no_id_names_nothing(text: str) -> None:
    assert not is_id("ord", text)


@settings(deadline=None)
@given(st.integers(0, 10**17), st.integers(1_000, 10**16), st.integers(0, 2**32))
def test_a_later_id_sorts_behind_an_earlier_one(now_us: int, later_by: int, seed: int) -> None:
    assert ids(now_us, seed).order() < ids(now_us + later_by, seed + 1).order()


def test_ten_thousand_ids_of_one_moment_are_all_different() -> None:
    for made in (ids(), Ids(lambda: NOW_US, random.SystemRandom())):
        assert len({made.order() for _ in range(10_000)}) == 10_000
        assert len({made.token() for _ in range(10_000)}) == 10_000


def test_a_seed_makes_the_same_ids_again_and_another_seed_others() -> None:
    assert [ids().order(), ids().token()] == [ids().order(), ids().token()]
    assert ids().order() != ids(seed=2).order()


def test_a_token_is_128_bits_of_hexadecimal() -> None:
    made = Ids(lambda: NOW_US, random.SystemRandom())
    tokens = [made.token() for _ in range(1000)]
    assert {len(token) for token in tokens} == {32}
    assert {int(token, 16) >> 127 for token in tokens} == {0, 1}
    assert {int(token, 16) & 1 for token in tokens} == {0, 1}


# Backoff


@settings(deadline=None)
@given(
    st.floats(1e-6, 100, allow_nan=False), st.floats(1e-6, 1000, allow_nan=False), st.integers(0, 10**9), st.integers()
)
def test_a_wait_is_at_least_its_step_and_at_most_twice_the_cap(base: float, cap: float, tries: int, seed: int) -> None:
    backoff = Backoff(base_s=base, cap_s=cap)
    step = backoff.step_s(tries)
    assert min(base, cap) <= step <= cap
    assert step <= backoff.delay_s(tries, random.Random(seed)) <= 2 * step
    assert step <= backoff.step_s(tries + 1)


def test_the_steps_double_up_to_the_cap_and_the_jitter_is_as_wide_as_the_step() -> None:
    backoff = Backoff(base_s=0.5, cap_s=3)
    assert [backoff.step_s(tries) for tries in range(5)] == [0.5, 1, 2, 3, 3]
    rng = random.Random(1)
    waits = [backoff.delay_s(1, rng) for _ in range(1000)]
    assert 1 <= min(waits) < 1.1
    assert 1.9 < max(waits) <= 2
