"""Somebody cancels at the PG's own console: it is written down, told, and never taken for what the shop asked for."""

from pathlib import Path
from typing import Any

import httpx2
import pytest

from flow.acts import paid, payment_of, refund, to_pay
from flow.invariants import check
from flow.process import process
from flow.test_late import TIMES, lost
from flow.test_refunds import back, refunds
from flow.truth import rest
from quickcommerce.kit.auth import Role
from quickcommerce.payment import refund_model
from world import World


async def by_hand(w: World, payment: dict[str, Any], amount: int, key: str = "") -> httpx2.Response:
    """An operator gives money back at the PG."""
    mine = {"order_id": payment["order_id"], "user_id": 7}
    key = key or (await payment_of(w, mine))["pg_payment_key"]
    body = {"cancelReason": "by hand", "cancelAmount": amount}
    answer = await w.http.post(f"/_toss/v1/payments/{key}/cancel", json=body, auth=("test_gsk_local", ""))
    assert answer.status_code == 200, answer.text
    return answer


async def done(w: World) -> None:
    """Wait until nothing is owed any more. Meanwhile the PG knows more than the shop."""

    async def settled() -> bool:
        return all(status != "PENDING" for status, _ in await refunds(w))

    await w.until("no refund is owed", settled, within_s=90)


async def refunded(w: World, payment: dict[str, Any]) -> tuple[str, int]:
    order = await w.get(f"/v1/orders/{payment['order_id']}")
    return order["status"], order["refunded"]


async def beside_another(folder: Path) -> None:
    """1,000 won by hand, and then a buyer asks for 1,000."""
    async with process(folder) as w:
        payment = await paid(w)
        await by_hand(w, payment, 1_000)
        assert (await refund(w, payment, amount=1_000)).json()["status"] == "DONE"
        assert await back(w, payment) == [1_000, 1_000], "the buyer is told of money that somebody else gave back"
        await w.at_rest()
        assert await refunded(w, payment) == ("PAID", 2_000)
        assert (await refund(w, payment, restock=True)).json()["amount"] == 3_800
        await rest(w)
        await check(w)
        assert await refunded(w, payment) == ("REFUNDED", 5_800)


async def test_a_cancel_by_hand_of_the_same_sum_is_not_the_buyers_refund(tmp_path: Path) -> None:
    await beside_another(tmp_path)


async def test_control_whose_a_cancel_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refund_model, "_names", lambda *_: True)
    with pytest.raises(AssertionError, match="money that somebody else gave back"):
        await beside_another(tmp_path)


@pytest.mark.parametrize("fault", ["drop-before", "drop-after"])
async def test_a_cancel_by_hand_while_the_reply_of_a_refund_is_lost(fault: str, tmp_path: Path) -> None:
    """The same sum at the same time: what the refund did, and what it did not, is known all the same."""
    async with process(tmp_path) as w:
        payment = await paid(w)
        await w.faults(cancel=[{"kind": fault}], get=[{"kind": "drop-before", "repeat": 2}])
        assert (await refund(w, payment, amount=1_000)).json()["status"] == "PENDING"
        await w.faults(cancel=[])
        await by_hand(w, payment, 1_000)
        await done(w)
        assert sorted(await refunds(w)) == [("DONE", 1_000), ("DONE", 1_000)]
        assert await back(w, payment) == [1_000, 1_000]
        await rest(w)
        await check(w)


async def test_several_cancels_by_hand_block_no_refund(tmp_path: Path) -> None:
    async with process(tmp_path) as w:
        payment = await paid(w)
        for amount in (500, 300, 500):
            await by_hand(w, payment, amount)
        assert (await refund(w, payment, amount=1_000)).json()["status"] == "DONE"
        await w.at_rest()
        assert await refunded(w, payment) == ("PAID", 2_300)
        await check(w)


async def test_a_buyer_whose_money_went_back_by_hand_is_promised_none(tmp_path: Path) -> None:
    async with process(tmp_path) as w:
        payment = await paid(w)
        await by_hand(w, payment, 5_800)
        answer = await refund(w, payment)
        assert (answer.status_code, answer.json()["code"]) == (409, "invalid-state")
        assert sorted(await refunds(w)) == [("DONE", 5_800), ("FAILED", 5_800)]
        await rest(w)
        await check(w)
        assert await refunded(w, payment) == ("REFUNDED", 5_800)
        whats = [each["what"] for each in (await w.get(f"/v1/orders/{payment['order_id']}/timeline"))["items"]]
        assert whats[-1] == "refunded", "the buyer has all their money, and is told that a refund failed"
        assert (await w.get("/v1/ops/attention", role=Role.MASTER))["total"] == 0


