"""A user's bucket: a burst at once, then so many a second, for as long as anybody asks; and no memory without bound."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quickcommerce.kit import rate
from quickcommerce.kit.problem import TooManyRequests
from quickcommerce.kit.rate import UserRate


class Watch:
    """A monotonic clock that is set by hand."""

    now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


def taken(limit: UserRate, user: int = 1) -> bool:
    try:
        limit.take(user)
    except TooManyRequests:
        return False
    return True


def test_after_the_burst_the_bucket_fills_at_its_rate() -> None:
    watch = Watch()
    limit = UserRate(3, 0.5, watch)
    assert [taken(limit) for _ in range(5)] == [True, True, True, False, False]
    with pytest.raises(TooManyRequests) as refused:
        limit.take(1)
    assert refused.value.retry_after_s == 2
    watch.now_s += 2
    assert [taken(limit) for _ in range(2)] == [True, False], "who came back in time was refused"
    watch.now_s += 1_000
    assert [taken(limit) for _ in range(4)] == [True, True, True, False], "a bucket holds no more than the burst"


@given(st.integers(1, 20), st.floats(0.1, 100), st.lists(st.floats(0, 5), min_size=1, max_size=200))
def test_in_any_time_no_more_pass_than_the_burst_and_the_rate_allow(
    burst: int, per_s: float, waits: list[float]
) -> None:
    watch = Watch()
    limit = UserRate(burst, per_s, watch)
    began, passed = watch.now_s, 0
    for wait in waits:
        watch.now_s += wait
        passed += taken(limit)
        assert passed <= burst + per_s * (watch.now_s - began) + 1e-6
    assert passed, "a full bucket refused"


def test_users_are_counted_apart_and_forgotten_at_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate, "USERS_MAX", 100)
    limit = UserRate(1, 0.001, Watch())
    assert all(taken(limit, user) for user in range(1_000))
    assert len(limit._full_at_s) == 100
    assert not taken(limit, 999), "one who has just asked was forgotten"


def test_a_bucket_that_is_full_again_is_forgotten_by_the_next_who_asks() -> None:
    watch = Watch()
    limit = UserRate(2, 0.5, watch)
    assert all(taken(limit, user) for user in (1, 2, 2, 3))
    watch.now_s += 2
    assert taken(limit, 4)
    assert list(limit._full_at_s) == [2, 3, 4], "memory grows with every user who ever asked"
    assert [taken(limit, 2) for _ in range(2)] == [True, False], "one who had not waited was forgotten"
    watch.now_s += 4
    assert taken(limit, 5)
    assert list(limit._full_at_s) == [5]
