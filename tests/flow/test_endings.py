"""Orders that end unpaid, and payments that arrive at the same moment. Goods go back only when no money can come."""

import asyncio
from pathlib import Path

import pytest

from flow.acts import EGGS, MILK, calls, cancel, deliver, kept, order, payment_of, set_clock, to_pay
from flow.invariants import check
from flow.probe import Probe
from flow.process import day, process
from quickcommerce.kit.auth import Role
from quickcommerce.kit.clock import SECOND_US, from_rfc3339
from quickcommerce.order import flow
from unsteady import steady

pytestmark = pytest.mark.usefixtures("both")

UNREADABLE = {"kind": "http", "status": 503, "forever": True}


async def test_a_buyer_who_authenticates_and_never_comes_back_gives_the_goods_back(tmp_path: Path) -> None:
    async with process(tmp_path, payment_window_s=30) as w:
        order_id, payment, key = await to_pay(w)
        async with kept(w, MILK, 2):
            await asyncio.sleep(29)
        await w.until_status(order_id, "EXPIRED", within_s=6)
        assert await w.stock(MILK) == (1_000, 0, 0), "nobody can buy what an expired order held"
        late = await w.confirm(payment, key)
        assert (late.status_code, late.json()["code"]) == (409, "invalid-state")
        assert await calls(w, "confirm") == 0, "money for an order that has ended"
        await w.at_rest()
        await check(w)


async def test_an_order_whose_capture_is_unknown_outlives_its_time_and_is_paid(tmp_path: Path) -> None:
    async with process(tmp_path, payment_window_s=30) as w:
        order_id, payment, key = await to_pay(w)
        await w.faults(confirm=[{"kind": "drop-after"}], get=[UNREADABLE])
        async with kept(w, MILK, 2):
            await w.confirm(payment, key)
            await asyncio.sleep(90)
            assert await w.status(order_id) == "PAYING", "the buyer's money is with the PG, and the order is gone"
            timeline = await w.get(f"/v1/orders/{order_id}/timeline", role=Role.MASTER)
            assert [each["what"] for each in timeline["items"]].count("expiry deferred") == 1
            await w.faults(get=[])
            await w.until_status(order_id, "PAID", within_s=90)
        await w.at_rest()
        await check(w)


async def test_after_its_hold_an_unknown_payment_lets_the_goods_go_and_late_money_buys_them_again(
    tmp_path: Path,
) -> None:
    async with process(tmp_path, payment_window_s=30, unknown_hold_s=120) as w:
        order_id, payment, key = await to_pay(w)
        await w.faults(confirm=[{"kind": "drop-after"}], get=[UNREADABLE])
        async with kept(w, MILK, 2):
            await w.confirm(payment, key)
            await asyncio.sleep(110)
        await w.until_status(order_id, "EXPIRED", within_s=25)
        assert await w.stock(MILK) == (1_000, 0, 0)
        assert (await payment_of(w, {"order_id": order_id, "user_id": 7}))["status"] == "UNKNOWN"
        await w.faults(get=[])
        await w.until_status(order_id, "PAID", within_s=90)
        assert await w.stock(MILK) == (1_000, 0, 2)
        await w.at_rest()
        await check(w)


@pytest.mark.parametrize("step", ["Attempts.begin", "pg confirm", "Outcomes.settle"])
async def test_a_buyer_who_pays_and_meanwhile_cancels_gets_one_of_both(step: str, tmp_path: Path) -> None:
    """The whole cancel happens while the payment is at this step."""
    probe = Probe()
    async with process(tmp_path, probe) as w:
        order_id, payment, key = await to_pay(w)
        gate = probe.hold(step)
        paying = asyncio.create_task(w.confirm(payment, key))
        await gate.reached.wait()
        cancelled = await cancel(w, order_id)
        gate.open.set()
        paid = await paying
        if step == "Attempts.begin":
            assert (cancelled.status_code, paid.status_code) == (200, 409)
            assert await calls(w, "confirm") == 0, "the buyer was told that it is cancelled, and is charged"
        else:
            assert (cancelled.status_code, cancelled.headers["Retry-After"]) == (409, "3"), cancelled.text
            assert paid.status_code in (200, 202)
        await w.until_status(order_id, "CANCELLED" if cancelled.status_code == 200 else "PAID")
        await w.at_rest()
        await check(w)


@pytest.mark.parametrize("step", ["OrderBook.rows", "Payments.close", "Orders.cancel"])
async def test_a_buyer_who_cancels_and_meanwhile_pays_gets_one_of_both(step: str, tmp_path: Path) -> None:
    """The whole payment happens while the cancel is at this step."""
    probe = Probe()
    async with process(tmp_path, probe) as w:
        order_id, payment, key = await to_pay(w)
        gate = probe.hold(step)
        cancelling = asyncio.create_task(cancel(w, order_id))
        await gate.reached.wait()
        paid = await w.confirm(payment, key)
        gate.open.set()
        cancelled = await cancelling
        if step == "Orders.cancel":
            assert (paid.status_code, cancelled.status_code) == (409, 200)
            assert await calls(w, "confirm") == 0, "the payment was closed, and the buyer is charged"
        else:
            assert (paid.status_code, cancelled.status_code) == (200, 409)
        await w.until_status(order_id, "PAID" if paid.status_code == 200 else "CANCELLED")
        await w.at_rest()
        await check(w)


