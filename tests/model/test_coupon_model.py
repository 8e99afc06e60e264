"""What a coupon takes off a line, whatever its policy: never more than the line, and never less for buying more."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quickcommerce.coupon.model import WON_MAX, Coupon, DiscountType, Policy
from quickcommerce.kit.ids import PolicyId

LINE_MAX = WON_MAX * 999
RATE, AMOUNT = DiscountType.RATE, DiscountType.AMOUNT
TEN_PER_CENT = Policy(PolicyId("pol_1"), "10%", RATE, 10, 5_000, 3_000, 100, 40, 1_000, 2_000)
NOW = 1_500

amounts = st.integers(1, 10_000) | st.integers(1, LINE_MAX)
won = st.integers(1, 10_000) | st.integers(1, WON_MAX)
values = st.tuples(st.just(RATE), st.integers(1, 100)) | st.tuples(st.just(AMOUNT), won)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Any policy that can be made, open now."""
    kind, value = draw(values)
    return msgspec.structs.replace(
        TEN_PER_CENT,
        discount_type=kind,
        discount_value=value,
        min_order_amount=draw(st.just(0) | won),
        max_discount_amount=draw(won),
    )


@pytest.mark.parametrize(
    ("amount", "off"),
    [
        (5_000, 500),
        (5_009, 500),
        (29_999, 2_999),
        (30_000, 3_000),
        (LINE_MAX, 3_000),
        (4_999, "the coupon needs a line of at least 5000 won"),
    ],
)
def test_a_rate_is_of_the_line_rounded_down_and_capped(amount: int, off: int | str) -> None:
    assert TEN_PER_CENT.off(amount, NOW) == off


@pytest.mark.parametrize(("amount", "off"), [(1, 1), (1_999, 1_999), (2_000, 2_000), (9_000, 2_000)])
def test_an_amount_is_never_more_than_the_line(amount: int, off: int) -> None:
    policy = msgspec.structs.replace(TEN_PER_CENT, discount_type=AMOUNT, discount_value=2_000, min_order_amount=0)
    assert policy.off(amount, NOW) == off
    assert msgspec.structs.replace(policy, max_discount_amount=500).off(amount, NOW) == min(off, 500)


@pytest.mark.parametrize(
    ("now", "off"),
    [
        (0, "the coupon cannot be used yet"),
        (999, "the coupon cannot be used yet"),
        (1_000, 500),
        (1_999, 500),
        (2_000, "the coupon has expired"),
        (2**62, "the coupon has expired"),
    ],
)
def test_a_coupon_is_used_inside_its_window_to_the_microsecond(now: int, off: int | str) -> None:
    assert TEN_PER_CENT.off(5_000, now) == off
    assert Coupon(5, TEN_PER_CENT, 7, None, 1_000, now).off(5_000) == off


@pytest.mark.parametrize(
    ("now", "left", "reason"),
    [
        (999, 1, "this coupon cannot be had yet"),
        (1_000, 1, None),
        (1_999, 60, None),
        (1_999, 0, "all of these coupons are gone"),
        (2_000, 1, "this coupon cannot be had any more"),
    ],
)
def test_a_coupon_is_issued_inside_its_window_while_there_are_some(now: int, left: int, reason: str | None) -> None:
    assert TEN_PER_CENT.withheld(now, left) == reason
    assert TEN_PER_CENT.left == 60


def test_a_coupon_is_not_spent_for_nothing() -> None:
    policy = msgspec.structs.replace(TEN_PER_CENT, discount_value=1, min_order_amount=0)
    assert policy.off(99, NOW) == "the coupon takes nothing off so small an amount"
    assert policy.off(100, NOW) == 1


@given(policies(), amounts)
def test_a_line_never_costs_less_than_nothing_nor_more_than_before(policy: Policy, amount: int) -> None:
    off = policy.off(amount, NOW)
    assert isinstance(off, str) or 1 <= off <= min(amount, policy.max_discount_amount)


@given(policies(), amounts)
def test_a_rate_is_exact_whatever_the_size(policy: Policy, amount: int) -> None:
    """No fraction of a won is lost to floating point: beyond 2^53 a float would."""
    off = policy.off(amount, NOW)
    if policy.discount_type is RATE and isinstance(off, int) and off < policy.max_discount_amount:
        assert 0 <= amount * policy.discount_value - off * 100 < 100


@given(policies(), amounts, amounts)
def test_who_buys_more_loses_no_discount(policy: Policy, one: int, other: int) -> None:
    less, more = sorted((one, other))
    off_less, off_more = policy.off(less, NOW), policy.off(more, NOW)
    if isinstance(off_less, int):
        assert isinstance(off_more, int)
        assert off_more >= off_less


@given(policies(), amounts, amounts)
def test_who_buys_more_never_pays_less_once_the_coupon_applies(policy: Policy, one: int, other: int) -> None:
    less, more = sorted((one, other))
    off_less, off_more = policy.off(less, NOW), policy.off(more, NOW)
    if isinstance(off_less, int) and isinstance(off_more, int):
        assert more - off_more >= less - off_less


@given(policies(), policies(), amounts)
def test_a_more_generous_policy_takes_no_less_off(one: Policy, other: Policy, amount: int) -> None:
    generous = msgspec.structs.replace(
        one,
        discount_value=max(one.discount_value, other.discount_value)
        if one.discount_type is other.discount_type
        else one.discount_value,
        max_discount_amount=max(one.max_discount_amount, other.max_discount_amount),
        min_order_amount=min(one.min_order_amount, other.min_order_amount),
    )
    off = one.off(amount, NOW)
    if isinstance(off, int):
        more = generous.off(amount, NOW)
        assert isinstance(more, int)
        assert more >= off
