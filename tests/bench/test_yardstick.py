"""The yardstick's answers are the shop's: what can be said of that without a server. `same.py` asks both."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from redis.exceptions import LockNotOwnedError

from bench.yardstick import app, same
from bench.yardstick.guard import PREFIX, Conditional, Lock, Script
from bench.yardstick.model import OrderPlaced, Problem, Want
from bench.yardstick.orders import _check, _order
from bench.yardstick.tables import ProductRow
from quickcommerce import events
from quickcommerce.kit.ids import is_id


def product(product_id: int, price: int = 1_000, on_hand: int = 9) -> ProductRow:
    return ProductRow(
        product_id=product_id, name=f"goods {product_id}", name_en="goods", price=price, price_version=1,
        on_hand=on_hand, reserved=2, sold=1,
    )  # fmt: skip


def test_an_order_and_its_event_are_the_shop_s() -> None:
    wants = [Want(product_id=2, quantity=3), Want(product_id=1, quantity=1)]
    order, body = _order(7, wants, {1: product(1), 2: product(2, 2_500)})
    found = msgspec.json.decode(body, type=events.Order)
    assert is_id("ord", found.order_id)
    assert (found.total, found.payable, [line.amount for line in found.lines]) == (8_500, 8_500, [7_500, 1_000])
    assert list(json.loads(body)) == list(events.Order.__struct_fields__)
    event = OrderPlaced(order=order, names_en=["goods", "goods"], cause="buyer").model_dump_json().encode()
    assert events.decode("OrderPlaced", event).order == found


@pytest.mark.parametrize(
    ("wants", "code", "pointer"),
    [
        ([{"product_id": 9, "quantity": 1}], "not-found", "/lines/0/product_id"),
        ([{"product_id": 1, "quantity": 1, "expected_price": 5}], "price-changed", "/lines/0/expected_price"),
        ([{"product_id": 1, "quantity": 1, "coupon_id": 5}], "coupon-not-usable", "/lines/0/coupon_id"),
    ],
)
def test_a_basket_is_refused_as_the_shop_does(wants: list[dict[str, int]], code: str, pointer: str) -> None:
    with pytest.raises(Problem) as refused:
        _check([Want(**want) for want in wants], {1: product(1)})
    assert (refused.value.code, refused.value.errors[0]["pointer"]) == (code, pointer)


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        (b'{"lines": [', []),
        (b'{"lines": []}', ["/lines"]),
        (b'{"lines": [{"product_id": 1, "quantity": 0}]}', ["/lines/0/quantity"]),
        (b'{"lines": [{"product_id": "1", "quantity": 1}]}', ["/lines/0/product_id"]),
        (b'{"lines": [{"product_id": 1, "quantity": 1}, {"product_id": 1, "quantity": 1}]}', ["/lines/1/product_id"]),
    ],
)
def test_a_body_that_does_not_fit_is_pointed_at(body: bytes, pointers: list[str]) -> None:
    with pytest.raises(Problem) as refused:
        app._basket(body)
    assert refused.value.status == 400
    assert [error["pointer"] for error in refused.value.errors] == pointers


async def test_the_conditional_guard_refuses_what_was_read_to_be_too_little() -> None:
    wants = [Want(product_id=1, quantity=6), Want(product_id=2, quantity=7)]
    assert await Conditional().take(wants, {1: product(1), 2: product(2)}) == [(1, 6)]


class Stock:
    """What the guards use of a Redis, with units by product; the lease of a lock may end before its work does."""

    def __init__(self, units: dict[int, int], *, lease_ends: bool = False) -> None:
        self.units = {f"{PREFIX}{product_id}": left for product_id, left in units.items()}
        self.lease_ends = lease_ends
        self.locked: list[str] = []

    async def get(self, key: str) -> int:
        return self.units[key]

    async def set(self, key: str, units: int) -> None:
        self.units[key] = units

    async def incrby(self, key: str, units: int) -> None:
        self.units[key] += units

    async def script(self, keys: list[str], args: list[int]) -> int:
        left = self.units[keys[0]]
        if left < args[0]:
            return left
        self.units[keys[0]] -= args[0]
        return -1

    @asynccontextmanager
    async def lock(self, key: str, **_: float) -> AsyncIterator[None]:
        self.locked.append(key)
        yield
        if self.lease_ends:
            raise LockNotOwnedError("the lease has ended")


WANTS = [Want(product_id=2, quantity=3), Want(product_id=1, quantity=1)]


async def test_what_a_later_line_lacks_is_given_back_by_the_script_s_guard() -> None:
    stock: Any = Stock({1: 0, 2: 5})
    assert await Script(stock, stock.script).take(WANTS, {}) == [(1, 0)]
    assert list(stock.units.values()) == [0, 5]
    stock = Stock({1: 4, 2: 5})
    assert await Script(stock, stock.script).take(WANTS, {}) == []
    assert list(stock.units.values()) == [3, 2]


async def test_locks_are_taken_in_the_order_of_ids_and_nothing_where_a_line_is_short() -> None:
    stock: Any = Stock({1: 0, 2: 5})
    assert await Lock(stock).take(WANTS, {}) == [(1, 0)]
    assert [key.rpartition(":")[2] for key in stock.locked] == ["1", "2"]
    assert list(stock.units.values()) == [0, 5]


async def test_an_order_whose_lock_was_lost_is_refused_and_its_units_are_given_back() -> None:
    stock: Any = Stock({1: 4, 2: 5}, lease_ends=True)
    with pytest.raises(Problem) as refused:
        await Lock(stock).take(WANTS, {})
    assert refused.value.status == 503
    assert list(stock.units.values()) == [4, 5]


def test_answers_are_compared_without_what_belongs_to_one_order() -> None:
    one, other = (
        same._own(
            b'{"order_id":"ord_%s","user_id":%d,"placed_at":"2026-01-0%dT00:00:00.000001Z","payable":%d,'
            b'"checkout_url":"/pay/ord_%s?token=ab-_%d"}' % (made, number, number, payable, made, number)
        )
        for made, number, payable in ((b"A" * 26, 1, 5), (b"B" * 26, 2, 5))
    )
    assert one == other
    assert same._own(b'{"code":"x","errors":[{"pointer":"/a","detail":"one"}]}') == same._own(
        b'{"code":"x","detail":"more","errors":[{"pointer":"/a","detail":"another"}]}'
    )
    assert same._own(b'{"code":"x"}') != same._own(b'{"code":"y"}')
