"""What happened to the orders of store A, as rows: changes, and notes beside them."""

from collections.abc import Iterable

import msgspec

from quickcommerce.kit.db import Tx, marks
from quickcommerce.kit.ids import OrderId
from quickcommerce.order.model import TOLD
from quickcommerce.order.store import Row


class Change(msgspec.Struct, frozen=True):
    """A line of an order's timeline. `step` 0 is a change of the order; others are notes, most for operators."""

    order_id: OrderId
    version: int
    step: int
    at_us: int
    what: str
    cause: str
    from_status: str | None
    to_status: str


async def record(tx: Tx, changes: Iterable[Change]) -> None:
    """Write to the timeline."""
    await tx.insert(
        "order_change",
        "order_id, version, step, at_us, what, cause, from_status, to_status",
        [msgspec.structs.astuple(change) for change in changes],
    )


async def note(tx: Tx, row: Row, at_us: int, what: str, cause: str) -> None:
    """Leave a note beside the order's present version; the same note once."""
    seen = await tx.all(
        "SELECT step, what, cause FROM order_change WHERE order_id = ? AND version = ? ORDER BY step",
        (row.order_id, row.version),
    )
    if (what, cause) not in [(known, why) for _, known, why in seen]:
        await record(
            tx, [Change(row.order_id, row.version, seen[-1][0] + 1, at_us, what, cause, row.status, row.status)]
        )


async def noted(tx: Tx, order_id: OrderId, what: str) -> bool:
    """Whether the timeline of an order says this."""
    sql = "SELECT 1 FROM order_change WHERE order_id = ? AND what = ? LIMIT 1"
    return await tx.one(sql, (order_id, what)) is not None


async def timeline(tx: Tx, order_id: OrderId, *, notes: bool) -> list[Change]:
    """What happened to an order, in order; with `notes`, also what only operators see."""
    public = "" if notes else f"AND (step = 0 OR what IN ({marks(TOLD)}))"
    rows = await tx.all(
        f"SELECT {', '.join(Change.__struct_fields__)} FROM order_change"
        f" WHERE order_id = ? {public} ORDER BY version, step",
        (order_id,) if notes else (order_id, *TOLD),
    )
    return [Change(*row) for row in rows]
