"""Operators stop the shop, at noon. What was accepted is answered; the next start begins where this one ended."""

import asyncio
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import httpx2
import pytest

from quickcommerce.catalog.model import Entry
from system.process import STOP_WITHIN_S
from system.shop import Shop, basket, running
from system.truth import exact, settled

GOODS = [Entry(1, "우유 1L", 2_900, 10**6), Entry(2, "달걀 30구", 8_900, 10**6)]
BUYERS = 24
ENOUGH = 150
"""The signal comes after so many answers."""


class Rush:
    """Buyers who order and pay one after the other until the shop refuses them."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.placed: dict[str, str] = {}
        self.paid: set[str] = set()
        self.refusals: Counter[str] = Counter()
        self.enough = asyncio.Event()

    async def buy(self, user: int) -> None:
        """Order and pay, again and again, each request once."""
        for number in range(10**6):
            key = {"Idempotency-Key": f"{user}-{number}"}
            order = await self._ask("POST", "/v1/orders", user, json=basket([(1, 1), (2, 2)]), headers=key)
            if order is None:
                return
            self.placed[f"{user}:{user}-{number}"] = order["order_id"]
            if len(self.placed) >= ENOUGH:
                self.enough.set()
            payment = await self._ask("GET", f"/v1/orders/{order['order_id']}/payment", user)
            if payment is None:
                return
            try:
                payment_key = await self.shop.authenticate(payment)
            except httpx2.TransportError as lost:
                self.refusals[type(lost).__name__] += 1
                return
            body = {"payment_key": payment_key, "amount": payment["amount"]}
            paid = await self._ask("POST", f"/v1/payments/{payment['payment_id']}/confirm", user, json=body)
            if paid is None:
                return
            self.paid.add(order["order_id"])

    async def _ask(self, method: str, path: str, user: int, **options: Any) -> Any:
        try:
            answer = await self.shop.ask(method, path, user=user, **options)
        except httpx2.TransportError as lost:
            self.refusals[type(lost).__name__] += 1
            return None
        if answer.status_code == 503:
            self.refusals["503"] += 1
            return None
        assert answer.status_code in (200, 201), answer.text
        return answer.json()


async def probe(shop: Shop, said: list[int]) -> None:
    """Ask whether the shop is ready, again and again, until nothing listens any more."""
    while True:
        try:
            said.append((await shop.http.get(f"{shop.url}/readyz")).status_code)
        except httpx2.TransportError:
            return


async def test_sigterm_under_load_answers_what_was_accepted_and_loses_nothing(tmp_path: Path) -> None:
    async with running(tmp_path, goods=GOODS, log_level="WARNING") as shop:
        await shop.faults(confirm=[{"kind": "slow", "ms": 30, "forever": True}])
        rush = Rush(shop)
        buying = [asyncio.create_task(rush.buy(user)) for user in range(1, BUYERS + 1)]
        said: list[int] = []
        probing = asyncio.create_task(probe(shop, said))
        await rush.enough.wait()
        stopped = await shop.terminate()
        await asyncio.gather(*buying, probing)
        assert stopped.code == 0
        assert stopped.seconds < STOP_WITHIN_S
        first = said.index(503) if 503 in said else len(said)
        assert first > 0
        assert said == [200] * first + [503] * (len(said) - first), "a balancer would send buyers to a closing shop"
        assert sum(rush.refusals.values()) == BUYERS, "the signal came after the rush"
        truth = exact(tmp_path)
        assert truth.keys == rush.placed, "an order was stored whose buyer got no answer, or the reverse"
        for order_id in rush.paid:
            assert truth.payments[order_id]["status"] == "CAPTURED", "the buyer was told that it is paid"

        await shop.start()
        first_order = await shop.order([(1, 1)], user=BUYERS + 1)
        await shop.pay(first_order, user=BUYERS + 1)
        await shop.until_status(first_order["order_id"], "PAID")
        await shop.at_rest()
        assert (await shop.terminate()).code == 0
    truth = settled(tmp_path)
    assert len(truth.orders) == len(rush.placed) + 1
    assert {order_id for order_id, order in truth.orders.items() if order["status"] == "PAID"} >= rush.paid


@pytest.mark.parametrize(
    "signals",
    [[signal.SIGTERM, signal.SIGTERM], [signal.SIGINT], [signal.SIGINT, signal.SIGINT]],
    ids=lambda signals: " ".join(each.name for each in signals),
)
async def test_more_signals_do_not_cut_off_who_is_being_served(tmp_path: Path, signals: list[signal.Signals]) -> None:
    async with running(tmp_path, goods=GOODS) as shop:
        await shop.faults(confirm=[{"kind": "slow", "ms": 600}])
        order = await shop.order()
        payment = await shop.get(f"/v1/orders/{order['order_id']}/payment")
        confirming = asyncio.create_task(shop.confirm(payment, await shop.authenticate(payment)))
        await shop.until_status(order["order_id"], "PAYING")
        for number in signals:
            shop.send(number)
            await asyncio.sleep(0.15)
        assert (await confirming).status_code == 200
        stopped = await shop.ended()
        assert stopped.code == 0, "a supervisor would count this as a crash"
        assert stopped.seconds < STOP_WITHIN_S
        assert "Traceback" not in shop.printed()
    assert exact(tmp_path).payments[order["order_id"]]["captured"] == order["payable"]


async def test_a_pg_that_hangs_does_not_keep_the_shop_from_stopping(tmp_path: Path) -> None:
    short = {"pg_confirm_deadline_s": 4, "pg_read_deadline_s": 1, "answer_within_s": 1, "drain_s": 1}
    async with running(tmp_path, goods=GOODS, **short) as shop:
        await shop.faults(confirm=[{"kind": "slow", "ms": 60_000, "forever": True}])
        orders = [await shop.order(user=user) for user in range(1, 9)]
        paying = [asyncio.create_task(shop.pay(order, user=user)) for user, order in enumerate(orders, 1)]
        await shop.until_status(orders[-1]["order_id"], "PAYING")
        stopped = await shop.terminate()
        answers = [answer.status_code for answer in await asyncio.gather(*paying)]
        assert answers == [202] * len(orders), "a buyer whose money may be taken was told something else"
        assert stopped.code == 0
        assert stopped.seconds < STOP_WITHIN_S
        await shop.start()
        for order in orders:
            await shop.until_status(order["order_id"], "PAID", within_s=90)
        await shop.at_rest()
        await shop.terminate()
    assert settled(tmp_path).statuses == {"PAID": len(orders)}


async def test_a_shop_that_was_killed_while_idle_takes_orders_again_at_once(tmp_path: Path) -> None:
    async with running(tmp_path, goods=GOODS) as shop:
        order = await shop.order(headers={"Idempotency-Key": "before"})
        await shop.restart()
        again = await shop.order(headers={"Idempotency-Key": "before"})
        assert again == order, "the buyer who asks again has another order than before"
        await shop.order(user=8)
        await shop.at_rest()
        await shop.terminate()
    assert settled(tmp_path).statuses == {"PLACED": 2}
