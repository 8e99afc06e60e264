"""A PG that fails for minutes: it is spared, everybody is told the truth, and no order is lost."""

import asyncio
from pathlib import Path

import pytest

from flow.acts import MILK, to_pay
from flow.invariants import check
from flow.process import process
from quickcommerce.payment.breaker import Sparing
from stores import metric
from world import World

STORM_S, BUYERS = 60, 120
FAILS = {"kind": "http", "status": 503, "forever": True}


async def storm(w: World) -> tuple[list[str], int]:
    """Buyers pay over a minute in which no capture works. Returns their orders, and the calls of that minute."""
    await w.faults(confirm=[FAILS])
    orders: list[str] = []

    async def buyer(at: int) -> None:
        await asyncio.sleep(at * STORM_S / BUYERS)
        order_id, payment, key = await to_pay(w, [(MILK, 1)])
        assert (await w.confirm(payment, key)).status_code == 202, "nobody is told that it failed"
        orders.append(order_id)

    await asyncio.gather(*(buyer(at) for at in range(BUYERS)))
    made = len([call for call in (await w.ledger())["calls"] if call["kind"] in ("confirm", "get")])
    return orders, made


async def test_a_pg_that_fails_is_asked_less_and_every_order_is_paid_when_it_is_well(tmp_path: Path) -> None:
    async with process(tmp_path) as w:
        orders, calls = await storm(w)
        assert calls <= BUYERS, f"{calls} calls for {BUYERS} payments: it is not spared"
        assert metric("qc_pg_breaker_open", call="confirm") == 1
        await w.faults(confirm=[])
        for order_id in orders:
            await w.until_status(order_id, "PAID", within_s=90)
        assert metric("qc_pg_breaker_open", call="confirm") == 0
        await w.at_rest()
        await check(w)


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
