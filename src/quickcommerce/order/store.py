"""The orders of store A as rows. What happened to them is in `timeline_store.py`."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from quickcommerce.events import CURRENCY, Line, Order, title
from quickcommerce.kit.clock import rfc3339
from quickcommerce.kit.db import LOCK, Params, Tx, marks
from quickcommerce.kit.db import Row as DbRow
from quickcommerce.kit.ids import OrderId
from quickcommerce.kit.sql import both
from quickcommerce.order.model import HOLDING, Status

_FIELDS = (
    "order_id, user_id, status, version, total, discount, payable, paid, refunded, placed_us, expires_us, updated_us,"
    " lease_token, trace, payment_version"
)
_HOLDING = "('" + "', '".join(sorted(HOLDING)) + "')"


class Row(msgspec.Struct, frozen=True):
    """An order as stored, with its lines. Times are microseconds UTC. `payment_version` is that of the last event of
    its payment that it has taken.
    """

    order_id: OrderId
    user_id: int
    status: Status
    version: int
    total: int
    discount: int
    payable: int
    paid: int
    refunded: int
    placed_us: int
    expires_us: int
    updated_us: int
    lease_token: str
    trace: str
    payment_version: int
    lines: list[Line]
    names_en: list[str]
    sales: list[str | None]

    def public(self) -> Order:
        """The order object of the contract, without its checkout_url."""
        return Order(
            self.order_id, self.user_id, self.status, self.version, self.lines, self.total, self.discount,
            self.payable, self.paid, self.refunded, CURRENCY,
            rfc3339(self.placed_us), rfc3339(self.expires_us), rfc3339(self.updated_us),
        )  # fmt: skip

    @property
    def title(self) -> str:
        """What the PG shows the buyer."""
        return title(self.lines)

    @property
    def units(self) -> Counter[int]:
        """How much of which product."""
        return Counter({line.product_id: line.quantity for line in self.lines})

    @property
    def quota(self) -> Counter[str]:
        """How much of the quota of which time sale; a product stands in an order once, and so does its sale."""
        return Counter({sale: line.quantity for line, sale in zip(self.lines, self.sales, strict=True) if sale})

    @property
    def coupons(self) -> list[int]:
        """The coupons that were spent on it."""
        return [line.coupon_id for line in self.lines if line.coupon_id is not None]


async def insert(tx: Tx, placed: Iterable[tuple[Row, bytes]]) -> None:
    """Store new orders with their lines; the bytes are the order as it is first answered."""
    placed = list(placed)
    await tx.insert(
        "orders",
        f"{_FIELDS}, due_us, placed",
        [
            (
                row.order_id, row.user_id, row.status, row.version, row.total, row.discount, row.payable, row.paid,
                row.refunded, row.placed_us, row.expires_us, row.updated_us, row.lease_token, row.trace,
                row.payment_version, row.expires_us, body,
            )
            for row, body in placed
        ],
    )  # fmt: skip
    await tx.insert(
        "order_line",
        "order_id, product_id, line, name, name_en, quantity, unit_price, discount, amount, coupon_id, time_sale_id",
        [
            (
                row.order_id, line.product_id, at, line.name, name_en, line.quantity, line.unit_price, line.discount,
                line.amount, line.coupon_id, sale,
            )
            for row, _ in placed
            for at, (line, name_en, sale) in enumerate(zip(row.lines, row.names_en, row.sales, strict=True))
        ],
    )  # fmt: skip


async def placed(tx: Tx, order_ids: Iterable[str]) -> dict[str, bytes]:
    """The orders as they were first answered, by id."""
    ids = sorted(set(order_ids))
    if not ids:
        return {}
    return dict(await tx.all(f"SELECT order_id, placed FROM orders WHERE order_id IN ({marks(ids)})", ids))


async def answer_again(tx: Tx, order_id: OrderId, body: bytes) -> None:
    """Change what a replay is answered, in the transaction that stores the order."""
    await tx.write("UPDATE orders SET placed = ? WHERE order_id = ?", (body, order_id))


async def load(tx: Tx, order_ids: Iterable[OrderId], *, locked: bool = False) -> dict[OrderId, Row]:
    """Orders with their lines; `locked` keeps them as read until the transaction's end."""
    ids = sorted(set(order_ids))
    if not ids:
        return {}
    where = f"order_id IN ({marks(ids)}) ORDER BY order_id {LOCK if locked else ''}"
    return _joined(*await both(tx, tx.all(f"SELECT {_FIELDS} FROM orders WHERE {where}", ids), _lines(tx, ids)))


async def page(tx: Tx, user_id: int, before: tuple[int, str] | None, limit: int) -> list[Row]:
    """A user's orders, newest first, older than `before` (placed_us, order_id)."""
    params: Params
    older, params = ("", (user_id, limit))
    if before:
        older = "AND (placed_us < ? OR (placed_us = ? AND order_id < ?))"
        params = (user_id, before[0], *before, limit)
    rows = await tx.all(
        f"SELECT {_FIELDS} FROM orders WHERE user_id = ? {older} ORDER BY placed_us DESC, order_id DESC LIMIT ?", params
    )
    return list((await _with_lines(tx, rows)).values())


