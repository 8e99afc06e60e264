"""What must always hold of payments, read from the rows of store B. Nothing here writes.

Questions are about the payments of a range of orders: ids begin with their time, so only recent rows are read.
"""

from typing import NamedTuple

from quickcommerce.kit.db import Tx
from quickcommerce.payment.model import Ended, Status

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


async def captured_twice(tx: Tx, after: str) -> int:
    """How many payments of orders behind an id have more than one attempt that captured. Reads these attempts."""
    row = await tx.one(
        "SELECT COUNT(*) FROM payment p WHERE p.order_id > ? AND (SELECT COUNT(*) FROM payment_attempt a"
        f" WHERE a.payment_id = p.payment_id AND a.outcome = '{Ended.CAPTURED}') > 1",
        (after,),
    )
    return row[0] if row else 0
