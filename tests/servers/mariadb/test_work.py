"""Round trips of a list of orders to a real MariaDB, counted: each costs both sides more than most statements do."""

from collections.abc import AsyncIterator, Collection
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from quickcommerce.app import App
from quickcommerce.catalog.model import Entry
from quickcommerce.kit.idempotency import Claim
from quickcommerce.order.model import Basket, Want
from quickcommerce.order.placing import Placed, Placing
from servers.mariadb.shop import built

GOODS = [Entry(product_id, f"goods {product_id}", 1_000, 1_000_000) for product_id in range(1, 201)]
LIST = 3
"""What is read before the decision, what is written, and the COMMIT."""


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    app = built(tmp_path, 0)
    await app.migrate()
    await app.flows.catalog.put(GOODS)
    await app.flows.place.place(orders(app, 1, {1}, first=999))  # opens a connection
    yield app
    await app.stores.shop.close()
    await app.stores.payment.close()


def orders(app: App, count: int, products: Collection[int], *, first: int = 1) -> list[Placing]:
    """Orders of different buyers, with keys, of so many goods in all."""
    return [
        Placing(
            app.flows.ids.order(), user,
            Basket([Want(each, 1) for each in products if each % count == user % count]), Claim(user, "key", "print"),
            "0" * 32,
        )
        for user in range(first, first + count)
    ]  # fmt: skip


async def round_trips(app: App, requests: list[Placing]) -> tuple[int, int]:
    """How many a list took, and how many of its orders were placed."""

    def told() -> float:
        return REGISTRY.get_sample_value("qc_db_round_trips_total", {"db": app.stores.shop.name}) or 0.0

    before = told()
    answers = await app.flows.place.place(requests)
    return int(told() - before), sum(isinstance(answer, Placed) for answer in answers)


@pytest.mark.parametrize("count", [1, 2, 64])
async def test_a_list_of_orders_takes_as_many_whatever_their_number_and_that_of_their_goods(
    app: App, count: int
) -> None:
    for goods in (range(1, count + 1), range(1, 201)):
        requests = orders(app, count, goods, first=len(goods) * 1_000)
        assert await round_trips(app, requests) == (LIST, count)
        repeats = [Placing(app.flows.ids.order(), one.user_id, one.basket, one.claim, one.trace) for one in requests]
        assert await round_trips(app, repeats) == (LIST, count), "the keys and the goods, the answers of then, COMMIT"
