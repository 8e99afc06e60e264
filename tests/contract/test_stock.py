"""The counters of a product: never more than is there, each move once, all of a list or nothing."""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import msgspec
import pytest

from quickcommerce.catalog import store as catalog_rows
from quickcommerce.catalog.flow import Catalog
from quickcommerce.catalog.model import Entry
from quickcommerce.catalog.sales import TimeSales
from quickcommerce.kit import repeating
from quickcommerce.kit.db import Database, Duplicate, Unmatched
from quickcommerce.kit.ids import Ids
from quickcommerce.kit.policy import Backoff
from quickcommerce.stock import store as rows
from quickcommerce.stock.flow import Stock
from stores import EVERY, Clock, opened, undone

MILK, EGGS = 1, 2
GOODS = [Entry(MILK, "우유 1L", 2_900, 10, "Milk 1L", "dairy"), Entry(EGGS, "달걀", 8_900, 3)]


class Shop:
    def __init__(self, database: Database) -> None:
        self.db = database
        self.stock = Stock(Clock())
        self.catalog = Catalog(
            database, self.stock, TimeSales(database, Clock(), Ids(Clock(), random.Random(0))), Clock()
        )

    async def hold(self, wanted: Mapping[int, int], price_version: int = 1) -> bool:
        """Whether it could be."""
        units = {product: (quantity, price_version) for product, quantity in wanted.items()}
        return not await undone(self.db, lambda tx: self.stock.hold(tx, units))

    async def end(self, *, released: dict[str, dict[int, int]], sold: dict[str, dict[int, int]]) -> None:
        await self.db.run(
            lambda tx: self.stock.give_back_and_sell(tx, list(released.items()), list(sold.items())),
        )

    async def counters(self, product: int) -> tuple[int, ...]:
        """(on hand, reserved, sold)"""
        sql = "SELECT on_hand, reserved, sold FROM product WHERE product_id = ?"
        row = await self.db.read(lambda tx: tx.one(sql, (product,)))
        assert row
        return row


@pytest.fixture(params=EVERY)
async def shop(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Shop]:
    async with opened(request.param, tmp_path / "shop.db", "events", "cursor", "shop") as store:
        found = Shop(store.db)
        await found.catalog.put(GOODS)
        yield found


@pytest.fixture(autouse=True)
def _no_waiting_between_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeating, "_BACKOFF", Backoff(base_s=0, cap_s=0))


async def test_what_is_held_cannot_be_held_again_and_the_last_unit_can(shop: Shop) -> None:
    assert await shop.hold({MILK: 7})
    assert not await shop.hold({MILK: 4})
    assert await shop.hold({MILK: 3})
    assert not await shop.hold({MILK: 1})
    assert await shop.counters(MILK) == (10, 10, 0)
    assert await shop.db.read(lambda tx: shop.stock.available(tx, [MILK, EGGS, 9])) == {MILK: 0, EGGS: 3}


async def test_a_hold_of_many_products_is_whole_or_nothing(shop: Shop) -> None:
    for wanted in ({MILK: 1, EGGS: 4}, {EGGS: 1, 9: 1}):
        assert not await shop.hold(wanted)
        assert await shop.counters(MILK) == (10, 0, 0)
        assert await shop.counters(EGGS) == (3, 0, 0)


async def test_a_price_that_moved_since_it_was_read_holds_nothing(shop: Shop) -> None:
    await shop.catalog.put([Entry(MILK, "우유 1L", 3_100, 999)])
    assert not await shop.hold({MILK: 1}, price_version=1)
    assert await shop.hold({MILK: 1}, price_version=2)
    # A new name is no new price, and a known product keeps the stock that it has.
    await shop.catalog.put([Entry(MILK, "서울우유 1L", 3_100, 999)])
    assert await shop.hold({MILK: 1}, price_version=2)
    assert await shop.counters(MILK) == (10, 2, 0)


async def test_what_was_held_goes_back_to_the_shelf_or_is_sold_once(shop: Shop) -> None:
    await shop.hold({MILK: 6, EGGS: 2})
    await shop.end(released={"ord_1": {MILK: 1, EGGS: 1}, "ord_2": {MILK: 2}}, sold={"ord_3": {MILK: 3}})
    assert await shop.counters(MILK) == (10, 0, 3)
    assert await shop.counters(EGGS) == (3, 1, 0)
    await shop.hold({MILK: 5})
    for again in ({"released": {"ord_1": {MILK: 1}}, "sold": {}}, {"released": {}, "sold": {"ord_3": {MILK: 3}}}):
        with pytest.raises(Duplicate):
            await shop.end(**again)
    assert await shop.counters(MILK) == (10, 5, 3)


