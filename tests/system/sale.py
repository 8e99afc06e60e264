"""A flash sale: buyers who come one after another for as long as it goes on, and ask until they are answered."""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2

from quickcommerce.catalog.model import Entry
from system.process import until
from system.shop import basket
from system.split import Split

SCARCE, PLENTY = 1, 2
UNITS = 40
GOODS = [Entry(SCARCE, "한우 등심 200g", 25_900, UNITS), Entry(PLENTY, "우유 1L", 2_900, 1_000_000)]
AT_ONCE = 8
AGAIN_S = 0.1
ENOUGH_S = 600
"""Generous: a slow machine is no failure."""


class Sale:
    """Each buyer wants one of both goods, and where none of the scarce is left, one of what there is plenty of."""

    def __init__(self, shop: Split, *, pay_every: int = 0) -> None:
        """One in `pay_every` buyers pays; 0: none."""
        self.shop = shop
        self.orders: dict[str, dict[str, Any]] = {}
        """Every order that a buyer was told of."""
        self.paid: set[str] = set()
        """Those whose buyers were told that their money is taken, or being taken."""
        self.late: set[str] = set()
        """Those whose time to pay was over when their buyers came."""
        self.again: Counter[str] = Counter()
        """Requests that were told to come again."""
        self._pay_every = pay_every
        self._users = itertools.count(1)

    @property
    def scarce(self) -> int:
        """How many of the scarce goods were sold."""
        return sum(line["product_id"] == SCARCE for order in self.orders.values() for line in order["lines"])

    @asynccontextmanager
    async def going_on(self, at_once: int = AT_ONCE) -> AsyncIterator[None]:
        """So many buyers at a time, until the block ends; then each has been answered."""
        over = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(self._come(over))
            yield
            over.set()

    async def more(self, count: int) -> None:
        """Wait until so many more have ordered."""
        before = len(self.orders)

        async def came() -> bool:
            return len(self.orders) >= before + count

        await until(f"{count} more have ordered", came, within_s=ENOUGH_S)

    async def sells_again(self, units: int, *, within_s: float) -> None:
        """Put scarce goods on the shelf, of which there are none, and wait until they are sold."""
        before = self.scarce
        await self.shop.restock(SCARCE, units)

        async def sold() -> bool:
            return self.scarce == before + units

        await until("what is on hand again is sold", sold, within_s=within_s)

    async def _come(self, over: asyncio.Event) -> None:
        while not over.is_set():
            await self.buy(next(self._users))

    async def buy(self, user: int) -> dict[str, Any]:
        """Order, and pay where it is this one's turn. Returns the order."""
        order = await self._order(user, "both", [(SCARCE, 1), (PLENTY, 1)])
        order = order or await self._order(user, "one", [(PLENTY, 1)])
        assert order, "what there is plenty of was refused"
        if self._pay_every and user % self._pay_every == 0:
            await self._pay(user, order["order_id"])
        return order

    async def _order(self, user: int, key: str, lines: list[tuple[int, int]]) -> dict[str, Any] | None:
        answer = await self._ask("POST", "/v1/orders", user, json=basket(lines), headers={"Idempotency-Key": key})
        if answer.status_code == 409:
            assert answer.json()["code"] == "out-of-stock", answer.text
            return None
        assert answer.status_code == 201, answer.text
        order: dict[str, Any] = answer.json()
        self.orders[order["order_id"]] = order
        return order

    async def _pay(self, user: int, order_id: str) -> None:
        payment = (await self._ask("GET", f"/v1/orders/{order_id}/payment", user)).json()
        body = {"payment_key": await self.shop.authenticate(payment), "amount": payment["amount"]}
        answer = await self._ask("POST", f"/v1/payments/{payment['payment_id']}/confirm", user, json=body)
        if answer.status_code == 409:
            assert answer.json()["code"] == "invalid-state", answer.text
            self.late.add(order_id)
        else:
            assert answer.status_code in (200, 202), answer.text
            self.paid.add(order_id)

    async def _ask(self, method: str, path: str, user: int, **options: Any) -> httpx2.Response:
        """Ask until there is an answer other than 503. No other failure is one that a buyer may see."""
        while True:
            try:
                answer = await self.shop.ask(method, path, user=user, **options)
            except httpx2.ReadTimeout:
                self.again["there is no answer yet"] += 1
                continue
            if answer.status_code != 503:
                assert answer.status_code < 500, f"{answer.status_code}: {answer.text}"
                return answer
            self.again[answer.json()["detail"]] += 1
            await asyncio.sleep(AGAIN_S)
