"""Time sales: for a while and for so many units a product costs less; not a moment longer, and not one unit more."""

import asyncio
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx2
import msgspec
import pytest

from quickcommerce.catalog import store
from quickcommerce.kit.auth import Role
from quickcommerce.kit.clock import SECOND_US, rfc3339
from quickcommerce.kit.db import Tx
from world import World

from .routes import SALE
from .shop import refused, shop

MILK, BEEF = 1, 4


async def announce(w: World, **changes: object) -> httpx2.Response:
    body = {name: value for name, value in (SALE | changes).items() if value is not None}
    return await w.http.post("/v1/time-sales", json=body, headers=w.auth(1, Role.MASTER))


def at(w: World, seconds: float) -> str:
    return rfc3339(w.clock() + round(seconds * SECOND_US))


async def milk(w: World) -> dict[str, Any]:
    found: dict[str, Any] = (await w.http.get("/v1/products/1")).json()
    return found


async def prices(w: World) -> int:
    """What a bottle of milk is sold for now."""
    return int((await w.order([(MILK, 1)])).json()["lines"][0]["unit_price"])


async def test_a_sale_is_shown_and_every_order_gets_its_price(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        starts, ends = at(w, 0), at(w, 3600)
        made = await announce(w, starts_at=starts, ends_at=ends)
        sale = made.json()
        assert made.status_code == 201
        facts = {"price": 2_000, "quota": 3, "left": 3, "starts_at": starts, "ends_at": ends}
        assert sale == {"time_sale_id": sale["time_sale_id"], "product_id": 1, **facts}
        shown = await milk(w)
        assert (shown["price"], shown["list_price"], shown["available"]) == (2_000, 2_900, 3)
        assert shown["time_sale"] == {"time_sale_id": sale["time_sale_id"], **facts}
        order = (await w.order([(MILK, 2)])).json()
        assert (order["lines"][0]["unit_price"], order["payable"]) == (2_000, 4_000)
        assert (await w.http.get("/v1/time-sales")).json()["items"] == [sale | {"left": 1}]
        listed = (await w.http.get("/v1/products")).json()["items"]
        assert [item["price"] for item in listed] == [2_000, 8_900, 3_900, 25_900]


async def test_a_list_price_that_falls_below_the_sale_is_what_buyers_pay(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        assert (await announce(w, starts_at=at(w, 0), ends_at=at(w, 3600))).status_code == 201
        changed = await w.http.patch("/v1/products/1", json={"price": 1_500}, headers=w.auth(1, Role.SELLER))
        assert (changed.status_code, (await milk(w))["price"], await prices(w)) == (200, 1_500, 1_500)
        assert (await milk(w))["time_sale"]["left"] == 2, "it is sold in the sale all the same"
        assert (await milk(w))["time_sale"]["price"] == 1_500, "one page says two prices"


async def test_the_window_begins_and_ends_to_the_microsecond(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        await announce(w, starts_at=at(w, 10), ends_at=at(w, 20), quota=100)
        begun = w.clock()
        for offset_us, price in ((0, 2_900), (10_000_000 - 1, 2_900), (10_000_000, 2_000), (20_000_000 - 1, 2_000)):
            w.clock.offset_us += begun + offset_us - w.clock()
            assert (await prices(w), (await milk(w))["price"]) == (price, price), offset_us
        w.clock.offset_us += begun + 20_000_000 - w.clock()
        assert await prices(w) == 2_900
        assert ((await milk(w))["time_sale"], (await w.http.get("/v1/time-sales")).json()["items"]) == (None, [])


async def test_when_the_quota_is_used_up_there_is_no_more_until_the_window_ends(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        await announce(w, starts_at=at(w, 0), ends_at=at(w, 60))
        first = await w.order([(MILK, 3)])
        short = await w.order([(MILK, 1)])
        assert (first.status_code, refused(short)) == (201, "out-of-stock")
        assert short.json()["errors"][0]["available"] == 0
        assert ((await milk(w))["available"], await w.stock(MILK)) == (0, (1_000, 3, 0))
        w.clock.jump(60)
        assert await prices(w) == 2_900


@pytest.mark.parametrize("end", ["cancelled", "expired"])
async def test_quota_of_an_order_that_ends_is_had_by_another(tmp_path: Path, end: str) -> None:
    async with shop(tmp_path, payment_window_s=30) as w:
        await announce(w, starts_at=at(w, 0), ends_at=at(w, 600))
        order = (await w.order([(MILK, 3)])).json()
        assert refused(await w.order([(MILK, 1)])) == "out-of-stock"
        if end == "cancelled":
            await w.http.post(f"/v1/orders/{order['order_id']}/cancel", headers=w.auth())
        else:
            await w.until_status(order["order_id"], "EXPIRED", within_s=60)
        assert ((await milk(w))["time_sale"]["left"], (await milk(w))["available"]) == (3, 3)
        assert await prices(w) == 2_000


async def test_three_hundred_buyers_across_the_end_of_the_window_get_the_quota_and_no_more(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False, order_list_max=16) as w:
        await announce(w, starts_at=at(w, 0), ends_at=at(w, 3), quota=50)

        async def buy(user: int) -> httpx2.Response:
            await asyncio.sleep(user / 50)
            return await w.order([(MILK, 1)], user=user)

        answers = await asyncio.gather(*map(buy, range(1, 301)))
        sold = [answer.json()["lines"][0]["unit_price"] for answer in answers if answer.status_code == 201]
        refusals = [refused(answer) for answer in answers if answer.status_code != 201]
        assert sold.count(2_000) == 50
        assert set(sold) == {2_000, 2_900}, "after the window the goods are there at their own price"
        assert refusals == ["out-of-stock"] * (300 - len(sold))
        assert await w.stock(MILK) == (1_000, len(sold), 0)


async def test_quota_that_another_list_took_meanwhile_is_seen(tmp_path: Path) -> None:
    """A database with many writers may show an old row: the condition on the row itself is what holds."""
    async with shop(tmp_path, loops=False) as w:
        await announce(w, starts_at=at(w, 0), ends_at=at(w, 60))
        assert (await w.order([(MILK, 2)])).status_code == 201
        with _stale(left=3):
            assert refused(await w.order([(MILK, 2)], user=8)) == "out-of-stock"
        assert (await milk(w))["time_sale"]["left"] == 1


async def test_without_the_condition_more_than_the_quota_is_sold(tmp_path: Path) -> None:
    """The control: what the condition is for."""

    async def use(tx: Tx, time_sale_id: str, units: int) -> bool:
        sql = "UPDATE time_sale SET used = used + ? WHERE time_sale_id = ?"
        return await tx.run(sql, (units, time_sale_id)) == 1

    async with shop(tmp_path, loops=False) as w:
        await announce(w, starts_at=at(w, 0), ends_at=at(w, 60))
        await w.app.stores.shop.run(lambda tx: tx.run("UPDATE product SET on_hand = on_hand + 1 WHERE product_id = 1"))
        w.app.stores.shop._connection("writer").execute("PRAGMA ignore_check_constraints = ON")  # type: ignore[attr-defined]
        with patch.object(store, "use_quota", use):
            assert (await w.order([(MILK, 2)])).status_code == 201
            with _stale(left=3):
                assert (await w.order([(MILK, 2)], user=8)).status_code == 201
        assert (await milk(w))["time_sale"]["left"] == -1


def _stale(*, left: int) -> Any:
    """The first reading of a sale is as it was; a second one, with the rows locked, tells the truth."""
    real, reads = store.sales_at, iter([True])

    async def sales_at(tx: Tx, product_ids: Any, now_us: int, *, locked: bool = False) -> Any:
        found = await real(tx, product_ids, now_us, locked=locked)
        old = next(reads, False)
        return (
            {one: msgspec.structs.replace(sale, used=sale.quota - left) for one, sale in found.items()}
            if old
            else found
        )

    return patch.object(store, "sales_at", sales_at)


RATES = [(1, 2_870), (10, 2_610), (33, 1_940), (50, 1_450), (99, 20), (100, 0)]


async def test_a_rate_is_taken_off_and_rounded_down_to_ten_won(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        for day, (rate, price) in enumerate(RATES):
            window = {"starts_at": f"2026-02-0{day + 1}T00:00:00Z", "ends_at": f"2026-02-0{day + 2}T00:00:00+00:00"}
            made = await announce(w, price=None, discount_rate=rate, **window)
            assert (made.status_code, made.json()["price"]) == (201, price), rate


async def test_what_is_given_away_is_paid_at_once_and_no_more_of_it_than_its_quota(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        made = await announce(w, price=None, discount_rate=100, quota=3, starts_at=at(w, 0), ends_at=at(w, 3600))
        assert (made.status_code, made.json()["price"]) == (201, 0)
        assert ((await milk(w))["price"], (await milk(w))["available"]) == (0, 3)
        body = {"lines": [{"product_id": MILK, "quantity": 2, "expected_price": 0}]}
        order = (await w.http.post("/v1/orders", json=body, headers=w.auth())).json()
        assert (order["status"], order["payable"], order["checkout_url"]) == ("PAID", 0, None)
        assert refused(await w.order([(MILK, 2)])) == "out-of-stock"
        mixed = (await w.order([(MILK, 1), (BEEF, 1)])).json()
        assert (mixed["status"], mixed["payable"]) == ("PLACED", 25_900)


async def test_two_sales_of_one_product_do_not_overlap(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        windows = [
            (at(w, 100), at(w, 200)),
            (at(w, 50), at(w, 101)),
            (at(w, 199), at(w, 300)),
            (at(w, 120), at(w, 130)),
        ]
        answers = await asyncio.gather(*(announce(w, starts_at=a, ends_at=b) for a, b in windows))
        codes = [answer.status_code for answer in answers]
        assert codes == [201, 409, 409, 409]
        assert {refused(answer) for answer in answers[1:]} == {"invalid-state"}
        assert (await announce(w, starts_at=at(w, 200), ends_at=at(w, 300))).status_code == 201, (
            "one may follow another"
        )
        assert (await announce(w, product_id=BEEF, starts_at=at(w, 100), ends_at=at(w, 200))).status_code == 201


async def test_a_sale_of_goods_that_are_not_there_is_not_found(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        assert refused(await announce(w, product_id=99)) == "not-found"


WRONG: list[dict[str, Any]] = [
    {"price": 2_900}, {"price": 5_000}, {"price": 0}, {"price": None}, {"discount_rate": 10},
    {"price": None, "discount_rate": 0}, {"price": None, "discount_rate": 101},
    {"quota": 0}, {"quota": 1.5}, {"starts_at": "tomorrow"}, {"ends_at": "2026-13-01T00:00:00Z"},
    {"starts_at": "2026-05-01T00:00:00"}, {"starts_at": SALE["ends_at"]},
    {"starts_at": "2025-01-01T00:00:00Z", "ends_at": "2025-12-31T23:59:59Z"}, {"product_id": 0},
    {"starts_at": "0001-01-01T00:00:00+23:59"}, {"starts_at": "1969-12-31T23:59:59.999999Z"},
    {"ends_at": "9999-12-31T23:59:59-00:01"}, {"ends_at": ""}, {"quota": 10**9 + 1},
]  # fmt: skip


async def test_a_sale_that_is_none_is_refused_with_the_member_that_is_wrong(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        for changes in WRONG:
            answer = await announce(w, **changes)
            assert refused(answer) == "invalid-request", changes
            assert answer.json()["errors"][0]["pointer"].startswith("/"), changes
        assert (await w.http.get("/v1/time-sales")).json()["items"] == []
        assert (await milk(w))["time_sale"] is None


async def test_a_sale_may_last_as_long_as_time_can_be_told(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        made = await announce(w, starts_at="1970-01-01T09:00:00+09:00", ends_at="9999-12-31T23:59:59.999999Z")
        window = {"starts_at": "1970-01-01T00:00:00.000000Z", "ends_at": "9999-12-31T23:59:59.999999Z"}
        assert made.json() == made.json() | window == (await w.http.get("/v1/time-sales")).json()["items"][0]
        assert (await milk(w))["time_sale"]["ends_at"] == window["ends_at"]


async def test_a_sale_to_come_is_listed_and_not_yet_in_force(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        later = (await announce(w, starts_at=at(w, 100), ends_at=at(w, 200))).json()
        beef = (await announce(w, product_id=BEEF, starts_at=at(w, 50), ends_at=at(w, 60))).json()
        assert (await w.http.get("/v1/time-sales")).json()["items"] == [beef, later]
        assert ((await milk(w))["price"], (await milk(w))["time_sale"]) == (2_900, None)
        w.clock.jump(60)
        assert (await w.http.get("/v1/time-sales")).json()["items"] == [later], "one that has ended is not shown"


async def test_a_cursor_of_another_list_is_no_cursor_of_sales(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        await announce(w)
        await announce(w, product_id=BEEF)
        first = (await w.http.get("/v1/time-sales?limit=1")).json()
        rest = (await w.http.get(f"/v1/time-sales?limit=1&cursor={first['next_cursor']}")).json()
        assert (len(rest["items"]), rest["items"] != first["items"], rest["next_cursor"]) == (1, True, None)
        other = (await w.http.get("/v1/products?limit=1")).json()["next_cursor"]
        assert refused(await w.http.get(f"/v1/time-sales?cursor={other}")) == "invalid-request"


async def test_what_is_left_is_never_more_than_there_is(tmp_path: Path) -> None:
    """Five pieces of beef are there; a sale of ten of them cannot make more."""
    async with shop(tmp_path, loops=False) as w:
        await announce(w, product_id=BEEF, quota=10, starts_at=at(w, 0), ends_at=at(w, 60))
        shown = (await w.http.get(f"/v1/products/{BEEF}")).json()
        assert (shown["available"], shown["time_sale"]["left"]) == (5, 10)
        assert refused(await w.order([(BEEF, 6)])) == "out-of-stock"
        assert (await w.order([(BEEF, 4)])).status_code == 201
        shown = (await w.http.get(f"/v1/products/{BEEF}")).json()
        assert (shown["available"], shown["time_sale"]["left"]) == (1, 6)


async def test_a_price_that_the_buyer_saw_before_the_sale_began_or_ended_is_told(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        await announce(w, starts_at=at(w, 0), ends_at=at(w, 60))
        seen: dict[str, Any] = {"product_id": MILK, "quantity": 1, "expected_price": 2_900}
        late = await w.http.post("/v1/orders", json={"lines": [seen]}, headers=w.auth())
        assert (refused(late), late.json()["errors"][0]["price"]) == ("price-changed", 2_000)
        w.clock.jump(60)
        seen["expected_price"] = 2_000
        late = await w.http.post("/v1/orders", json={"lines": [seen]}, headers=w.auth())
        assert (refused(late), late.json()["errors"][0]["price"]) == ("price-changed", 2_900)


async def test_an_order_that_was_decided_before_a_sale_was_announced_is_decided_again(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        before = await w.app.stores.shop.read(lambda tx: store.offers(tx, [MILK], locked=False))
        await announce(w, starts_at=at(w, 0), ends_at=at(w, 60))
        after = await w.app.stores.shop.read(lambda tx: store.offers(tx, [MILK], locked=False))
        assert after[MILK].price_version > before[MILK].price_version
