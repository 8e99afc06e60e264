"""Money that comes when the order has ended: it buys everything again, all or nothing, or it goes back whole."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from flow.acts import BEEF, MILK, deliver, order, payment_of, set_clock, taken, to_pay
from flow.invariants import check
from flow.process import process
from quickcommerce import events
from quickcommerce.coupon.flow import Issuing
from quickcommerce.coupon.model import DiscountType, PolicyDraft
from quickcommerce.kit.auth import Role
from quickcommerce.kit.clock import SECOND_US, from_rfc3339, rfc3339
from quickcommerce.kit.ids import OrderId, PaymentId
from quickcommerce.kit.outbox import Message
from world import World

pytestmark = pytest.mark.usefixtures("both")

TIMES: dict[str, Any] = {"payment_window_s": 30, "unknown_hold_s": 120}
UNREADABLE = {"kind": "drop-before", "forever": True}


async def lost(w: World, order_id: str, payment: dict[str, Any], key: str) -> None:
    """The PG captures and falls silent; after a while the shop lets the order go."""
    await w.faults(confirm=[{"kind": "drop-after"}], get=[UNREADABLE])
    await w.confirm(payment, key)
    await w.until_status(order_id, "EXPIRED", within_s=130)


async def found(w: World, order_id: str, status: str, payment: str) -> None:
    """The PG can be read again. Everything comes to rest, and tells one story."""
    await w.faults(get=[])
    await w.until_status(order_id, status, within_s=95)

    async def told() -> str:
        return str((await payment_of(w, {"order_id": order_id, "user_id": 7}))["status"])

    async def known() -> bool:
        return await told() not in ("CAPTURING", "UNKNOWN")

    async def settled() -> bool:
        return await told() == payment

    # The outcome first, by whoever reads it next; what follows from it then takes moments.
    await w.until("the outcome is known", known, within_s=95)
    await w.until(f"the payment is {payment}", settled, within_s=30)
    await w.at_rest()
    await check(w)


async def test_what_is_still_there_is_held_again_and_paid(tmp_path: Path) -> None:
    async with process(tmp_path, **TIMES) as w:
        order_id, payment, key = await to_pay(w, [(MILK, 2), (BEEF, 1)])
        await lost(w, order_id, payment, key)
        assert (await w.stock(MILK), await w.stock(BEEF)) == ((1_000, 0, 0), (5, 0, 0))
        await found(w, order_id, "PAID", "CAPTURED")
        assert (await w.stock(MILK), await w.stock(BEEF)) == ((1_000, 0, 2), (5, 0, 1))


async def test_where_one_line_is_gone_nothing_is_held_and_all_the_money_goes_back(tmp_path: Path) -> None:
    async with process(tmp_path, **TIMES) as w:
        order_id, payment, key = await to_pay(w, [(MILK, 2), (BEEF, 1)])
        await lost(w, order_id, payment, key)
        other = await taken(w, BEEF, 5)
        await found(w, order_id, "EXPIRED", "REFUNDED")
        assert await w.stock(MILK) == (1_000, 0, 0), "goods are kept for money that went back"
        [back] = [each for each in (await w.ledger())["payments"] if each["orderId"] == payment["payment_id"]]
        assert [each["amount"] for each in back["cancels"]] == [payment["amount"]]
        assert await w.status(other) == "PAID"


async def test_a_shop_may_always_give_late_money_back(tmp_path: Path) -> None:
    async with process(tmp_path, late_money="refund", **TIMES) as w:
        order_id, payment, key = await to_pay(w)
        await lost(w, order_id, payment, key)
        await found(w, order_id, "EXPIRED", "REFUNDED")
        assert await w.stock(MILK) == (1_000, 0, 0)


@pytest.mark.parametrize("gone", [False, True])
async def test_a_coupon_and_a_quota_are_held_again_with_the_goods_or_not_at_all(gone: bool, tmp_path: Path) -> None:
    async with process(tmp_path, **TIMES) as w:
        coupon = await coupon_of(w, 7)
        body = {"product_id": MILK, "price": 2_000, "quota": 2, "starts_at": now(w, 0), "ends_at": now(w, 3600)}
        sale = await w.http.post("/v1/time-sales", json=body, headers=w.auth(1, Role.MASTER))
        assert sale.status_code == 201, sale.text
        lines = {"lines": [{"product_id": MILK, "quantity": 2, "coupon_id": coupon}]}
        placed = (await w.http.post("/v1/orders", json=lines, headers=w.auth())).json()
        assert (placed["total"], placed["payable"]) == (4_000, 3_000)
        payment = await payment_of(w, placed)
        await lost(w, placed["order_id"], payment, await w.authenticate(payment))
        if gone:
            await taken(w, MILK, 1)
        left = (await w.http.get("/v1/products/1")).json()["time_sale"]["left"]
        assert left == (1 if gone else 2), "the quota of an order that has ended is not had by others"
        await found(w, placed["order_id"], *(("EXPIRED", "REFUNDED") if gone else ("PAID", "CAPTURED")))
        [mine] = (await w.get("/v1/coupons"))["items"]
        assert mine["order_id"] == (None if gone else placed["order_id"])


async def test_money_for_a_cancelled_order_goes_back_even_if_the_goods_are_there(tmp_path: Path) -> None:
    async with process(tmp_path, payment_window_s=30, unknown_hold_s=120) as w:
        order_id, payment, key = await to_pay(w)
        await w.faults(confirm=[{"kind": "drop-after"}], get=[UNREADABLE])
        await w.confirm(payment, key)
        await asyncio.sleep(1)
        unswept = "UPDATE orders SET due_us = ? WHERE order_id = ?"
        await w.app.stores.shop.run(lambda tx: tx.run(unswept, (w.clock() + 10**12, order_id)))
        await asyncio.sleep(130)
        answer = await w.http.post(f"/v1/orders/{order_id}/cancel", headers=w.auth())
        assert answer.status_code == 200, answer.text
        await found(w, order_id, "CANCELLED", "REFUNDED")
        assert await w.stock(MILK) == (1_000, 0, 0)


async def test_goods_that_come_back_with_the_whole_refund_are_for_sale_again(tmp_path: Path) -> None:
    async with process(tmp_path) as w:
        order_id, payment, key = await to_pay(w, [(BEEF, 5)])
        assert (await w.confirm(payment, key)).status_code == 200
        await w.until_status(order_id, "PAID")
        path = f"/v1/payments/{payment['payment_id']}/refunds"
        part = await w.http.post(path, json={"amount": 1_000, "reason": "late"}, headers=w.auth())
        assert part.status_code == 201, part.text

        async def partly() -> bool:
            return bool((await w.get(f"/v1/orders/{order_id}"))["refunded"] == 1_000)

        await w.until("a part is told", partly)
        assert await w.status(order_id) == "PAID"
        rest = await w.http.post(path, json={"reason": "spoilt", "restock": True}, headers=w.auth())
        assert rest.status_code == 201, rest.text
        await w.until_status(order_id, "REFUNDED")
        assert await w.stock(BEEF) == (5, 0, 0)
        await w.at_rest()
        await check(w)
        assert (await w.order([(BEEF, 5)], user=8)).status_code == 201


async def test_an_order_of_which_nothing_is_left_to_pay_is_paid_at_once(tmp_path: Path) -> None:
    async with process(tmp_path) as w:
        coupon = await coupon_of(w, 7, value=5_800)
        body = {"lines": [{"product_id": MILK, "quantity": 2, "coupon_id": coupon}]}
        headers = w.auth() | {"Idempotency-Key": "free"}
        answer = await w.http.post("/v1/orders", json=body, headers=headers)
        placed = answer.json()
        facts = (answer.status_code, placed["status"], placed["payable"], placed["paid"], placed["checkout_url"])
        assert facts == (201, "PAID", 0, 0, None)
        assert (await w.http.post("/v1/orders", json=body, headers=headers)).content == answer.content
        assert await w.stock(MILK) == (1_000, 0, 2)
        assert (await w.http.get(f"/v1/orders/{placed['order_id']}/payment", headers=w.auth())).status_code == 404
        cancelled = await w.http.post(f"/v1/orders/{placed['order_id']}/cancel", headers=w.auth())
        assert cancelled.status_code == 409
        assert "ask for a refund" not in cancelled.json()["detail"], "there is no payment to ask it of"
        await w.at_rest()
        await check(w)


async def test_what_is_left_to_pay_is_never_less_than_the_pg_takes(tmp_path: Path) -> None:
    async with process(tmp_path, loops=False) as w:
        coupon = await coupon_of(w, 7, value=5_750)
        body = {"lines": [{"product_id": MILK, "quantity": 2, "coupon_id": coupon}]}
        refused = await w.http.post("/v1/orders", json=body, headers=w.auth())
        assert (refused.status_code, refused.json()["code"]) == (409, "coupon-not-usable")
        [mine] = (await w.get("/v1/coupons"))["items"]
        assert (mine["status"], await w.stock(MILK)) == ("ISSUED", (1_000, 0, 0))


def now(w: World, seconds: int) -> str:
    return rfc3339(w.clock() + seconds * SECOND_US)


async def coupon_of(w: World, user: int, *, value: int = 1_000) -> int:
    """A coupon of this user that takes so many won off."""
    coupons = w.app.flows.coupons
    draft = PolicyDraft("쿠폰", DiscountType.AMOUNT, value, 0, value, 10, now(w, 0), now(w, 3600))
    policy = await coupons.create(draft)
    [issued] = await coupons.issue([Issuing(policy.policy_id, user)])
    assert not isinstance(issued, Exception)
    return issued.coupon.coupon_id


async def test_of_late_payments_that_come_together_those_that_fit_buy_again(tmp_path: Path) -> None:
    """Three pieces of beef are left for two buyers of two each; nothing is kept of what does not fit."""
    async with process(tmp_path, loops=False) as w:
        await order(w, [(BEEF, 2)], user=8)
        placed = []
        for user in (1, 2):
            coupon = await coupon_of(w, user)
            lines = [{"product_id": MILK, "quantity": 1, "coupon_id": coupon}, {"product_id": BEEF, "quantity": 1}]
            answer = await w.http.post("/v1/orders", json={"lines": lines}, headers=w.auth(user))
            placed.append(answer.json())
        set_clock(w, from_rfc3339(placed[-1]["expires_at"]) + 1)
        await deliver(w)
        await w.app.flows.orders.expire()
        await order(w, [(BEEF, 4)], user=8)
        told = []
        for each in placed:
            facts = (PaymentId("pay_0"), OrderId(each["order_id"]), 1, each["payable"])
            data = events.encode(events.PaymentSettled(*facts))
            told.append(Message(w.app.flows.ids.event(), "PaymentSettled", "payment", facts[1], w.clock(), "", data))
        await w.app.stores.shop.run(lambda tx: w.app.flows.settlement.settled(tx, told))
        assert [await w.status(each["order_id"]) for each in placed] == ["PAID", "EXPIRED"]
        assert (await w.stock(MILK), await w.stock(BEEF)) == ((1_000, 0, 1), (5, 4, 1))
        spent = [(await w.get("/v1/coupons", user=user))["items"][0]["order_id"] for user in (1, 2)]
        assert spent == [placed[0]["order_id"], None]