async def test_more_than_is_held_is_a_defect_and_changes_nothing(shop: Shop) -> None:
    await shop.hold({MILK: 2, EGGS: 1})
    for end in (
        {"released": {"ord_1": {EGGS: 1, MILK: 3}}, "sold": {}},
        {"released": {}, "sold": {"ord_1": {MILK: 3}}},
    ):
        with pytest.raises(Unmatched):
            await shop.end(**end)
    assert await shop.counters(MILK) == (10, 2, 0)
    assert await shop.counters(EGGS) == (3, 1, 0)
    entries = await shop.db.read(lambda tx: tx.all("SELECT kind FROM stock_entry WHERE cause = 'ord_1'"))
    assert entries == []


async def test_what_is_not_there_is_neither_held_again_nor_taken_back_nor_priced_anew(shop: Shop) -> None:
    assert await undone(shop.db, lambda tx: rows.hold_again(tx, MILK, 11))
    assert await undone(shop.db, lambda tx: rows.take_back(tx, MILK, 1))
    milk = await shop.db.run(lambda tx: catalog_rows.lock(tx, MILK))
    assert milk
    old = msgspec.structs.replace(milk, list_price=1)
    assert await undone(shop.db, lambda tx: catalog_rows.change(tx, old, "우유", 2))
    assert await shop.counters(MILK) == (10, 0, 0)


async def test_an_import_is_one_move_a_product_and_a_second_one_adds_nothing(shop: Shop) -> None:
    assert await shop.catalog.put([*GOODS, Entry(3, "봉투", 50, 0)]) == 1
    assert await shop.counters(MILK) == (10, 0, 0)
    with pytest.raises(Duplicate):
        await shop.db.run(lambda tx: shop.stock.put_in(tx, {MILK: 5}, "first import"))
    await shop.db.run(lambda tx: shop.stock.put_in(tx, {MILK: 5}, "restock of Monday"))
    assert await shop.counters(MILK) == (15, 0, 0)
    entries = await shop.db.read(
        lambda tx: tx.all("SELECT cause, product_id, quantity FROM stock_entry ORDER BY cause, product_id")
    )
    assert entries == [("first import", MILK, 10), ("first import", EGGS, 3), ("restock of Monday", MILK, 5)]
    assert await shop.db.read(rows.counts) == {"on_hand": 18, "reserved": 0, "sold": 0}


@pytest.mark.parametrize("seed", range(3))
async def test_a_crowd_that_holds_releases_and_buys_leaves_exactly_what_it_did(shop: Shop, seed: int) -> None:
    rng = random.Random(seed)
    sold = {MILK: 0, EGGS: 0}

    async def buyer(number: int) -> None:
        wanted = {product: rng.randint(1, 2) for product in (MILK, EGGS) if rng.random() < 0.7}
        if not wanted or not await shop.hold(wanted):
            return
        held = {f"ord_{number}": wanted}
        if rng.random() < 0.5:
            await shop.end(released=held, sold={})
        else:
            await shop.end(released={}, sold=held)
            for product, units in wanted.items():
                sold[product] += units

    await asyncio.gather(*(buyer(number) for number in range(40)))
    assert await shop.counters(MILK) == (10, 0, sold[MILK])
    assert await shop.counters(EGGS) == (3, 0, sold[EGGS])
    assert sold[EGGS] <= 3


async def test_a_file_without_the_optional_columns_leaves_what_is_known_of_a_product(shop: Shop) -> None:
    """A weekly price list must not make goods vanish from English searches."""
    milk = Entry(MILK, "저지방 우유", 3_100, 0)
    await shop.catalog.put([milk])
    assert [(one.product_id, one.price) for one in await shop.catalog.page("저지방 milk dairy", 0, 10)] == [
        (MILK, 3_100)
    ]
    await shop.catalog.put([msgspec.structs.replace(milk, name_en="", category="drinks")])
    assert await shop.catalog.page("milk", 0, 10) == []
    assert len(await shop.catalog.page("저지방 drinks", 0, 10)) == 1
