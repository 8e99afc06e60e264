"""What must always hold of orders, read from the rows of store A. Nothing here writes.

Questions about single orders are about those from an id on: ids begin with their time, so only recent rows are read.
"""

from collections.abc import Sequence
from typing import NamedTuple

from quickcommerce.kit.db import Tx, marks
from quickcommerce.order.model import HOLDING, NEXT, Status

_HOLDING = "('" + "', '".join(sorted(HOLDING)) + "')"


class Fact(NamedTuple):
    """An order in short. Money is won; `updated_us` is when it last changed."""

    order_id: str
    status: str
    version: int
    payable: int
    paid: int
    refunded: int
    updated_us: int


async def held(tx: Tx) -> dict[int, int]:
    """Units that the lines of live orders hold, by product. Reads the live orders by their index, and their lines."""
    rows = await tx.all(
        "SELECT l.product_id, SUM(l.quantity) FROM orders o JOIN order_line l ON l.order_id = o.order_id"
        f" WHERE o.status IN {_HOLDING} GROUP BY l.product_id"
    )
    return {product_id: int(units) for product_id, units in rows}


async def facts(tx: Tx, after: str, limit: int) -> list[Fact]:
    """Orders behind an id, in the order of their ids."""
    rows = await tx.all(
        f"SELECT {', '.join(Fact._fields)} FROM orders WHERE order_id > ? ORDER BY order_id LIMIT ?", (after, limit)
    )
    return [Fact(*row) for row in rows]


async def named(tx: Tx, order_ids: Sequence[str]) -> dict[str, Fact]:
    """These orders, by id."""
    rows = await tx.all(
        f"SELECT {', '.join(Fact._fields)} FROM orders WHERE order_id IN ({marks(order_ids)})", order_ids
    )
    return {row[0]: Fact(*row) for row in rows}


async def live(tx: Tx, upto: str) -> list[str]:
    """Live orders up to an id. Reads them by their index."""
    rows = await tx.all(f"SELECT order_id FROM orders WHERE status IN {_HOLDING} AND order_id <= ?", (upto,))
    return [order_id for (order_id,) in rows]


async def unsummed(tx: Tx, after: str) -> int:
    """How many orders behind an id have lines that do not sum to what they owe. Reads them and their lines."""
    row = await tx.one(
        "SELECT COUNT(*) FROM orders o WHERE o.order_id > ? AND (o.payable <> o.total - o.discount OR o.payable <>"
        " (SELECT COALESCE(SUM(l.amount), 0) FROM order_line l WHERE l.order_id = o.order_id))",
        (after,),
    )
    return row[0] if row else 0


async def illegal(tx: Tx, after: str) -> int:
    """How many steps behind an id are not allowed, and how many orders are not what their last step made of them.

    Reads these orders and their changes.
    """
    steps = await tx.all(
        "SELECT from_status, to_status, COUNT(*) FROM order_change WHERE order_id > ? AND step = 0"
        " GROUP BY from_status, to_status",
        (after,),
    )
    astray = await tx.one(
        "SELECT COUNT(*) FROM orders o WHERE o.order_id > ? AND (NOT EXISTS (SELECT 1 FROM order_change c"
        " WHERE c.order_id = o.order_id AND c.version = o.version AND c.step = 0 AND c.to_status = o.status)"
        " OR o.version <> (SELECT COUNT(*) FROM order_change c WHERE c.order_id = o.order_id AND c.step = 0))",
        (after,),
    )
    forbidden: int = sum(count for before, to, count in steps if not _legal(before, to))
    return forbidden + (astray[0] if astray else 0)


def _legal(before: str | None, to: str) -> bool:
    if before is None:
        return to == Status.PLACED
    return before in NEXT and to in NEXT[Status(before)]


async def keys_astray(tx: Tx, since_us: int) -> int:
    """How many keys since a time name an order that is not there, or one that another key names as well.

    Reads the keys of that time and looks each order up.
    """
    ours = "k.at_us >= ? AND k.resource LIKE 'ord%'"
    absent = await tx.one(
        "SELECT COUNT(*) FROM idempotency k LEFT JOIN orders o ON o.order_id = k.resource"
        f" WHERE {ours} AND o.order_id IS NULL",
        (since_us,),
    )
    twice = await tx.one(f"SELECT COUNT(*) - COUNT(DISTINCT k.resource) FROM idempotency k WHERE {ours}", (since_us,))
    return (absent[0] if absent else 0) + (twice[0] if twice else 0)
