"""Thinking again: before the money moves an order can be ended, once; after that it cannot."""

import asyncio
from pathlib import Path

import httpx2
import pytest

from world import World

from .routes import OWNERS, auth
from .shop import pay, refused, shop

owners = pytest.mark.parametrize("who", OWNERS)


async def cancel(w: World, order_id: str, who: str = "owner", **body: object) -> httpx2.Response:
    return await w.http.post(f"/v1/orders/{order_id}/cancel", headers=auth(w, who), **body)  # type: ignore[arg-type]


@owners
async def test_a_cancelled_order_gives_its_goods_back_and_says_the_same_each_time(tmp_path: Path, who: str) -> None:
    async with shop(tmp_path) as w:
        order = (await w.order()).json()
        assert await w.stock(1) == (1_000, 2, 0)
        first = await cancel(w, order["order_id"], who)
        assert first.status_code == 200
        body = first.json()
        assert body == order | {
            "status": "CANCELLED", "version": 2, "updated_at": body["updated_at"], "checkout_url": None,
        }  # fmt: skip
        assert await w.stock(1) == (1_000, 0, 0)
        await asyncio.sleep(5)
        again = await cancel(w, order["order_id"], who, json={})
        assert (again.status_code, again.content) == (200, first.content)
        assert await w.stock(1) == (1_000, 0, 0)


@pytest.mark.parametrize(
    "body",
    [{}, {"json": {}}, {"content": b" { } ", "headers": {"Content-Type": "application/json"}}, {"content": b""}],
    ids=["none", "empty object", "spaced object", "empty"],
)
async def test_cancelling_takes_no_body_or_an_empty_object(tmp_path: Path, body: dict[str, object]) -> None:
    async with shop(tmp_path, loops=False) as w:
        order = (await w.order()).json()
        headers = w.auth() | body.pop("headers", {})  # type: ignore[operator]
        answer = await w.http.post(f"/v1/orders/{order['order_id']}/cancel", headers=headers, **body)  # type: ignore[arg-type]
        assert answer.json()["status"] == "CANCELLED"


async def test_fifty_cancels_at_once_are_one(tmp_path: Path) -> None:
    async with shop(tmp_path) as w:
        order = (await w.order()).json()
        answers = await asyncio.gather(*(cancel(w, order["order_id"]) for _ in range(50)))
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.content for answer in answers}) == 1
        assert await w.stock(1) == (1_000, 0, 0)


@owners
async def test_a_paid_order_is_refunded_not_cancelled(tmp_path: Path, who: str) -> None:
    async with shop(tmp_path) as w:
        order = (await w.order()).json()
        assert await pay(w, order) == 200
        at_once = await cancel(w, order["order_id"], who)
        assert refused(at_once) == "invalid-state", "even before the order has heard of its payment"
        await w.until_status(order["order_id"], "PAID")
        answer = await cancel(w, order["order_id"], who)
        assert refused(answer) == "invalid-state"
        assert "refund" in answer.json()["detail"]
        assert await w.status(order["order_id"]) == "PAID"


async def test_an_order_that_has_ended_by_itself_cannot_be_cancelled(tmp_path: Path) -> None:
    async with shop(tmp_path, payment_window_s=5) as w:
        order = (await w.order()).json()
        await w.until_status(order["order_id"], "EXPIRED")
        assert refused(await cancel(w, order["order_id"])) == "invalid-state"
        assert await w.status(order["order_id"]) == "EXPIRED"


async def test_an_order_that_failed_cannot_be_cancelled(tmp_path: Path) -> None:
    async with shop(tmp_path) as w:
        order = (await w.order()).json()
        for _ in range(10):
            assert await pay(w, order, "CARD_REFUSED") == 402
        await w.until_status(order["order_id"], "FAILED")
        assert refused(await cancel(w, order["order_id"])) == "invalid-state"
        assert await w.stock(1) == (1_000, 0, 0)


@pytest.mark.parametrize(
    "fault", [{"kind": "slow", "ms": 20_000}, {"kind": "drop-after"}], ids=["under way", "unknown"]
)
async def test_while_money_may_be_moving_the_answer_is_later(tmp_path: Path, fault: dict[str, object]) -> None:
    """Saying `cancelled` now could mean a captured payment without an order."""
    async with shop(tmp_path) as w:
        order = (await w.order()).json()
        await w.faults(confirm=[fault], get=[{"kind": "drop-before", "repeat": 3}])
        assert await pay(w, order) == 202
        answer = await cancel(w, order["order_id"])
        assert refused(answer) == "invalid-state"
        assert int(answer.headers["retry-after"]) >= 1
        await w.until_status(order["order_id"], "PAID")
        assert "retry-after" not in (await cancel(w, order["order_id"])).headers


async def test_after_a_declined_card_the_order_can_still_be_cancelled(tmp_path: Path) -> None:
    async with shop(tmp_path) as w:
        order = (await w.order()).json()
        assert await pay(w, order, "CARD_REFUSED") == 402
        assert (await cancel(w, order["order_id"])).json()["status"] == "CANCELLED"
