"""The wall clock jumps by an hour. Nobody loses an order that was in time, and no order changes before it changed."""

import asyncio
from pathlib import Path

import pytest

from flow.acts import MILK, kept, order, paid, payment_of, refund, to_pay
from flow.invariants import always, check
from flow.process import process
from flow.truth import rest
from quickcommerce.payment import attempts, refund_steps
from quickcommerce.payment.store import NEVER_US
from world import World

HOUR_S = 3600
LOST = [{"kind": "drop-after"}]


async def statuses(w: World, orders: list[str]) -> list[str]:
    return [await w.status(each) for each in orders]


async def test_an_hour_ahead_ends_only_what_is_due_by_that_clock(tmp_path: Path) -> None:
    async with process(tmp_path, payment_window_s=600) as w:
        early = [(await order(w))["order_id"] for _ in range(20)]
        w.clock.jump(HOUR_S)
        late = [(await order(w))["order_id"] for _ in range(20)]
        await asyncio.sleep(10)
        assert set(await statuses(w, early)) == {"EXPIRED"}
        assert set(await statuses(w, late)) == {"PLACED"}, "orders of this hour ended with those of the last"
        w.clock.jump(-HOUR_S)
        await asyncio.sleep(10)
        assert set(await statuses(w, late)) == {"PLACED"}
        await always(w)
        await asyncio.sleep(HOUR_S + 600)
        await rest(w)
        await check(w)


async def test_an_hour_back_ends_nothing_early_and_no_change_is_older_than_the_last(tmp_path: Path) -> None:
    async with process(tmp_path, payment_window_s=600) as w:
        paid_id, payment, key = await to_pay(w)
        left = (await order(w))["order_id"]
        before = await w.get(f"/v1/orders/{paid_id}")
        w.clock.jump(-HOUR_S)
        assert (await w.confirm(payment, key)).status_code == 200, "the buyer came back in time"
        await w.until_status(paid_id, "PAID", within_s=5)
        after = await w.get(f"/v1/orders/{paid_id}")
        assert after["version"] > before["version"]
        assert after["updated_at"] > before["updated_at"], "readers that keep the newest would keep the older"
        await asyncio.sleep(700)
        assert await w.status(left) == "PLACED", "its time, by the clock, is not over"
        await asyncio.sleep(HOUR_S)
        assert await w.status(left) == "EXPIRED"
        await rest(w)
        await check(w)


async def unknown(folder: Path, jump_s: int) -> None:
    async with process(folder, payment_window_s=600) as w:
        order_id, payment, key = await to_pay(w)
        await w.faults(confirm=LOST, get=[{"kind": "drop-before", "repeat": 2}])
        async with kept(w, MILK, 2, every_s=30):
            await w.confirm(payment, key)
            w.clock.jump(jump_s)
            try:
                await w.until_status(order_id, "PAID", within_s=90)
            except AssertionError as error:
                raise AssertionError("the buyer waits until the clock comes again to where it was") from error
        assert await w.captures(payment["payment_id"]) == 1
        await rest(w)
        await check(w)


@pytest.mark.parametrize("jump_s", [-300, -60, HOUR_S, -HOUR_S])
async def test_a_jump_in_the_middle_of_an_unknown_capture_costs_no_time(jump_s: int, tmp_path: Path) -> None:
    await unknown(tmp_path, jump_s)


async def test_control_costs_no_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "longest_us", lambda _: {})
    await unknown(tmp_path / "ahead", HOUR_S)
    with pytest.raises(AssertionError, match="comes again to where it was"):
        await unknown(tmp_path / "back", -HOUR_S)


async def owed(folder: Path, kind: str) -> None:
    async with process(folder) as w:
        payment = await paid(w)
        await w.faults(cancel=[{"kind": kind}], get=[{"kind": "drop-before", "repeat": 3}])
        assert (await refund(w, payment)).json()["status"] == "PENDING"
        w.clock.jump(-HOUR_S)

        async def back() -> bool:
            return bool((await payment_of(w, payment | {"user_id": 7}))["status"] == "REFUNDED")

        await w.until("the money is back", back, within_s=90)
        await rest(w)
        await check(w)


@pytest.mark.parametrize("kind", ["drop-before", "drop-after"])
async def test_a_clock_that_was_set_back_keeps_no_money_back(kind: str, tmp_path: Path) -> None:
    await owed(tmp_path, kind)


async def test_control_keeps_no_money_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refund_steps, "doubt_us", lambda _: NEVER_US)
    with pytest.raises(AssertionError, match="the money is back"):
        await owed(tmp_path, "drop-after")


async def test_a_clock_that_was_set_back_while_a_deposit_was_awaited_looks_at_it_in_time(tmp_path: Path) -> None:
    async with process(tmp_path, virtual_account_max_s=10 * HOUR_S) as w:
        order_id, payment, _ = await to_pay(w)
        key = await w.authenticate(payment, method="VIRTUAL_ACCOUNT", validHours=8)
        assert (await w.confirm(payment, key)).status_code == 202
        w.clock.jump(-HOUR_S)
        assert (await w.http.post("/_toss/emulator/deposit", json={"paymentKey": key})).status_code == 200
        await w.until_status(order_id, "PAID", within_s=660)


async def test_a_jump_over_the_lease_of_a_capture_that_is_under_way_charges_once(tmp_path: Path) -> None:
    """To the due loop, the worker looks dead; it is not, and both meet at the PG."""
    async with process(tmp_path, payment_window_s=7200) as w:
        order_id, payment, key = await to_pay(w)
        await w.faults(confirm=[{"kind": "slow", "ms": 20_000}])
        async with kept(w, MILK, 2):
            answer = await w.confirm(payment, key)
            assert answer.status_code == 202
            w.clock.jump(300)
            await w.until_status(order_id, "PAID", within_s=90)
        assert await w.captures(payment["payment_id"]) == 1
        assert (await payment_of(w, {"order_id": order_id, "user_id": 7}))["status"] == "CAPTURED"
        await asyncio.sleep(60)
        await rest(w)
        await check(w)
