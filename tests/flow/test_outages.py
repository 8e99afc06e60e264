"""A store, the index or the PG is away. Buyers lose nothing, nobody is asked to mend anything, and the PG is not
flooded.
"""

import asyncio
from pathlib import Path
from unittest.mock import patch

import httpx2
import pytest

from flow.acts import BANANAS, EGGS, MILK, calls, kept, order, to_pay
from flow.invariants import check
from flow.probe import Probe
from flow.process import process
from flow.truth import rest
from quickcommerce import roles
from world import World


async def ready(w: World) -> list[str]:
    """Why the process says that it is not ready."""
    answer = await w.http.get("/readyz")
    reasons: list[str] = [] if answer.status_code == 200 else answer.json()["reasons"]
    return reasons


async def test_without_the_payment_store_nothing_expires_and_orders_go_on(tmp_path: Path) -> None:
    probe = Probe()
    async with process(tmp_path, probe, payment_window_s=30) as w:
        left = await order(w, [(EGGS, 1)])
        order_id, payment, key = await to_pay(w)
        probe.down["payment"] = "the payment store is down"
        assert (await w.confirm(payment, key)).status_code == 503
        assert (await w.order([(BANANAS, 1)])).status_code == 201, "orders need no payment store"
        async with kept(w, EGGS, 1):
            await asyncio.sleep(120)
        assert [await w.status(each) for each in (left["order_id"], order_id)] == ["PLACED", "PLACED"], (
            "the time to pay ended while nobody could pay, or know who had paid"
        )
        assert "payments-due: the payment store is down" in await ready(w), "operators are not told"
        probe.down.clear()
        await w.until_status(left["order_id"], "EXPIRED", within_s=15)
        await w.until_status(order_id, "EXPIRED", within_s=15)
        await asyncio.sleep(10)
        assert await ready(w) == []
        assert await w.stock(EGGS) == (1_000, 0, 0)
        await rest(w)
        await check(w)


async def test_what_is_captured_while_the_shop_s_store_is_away_is_paid_when_it_is_back(tmp_path: Path) -> None:
    probe = Probe()
    async with process(tmp_path, probe, payment_window_s=30) as w:
        order_id, payment, key = await to_pay(w)
        probe.down["shop"] = "the shop's store is down"
        assert (await w.confirm(payment, key)).status_code == 200, "the money needs no shop's store"
        assert (await w.order()).status_code == 503
        await asyncio.sleep(60)
        assert any("the shop's store is down" in reason for reason in await ready(w))
        probe.down.clear()
        await w.until_status(order_id, "PAID", within_s=10)
        await rest(w)
        await check(w)


async def test_an_outcome_that_cannot_be_stored_is_found_again(tmp_path: Path) -> None:
    """The payment store goes away between the capture and its outcome, for longer than the lease."""
    probe = Probe()
    async with process(tmp_path, probe, payment_window_s=30) as w:
        order_id, payment, key = await to_pay(w)
        gate = probe.hold("Outcomes.settle")
        confirming = asyncio.create_task(w.confirm(payment, key))
        await gate.reached.wait()
        probe.down["payment"] = "the payment store is down"
        probe.gates.clear()
        gate.open.set()
        assert (await confirming).status_code in (202, 503)
        async with kept(w, MILK, 2):
            await asyncio.sleep(120)
            probe.down.clear()
            await w.until_status(order_id, "PAID", within_s=90)
        assert await w.captures(payment["payment_id"]) == 1
        await rest(w)
        await check(w)


async def test_an_hour_without_the_index_is_nobody_s_business_but_the_search_s(tmp_path: Path) -> None:
    probe = Probe()
    async with process(tmp_path, probe) as w:
        probe.down["history"] = "the index is down"
        bought = []
        for _ in range(6):
            order_id, payment, key = await to_pay(w)
            assert (await w.confirm(payment, key)).status_code == 200
            await w.until_status(order_id, "PAID", within_s=5)
            bought.append(order_id)
            assert "events-history: the index is down" in await ready(w)
            assert (await w.http.get("/v1/history/orders", headers=w.auth())).status_code == 503
            await asyncio.sleep(600)
        probe.down.clear()
        await rest(w, within_s=10)
        found = await w.get("/v1/history/orders?status=PAID")
        assert {each["order_id"] for each in found["items"]} == set(bought), "a paid order cannot be found"
        await check(w)


