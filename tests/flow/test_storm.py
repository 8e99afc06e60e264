"""A PG that fails for minutes: it is spared, everybody is told the truth, and no order is lost."""

import asyncio
from pathlib import Path
from typing import Any

import httpx2
import pytest

from flow.acts import MILK, to_pay
from flow.invariants import check
from flow.process import process
from flow.truth import rows
from quickcommerce.kit.clock import SECOND_US
from quickcommerce.payment import breaker
from quickcommerce.payment.breaker import Sparing
from quickcommerce.payment.pace import FIRM_TURN_S, TURN_S
from stores import metric
from world import World

STORM_S, BUYERS = 60, 120
KNOWN_S = 90
"""So soon after the PG answers again, everything is known."""
FAILS: dict[str, dict[str, Any]] = {
    "503 of nobody": {"kind": "http", "status": 503},
    "429": {"kind": "http", "status": 429, "body": '{"code":"TOO_MANY_REQUESTS","message":"slowly"}'},
    "500 of its own": {"kind": "http", "status": 500, "body": '{"code":"A_NEW_CODE","message":"broken"}'},
    "200 that says nothing": {"kind": "http", "status": 200, "body": "<html>"},
    "302": {"kind": "http", "status": 302, "body": ""},
    "its provider fails": {"kind": "error", "code": "PROVIDER_ERROR"},
    "asked too often": {"kind": "error", "code": "FORBIDDEN_CONSECUTIVE_REQUEST"},
}


OFTEN = ("503 of nobody", "429")
"""Those that are tried where time is short. `tests/model/test_breaker.py` has what each code says."""


async def storm(
    w: World, fails: str = "503 of nobody", buyers: int = BUYERS, lasts_s: float = STORM_S
) -> tuple[list[str], int]:
    """Buyers pay over a time in which no capture works. Returns their orders, and the calls of that time."""
    await w.faults(confirm=[FAILS[fails] | {"forever": True}])
    orders: list[str] = []

    async def buyer(at: int) -> None:
        await asyncio.sleep(at * lasts_s / buyers)
        order_id, payment, key = await to_pay(w, [(MILK, 1)])
        assert (await w.confirm(payment, key)).status_code == 202, "nobody is told that it failed"
        orders.append(order_id)

    await asyncio.gather(*(buyer(at) for at in range(buyers)))
    made = len([call for call in (await w.ledger())["calls"] if call["kind"] in ("confirm", "get")])
    return orders, made


async def known(w: World) -> bool:
    """Whether no capture is under way, or in doubt."""
    return not {each["status"] for each in await rows(w.app.stores.payment, "status", "payment")} & {
        "CAPTURING", "UNKNOWN", "RETRY"
    }  # fmt: skip


@pytest.mark.parametrize(
    "fails", [pytest.param(each, marks=[] if each in OFTEN else pytest.mark.full) for each in FAILS]
)
async def test_a_pg_that_fails_is_asked_less_and_every_order_is_paid_when_it_is_well(
    tmp_path: Path, fails: str
) -> None:
    async with process(tmp_path) as w:
        orders, calls = await storm(w, fails)
        assert calls <= BUYERS, f"{calls} calls for {BUYERS} payments: it is not spared"
        assert metric("qc_pg_breaker_open", call="confirm") == 1
        await w.faults(confirm=[])
        began_us = w.clock()
        for order_id in orders:
            await w.until_status(order_id, "PAID", within_s=KNOWN_S - (w.clock() - began_us) / SECOND_US)
        assert metric("qc_pg_breaker_open", call="confirm") == 0
        await w.at_rest()
        await check(w)


async def test_a_small_shop_s_few_calls_are_enough_to_see_that_the_pg_fails(tmp_path: Path) -> None:
    """A buyer every five seconds, for five minutes."""
    async with process(tmp_path) as w:
        storming = asyncio.create_task(storm(w, buyers=60, lasts_s=300))
        await asyncio.sleep(10)
        assert metric("qc_pg_breaker_open", call="confirm") == 1
        orders, calls = await storming
        assert calls <= 1.2 * 60, f"{calls} calls for 60 payments"
        await w.faults(confirm=[])
        for order_id in orders:
            await w.until_status(order_id, "PAID", within_s=KNOWN_S)
        await w.at_rest()
        await check(w)


class Swallowing(httpx2.AsyncBaseTransport):
    """The way to a PG that takes every request and never answers, until it is well. `does`: what was asked."""

    def __init__(self, way: httpx2.AsyncBaseTransport, *, does: bool) -> None:
        self._way, self._does = way, does
        self.well = False

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if self.well:
            return await self._way.handle_async_request(request)
        if self._does and request.method == "POST":
            await self._way.handle_async_request(request)
        await asyncio.Event().wait()
        raise AssertionError("it never answers")


