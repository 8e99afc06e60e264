"""Rebuilding the history: afterwards every order is found as it is, whatever had happened to the index."""

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from flow.invariants import check
from quickcommerce.events import OrderEvent
from quickcommerce.history import rebuild
from quickcommerce.history.rebuild import Rebuild, Rebuilt
from quickcommerce.kit.auth import Role
from quickcommerce.kit.db import Tx
from quickcommerce.kit.ids import OrderId
from world import World, world


@asynccontextmanager
async def story(folder: Path, *, loops: bool = True) -> AsyncIterator[World]:
    """A shop with a paid order of milk, and five live ones of eggs."""
    async with world(folder, loops=loops) as w:
        if loops:
            paid = (await w.order()).json()
            payment = await w.get(f"/v1/orders/{paid['order_id']}/payment")
            await w.confirm(payment, await w.authenticate(payment))
            for _ in range(5):
                await w.order([(2, 1)])
            await w.until_status(paid["order_id"], "PAID")
            await w.at_rest()
        yield w


async def damage(w: World, *statements: str) -> None:
    async def work(tx: Tx) -> None:
        for statement in statements:
            assert await tx.run(statement), statement

    await w.app.stores.history.run(work)


async def rebuilt(w: World, progress: list[int] | None = None) -> Rebuilt:
    flows = w.app.flows
    told = [] if progress is None else progress
    return await Rebuild(flows.book, flows.index).run(told.append)


async def found(w: World, **conditions: str) -> int:
    query = "&".join(f"{name}={value}" for name, value in conditions.items())
    history = await w.get(f"/v1/history/orders?{query}", user=1, role=Role.MASTER)
    assert history["total"] == len(history["items"])
    return len(history["items"])


@pytest.mark.parametrize(
    ("statements", "done"),
    [
        pytest.param(["DELETE FROM document", "DELETE FROM word"], Rebuilt(6, 6, 0, 0), id="all-is-lost"),
        pytest.param(["DELETE FROM document WHERE status = 'PAID'"], Rebuilt(6, 1, 0, 0), id="one-is-lost"),
        pytest.param(
            ["UPDATE document SET version = 1, status = 'PLACED', body = '{}' WHERE status = 'PAID'"],
            Rebuilt(6, 0, 1, 0), id="one-is-older",
        ),
        pytest.param(["UPDATE document SET body = '{}'"], Rebuilt(6, 0, 6, 0), id="bodies-are-damaged"),
        pytest.param(["DELETE FROM word WHERE word = 'eggs'"], Rebuilt(6, 0, 5, 0), id="a-word-is-lost"),
        pytest.param(
            ["INSERT INTO document SELECT 'ord_0', 1, user_id, status, placed_us, body FROM document LIMIT 1",
             "INSERT INTO document SELECT 'ord_Z', 1, user_id, status, placed_us, body FROM document LIMIT 1",
             "INSERT INTO word VALUES ('eggs', 'ord_0'), ('eggs', 'ord_Z')"],
            Rebuilt(6, 0, 0, 2), id="of-no-order",
        ),
        pytest.param([], Rebuilt(6, 0, 0, 0), id="nothing"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("page", [1, 2, 6, 500])
async def test_whatever_was_lost_or_wrong_is_right_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, statements: list[str], done: Rebuilt, page: int
) -> None:
    monkeypatch.setattr(rebuild, "PAGE", page)
    async with story(tmp_path) as w:
        await damage(w, *statements)
        progress: list[int] = []
        assert await rebuilt(w, progress) == done
        assert (progress[-1], progress) == (6, sorted(progress))
        assert (await found(w), await found(w, keyword="eggs"), await found(w, keyword="milk")) == (6, 5, 1)
        assert await found(w, status="PAID") == 1
        await check(w)
        assert await rebuilt(w) == Rebuilt(6, 0, 0, 0), "what is right is left alone"


async def test_a_shop_without_orders_shows_none(tmp_path: Path) -> None:
    async with story(tmp_path, loops=False) as w:
        await damage(w, "INSERT INTO document VALUES ('ord_0', 1, 7, 'PAID', 1, '{}')")
        assert await rebuilt(w) == Rebuilt(0, 0, 0, 1)
        assert await w.app.flows.index.count() == 0


class Busy:
    """The orders of a shop in which something happens right after each page was read."""

    def __init__(self, w: World, *, forgets: bool = False) -> None:
        self._w, self._forgets = w, forgets
        self.happens: Any = None

    async def after(self, order_id: str, limit: int) -> list[OrderEvent]:
        """A page; then the shop goes on."""
        page = await self._w.app.flows.book.after(order_id, limit)
        if self.happens:
            happens, self.happens = self.happens, None
            await happens()
        return page

    async def rows(self, order_ids: Collection[OrderId]) -> Mapping[OrderId, object]:
        """Those that exist; of none is known where the guard is off."""
        return {} if self._forgets else await self._w.app.flows.book.rows(order_ids)


async def placed_meanwhile(folder: Path, *, forgets: bool) -> int:
    """An order is placed and folded right after the orders were read. Returns how many are found in the end."""
    async with story(folder) as w:
        orders = Busy(w, forgets=forgets)

        async def place() -> None:
            await w.order([(3, 1)])
            await w.at_rest()

        orders.happens = place
        await Rebuild(orders, w.app.flows.index).run(lambda _: None)
        return await found(w)


async def test_an_order_that_is_placed_meanwhile_stays(tmp_path: Path) -> None:
    assert await placed_meanwhile(tmp_path, forgets=False) == 7


async def test_control_an_order_that_is_placed_meanwhile(tmp_path: Path) -> None:
    assert await placed_meanwhile(tmp_path, forgets=True) == 6, "nothing would ever find the seventh again"


async def test_an_order_that_changes_meanwhile_is_shown_as_it_is(tmp_path: Path) -> None:
    async with story(tmp_path) as w:
        order = (await w.order([(3, 1)])).json()
        await w.at_rest()
        orders = Busy(w)

        async def cancel() -> None:
            await w.http.post(f"/v1/orders/{order['order_id']}/cancel", headers=w.auth())
            await w.at_rest()

        orders.happens = cancel
        assert await Rebuild(orders, w.app.flows.index).run(lambda _: None) == Rebuilt(7, 0, 0, 0)
        assert await found(w, status="CANCELLED") == 1
        await check(w)
