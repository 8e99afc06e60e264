"""Those who sell put goods up, change them and fill the shelves; whatever they do, every unit is counted."""

import asyncio
from pathlib import Path
from typing import Any

import httpx2
import pytest

from quickcommerce.catalog.model import Entry
from quickcommerce.kit.auth import Role
from quickcommerce.stock.restock import ON_HAND_MAX
from world import World

from .routes import GOODS, SELLERS, auth
from .shop import refused, shop

ROLES = ["seller", "master"]


async def ask(w: World, method: str, path: str, body: Any, who: str = "seller", **headers: str) -> httpx2.Response:
    return await w.http.request(method, path, json=body, headers=auth(w, who) | headers)


async def stock(w: World, product_id: int) -> dict[str, int]:
    found: dict[str, int] = await w.get(f"/v1/products/{product_id}/stock", role=Role.SELLER)
    assert found["available"] == found["on_hand"] - found["reserved"] - found["sold"] >= 0
    return found


@pytest.mark.parametrize("who", ROLES)
async def test_what_is_put_up_is_for_sale_at_once(tmp_path: Path, who: str) -> None:
    async with shop(tmp_path) as w:
        body = GOODS | {"product_id": 77, "name_en": "Strawberries", "category": "fruit"}
        made = await ask(w, "POST", "/v1/products", body, who)
        assert (made.status_code, made.headers["location"]) == (201, "/v1/products/77")
        shown = {"product_id": 77, "name": "딸기 500g", "price": 9_900, "list_price": 9_900, "available": 5}
        assert made.json() == shown | {"time_sale": None} == (await w.http.get("/v1/products/77")).json()
        assert (await w.order([(77, 2)])).status_code == 201
        assert await stock(w, 77) == {"product_id": 77, "on_hand": 5, "reserved": 2, "sold": 0, "available": 3}
        for query in ("keyword=strawberries", "keyword=딸기", "category=fruit&keyword=딸기"):
            found = (await w.http.get(f"/v1/products?{query}")).json()["items"]
            assert [item["product_id"] for item in found] == [77], query