async def after(tx: Tx, order_id: str, limit: int) -> list[Row]:
    """All users' orders behind an id, in the order of their ids."""
    rows = await tx.all(f"SELECT {_FIELDS} FROM orders WHERE order_id > ? ORDER BY order_id LIMIT ?", (order_id, limit))
    return list((await _with_lines(tx, rows)).values())


async def _with_lines(tx: Tx, rows: list[DbRow]) -> dict[OrderId, Row]:
    return _joined(rows, await _lines(tx, [row[0] for row in rows]))


async def _lines(tx: Tx, ids: Sequence[OrderId]) -> list[DbRow]:
    """The lines of these orders, those of each in their order."""
    if not ids:
        return []
    return await tx.all(
        "SELECT order_id, name_en, time_sale_id, product_id, name, quantity, unit_price, discount, amount, coupon_id"
        f" FROM order_line WHERE order_id IN ({marks(ids)}) ORDER BY order_id, line",
        ids,
    )


def _joined(rows: list[DbRow], of_orders: list[DbRow]) -> dict[OrderId, Row]:
    """Orders with their lines; the lines of one that was stored between the two looks belong to none of these."""
    ids = [row[0] for row in rows]
    lines: dict[OrderId, list[Line]] = {order_id: [] for order_id in ids}
    names_en: dict[OrderId, list[str]] = {order_id: [] for order_id in ids}
    sales: dict[OrderId, list[str | None]] = {order_id: [] for order_id in ids}
    for order_id, name_en, sale, *line in of_orders:
        if order_id not in lines:
            continue
        lines[order_id].append(Line(*line))
        names_en[order_id].append(name_en)
        sales[order_id].append(sale)
    return {row[0]: _row([*row, lines[row[0]], names_en[row[0]], sales[row[0]]]) for row in rows}


def _row(values: list[Any]) -> Row:
    order_id, user_id, status, *rest = values
    return Row(order_id, user_id, Status(status), *rest)


async def move(tx: Tx, old: Row, new: Row) -> None:
    """Change an order from one state to the next. Both the old status and the old version must still be so. It is due
    again when its time to pay ends, whoever had leased it.
    """
    await tx.write(
        "UPDATE orders SET status = ?, version = ?, paid = ?, refunded = ?, updated_us = ?, payment_version = ?,"
        " due_us = expires_us WHERE order_id = ? AND status = ? AND version = ?",
        (
            new.status, new.version, new.paid, new.refunded, new.updated_us, new.payment_version, old.order_id,
            old.status, old.version,
        ),
        rows=1,
    )  # fmt: skip


async def heard(tx: Tx, order_id: OrderId, payment_version: int) -> None:
    """Remember an event of the order's payment that changed nothing."""
    sql = "UPDATE orders SET payment_version = ? WHERE order_id = ? AND payment_version < ?"
    await tx.write(sql, (payment_version, order_id, payment_version))


async def claim_due(tx: Tx, token: str, now_us: int, until_us: int, limit: int) -> list[OrderId]:
    """Lease orders whose time to pay has ended, each to one claimer until `until_us`; who has waited longest is first,
    since its time ended or since it was looked at last.
    """
    rows = await tx.all(
        f"SELECT order_id FROM orders WHERE status IN {_HOLDING} AND due_us <= ? ORDER BY due_us LIMIT ?",
        (now_us, limit),
    )
    order_ids = sorted(order_id for (order_id,) in rows)
    claim = f"UPDATE orders SET lease_token = ?, due_us = ? WHERE order_id = ? AND status IN {_HOLDING} AND due_us <= ?"
    claimed = await tx.gather([tx.run(claim, (token, until_us, order_id, now_us)) for order_id in order_ids])
    return [order_id for order_id, matched in zip(order_ids, claimed, strict=True) if matched]


async def defer(tx: Tx, token: str, order_ids: Sequence[OrderId], until_us: int) -> None:
    """Keep a lease until a later time; what somebody else has leased by now is left alone."""
    if order_ids:
        await tx.write(
            f"UPDATE orders SET due_us = ? WHERE order_id IN ({marks(order_ids)}) AND lease_token = ?",
            (until_us, *order_ids, token),
        )


async def unclaim(tx: Tx, token: str, order_ids: Sequence[OrderId]) -> None:
    """Give a lease back before its time; what somebody else has leased by now is left alone."""
    await tx.write(
        f"UPDATE orders SET due_us = expires_us WHERE order_id IN ({marks(order_ids)}) AND lease_token = ?",
        (*order_ids, token),
    )


async def counts(tx: Tx) -> Mapping[str, int]:
    """How many orders there are, and how many events they have had."""
    orders = await tx.one("SELECT COUNT(*) FROM orders")
    events = await tx.one("SELECT COUNT(*) FROM order_change WHERE step = 0")
    return {"orders": orders[0] if orders else 0, "order_events": events[0] if events else 0}
