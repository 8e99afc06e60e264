"""Baskets that cannot be served: each is told why, to the line, and nothing of it is taken."""

from pathlib import Path
from typing import Any

import httpx2
import pytest

from quickcommerce.catalog.model import Entry
from world import GOODS, World

from .routes import BUYERS, auth
from .shop import counts, refused, shop

EMPTY = {"orders": 0, "order_events": 0, "outbox_pending": 0, "payments": 0, "documents": 0, "reserved": 0, "sold": 0}
everybody = pytest.mark.parametrize("who", BUYERS)


async def order(w: World, who: str, *lines: dict[str, Any]) -> httpx2.Response:
    return await w.http.post("/v1/orders", json={"lines": lines}, headers=auth(w, who))


def line(product_id: int, quantity: int = 1, **more: int) -> dict[str, Any]:
    return {"product_id": product_id, "quantity": quantity, **more}


async def nothing_happened(w: World) -> bool:
    return await counts(w) == EMPTY | {"on_hand": sum(each.stock for each in GOODS)}


@everybody
async def test_a_product_that_does_not_exist_is_named_by_its_line(tmp_path: Path, who: str) -> None:
    async with shop(tmp_path, loops=False) as w:
        answer = await order(w, who, line(1), line(99), line(2), line(2**53 - 1))
        assert refused(answer) == "not-found"
        pointers = [each["pointer"] for each in answer.json()["errors"]]
        assert pointers == ["/lines/1/product_id", "/lines/3/product_id"]
        assert await nothing_happened(w)


@everybody
async def test_each_short_line_is_named_with_what_is_left(tmp_path: Path, who: str) -> None:
    async with shop(tmp_path, loops=False, goods=[*GOODS, Entry(5, "딸기", 9_900, 0)]) as w:
        await w.order([(4, 3)], user=9)
        before = await counts(w)
        answer = await order(w, who, line(1, 999), line(4, 3), line(5), line(2, 1))
        assert refused(answer) == "out-of-stock"
        errors = answer.json()["errors"]
        assert [{name: each[name] for name in each if name != "detail"} for each in errors] == [
            {"pointer": "/lines/1/quantity", "product_id": 4, "requested": 3, "available": 2},
            {"pointer": "/lines/2/quantity", "product_id": 5, "requested": 1, "available": 0},
        ]
        assert await counts(w) == before, "the lines that could be served are not taken either"
        assert (await order(w, who, line(4, 2))).status_code == 201, "what is left can be bought to the last unit"


@everybody
async def test_a_price_that_is_not_the_one_the_buyer_saw_is_told(tmp_path: Path, who: str) -> None:
    async with shop(tmp_path, loops=False) as w:
        answer = await order(
            w, who, line(1, expected_price=2_900), line(2, expected_price=8_899), line(3, expected_price=0)
        )
        assert refused(answer) == "price-changed"
        errors = answer.json()["errors"]
        assert [{name: each[name] for name in each if name != "detail"} for each in errors] == [
            {"pointer": "/lines/1/expected_price", "product_id": 2, "expected_price": 8_899, "price": 8_900},
            {"pointer": "/lines/2/expected_price", "product_id": 3, "expected_price": 0, "price": 3_900},
        ]
        assert await nothing_happened(w)


async def test_a_changed_price_reaches_the_next_order_and_not_the_last_one(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        old = (await order(w, "user", line(1, 2, expected_price=2_900))).json()
        await w.app.flows.catalog.put([Entry(1, "우유 1L", 3_000, 0)])
        assert refused(await order(w, "user", line(1, 2, expected_price=2_900))) == "price-changed"
        new = (await order(w, "user", line(1, 2, expected_price=3_000))).json()
        assert (old["payable"], new["payable"]) == (5_800, 6_000)
        assert (await w.get(f"/v1/orders/{old['order_id']}"))["payable"] == 5_800


@everybody
async def test_a_coupon_that_cannot_be_used_is_refused_with_the_reason(tmp_path: Path, who: str) -> None:
    async with shop(tmp_path, loops=False) as w:
        answer = await order(w, who, line(1), line(2, coupon_id=5))
        assert refused(answer) == "coupon-not-usable"
        assert [each["pointer"] for each in answer.json()["errors"]] == ["/lines/1/coupon_id"]
        assert await nothing_happened(w)


async def test_what_the_pg_would_not_capture_is_refused_before_anybody_waits_for_it(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False, goods=[Entry(1, "껌", 99, 10)]) as w:
        assert refused(await order(w, "user", line(1))) == "coupon-not-usable"
        assert (await order(w, "user", line(1, 2))).status_code == 201


async def test_the_largest_basket_is_served(tmp_path: Path) -> None:
    goods = [Entry(n, f"상품 {n}", 100, 999) for n in range(1, 51)]
    async with shop(tmp_path, loops=False, goods=goods) as w:
        answer = await order(w, "user", *(line(n, 999) for n in range(1, 51)))
        assert answer.status_code == 201
        assert len(answer.json()["lines"]) == 50
        assert answer.json()["total"] == 50 * 999 * 100
        assert (await counts(w))["reserved"] == 50 * 999