async def test_without_an_id_each_product_gets_one_of_its_own(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        made = await asyncio.gather(*(ask(w, "POST", "/v1/products", GOODS) for _ in range(10)))
        assert sorted(answer.json()["product_id"] for answer in made) == list(range(5, 15))


async def test_an_id_is_found_also_where_the_last_one_is_taken(tmp_path: Path) -> None:
    """One seller who takes the highest id must not keep all others from putting goods up."""
    async with shop(tmp_path, loops=False, goods=[]) as w:
        for wanted, given in ((2**53 - 1, 2**53 - 1), (None, 1), (3, 3), (None, 4), (2**53 - 3, 2**53 - 3)):
            made = await ask(w, "POST", "/v1/products", GOODS | ({"product_id": wanted} if wanted else {}))
            assert (made.status_code, made.json()["product_id"]) == (201, given)
        for given in (2**53 - 2, 5):
            made = await ask(w, "POST", "/v1/products", GOODS)
            assert (made.status_code, made.json()["product_id"]) == (201, given)


@pytest.mark.parametrize("who", ROLES)
async def test_an_id_that_is_taken_is_refused(tmp_path: Path, who: str) -> None:
    async with shop(tmp_path, loops=False) as w:
        before = (await w.http.get("/v1/products/1")).json()
        assert refused(await ask(w, "POST", "/v1/products", GOODS | {"product_id": 1}, who)) == "invalid-state"
        assert (await w.http.get("/v1/products/1")).json() == before


BAD: list[dict[str, Any]] = [
    {"name": ""}, {"name": " "}, {"name": "a\nb"}, {"name": "x" * 201}, {"price": 0}, {"price": 1.5}, {"price": "9900"},
    {"price": 10**10 + 1}, {"stock": -1}, {"stock": 10**9 + 1}, {"product_id": 0}, {"product_id": 2**53},
    {"category": "x" * 61}, {"name_en": None}, {"colour": "red"},
]  # fmt: skip


async def test_goods_that_cannot_be_are_refused_with_the_member_that_is_wrong(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        for wrong in BAD:
            answer = await ask(w, "POST", "/v1/products", GOODS | wrong)
            assert refused(answer) == "invalid-request", wrong
        assert len((await w.http.get("/v1/products")).json()["items"]) == 4


async def test_a_new_price_is_for_new_orders_and_old_ones_keep_theirs(tmp_path: Path) -> None:
    async with shop(tmp_path) as w:
        old = (await w.order([(1, 2)])).json()
        changed = await ask(w, "PATCH", "/v1/products/1", {"price": 3_300, "name": "우유 1.5L"})
        assert (changed.status_code, changed.json()["price"], changed.json()["name"]) == (200, 3_300, "우유 1.5L")
        new = (await w.order([(1, 2)])).json()
        assert (old["payable"], new["payable"]) == (5_800, 6_600)
        kept = await w.get(f"/v1/orders/{old['order_id']}")
        assert (kept["payable"], kept["lines"][0]["name"]) == (5_800, "우유 1L")
        body = {"lines": [{"product_id": 1, "quantity": 1, "expected_price": 2_900}]}
        late = await w.http.post("/v1/orders", json=body, headers=w.auth())
        assert refused(late) == "price-changed"
        assert (await w.http.get("/v1/products?keyword=1.5L")).json()["items"][0]["product_id"] == 1
        for nothing in ({}, {"price": None}, {"stock": 3}):
            assert refused(await ask(w, "PATCH", "/v1/products/1", nothing)) == "invalid-request"
        assert refused(await ask(w, "PATCH", "/v1/products/99", {"price": 1})) == "not-found"


async def test_a_restock_that_is_asked_a_hundred_times_with_one_key_happens_once(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        path, key = "/v1/products/4/restock", {"Idempotency-Key": "monday"}
        answers = await asyncio.gather(*(ask(w, "POST", path, {"quantity": 10}, **key) for _ in range(100)))
        assert {(answer.status_code, answer.content) for answer in answers} == {
            (200, b'{"product_id":4,"quantity":10,"on_hand":15}')
        }
        assert sum("idempotency-replayed" in answer.headers for answer in answers) == 99
        assert (await stock(w, 4))["on_hand"] == 15
        await ask(w, "POST", path, {"quantity": 1}, **{"Idempotency-Key": "tuesday"})
        again = await ask(w, "POST", path, {"quantity": 10}, **key)
        assert again.json()["on_hand"] == 15, "a replay is the first answer, not the shelf as it is now"
        assert (await stock(w, 4))["on_hand"] == 16


async def test_without_a_key_each_restock_counts(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        for _ in range(2):
            await ask(w, "POST", "/v1/products/4/restock", {"quantity": 1})
        assert (await stock(w, 4))["on_hand"] == 7
        assert refused(await ask(w, "POST", "/v1/products/99/restock", {"quantity": 1})) == "not-found"
        for wrong in (0, -1, 1.0, True, 10**9 + 1, None):
            answer = await ask(w, "POST", "/v1/products/4/restock", {"quantity": wrong})
            assert refused(answer) == "invalid-request", wrong


@pytest.mark.parametrize("who", ROLES)
async def test_a_restock_key_with_another_body_is_refused(tmp_path: Path, who: str) -> None:
    async with shop(tmp_path, loops=False) as w:
        key = {"Idempotency-Key": "monday"}
        assert (await ask(w, "POST", "/v1/products/4/restock", {"quantity": 1}, who, **key)).status_code == 200
        for path, body in (("/v1/products/4/restock", {"quantity": 2}), ("/v1/products/3/restock", {"quantity": 1})):
            assert refused(await ask(w, "POST", path, body, who, **key)) == "idempotency-key-reused"
        assert ((await stock(w, 4))["on_hand"], (await stock(w, 3))["on_hand"]) == (6, 1_000)


@pytest.mark.parametrize("who", ROLES)
async def test_more_than_anybody_can_mean_is_not_put_in(tmp_path: Path, who: str) -> None:
    async with shop(tmp_path, loops=False) as w:
        sql = "UPDATE product SET on_hand = ? WHERE product_id = 4"
        await w.app.stores.shop.run(lambda tx: tx.run(sql, (ON_HAND_MAX,)))
        assert refused(await ask(w, "POST", "/v1/products/4/restock", {"quantity": 1}, who)) == "invalid-state"
        assert (await stock(w, 4))["on_hand"] == ON_HAND_MAX


async def test_sold_out_goods_are_for_sale_again_after_a_restock(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        assert (await w.order([(4, 5)])).status_code == 201
        assert refused(await w.order([(4, 1)])) == "out-of-stock"
        await ask(w, "POST", "/v1/products/4/restock", {"quantity": 1})
        assert (await w.order([(4, 1)])).status_code == 201


async def test_categories_are_those_of_goods(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        assert (await w.http.get("/v1/categories")).json() == {"items": ["dairy", "fruit", "meat"]}
        dairy = (await w.http.get("/v1/products?category=dairy")).json()["items"]
        assert [item["product_id"] for item in dairy] == [1, 2]
        assert (await w.http.get("/v1/products?category=dair")).json()["items"] == []
        assert (await w.http.get("/v1/products?category=" + "x" * 60)).json()["items"] == []
        for query in ("category=" + "x" * 61, "category=%00", "category=dairy&category=meat"):
            assert refused(await w.http.get(f"/v1/products?{query}")) == "invalid-request", query
        assert set(SELLERS) == {Role.SELLER, Role.MASTER}


async def test_a_category_is_one_in_whatever_case_it_is_written(tmp_path: Path) -> None:
    """Two chips with one name, each with half of the goods."""
    goods = [Entry(1, "사과", 1_000, 5, "Apple", "Fruit"), Entry(2, "배", 1_000, 5, "Pear", "fruit")]
    async with shop(tmp_path, goods=goods, loops=False) as w:
        new = {"name": "딸기", "price": 9_900, "stock": 5, "category": "FRUIT"}
        assert (await w.http.post("/v1/products", json=new, headers=w.auth(1, Role.SELLER))).status_code == 201
        assert (await w.http.get("/v1/categories")).json()["items"] == ["fruit"]
        for written in ("fruit", "Fruit"):
            assert len((await w.http.get(f"/v1/products?category={written}")).json()["items"]) == 3
        sql = "UPDATE product SET category = 'Fruit' WHERE product_id = 1"
        await w.app.stores.shop.run(lambda tx: tx.run(sql))
        await w.app.flows.catalog.fold()
        assert (await w.http.get("/v1/categories")).json()["items"] == ["fruit"], "goods of before"
