"""The window of a time sale is judged at the moment that the order itself tells, while the clock goes on."""

import asyncio
from pathlib import Path

import pytest

from flow.acts import MILK
from flow.process import process
from quickcommerce.kit.auth import Role
from quickcommerce.kit.clock import SECOND_US, rfc3339
from world import EPOCH_US, Clock

pytestmark = pytest.mark.usefixtures("both")

TICK_US = 1_000


class Ticking(Clock):
    """A clock that is never read twice in one moment: work takes time."""

    def __call__(self) -> int:
        self.offset_us += TICK_US
        return super().__call__()


async def test_no_order_has_a_price_of_another_moment_than_its_own(tmp_path: Path) -> None:
    """An order placed at the end of a sale, at its price, is one that the shop cannot explain."""
    clock = Ticking()
    clock.offset_us = EPOCH_US - round(asyncio.get_running_loop().time() * SECOND_US)
    async with process(tmp_path, clock=clock, loops=False) as w:
        windows = []
        for ticks in range(10, 40):
            starts = w.clock() + ticks * TICK_US
            window = {"starts_at": rfc3339(starts), "ends_at": rfc3339(starts + 30 * TICK_US)}
            body = {"product_id": MILK, "price": 1_000, "quota": 900, **window}
            answer = await w.http.post("/v1/time-sales", json=body, headers=w.auth(1, Role.MASTER))
            assert answer.status_code == 201
            windows.append((window["starts_at"], window["ends_at"]))
            for _ in range(8):
                order = (await w.order([(MILK, 1)])).json()
                inside = any(starts_at <= order["placed_at"] < ends_at for starts_at, ends_at in windows)
                price = order["lines"][0]["unit_price"]
                assert (price == 1_000) == inside, f"{price} won at {order['placed_at']}, in sales of {windows[-2:]}"
