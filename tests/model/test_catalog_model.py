"""What a product costs and how much of it there is, for any sale."""

from hypothesis import given
from hypothesis import strategies as st

from quickcommerce.catalog.model import PRICE_MAX, STOCK_MAX, Offer, Product, Sale, discounted

prices = st.integers(1, PRICE_MAX)
units = st.integers(0, STOCK_MAX)


@st.composite
def sales(draw: st.DrawFn) -> Sale:
    quota = draw(st.integers(1, STOCK_MAX))
    return Sale("sal_1", 1, draw(prices), quota, draw(st.integers(0, quota)), 10, 20)


@given(prices, st.integers(1, 100))
def test_a_rate_takes_off_at_least_what_it_says_and_less_than_ten_won_more(price: int, rate: int) -> None:
    asked = discounted(price, rate)
    exact_hundredths = price * (100 - rate)
    assert asked % 10 == 0, "a price that no cashier could give change for"
    assert asked * 100 <= exact_hundredths < (asked + 10) * 100
    assert 0 <= asked < price, "a sale that makes nothing cheaper"


@given(prices, st.integers(1, 99))
def test_a_higher_rate_is_never_dearer(price: int, rate: int) -> None:
    assert discounted(price, rate + 1) <= discounted(price, rate)


def test_money_is_counted_in_whole_won_also_where_a_float_could_not() -> None:
    assert discounted(9_999_999_999, 1) == 9_899_999_990
    assert discounted(2_900, 33) == 1_940
    assert (discounted(9, 1), discounted(10, 1), discounted(11, 1), discounted(11_000, 100)) == (0, 0, 10, 0)


@given(prices, units, sales())
def test_a_sale_bounds_what_may_be_bought_and_sets_the_price(price: int, stock: int, sale: Sale) -> None:
    shown = Product(1, "우유", "Milk", "dairy", price, stock, sale)
    assert (shown.price, shown.list_price) == (min(sale.price, price), price)
    assert 0 <= shown.available <= min(stock, sale.quota - sale.used)
    assert shown.available in (stock, sale.left), "units that are there, and that nobody can buy"
    offer = Offer("우유", "Milk", price, 3).under(sale)
    told = (min(sale.price, price), 3, "sal_1", sale.left)
    assert (offer.price, offer.price_version, offer.time_sale_id, offer.left) == told


@given(prices, units)
def test_without_a_sale_a_product_is_what_it_is(price: int, stock: int) -> None:
    shown = Product(1, "우유", "Milk", "dairy", price, stock)
    assert (shown.price, shown.list_price, shown.available) == (price, price, stock)