@pytest.mark.parametrize("early_us", [1, 0, -1])
async def test_the_time_to_pay_ends_at_a_microsecond(early_us: int, tmp_path: Path) -> None:
    """The buyer comes back just before, exactly at, or just after the end; the sweep looks exactly at the end."""
    probe = Probe()
    async with process(tmp_path, probe, loops=False) as w:
        placed = await order(w)
        payment = await payment_of(w, placed)
        ends_us = from_rfc3339(placed["expires_at"])
        set_clock(w, ends_us - 60 * SECOND_US)
        key = await w.authenticate(payment)
        set_clock(w, ends_us - early_us)
        await w.app.flows.orders.expire()
        expected = "EXPIRED" if early_us <= 0 else "PLACED"
        assert await w.status(placed["order_id"]) == expected, "ended a microsecond early, or late"
        gate = probe.hold("pg confirm")
        # What is undone is run again some milliseconds later, which would be too late.
        with steady():
            paying = asyncio.create_task(w.confirm(payment, key))
            if early_us > 0:
                await gate.reached.wait()
        if early_us > 0:
            set_clock(w, ends_us)
            await w.app.flows.orders.expire()
            gate.open.set()
        answer = await paying
        await deliver(w)
        assert answer.status_code == (200 if early_us > 0 else 409), answer.text
        assert await w.status(placed["order_id"]) == ("PAID" if early_us > 0 else "EXPIRED")
        await check(w)


async def test_from_its_last_microsecond_an_order_cannot_be_paid_even_if_nobody_has_swept_it(tmp_path: Path) -> None:
    async with process(tmp_path, loops=False) as w:
        placed = await order(w)
        payment = await payment_of(w, placed)
        key = await w.authenticate(payment)
        set_clock(w, from_rfc3339(placed["expires_at"]))
        assert (await w.confirm(payment, key)).status_code == 409
        assert await calls(w, "confirm") == 0, "the buyer is charged for an order that is about to end"
        await w.app.flows.orders.expire()
        await deliver(w)
        await check(w)


@pytest.mark.parametrize("step", ["Payments.close", "Orders._expire"])
async def test_a_cancel_in_the_middle_of_an_expiry_gives_the_goods_back_once(step: str, tmp_path: Path) -> None:
    probe = Probe()
    async with process(tmp_path, probe, loops=False) as w:
        placed = await order(w)
        await payment_of(w, placed)
        set_clock(w, from_rfc3339(placed["expires_at"]))
        gate = probe.hold(step)
        expiring = asyncio.create_task(w.app.flows.orders.expire())
        await gate.reached.wait()
        probe.gates.clear()
        assert (await cancel(w, placed["order_id"])).status_code == 200
        gate.open.set()
        await expiring
        await deliver(w)
        assert await w.status(placed["order_id"]) == "CANCELLED", "the buyer was told that it is cancelled"
        assert await w.stock(MILK) == (1_000, 0, 0), "the same goods went back twice"
        await check(w)


async def test_an_order_whose_time_has_ended_stands_behind_none_that_payment_keeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four captures are not known, and every look at what is due takes two orders."""
    monkeypatch.setattr(flow, "EXPIRE_MAX", 2)
    async with process(tmp_path, loops=False, payment_window_s=30) as w:
        await w.faults(confirm=[{"kind": "drop-after", "forever": True}], get=[UNREADABLE])
        for _ in range(4):
            _, payment, key = await to_pay(w)
            await w.confirm(payment, key)
        forgotten = await order(w, [(EGGS, 3)])
        set_clock(w, from_rfc3339(forgotten["expires_at"]))
        for _ in range(3):
            await w.app.flows.orders.expire()
            set_clock(w, w.clock() + int(flow.LEASE_S * SECOND_US))
        assert await w.status(forgotten["order_id"]) == "EXPIRED", "what nobody pays for is kept from other buyers"
        await w.faults(confirm=[], get=[])


async def test_a_payment_that_a_cancel_was_granted_on_is_never_tried_again(tmp_path: Path) -> None:
    """The PG keeps failing for longer than doubt is held; while the shop may try again, it may not let go.

    The shop was restarted with shorter times: those of the order are the ones it was placed under.
    """
    failing = {"kind": "error", "code": "PROVIDER_ERROR", "forever": True}
    clock = day()
    async with process(tmp_path, clock=clock, payment_window_s=600) as w:
        order_id, payment, key = await to_pay(w)
        await w.faults(confirm=[failing])
        assert (await w.confirm(payment, key)).status_code == 202
    async with process(tmp_path, clock=clock, seed=2, payment_window_s=10, unknown_hold_s=84) as w:
        await w.faults(confirm=[failing])
        await asyncio.sleep(120)

        async def waiting() -> bool:
            return (await w.get(f"/v1/orders/{order_id}/payment"))["status"] in ("RETRY", "UNKNOWN")

        await w.until("the PG has refused once more", waiting)
        cancelled = await cancel(w, order_id)
        await w.faults(confirm=[])
        await asyncio.sleep(120)
        charged = await w.captures(payment["payment_id"])
        assert (cancelled.status_code, charged) in {(200, 0), (409, 1)}, "charged, after the cancel was granted"
        await w.at_rest()
        await check(w)
