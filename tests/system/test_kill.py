"""The shop is killed again and again while buyers order and pay, and each time it is started on what is left."""

import asyncio
import random
from collections import Counter
from pathlib import Path
from typing import Any

import httpx2
import pytest

from quickcommerce.catalog.model import Entry
from system.process import until
from system.shop import People, basket, running
from system.truth import FINAL, settled

AT_ONCE = 32
PAYING = 0.5
MIX = {"slow:50": 0.3, "drop-after": 0.1, "drop-before": 0.1}
"""What goes wrong at the PG meanwhile, so that many captures are under way whenever the shop dies."""
ERRORS = {"error:PROVIDER_ERROR": 0.1}
"""Until the PG has closed such a payment, it may still be captured, and the order keeps its goods."""
SESSION_S = 600
"""So long after a buyer authenticated the PG closes what was not captured."""


class Load:
    """Buyers who repeat each request, in the same words, until it is answered; and somebody who pulls the plug."""

    def __init__(self, shop: People, buyers: int, mix: dict[str, float], kills: int) -> None:
        self.shop = shop
        self.mix = mix
        self.buyers = buyers
        self.rng = random.Random(buyers)
        self.paying = set(self.rng.sample(range(1, buyers + 1), int(buyers * PAYING)))
        answers = buyers + 2 * len(self.paying)
        self.moments = {answers * at // (kills + 1) for at in range(1, kills + 1)}
        self.answers = self.lost = self.kills = self.replayed = 0
        self.orders: dict[int, dict[str, Any]] = {}
        self.told: dict[str, int] = {}
        self._killing: asyncio.Task[None] | None = None
        self._up = asyncio.Event()
        self._up.set()

    async def run(self) -> None:
        """Let every buyer come, and the last kill be over."""
        await self.shop.faults(confirm=[{"mix": self.mix, "seed": 0}])
        turn = asyncio.Semaphore(AT_ONCE)

        async def come(user: int) -> None:
            async with turn:
                await self.buy(user)

        async with asyncio.TaskGroup() as group:
            for user in range(1, self.buyers + 1):
                group.create_task(come(user))
        if self._killing:
            await self._killing

    async def buy(self, user: int) -> None:
        """Order; half of the buyers pay."""
        lines = [(product, self.rng.randint(1, 3)) for product in self.rng.sample((1, 2, 3), 2)]
        key = {"Idempotency-Key": f"basket-{user}"}
        answer = await self.ask("POST", "/v1/orders", user, json=basket(lines), headers=key)
        assert answer.status_code == 201, answer.text
        self.replayed += "Idempotency-Replayed" in answer.headers
        order = self.orders[user] = answer.json()
        if user not in self.paying:
            return
        path = f"/v1/orders/{order['order_id']}/payment"
        payment = (await self.ask("GET", path, user)).json()
        while True:
            try:
                payment_key = await self.shop.authenticate(payment)
                break
            except httpx2.TransportError:
                await self._up.wait()
        body = {"payment_key": payment_key, "amount": payment["amount"]}
        path = f"/v1/payments/{payment['payment_id']}/confirm"
        self.told[order["order_id"]] = (await self.ask("POST", path, user, json=body)).status_code

    async def ask(self, method: str, path: str, user: int, **options: Any) -> httpx2.Response:
        """Ask until there is an answer."""
        while True:
            try:
                answer = await self.shop.ask(method, path, user=user, **options)
            except httpx2.TransportError:
                self.lost += 1
                await self._up.wait()
                continue
            assert answer.status_code in (200, 201, 202, 409, 503), answer.text
            if answer.status_code == 503:
                await asyncio.sleep(0.05)
                continue
            self.answers += 1
            if self.answers in self.moments:
                self._killing = asyncio.create_task(self._kill(self._killing))
            return answer

    async def _kill(self, earlier: asyncio.Task[None] | None) -> None:
        if earlier:
            await earlier
        # So that it is now in a commit, now in a capture, now between two events.
        await asyncio.sleep(self.rng.uniform(0, 0.01))
        self.kills += 1
        self._up.clear()
        await self.shop.restart()
        await self.shop.faults(confirm=[{"mix": self.mix, "seed": self.kills}])
        self._up.set()


@pytest.mark.parametrize(
    ("buyers", "kills", "window_s", "mix"),
    [
        pytest.param(150, 8, 4, MIX, id="small"),
        pytest.param(10_000, 20, 10, MIX | ERRORS, id="real", marks=pytest.mark.full),
    ],
)
async def test_kills_under_load_lose_no_order_oversell_nothing_and_charge_nobody_twice(
    tmp_path: Path, buyers: int, kills: int, window_s: int, mix: dict[str, float]
) -> None:
    goods = [Entry(product, f"goods {product}", 1_000 * product, 10 * buyers) for product in (1, 2, 3)]
    short = {"payment_window_s": window_s, "pg_confirm_deadline_s": 1, "pg_read_deadline_s": 1, "log_level": "WARNING"}
    async with running(tmp_path, goods=goods, **short) as shop:
        load = Load(shop, buyers, mix, kills)
        await load.run()
        await shop.faults(confirm=[])
        await shop.http.post(f"{shop.pg_url}/emulator/clock", json={"advance_s": SESSION_S})
        await until("every order has ended", shop.over, within_s=120)
        assert (await shop.terminate()).code == 0
    assert load.kills == kills
    assert load.lost >= kills, "nobody was interrupted: the kills hit an idle shop"
    truth = settled(tmp_path)
    for order in load.orders.values():
        kept = truth.orders[order["order_id"]]
        assert (kept["user_id"], kept["payable"]) == (order["user_id"], order["payable"]), "not as it was acknowledged"
    assert len(truth.orders) == len(load.orders) == buyers, "a repeated request had two effects"
    assert truth.statuses.keys() <= FINAL
    for order_id, status in load.told.items():
        if status == 200:
            assert truth.orders[order_id]["status"] == "PAID", "the buyer was told that it is paid"
    unpaid = [order["order_id"] for user, order in load.orders.items() if user not in load.paying]
    ends = Counter(truth.orders[order_id]["status"] for order_id in unpaid)
    assert ends == {"EXPIRED": len(unpaid)}, "stock of orders that nobody pays is kept for ever"
    assert truth.statuses["PAID"] > 0