async def test_a_day_without_the_pg_ends_by_itself_and_does_not_flood_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One capture had happened, and its reply was lost; the other request never arrived."""
    monkeypatch.setattr(roles, "POLL_S", 60.0)
    async with process(tmp_path, unknown_hold_s=2 * 86_400, payment_window_s=25 * 3600) as w:
        charged, first, first_key = await to_pay(w, [(MILK, 2)])
        never, second, second_key = await to_pay(w, [(EGGS, 1)])
        await w.faults(
            confirm=[{"kind": "drop-after"}, {"kind": "drop-before", "forever": True}],
            get=[{"kind": "http", "status": 503, "forever": True}],
        )
        for payment, key in ((first, first_key), (second, second_key)):
            assert (await w.confirm(payment, key)).json()["status"] == "UNKNOWN"
        before = await calls(w, "get")
        for _ in range(24):
            await asyncio.sleep(3600)
            assert [await w.status(each) for each in (charged, never)] == ["PAYING", "PAYING"]
        asked = await calls(w, "get") - before
        assert 2 * 86_400 / (40 + 30) <= asked <= 2 * 86_400 / 20, "the PG is flooded, or forgotten, while it is down"
        assert await calls(w, "confirm") == 2, "nothing may be repeated before it was read back"
        await w.faults(confirm=[], get=[])
        await w.until_status(charged, "PAID", within_s=90)
        await w.until_status(never, "PLACED", within_s=90)
        await asyncio.sleep(3600)
        assert await w.status(never) == "EXPIRED"
        assert await w.stock(EGGS) == (1_000, 0, 0)
        await rest(w)
        await check(w)


async def test_a_day_without_the_pg_holds_goods_no_longer_than_it_may_and_loses_no_money(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Times to pay end, and so does the time for which goods are held in doubt, long before the PG is back."""
    monkeypatch.setattr(roles, "POLL_S", 60.0)
    hold_s, window_s = 6 * 3_600, 600
    async with process(tmp_path, unknown_hold_s=hold_s, payment_window_s=window_s) as w:
        charged, first, first_key = await to_pay(w, [(MILK, 2)])
        never, second, second_key = await to_pay(w, [(EGGS, 1)])
        idle = (await order(w, [(BANANAS, 3)]))["order_id"]
        await w.faults(
            confirm=[{"kind": "drop-after"}, {"kind": "drop-before", "forever": True}],
            get=[{"kind": "http", "status": 503, "forever": True}],
        )
        for payment, key in ((first, first_key), (second, second_key)):
            assert (await w.confirm(payment, key)).json()["status"] == "UNKNOWN"
        before = await calls(w, "get")
        await asyncio.sleep(window_s + 120)
        assert [await w.status(each) for each in (charged, never, idle)] == ["PAYING", "PAYING", "EXPIRED"]
        assert await w.stock(BANANAS) == (1_000, 0, 0), "goods that nobody pays for are held while the PG is down"
        assert (await w.order([(BANANAS, 1)])).status_code == 201
        await asyncio.sleep(hold_s - 2 * window_s)
        assert [await w.status(each) for each in (charged, never)] == ["PAYING", "PAYING"], "let go of too soon"
        await asyncio.sleep(2 * window_s)
        assert [await w.status(each) for each in (charged, never)] == ["EXPIRED", "EXPIRED"], "goods are held for ever"
        assert [(await w.stock(each))[1] for each in (MILK, EGGS)] == [0, 0]
        await asyncio.sleep(86_400 - hold_s - window_s)
        asked = await calls(w, "get") - before
        least = 2 * (hold_s / (40 + 60) + (86_400 - hold_s - window_s) / (90 + 60))
        assert least <= asked <= 2 * (hold_s / 20 + (86_400 - hold_s) / 45), "the PG is flooded, or forgotten"
        assert await calls(w, "confirm") == 2, "nothing may be repeated before it was read back"
        await w.faults(confirm=[], get=[])
        await w.until_status(charged, "PAID", within_s=200)
        await asyncio.sleep(3_600)
        assert (await w.status(never), await calls(w, "confirm")) == ("EXPIRED", 2), (
            "captured for an order that has ended"
        )
        assert (await w.stock(MILK), await w.stock(EGGS)) == ((1_000, 0, 2), (1_000, 0, 0))
        assert await w.captures(first["payment_id"]) == 1
        await rest(w)
        await check(w)


async def test_a_payment_that_was_never_sent_is_shown_while_its_order_cannot_be_ended(tmp_path: Path) -> None:
    """The PG cannot be reached until the time to pay is over; then the shop's store is away."""
    probe = Probe()
    async with process(tmp_path, probe, payment_window_s=10) as w:
        order_id, payment, key = await to_pay(w)

        async def unreachable(_: httpx2.Request) -> httpx2.Response:
            raise httpx2.ConnectError("nobody is there")

        with patch.object(w.app.flows.toss._paying._transport, "handle_async_request", unreachable):
            assert (await w.confirm(payment, key)).json()["status"] == "RETRY"
            await asyncio.sleep(6)
            probe.down["shop"] = "the shop's store is down"
            await asyncio.sleep(60)
        shown = await w.get(f"/v1/orders/{order_id}/payment")
        assert (shown["status"], shown["next_attempt_at"]) == ("RETRY", None), "nothing more is tried for this order"
        probe.down.clear()
        await w.until_status(order_id, "EXPIRED", within_s=30)
        assert await w.stock(MILK) == (1_000, 0, 0)
        await rest(w)
        await check(w)
