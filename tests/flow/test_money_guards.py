"""What keeps money, quota and coupons right where events come twice, late or wrong; and a control for each guard."""

import dataclasses
from pathlib import Path
from typing import Any

import msgspec
import pytest

from flow.acts import (
    BANANAS,
    BEEF,
    EGGS,
    MILK,
    cancel,
    every,
    nothing,
    order,
    paid,
    payment_of,
    pg_client,
    refund,
    taken,
    to_pay,
)
from flow.invariants import check
from flow.process import process
from flow.test_late import TIMES, coupon_of, found, lost, now
from flow.test_refunds import back, refunds
from flow.test_replayed import buried, letters, replay
from flow.truth import rest
from quickcommerce import events
from quickcommerce.catalog.sales import TimeSales
from quickcommerce.kit import outbox
from quickcommerce.kit.auth import Role
from quickcommerce.kit.ids import EventId, OrderId, PaymentId
from quickcommerce.kit.outbox import Message
from quickcommerce.order import pricing, settlement
from quickcommerce.payment import store as payment_store
from quickcommerce.payment.model import DECLINES_MAX, Asked, Captured, Declined, Reply
from quickcommerce.payment.outcomes import Result
from world import World

pytestmark = pytest.mark.usefixtures("both")


async def sale_of(w: World, product_id: int, quota: int) -> None:
    body = {"product_id": product_id, "price": 2_000, "quota": quota, "starts_at": now(w, 0), "ends_at": now(w, 3600)}
    assert (await w.http.post("/v1/time-sales", json=body, headers=w.auth(1, Role.MASTER))).status_code == 201


async def left(w: World, product_id: int) -> int:
    return int((await w.get(f"/v1/products/{product_id}"))["time_sale"]["left"])


async def basket(w: World, *lines: tuple[int, int, int | None], user: int = 7) -> Any:
    """An answer to an order of (product, quantity, coupon)."""
    wants = [
        {"product_id": product, "quantity": quantity} | ({"coupon_id": coupon} if coupon else {})
        for product, quantity, coupon in lines
    ]
    return await w.http.post("/v1/orders", json={"lines": wants}, headers=w.auth(user))


async def somebody_elses_coupon(folder: Path) -> None:
    async with process(folder) as w:
        coupon = await coupon_of(w, 7)
        answer = await basket(w, (MILK, 2, coupon), user=8)
        assert answer.status_code == 409, "a buyer pays with the coupon of another"
        assert answer.json()["code"] == "coupon-not-usable"
        [mine] = (await w.get("/v1/coupons"))["items"]
        assert mine["order_id"] is None


async def test_a_coupon_is_its_owners(tmp_path: Path) -> None:
    await somebody_elses_coupon(tmp_path)