async def test_of_several_that_are_owed_those_that_fit_go_back(tmp_path: Path) -> None:
    """4,000 won by hand leave 1,800 of three times 1,000 that were promised."""
    async with process(tmp_path) as w:
        payment = await paid(w)
        await w.faults(cancel=[{"kind": "drop-before", "forever": True}])
        for _ in range(3):
            assert (await refund(w, payment, amount=1_000)).json()["status"] == "PENDING"
        await w.faults(cancel=[])
        await by_hand(w, payment, 4_000)
        await done(w)
        assert sorted(await refunds(w)) == [("DONE", 1_000), ("DONE", 4_000), ("FAILED", 1_000), ("FAILED", 1_000)]
        assert (await refund(w, payment)).json()["amount"] == 800
        await rest(w)
        await check(w)


@pytest.mark.parametrize(("amount", "ends"), [(1_000, [("DONE", 1_000), ("DONE", 4_800)]), (5_800, [("DONE", 5_800)])])
async def test_what_the_shop_owes_is_what_is_left_when_part_went_back_by_hand(
    amount: int, ends: list[tuple[str, int]], tmp_path: Path
) -> None:
    async with process(tmp_path, late_money="refund", **TIMES) as w:
        order_id, payment, key = await to_pay(w)
        await lost(w, order_id, payment, key)
        await w.faults(get=[], cancel=[{"kind": "http", "status": 503, "forever": True}])

        async def owed() -> bool:
            return await refunds(w) == [("PENDING", 5_800)]

        await w.until("the money is owed", owed, within_s=95)
        await w.faults(cancel=[])
        await by_hand(w, payment, amount)
        await done(w)
        assert sorted(each for each in await refunds(w) if each[0] == "DONE") == ends
        await w.at_rest()
        await check(w)
        assert await w.status(order_id) == "EXPIRED"
        assert (await w.get("/v1/ops/attention", role=Role.MASTER))["total"] == 0


async def captured_and_cancelled(w: World, amount: int) -> tuple[str, dict[str, Any]]:
    """A capture whose reply is lost, and of which somebody at the PG gives so much back before it can be read."""
    order_id, payment, key = await to_pay(w)
    await w.faults(confirm=[{"kind": "drop-after"}], get=[{"kind": "drop-before", "forever": True}])
    await w.confirm(payment, key)
    await by_hand(w, payment, amount, key)
    return order_id, payment


@pytest.mark.parametrize(("amount", "status", "stock"), [(5_800, "REFUNDED", 0), (5_000, "PAID", 2)])
async def test_a_capture_that_was_cancelled_before_it_was_known_is_both(
    amount: int, status: str, stock: int, tmp_path: Path
) -> None:
    async with process(tmp_path, **TIMES) as w:
        order_id, payment = await captured_and_cancelled(w, amount)
        await w.faults(get=[])
        await w.until_status(order_id, status, within_s=90)
        await rest(w)
        await check(w)
        assert await refunded(w, payment) == (status, amount)
        assert await w.stock(1) == (1_000, 0, stock), "nobody has the goods of what was never paid"
        assert await refunds(w) == [("DONE", amount)]


async def test_late_money_of_which_nothing_is_left_buys_nothing_and_is_not_due(tmp_path: Path) -> None:
    async with process(tmp_path, **TIMES) as w:
        order_id, payment = await captured_and_cancelled(w, 5_800)
        await w.until_status(order_id, "EXPIRED", within_s=130)
        await w.faults(get=[])

        async def known() -> bool:
            return await refunds(w) == [("DONE", 5_800)]

        await w.until("it is known", known, within_s=95)
        await rest(w)
        await check(w)
        assert await refunded(w, payment) == ("EXPIRED", 0)
        versions = (await w.get(f"/v1/orders/{order_id}"))["version"]
        assert versions == 3, "placed, paying, expired: it was never paid"
