"""`qc`, with a guard switched off: `python faulty.py FAULT[,FAULT...] run --port 0`.

A list of requests is one transaction, and SQLite has one writer, so nobody is in anyone's way: what a guard is for is
staged. A `stale` fault lets every list decide on figures as they stood before the crowd, as a database with many
writers would; the guard must then see it. The other faults each take one guard away.
"""

import asyncio
import sqlite3
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any
from unittest.mock import patch

import msgspec

from flow.staging import Uncounted, Without, blind
from quickcommerce.catalog import store as catalog_store
from quickcommerce.catalog.flow import Catalog
from quickcommerce.cli import main
from quickcommerce.coupon import store as coupon_store
from quickcommerce.kit import db, mariadb, mariadb_line
from quickcommerce.payment import store as payment_store
from quickcommerce.payment.refunds import Refunds
from quickcommerce.payment.store import Payment
from quickcommerce.stock import store as stock_store
from quickcommerce.stock.flow import Stock

LATE_NS = 600 * 10**9
LINGER_S = 0.1


def _blind(store: Any, update: str, way: Callable[[db.Tx], db.Tx]) -> Callable[[], None]:
    """An update goes another way, and the tables' own checks, the last line of defence, are taken away with it."""

    def switch_off() -> None:
        setattr(store, update, blind(store, update, way))
        _Connection.checks = "OFF"

    return switch_off


def _without(store: Any, update: str, condition: str) -> Callable[[], None]:
    """Take a condition out of an update."""
    return _blind(store, update, lambda tx: Without(tx, condition))


class _Connection(sqlite3.Connection):
    """A connection that does not check what a table says of its rows, once that is switched off."""

    checks = "ON"

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.execute(f"PRAGMA ignore_check_constraints = {'ON' if self.checks == 'OFF' else 'OFF'}")


def _stale_policies() -> None:
    """As many coupons are left as when the policy was first read."""
    _remember(coupon_store, "policies", lambda first, _: first)


def _stale_sales() -> None:
    """As much of a sale's quota is left as when it was first read."""
    _remember(catalog_store, "sales_at", lambda first, now: msgspec.structs.replace(now, used=first.used))


def _remember(store: Any, reader: str, blend: Callable[[Any, Any], Any]) -> None:
    """What is read without a lock is what was read first, of each row; by `blend` of the first and the present."""
    fresh: Callable[..., Awaitable[dict[Any, Any]]] = getattr(store, reader)
    first: dict[tuple[Any, Any], Any] = {}

    async def read(tx: db.Tx, keys: Any, *facts: Any, locked: bool = False) -> dict[Any, Any]:
        found = await fresh(tx, keys, *facts, locked=locked)
        if locked:
            return found
        return {key: blend(first.setdefault((key, _identity(row)), row), row) for key, row in found.items()}

    setattr(store, reader, read)


def _identity(row: Any) -> Any:
    return getattr(row, "time_sale_id", None)


def _stale_stock() -> None:
    """As many units are available as when the product was first looked at, but to a list that locks."""
    offers, available = Catalog.offers, Stock.available
    locks: set[int] = set()
    first: dict[int, int] = {}

    async def told(self: Catalog, tx: db.Tx, *facts: Any, locked: bool) -> Any:
        (locks.add if locked else locks.discard)(id(tx))
        return await offers(self, tx, *facts, locked=locked)

    async def looked(self: Stock, tx: db.Tx, product_ids: Any) -> dict[int, int]:
        found = await available(self, tx, product_ids)
        if id(tx) in locks:
            return found
        return {product_id: first.setdefault(product_id, units) for product_id, units in found.items()}

    patch.object(Catalog, "offers", told).start()
    patch.object(Stock, "available", looked).start()


def _stale_payment() -> None:
    """As much can be given back as when it was first asked for."""
    allowed = Refunds._allowed
    first: dict[str, Payment] = {}

    def told(self: Refunds, payment: Payment, asking: Any) -> int:
        return allowed(self, first.setdefault(payment.payment_id, payment), asking)

    patch.object(Refunds, "_allowed", told).start()


def _price_of_before() -> None:
    """The window of a sale is judged by the time at which the product was first looked at, not by the order's."""
    offers = Catalog.offers
    first: dict[tuple[int, ...], int] = {}

    async def told(self: Catalog, tx: db.Tx, product_ids: Any, at_us: int, *, locked: bool) -> Any:
        return await offers(self, tx, product_ids, first.setdefault(tuple(product_ids), at_us), locked=locked)

    patch.object(Catalog, "offers", told).start()


def _endless_idling() -> None:
    """A transaction in which nothing happens is never ended."""
    patch.object(mariadb_line, "IDLE_S", 600).start()


def _lingering() -> None:
    """Between its last statement and its COMMIT a transaction waits, so that whoever looks for it there finds it."""
    ask = mariadb.MariaDb._ask

    async def asked(self: mariadb.MariaDb, role: str, connection: Any, flight: Any) -> Any:
        *before, last = flight
        if last != "COMMIT":
            return await ask(self, role, connection, flight)
        answers = await ask(self, role, connection, before) if before else []
        await asyncio.sleep(LINGER_S)
        return answers + await ask(self, role, connection, [last])

    patch.object(mariadb.MariaDb, "_ask", asked).start()


def _behind() -> None:
    """The machine's clock is ten minutes late."""
    time_ns = time.time_ns
    patch.object(time, "time_ns", lambda: time_ns() - LATE_NS).start()


FAULTS = {
    "clock-behind": _behind,
    "stale-policies": _stale_policies,
    "stale-sales": _stale_sales,
    "stale-stock": _stale_stock,
    "stale-payment": _stale_payment,
    "price-of-before": _price_of_before,
    "uncounted-hold": _blind(stock_store, "hold", Uncounted),
    "endless-idling": _endless_idling,
    "lingering": _lingering,
    "no-total": _without(coupon_store, "take", " AND total_quantity - issued >= ?"),
    "no-quota": _without(catalog_store, "use_quota", " AND quota - used >= ?"),
    "no-shelf": _without(stock_store, "hold", " AND on_hand - reserved - sold >= ..."),
    "no-sum": _without(payment_store, "owe", " AND captured - refunded - refunding >= ?"),
}

if __name__ == "__main__":
    for fault in sys.argv.pop(1).split(","):
        FAULTS[fault]()
    connect = sqlite3.connect
    sqlite3.connect = lambda *given, **options: connect(*given, factory=_Connection, **options)  # type: ignore[assignment]
    main()
