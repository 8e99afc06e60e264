"""What must always hold of payments, read from the rows of store B. Nothing here writes.

Most questions are about the payments of a range of orders: ids begin with their time, so only recent rows are read.
"""

from collections.abc import Sequence
from typing import NamedTuple

from quickcommerce.kit.db import Tx, marks
from quickcommerce.payment.model import DECLINES_MAX, Ended, Status
from quickcommerce.payment.refund_model import RefundStatus

LEGAL = frozenset(Status)


class Fact(NamedTuple):
    """A payment in short. Money is won; times are microseconds UTC."""

    order_id: str
    status: str
    amount: int
    captured: int
    refunded: int
    refunding: int
    created_us: int
    updated_us: int


async def facts(tx: Tx, after: str, upto: str) -> dict[str, Fact]:
    """The payments of the orders behind `after` up to `upto`, by order id. Reads them by their index."""
    rows = await tx.all(
        f"SELECT {', '.join(Fact._fields)} FROM payment WHERE order_id > ? AND order_id <= ?", (after, upto)
    )
    return {row[0]: Fact(*row) for row in rows}


async def named(tx: Tx, order_ids: Sequence[str]) -> dict[str, Fact]:
    """The payments of these orders, by order id."""
    rows = await tx.all(
        f"SELECT {', '.join(Fact._fields)} FROM payment WHERE order_id IN ({marks(order_ids)})", order_ids
    )
    return {row[0]: Fact(*row) for row in rows}


async def came_late(tx: Tx, upto: str) -> list[str]:
    """Orders up to an id that may have ended before their money came, which is neither back nor owed. Reads all."""
    rows = await tx.all(
        "SELECT order_id FROM payment WHERE order_id <= ? AND captured > refunded + refunding"
        # While a deposit is awaited its order does not end.
        " AND ((captured_us >= expires_us AND captured_us >= deposit_us) OR declines >= ?)",
        (upto, DECLINES_MAX),
    )
    return [order_id for (order_id,) in rows]


async def refunded(tx: Tx, upto: str, since: str) -> list[str]:
    """Orders up to an id of whose payments a refund behind `since` was asked for."""
    rows = await tx.all(
        "SELECT DISTINCT p.order_id FROM refund r JOIN payment p ON p.payment_id = r.payment_id"
        " WHERE r.refund_id > ? AND p.order_id <= ?",
        (since, upto),
    )
    return [order_id for (order_id,) in rows]


async def refunds_astray(tx: Tx, after: str, since: str) -> int:
    """How many payments tell other sums of refunds than their refunds do: those of orders behind `after`, and those of
    which a refund behind `since` was asked for. Reads them and their refunds.
    """
    sums = {
        status: f"COALESCE(SUM(CASE WHEN r.status = '{status}' THEN r.amount ELSE 0 END), 0)"
        for status in (RefundStatus.DONE, RefundStatus.PENDING)
    }
    row = await tx.one(
        "SELECT COUNT(*) FROM (SELECT p.payment_id FROM ("
        " SELECT payment_id FROM payment WHERE order_id > ? UNION SELECT payment_id FROM refund WHERE refund_id > ?"
        ") AS found JOIN payment p ON p.payment_id = found.payment_id"
        " LEFT JOIN refund r ON r.payment_id = p.payment_id GROUP BY p.payment_id, p.refunded, p.refunding"
        f" HAVING {sums[RefundStatus.DONE]} <> p.refunded OR {sums[RefundStatus.PENDING]} <> p.refunding) AS astray",
        (after, since),
    )
    return row[0] if row else 0


async def captured_twice(tx: Tx, after: str) -> int:
    """How many payments of orders behind an id have more than one attempt that captured. Reads these attempts."""
    row = await tx.one(
        "SELECT COUNT(*) FROM payment p WHERE p.order_id > ? AND (SELECT COUNT(*) FROM payment_attempt a"
        f" WHERE a.payment_id = p.payment_id AND a.outcome = '{Ended.CAPTURED}') > 1",
        (after,),
    )
    return row[0] if row else 0
