"""The worst moments, staged: guards switched off, rows as they were a moment ago, a PG with old news."""

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from types import ModuleType
from typing import Any
from unittest.mock import patch

import msgspec
import pytest

from flow.probe import Watched
from quickcommerce.kit.db import Params, Row, T, Tx
from quickcommerce.kit.ids import PaymentId
from quickcommerce.kit.sqlite import Sqlite
from quickcommerce.order import store as order_store
from quickcommerce.order.store import Row as Order
from quickcommerce.payment import store as payment_store
from quickcommerce.payment.model import Asked, Cancelled, Found, Reading, Reply
from quickcommerce.payment.refund_model import Cancel, CancelReply
from quickcommerce.payment.store import Payment, Whole
from quickcommerce.stock.flow import Stock
from unsteady import Unsteady, steady
from world import World

BY_HAND = (Cancelled(1, "T1", "by hand"),)


REST = "..."
"""At the end of a condition: with all that follows it."""


class Without:
    """A transaction whose updates lack a condition."""

    def __init__(self, tx: Tx, condition: str) -> None:
        self._tx, self._condition = tx, condition

    async def all(self, sql: str, params: Params = ()) -> list[Row]:
        return await self._tx.all(sql, params)

    async def one(self, sql: str, params: Params = ()) -> Row | None:
        return await self._tx.one(sql, params)

    async def run(self, sql: str, params: Params = ()) -> int:
        return await self._tx.run(*self._cut(sql, params))

    async def write(self, sql: str, params: Params = (), rows: int | None = None) -> None:
        await self._tx.write(*self._cut(sql, params), rows)

    def _cut(self, sql: str, params: Params) -> tuple[str, Params]:
        before, found, after = sql.partition(self._condition.removesuffix(REST))
        assert found, f"there is no {self._condition!r} in {sql!r}"
        if self._condition.endswith(REST):
            found, after = found + after, ""
        at, marks = before.count("?"), found.count("?")
        return before + after, [*params[:at], *params[at + marks :]]

    async def insert(self, table: str, columns: str, rows: Iterable[Params]) -> None:
        await self._tx.insert(table, columns, rows)

    async def gather(self, parts: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
        return await self._tx.gather(parts)

    def announce(self) -> None:
        self._tx.announce()

    def after_commit(self, tell: Callable[[], None]) -> None:
        self._tx.after_commit(tell)


class Uncounted(Without):
    """A transaction whose changes may meet any rows."""

    def __init__(self, tx: Tx) -> None:
        super().__init__(tx, "")

    async def write(self, sql: str, params: Params = (), rows: int | None = None) -> None:
        assert rows is not None, "nobody counted them anyway"
        await self._tx.write(sql, params)


def blind(store: ModuleType, update: str, way: Callable[[Tx], Tx]) -> Callable[..., Any]:
    """An update of a store that goes another way."""
    guarded = getattr(store, update)

    async def unguarded(tx: Tx, *facts: Any) -> Any:
        return await guarded(way(tx), *facts)

    return unguarded


def cut(monkeypatch: pytest.MonkeyPatch, store: ModuleType, update: str, condition: str) -> None:
    """Switch a guard off: take one condition out of one update."""
    monkeypatch.setattr(store, update, blind(store, update, lambda tx: Without(tx, condition)))


def uncount(monkeypatch: pytest.MonkeyPatch, store: ModuleType, update: str) -> None:
    """Switch a guard off: how many rows an update meets is not looked at."""
    monkeypatch.setattr(store, update, blind(store, update, Uncounted))


def unchecked(w: World) -> None:
    """The last line of defence, the tables' own CHECKs, is taken away: here the first one is looked at."""
    for app in w.apps:
        shop = app.stores.shop
        assert isinstance(shop, Watched)
        if isinstance(shop.inner, Sqlite):
            shop.inner._connection("writer").execute("PRAGMA ignore_check_constraints = ON")
        else:
            assert isinstance(shop.inner, Unsteady)
            shop.inner.unchecked()


@contextmanager
def stale(owner: object, reader: str, reading: object, *, looks: int = 1) -> Iterator[None]:
    """The first looks tell what was so a moment ago.

    Meanwhile the database undoes nothing: a unit of work that is run again looks once more.
    """
    fresh = getattr(owner, reader)
    seen = itertools.count(1)

    async def read(*facts: Any, **more: Any) -> Any:
        return reading if next(seen) <= looks else await fresh(*facts, **more)

    with steady(), patch.object(owner, reader, read):
        yield


def stale_stock(reading: dict[int, int]) -> AbstractContextManager[None]:
    """The first look at what is available tells what was so a moment ago."""
    return stale(Stock, "available", reading)


@contextmanager
def stale_payment(reading: Payment) -> Iterator[None]:
    """The payment is read as it was a moment ago."""

    async def get(*_: object, **__: object) -> Payment:
        return reading

    async def whole(tx: Tx, *_: object, **__: object) -> dict[PaymentId, Whole]:
        return {reading.payment_id: (reading, await payment_store.attempts(tx, reading.payment_id))}

    with patch.object(payment_store, "get", get), patch.object(payment_store, "whole", whole):
        yield


def stale_order(reading: Order) -> AbstractContextManager[None]:
    """At the first two looks, which are those of one handler, the order is as it was a moment ago."""
    return stale(order_store, "load", {reading.order_id: reading}, looks=2)


@contextmanager
def forgetful_orders() -> Iterator[None]:
    """Orders do not remember which events of their payments they have taken."""
    fresh = order_store.load

    async def load(tx: Tx, order_ids: Any, *, locked: bool = False) -> Any:
        rows = await fresh(tx, order_ids, locked=locked)
        return {order_id: msgspec.structs.replace(row, payment_version=0) for order_id, row in rows.items()}

    with patch.object(order_store, "load", load):
        yield


class Misinformed:
    """A PG that answers when it is let, and then that the payment was given up, and that somebody gave one won back."""

    def __init__(self) -> None:
        self.asked, self.answer = asyncio.Event(), asyncio.Event()

    def rests_s(self) -> float:
        return 0

    async def confirm(self, asked: Asked) -> Reply:
        raise AssertionError(f"nothing is to be captured here: {asked}")

    async def cancel(self, cancel: Cancel) -> CancelReply:
        raise AssertionError(f"nothing is to be given back here: {cancel}")

    async def read(self, asked: Asked) -> Reading:
        self.asked.set()
        await self.answer.wait()
        return Found(
            asked.payment_key, asked.payment_id, asked.amount, "KRW", "ABORTED", "", "", asked.amount - 1, BY_HAND
        )

    read_order = read

    async def withdraw(self, asked: Asked) -> Reading:
        raise AssertionError(f"no account is to be closed here: {asked}")
