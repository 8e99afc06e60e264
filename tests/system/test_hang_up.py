"""Buyers close the app in the middle of a request. They hold nothing they do not know of, and can come back."""

import asyncio
from pathlib import Path
from typing import Any

from quickcommerce.catalog.model import Entry
from system.process import until
from system.shop import Shop, basket, running
from system.truth import settled
from system.wire import dial, request

BUYERS = 200
LINES = [(1, 1), (2, 1)]
GOODS = [Entry(1, "우유 1L", 2_900, BUYERS), Entry(2, "바나나 1송이", 3_900, BUYERS)]
"""One for each buyer: whoever held twice would leave another with nothing."""


async def hang_up(shop: Shop, data: bytes, at: int) -> None:
    """Send a request, or most of it, and leave without reading: now orderly, now as a phone without a network."""
    line = await dial(shop.url)
    await line.send(data[:-1] if at % 4 == 3 else data)
    if at % 4 == 1:
        line.reset()
    else:
        if at % 4 == 2:
            await asyncio.sleep(at / 20_000)
        await line.close()


def order(shop: Shop, user: int) -> bytes:
    key = {"Idempotency-Key": f"basket-{user}"}
    return request("POST", "/v1/orders", shop.auth(user) | key, basket(LINES))


async def test_two_hundred_hang_ups_hold_no_stock_without_an_order_and_the_same_key_finds_it(tmp_path: Path) -> None:
    async with running(tmp_path, goods=GOODS, log_level="WARNING") as shop:
        await asyncio.gather(*(hang_up(shop, order(shop, user), user) for user in range(1, BUYERS + 1)))

        async def some() -> bool:
            return (await shop.counts())["orders"] > 0

        await until("some orders are stored", some)
        counts = await shop.counts()
        stored = counts["orders"]
        assert stored < BUYERS, "no request was cut in the middle"
        assert counts["reserved"] == stored * len(LINES), "stock is held without an order"

        async def again(user: int) -> tuple[str, bool]:
            line = await dial(shop.url)
            await line.send(order(shop, user))
            answer = await line.answer()
            await line.close()
            assert answer.status == 201, answer.body
            return answer.json["order_id"], "idempotency-replayed" in answer.headers

        answers = await asyncio.gather(*(again(user) for user in range(1, BUYERS + 1)))
        await shop.at_rest()
        assert (await shop.terminate()).code == 0
    assert sum(replayed for _, replayed in answers) >= stored, "an order that was stored was not found by its key"
    truth = settled(tmp_path)
    assert set(truth.orders) == {order_id for order_id, _ in answers}, "a buyer who came back has two orders"
    assert {name: row["reserved"] for name, row in truth.products.items()} == {1: BUYERS, 2: BUYERS}


async def test_a_buyer_who_leaves_while_it_is_captured_has_paid_once_or_not_at_all(tmp_path: Path) -> None:
    async with running(tmp_path, goods=GOODS, log_level="WARNING") as shop:
        await shop.faults(confirm=[{"kind": "slow", "ms": 100, "forever": True}])

        async def leave(user: int) -> dict[str, Any]:
            placed: dict[str, Any] = await shop.order(LINES, user=user)
            payment = await shop.get(f"/v1/orders/{placed['order_id']}/payment", user=user)
            body = {"payment_key": await shop.authenticate(payment), "amount": payment["amount"]}
            path = f"/v1/payments/{payment['payment_id']}/confirm"
            await hang_up(shop, request("POST", path, shop.auth(user), body), user)
            return {"user": user, "order": placed["order_id"], "payment": payment, "body": body}

        left = await asyncio.gather(*(leave(user) for user in range(1, 41)))

        async def known() -> bool:
            found = [await shop.get(f"/v1/orders/{each['order']}/payment", user=each["user"]) for each in left]
            return {payment["status"] for payment in found} == {"READY", "CAPTURED"}

        await until("some captures were begun, and all of those are known", known)
        for each in left:
            answer = await shop.confirm(each["payment"], each["body"]["payment_key"], user=each["user"])
            assert answer.status_code == 200, answer.text
        await shop.until_status(left[-1]["order"], "PAID")
        await shop.at_rest()
        assert (await shop.terminate()).code == 0
    truth = settled(tmp_path)
    assert truth.statuses == {"PAID": len(left)}