@pytest.mark.parametrize("does", [True, False], ids=["captured", "lost"])
@pytest.mark.parametrize("seed", [4, pytest.param(8, marks=pytest.mark.full)])
async def test_after_a_pg_that_swallowed_requests_everything_is_known_in_time(
    tmp_path: Path, seed: int, *, does: bool
) -> None:
    async with process(tmp_path, seed=seed, payment_window_s=3_600) as w:
        ways = [
            Swallowing(client._transport, does=does) for client in (w.app.flows.toss._paying, w.app.flows.toss._reading)
        ]
        w.app.flows.toss._paying._transport, w.app.flows.toss._reading._transport = ways

        async def buyer(at: int) -> None:
            await asyncio.sleep(at)
            _, payment, key = await to_pay(w, [(MILK, 1)])
            assert (await w.confirm(payment, key)).status_code == 202

        await asyncio.gather(*(buyer(at) for at in range(150)))
        await asyncio.sleep(17 * seed)
        for way in ways:
            way.well = True
        await w.until("everything is known", lambda: known(w), within_s=KNOWN_S)
        await w.at_rest()
        await check(w)


async def crowded(folder: Path) -> None:
    """More captures are asked for than the pace has turns, while some have no outcome yet."""
    async with process(folder, pg_calls_per_s=3, payment_window_s=7_200) as w:
        lost = [await to_pay(w, [(MILK, 1)]) for _ in range(3)]
        await w.faults(
            confirm=[{"kind": "drop-after", "repeat": 3}], get=[{"kind": "http", "status": 503, "repeat": 8}]
        )
        await asyncio.gather(*(w.confirm(payment, key) for _, payment, key in lost))

        async def crowd() -> None:
            async with asyncio.TaskGroup() as group:
                for _ in range(5 * KNOWN_S):
                    _, payment, key = await to_pay(w, [(MILK, 1)])
                    group.create_task(w.confirm(payment, key))
                    await asyncio.sleep(1 / 5)

        async def all_known() -> bool:
            ours = {order_id for order_id, _, _ in lost}
            paid = await rows(w.app.stores.payment, "order_id status", "payment")
            return {each["status"] for each in paid if each["order_id"] in ours} == {"CAPTURED"}

        crowding = asyncio.create_task(crowd())
        try:
            await w.until("what was lost is known", all_known, within_s=KNOWN_S)
        finally:
            crowding.cancel()
            await asyncio.wait([crowding])


async def test_what_is_under_way_is_known_before_more_is_begun(tmp_path: Path) -> None:
    await crowded(tmp_path)


async def test_control_the_turns_of_readings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaker, "TURN_S", FIRM_TURN_S)
    with pytest.raises(AssertionError, match="what was lost is known"):
        await crowded(tmp_path)


async def swallowed(folder: Path, *, buyers: int = 60, per_s: float = 0.8) -> None:
    """More captures are in doubt than there are turns to read them in, and the PG has none of their requests."""
    async with process(folder, payment_window_s=7_200) as w:
        bought = [await to_pay(w, [(MILK, 1)]) for _ in range(buyers)]
        way = Swallowing(w.app.flows.toss._paying._transport, does=False)
        w.app.flows.toss._paying._transport = way
        await asyncio.gather(*(w.confirm(payment, key) for _, payment, key in bought))
        way.well = True
        pg = w.app.flows.payments.captures.pg
        assert isinstance(pg, Sparing)
        pg._pace.per_s = per_s
        # Two calls each, and the time for which they hang.
        await w.until("all are known", lambda: known(w), within_s=60 + 3 * buyers / per_s)
        await w.at_rest()
        paid = [await w.status(order_id) for order_id, _, _ in bought]
        assert set(paid) == {"PAID"}, "their time at the PG ran out while they were read again and again"
        await check(w)


async def test_readings_leave_turns_for_what_follows_from_them(tmp_path: Path) -> None:
    await swallowed(tmp_path)


async def test_control_the_turns_after_readings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaker, "LAST_TURN_S", TURN_S)
    with pytest.raises(AssertionError, match="all are known"):
        await swallowed(tmp_path)


async def test_control_without_a_breaker_it_is_asked_more_than_there_are_payments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ask(_: object, __: object, call: object, *___: object) -> object:
        return await call()  # type: ignore[operator]

    monkeypatch.setattr(Sparing, "_ask", ask)
    async with process(tmp_path) as w:
        _, calls = await storm(w)
        assert calls > 2 * BUYERS, f"{calls} calls"


async def test_where_a_third_of_the_calls_fail_it_is_asked_on(tmp_path: Path) -> None:
    async with process(tmp_path) as w:
        await w.faults(confirm=[{"mix": {"http:503": 0.3}, "seed": 5}])
        for _ in range(60):
            order_id, payment, key = await to_pay(w, [(MILK, 1)])
            await w.confirm(payment, key)
            await w.until_status(order_id, "PAID", within_s=90)
        assert metric("qc_pg_breaker_open", call="confirm") == 0
        await w.at_rest()
        await check(w)


async def test_a_crowd_is_paced_and_all_of_it_is_paid(tmp_path: Path) -> None:
    async with process(tmp_path, pg_calls_per_s=2) as w:
        began_s = asyncio.get_running_loop().time()
        orders = []
        for _ in range(20):
            order_id, payment, key = await to_pay(w, [(MILK, 1)])
            orders.append((order_id, asyncio.create_task(w.confirm(payment, key))))
        for order_id, paying in orders:
            assert (await paying).status_code in (200, 202)
            await w.until_status(order_id, "PAID", within_s=120)
        took_s = asyncio.get_running_loop().time() - began_s
        calls = [call for call in (await w.ledger())["calls"] if call["kind"] in ("confirm", "get")]
        assert len(calls) <= 2 * took_s + 1, f"{len(calls)} calls in {took_s} s"
        await w.at_rest()
        await check(w)
