"""What a basket costs, whether it can be served, and where an order may go."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quickcommerce.catalog.model import Offer
from quickcommerce.order.model import (
    CLOSED,
    HOLDING,
    LINES_MAX,
    NEXT,
    QUANTITY_MAX,
    Basket,
    Status,
    Want,
)  # fmt: skip
from quickcommerce.order.pricing import Moved, Priced, Short, Unknown, Unusable, decide, stale

MIN = 100
OFFERS = {
    1: Offer("우유 1L", "Milk 1L", 2_900, 1),
    2: Offer("달걀 30구", "Eggs 30", 8_900, 3),
    3: Offer("봉투", "Bag", 50, 1),
}


def outcome(
    wants: list[Want], available: dict[int, int] | None = None, discounts: Mapping[int, int] | None = None
) -> tuple[Any, dict[int, int]]:
    """The decision, and what it took out of ten of each."""
    before = {1: 10, 2: 10, 3: 10} | (available or {})
    after = dict(before)
    decision = stale(wants, OFFERS) or decide(wants, OFFERS, after, discounts or {}, payable_min=MIN)
    return decision, {
        product: before[product] - after[product] for product in before if before[product] != after[product]
    }


def test_a_basket_costs_the_sum_of_its_lines_and_takes_its_units() -> None:
    priced, taken = outcome([Want(1, 2), Want(2, 1, expected_price=8_900)])
    assert isinstance(priced, Priced)
    assert (priced.total, priced.discount, priced.payable) == (14_700, 0, 14_700)
    assert [(line.name, line.unit_price, line.quantity, line.amount) for line in priced.lines] == [
        ("우유 1L", 2_900, 2, 5_800),
        ("달걀 30구", 8_900, 1, 8_900),
    ]
    assert priced.names_en == ["Milk 1L", "Eggs 30"]
    assert taken == {1: 2, 2: 1}


def test_a_discount_comes_off_its_own_line_and_never_below_nothing() -> None:
    priced, _ = outcome([Want(1, 2, coupon_id=7), Want(2, 1)], discounts={0: 800})
    assert (priced.total, priced.discount, priced.payable) == (14_700, 800, 13_900)
    assert [(line.discount, line.amount, line.coupon_id) for line in priced.lines] == [
        (800, 5_000, 7),
        (0, 8_900, None),
    ]
    free, taken = outcome([Want(1, 2)], discounts={0: 5_800})
    assert (free.payable, free.lines[0].amount, taken) == (0, 0, {1: 2})


@pytest.mark.parametrize("discount", [-1, 5_801])
def test_a_discount_that_is_no_discount_is_a_defect_and_takes_nothing(discount: int) -> None:
    available = {1: 10}
    with pytest.raises(AssertionError, match="never more than its line"):
        decide([Want(1, 2)], OFFERS, available, {0: discount}, payable_min=MIN)
    assert available == {1: 10}


def test_a_product_on_two_lines_is_a_defect_and_takes_nothing() -> None:
    """Each line alone would fit, and both would be more than there is."""
    available = {1: 10}
    with pytest.raises(AssertionError, match="stands in a basket once"):
        decide([Want(1, 6), Want(1, 6)], OFFERS, available, {}, payable_min=MIN)
    assert available == {1: 10}


@pytest.mark.parametrize(
    ("wants", "refusal"),
    [
        ([Want(1, 1), Want(9, 1), Want(8, 1)], Unknown([1, 2])),
        ([Want(1, 1, expected_price=2_899), Want(2, 1, expected_price=8_900)], Moved([(0, 2_900)])),
        ([Want(1, 11), Want(2, 10), Want(3, 999)], Short([(0, 10), (2, 10)])),
        ([Want(1, 1), Want(2, 11)], Short([(1, 10)])),
        # What the buyer can mend first is told first.
        ([Want(9, 1), Want(1, 11, expected_price=1)], Unknown([0])),
        ([Want(1, 11, expected_price=1)], Moved([(0, 2_900)])),
    ],
)
def test_a_basket_that_cannot_be_served_whole_is_refused_whole_and_takes_nothing(
    wants: list[Want], refusal: object
) -> None:
    assert outcome(wants) == (refusal, {})


@pytest.mark.parametrize(
    ("discount", "served"), [(0, True), (2_799, True), (2_800, True), (2_801, False), (2_899, False), (2_900, True)]
)
def test_what_is_left_to_pay_is_nothing_or_as_much_as_a_pg_captures(discount: int, served: bool) -> None:
    decision, taken = outcome([Want(1, 1)], discounts={0: discount})
    assert isinstance(decision, Priced if served else Unusable)
    assert taken == ({1: 1} if served else {})


def test_the_last_units_go_to_the_first_basket_and_the_next_is_told_what_is_left() -> None:
    available = {1: 5}
    answers = [decide([Want(1, 3)], OFFERS, available, {}, payable_min=MIN) for _ in range(2)]
    assert isinstance(answers[0], Priced)
    assert answers[1] == Short([(0, 2)])
    assert available == {1: 2}


PRODUCTS = st.integers(1, 8)
BASKETS = st.lists(
    st.builds(
        Want,
        product_id=PRODUCTS,
        quantity=st.integers(1, 6),
        expected_price=st.none() | st.sampled_from([100, 700]),
    ),
    min_size=1,
    max_size=5,
    unique_by=lambda want: want.product_id,
)


@settings(deadline=None)
@given(
    baskets=st.lists(st.tuples(BASKETS, st.integers(0, 100)), max_size=25),
    stock=st.dictionaries(PRODUCTS, st.integers(0, 12)),
    prices=st.dictionaries(PRODUCTS, st.integers(1, 900)),
)
def test_no_sequence_of_baskets_oversells_and_what_is_taken_is_what_was_accepted(
    baskets: list[tuple[list[Want], int]], stock: dict[int, int], prices: dict[int, int]
) -> None:
    offers = {product: Offer(f"good {product}", "", price, 1) for product, price in prices.items()}
    available = dict.fromkeys(offers, 0) | {product: units for product, units in stock.items() if product in offers}
    at_first, sold = dict(available), Counter[int]()
    for wants, percent in baskets:
        discounts = {
            at: prices[want.product_id] * want.quantity * percent // 100
            for at, want in enumerate(wants)
            if want.product_id in prices and at % 2
        }
        before = dict(available)
        decision = stale(wants, offers) or decide(wants, offers, available, discounts, payable_min=MIN)
        if not isinstance(decision, Priced):
            assert available == before
            continue
        sold.update({want.product_id: want.quantity for want in wants})
        assert decision.total == sum(prices[want.product_id] * want.quantity for want in wants)
        assert decision.payable == sum(line.amount for line in decision.lines) == decision.total - decision.discount
        assert decision.payable == 0 or decision.payable >= MIN
        assert all(0 <= line.discount <= line.unit_price * line.quantity for line in decision.lines)
        assert [(line.product_id, line.quantity) for line in decision.lines] == [
            (want.product_id, want.quantity) for want in wants
        ]
    assert available == {product: at_first[product] - sold[product] for product in at_first}
    assert all(units >= 0 for units in available.values())


# Baskets


def test_a_product_on_two_lines_is_named_since_each_line_alone_would_fit() -> None:
    assert Basket([Want(1, 3), Want(2, 1), Want(1, 3), Want(1, 1)]).repeated() == [2, 3]
    assert Basket([Want(1, 3), Want(2, 1)]).repeated() == []


@settings(deadline=None)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=10))
def test_without_the_repeated_lines_every_product_stands_once(products: list[int]) -> None:
    repeated = Basket([Want(product, 1) for product in products]).repeated()
    left = [product for at, product in enumerate(products) if at not in repeated]
    assert left == list(dict.fromkeys(products))


@pytest.mark.parametrize(
    "body",
    [
        "{}",
        '{"lines": []}',
        '{"lines": [%s]}' % ", ".join(['{"product_id": 1, "quantity": 1}'] * (LINES_MAX + 1)),
        '{"lines": [{"product_id": 1}]}',
        '{"lines": [{"product_id": 1, "quantity": 0}]}',
        '{"lines": [{"product_id": 1, "quantity": -1}]}',
        '{"lines": [{"product_id": 1, "quantity": %d}]}' % (QUANTITY_MAX + 1),
        '{"lines": [{"product_id": 1, "quantity": 1.5}]}',
        '{"lines": [{"product_id": 1, "quantity": "1"}]}',
        '{"lines": [{"product_id": 1, "quantity": true}]}',
        '{"lines": [{"product_id": 1, "quantity": 1e309}]}',
        '{"lines": [{"product_id": 0, "quantity": 1}]}',
        '{"lines": [{"product_id": %d, "quantity": 1}]}' % 2**53,
        '{"lines": [{"product_id": 1, "quantity": 1, "price": 1}]}',
        '{"lines": [{"product_id": 1, "quantity": 1, "expected_price": -1}]}',
        '{"lines": [{"product_id": 1, "quantity": 1, "coupon_id": 0}]}',
        '{"lines": [{"product_id": 1, "quantity": 1}], "user_id": 8}',
    ],
)  # fmt: skip
def test_a_basket_that_says_something_else_is_no_basket(body: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(body, type=Basket)


def body_of(lines: int, quantity: int) -> str:
    line = '{"product_id": 1, "quantity": %d}' % quantity
    return '{"lines": [%s]}' % ", ".join([line] * lines)


@pytest.mark.parametrize(("lines", "quantity"), [(1, 1), (1, 999), (50, 1), (50, 999)])
def test_a_basket_has_one_to_fifty_lines_of_one_to_999_units(lines: int, quantity: int) -> None:
    assert msgspec.json.decode(body_of(lines, quantity), type=Basket).lines == [Want(1, quantity)] * lines


@pytest.mark.parametrize(("lines", "quantity"), [(0, 1), (51, 1), (1, 0), (1, 1000)])
def test_one_line_or_one_unit_beyond_the_limits_is_no_basket(lines: int, quantity: int) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(body_of(lines, quantity), type=Basket)


def test_the_largest_basket_is_a_basket() -> None:
    line = '{"product_id": %d, "quantity": %d, "coupon_id": null, "expected_price": 0}' % (2**53 - 1, QUANTITY_MAX)
    basket = msgspec.json.decode('{"lines": [%s]}' % ", ".join([line] * LINES_MAX), type=Basket)
    assert basket.lines == [Want(2**53 - 1, 999, None, 0)] * 50


# Statuses


def test_where_an_order_may_go_is_this_table() -> None:
    open_to = {Status.PAID, Status.FAILED, Status.EXPIRED, Status.CANCELLED}
    assert {
        Status.PLACED: open_to | {Status.PAYING},
        Status.PAYING: open_to | {Status.PLACED, Status.PAYING},
        Status.PAID: {Status.PAID, Status.REFUNDED},
        Status.REFUNDED: set(),
        Status.FAILED: set(),
        Status.EXPIRED: {Status.PAID},
        Status.CANCELLED: set(),
    } == NEXT
    assert {Status.PLACED, Status.PAYING} == HOLDING
    assert {Status.FAILED, Status.EXPIRED, Status.CANCELLED} == CLOSED


def reachable(start: Status) -> set[Status]:
    found: set[Status] = set()
    ahead = {start}
    while ahead:
        found |= ahead
        ahead = {following for status in ahead for following in NEXT[status]} - found
    return found


def test_every_status_is_known_reachable_and_of_one_kind() -> None:
    assert set(NEXT) == reachable(Status.PLACED) == set(Status)
    assert HOLDING | CLOSED | {Status.PAID, Status.REFUNDED} == set(Status)
    assert not HOLDING & CLOSED
    assert not (HOLDING | CLOSED) & {Status.PAID, Status.REFUNDED}


def test_terminal_states_are_terminal_but_for_money_that_comes_late() -> None:
    for status in (Status.REFUNDED, Status.FAILED, Status.CANCELLED):
        assert NEXT[status] == frozenset()
    assert NEXT[Status.EXPIRED] <= {Status.PAID}


def test_stock_is_held_from_the_start_and_given_back_or_sold_once() -> None:
    """An order leaves HOLDING for good: the only way back in would hold the same units twice."""
    for status in HOLDING:
        assert NEXT[status] >= CLOSED | {Status.PAID}
    for status in set(Status) - HOLDING:
        assert not NEXT[status] & HOLDING


def test_money_that_was_taken_is_only_ever_given_back_as_a_refund() -> None:
    assert NEXT[Status.PAID] - {Status.PAID} == {Status.REFUNDED}
    assert all(Status.REFUNDED not in NEXT[status] for status in set(Status) - {Status.PAID})


def test_an_order_that_is_being_paid_or_paid_changes_and_stays_what_it_is() -> None:
    """A deposit is awaited, or part of the money goes back; any other repeat would tell the same twice."""
    assert [status for status, following in NEXT.items() if status in following] == [Status.PAYING, Status.PAID]