async def test_control_a_coupon_is_its_owners(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guarded = pricing.discounts

    def anybodys(wants: Any, offers: Any, coupons: Any, spent: Any, _user: int) -> Any:
        return guarded(wants, offers, coupons, spent, 7)

    monkeypatch.setattr(pricing, "discounts", anybodys)
    with pytest.raises(AssertionError, match="the coupon of another"):
        await somebody_elses_coupon(tmp_path)


async def another_amount(folder: Path) -> None:
    """An event says that 100 won were captured for an order of 5,800."""
    async with process(folder) as w:
        placed = await order(w)
        told = events.PaymentSettled(PaymentId("pay_0"), OrderId(placed["order_id"]), 1, 100)
        message = Message(
            EventId("evt_0"), "PaymentSettled", "payment", placed["order_id"], w.clock(), "", events.encode(told)
        )
        await w.app.stores.payment.run(lambda tx: outbox.append(tx, [message]))
        await w.at_rest()
        assert await w.status(placed["order_id"]) == "PLACED", "goods for 5,800 won go out for 100"
        assert [kind for kind, _ in await letters(w)] == ["PaymentSettled"]


async def test_an_order_is_paid_with_what_it_costs(tmp_path: Path) -> None:
    await another_amount(tmp_path)


def rows_with(monkeypatch: pytest.MonkeyPatch, **facts: int) -> None:
    """Switch a guard of the order's side off: it compares with these facts."""
    guarded = settlement._rows

    async def believing(*args: Any) -> Any:
        return {key: msgspec.structs.replace(row, **facts) for key, row in (await guarded(*args)).items()}

    monkeypatch.setattr(settlement, "_rows", believing)


async def test_control_what_it_costs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows_with(monkeypatch, payable=100)
    with pytest.raises(AssertionError, match="go out for 100"):
        await another_amount(tmp_path)


async def older_refund(folder: Path) -> None:
    """The news of the first part is a dead letter, that of the second is taken; then the first is replayed."""
    async with process(folder) as w:
        payment = await paid(w)
        await w.at_rest()
        async with buried(w, "PaymentRefunded"):
            await refund(w, payment, amount=1_000)
            [(_, letter_id)] = await w.until("the news is buried", lambda: letters(w))
        await refund(w, payment, amount=500)
        await w.at_rest()
        assert await replay(w, letter_id) == 200
        shown = (await w.get(f"/v1/orders/{payment['order_id']}"))["refunded"]
        assert shown == 1_500, f"the buyer is told that {shown} of 1,500 won went back"
        await rest(w)
        await check(w)


async def test_an_older_refund_counts_once(tmp_path: Path) -> None:
    await older_refund(tmp_path)


async def test_control_an_older_refund(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows_with(monkeypatch, refunded=0)
    with pytest.raises(AssertionError, match="1000 of 1,500 won"):
        await older_refund(tmp_path)


async def test_money_for_an_order_that_has_failed_goes_back_even_if_the_goods_are_there(tmp_path: Path) -> None:
    """The PG says no to the last card, and captures all the same."""
    async with process(tmp_path, sound=False) as w:
        placed = await order(w)
        payment = await payment_of(w, placed)
        for _ in range(DECLINES_MAX - 1):
            await w.confirm(payment, await w.authenticate(payment, method="CARD_REFUSED"))
        confirm = w.app.flows.toss.confirm

        async def lying(asked: Asked) -> Reply:
            await confirm(asked)
            return Declined("REJECT_CARD_PAYMENT", "no")

        with pg_client(w, confirm=lying):
            assert (await w.confirm(payment, await w.authenticate(payment))).status_code == 402
        await w.until_status(placed["order_id"], "FAILED")
        known = await w.app.flows.payments.get(PaymentId(payment["payment_id"]))
        assert known.payment_key
        await w.app.flows.captures.settling.submit(Result(known, Captured(known.payment_key)))

        async def all_back() -> bool:
            return await refunds(w) == [("DONE", 5_800)]

        await w.until("the money is back", all_back)
        assert await w.stock(MILK) == (1_000, 0, 0)
        assert await w.status(placed["order_id"]) == "FAILED"


async def test_late_money_whose_coupon_is_spent_elsewhere_goes_back_and_no_quota_is_lost(tmp_path: Path) -> None:
    async with process(tmp_path, **TIMES) as w:
        coupon = await coupon_of(w, 7)
        await sale_of(w, MILK, 4)
        placed = (await basket(w, (MILK, 2, None), (BANANAS, 1, coupon))).json()
        payment = await payment_of(w, placed)
        await lost(w, placed["order_id"], payment, await w.authenticate(payment))
        # Paid, or it would end before the money is found, and the coupon could be had again.
        other = (await basket(w, (EGGS, 1, coupon))).json()
        paying = await payment_of(w, other)
        await w.confirm(paying, await w.authenticate(paying))
        await found(w, placed["order_id"], "EXPIRED", "REFUNDED")
        assert await left(w, MILK) == 4
        [mine] = (await w.get("/v1/coupons"))["items"]
        assert mine["order_id"] == other["order_id"], "the coupon of a live order was taken away"


async def late_without_stock(folder: Path) -> None:
    """Coupon and quota can be had again, the goods cannot."""
    async with process(folder, **TIMES) as w:
        coupon = await coupon_of(w, 7)
        await sale_of(w, MILK, 4)
        placed = (await basket(w, (MILK, 2, None), (BEEF, 1, coupon))).json()
        payment = await payment_of(w, placed)
        await lost(w, placed["order_id"], payment, await w.authenticate(payment))
        await taken(w, BEEF, 5)
        await found(w, placed["order_id"], "EXPIRED", "REFUNDED")
        assert await left(w, MILK) == 4
        [mine] = (await w.get("/v1/coupons"))["items"]
        assert mine["order_id"] is None


async def test_late_money_whose_goods_are_gone_keeps_neither_quota_nor_coupon(tmp_path: Path) -> None:
    await late_without_stock(tmp_path)


async def quota_comes_back(folder: Path, *, how: str) -> None:
    async with process(folder) as w:
        await sale_of(w, MILK, 4)
        order_id, payment, key = await to_pay(w)
        assert await left(w, MILK) == 2
        if how == "cancelled":
            assert (await cancel(w, order_id)).status_code == 200
        else:
            await w.confirm(payment, key)
            await w.until_status(order_id, "PAID")
            await refund(w, payment, restock=True)
            await w.until_status(order_id, "REFUNDED")
        assert await left(w, MILK) == 4, "the sale ends early: quota that nobody has is lost"
        await rest(w)
        await check(w)


@pytest.mark.parametrize("how", ["cancelled", "returned"])
async def test_quota_comes_back_with_the_goods(how: str, tmp_path: Path) -> None:
    await quota_comes_back(tmp_path, how=how)


@pytest.mark.parametrize("scenario", ["cancelled", "returned", "late"])
async def test_control_quota_comes_back(scenario: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def kept(*_: object) -> None:
        """It is lost."""

    if scenario == "late":
        undone = settlement.Settlement._held_again

        async def careless(self: settlement.Settlement, tx: Any, rows: Any) -> Any:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(TimeSales, "give_back", kept)
                return await undone(self, tx, rows)

        monkeypatch.setattr(settlement.Settlement, "_held_again", careless)
        with pytest.raises(AssertionError, match="I2: 2 are used"):
            await late_without_stock(tmp_path)
        return
    monkeypatch.setattr(TimeSales, "give_back", kept)
    with pytest.raises(AssertionError, match="quota that nobody has is lost"):
        await quota_comes_back(tmp_path, how=scenario)


async def cancelled_while_it_may_run(folder: Path) -> None:
    """The PG answers with an error and works on; the buyer cancels; then the PG captures."""
    async with process(folder, loops=False) as w:
        order_id, payment, key = await to_pay(w)
        await w.faults(confirm=[{"kind": "http", "status": 504}])
        assert (await w.confirm(payment, key)).json()["status"] == "RETRY"
        answer = await cancel(w, order_id)
        assert answer.status_code == 409, "the goods go back to the shelf, and the buyer may still be charged"
        assert await w.stock(MILK) == (1_000, 2, 0)


async def test_an_order_does_not_end_while_an_earlier_request_may_still_run(tmp_path: Path) -> None:
    await cancelled_while_it_may_run(tmp_path)


async def test_control_an_earlier_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guarded = payment_store.of_orders

    async def believing(*args: Any, **facts: Any) -> Any:
        found = await guarded(*args, **facts)
        return {order_id: msgspec.structs.replace(each, unknown_us=0) for order_id, each in found.items()}

    monkeypatch.setattr(payment_store, "of_orders", believing)
    with pytest.raises(AssertionError, match="the buyer may still be charged"):
        await cancelled_while_it_may_run(tmp_path)


async def test_a_notice_that_comes_again_owes_nothing_again(tmp_path: Path) -> None:
    """By a reader that remembers nothing: what is owed, or back, is not left."""
    async with process(tmp_path, late_money="refund", **TIMES) as w:
        order_id, payment, key = await to_pay(w)
        await lost(w, order_id, payment, key)
        await found(w, order_id, "EXPIRED", "REFUNDED")
        to_payment = w.app.parts.subscriptions[0]
        notice = [each for each in await every(w, to_payment) if each.type == "MoneyUnclaimed"]
        assert len(notice) == 1
        again = dataclasses.replace(to_payment.consumer, name="again")  # type: ignore[type-var]
        await again.deliver(notice, nothing)
        assert await refunds(w) == [("DONE", 5_800)]
        assert await back(w, payment) == [5_800]
