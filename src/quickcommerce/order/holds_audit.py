"""What must hold between orders and what they take beside goods: quota of time sales, and coupons. Reads only."""

from quickcommerce.kit.db import Tx
from quickcommerce.order.model import CLOSED

_CLOSED = "('" + "', '".join(sorted(CLOSED)) + "')"


async def quota(tx: Tx, after: str) -> dict[str, int]:
    """Units under each time sale that orders behind an id have: those that live or were paid, and whose goods did not
    come back. Reads the lines of these orders.
    """
    rows = await tx.all(
        "SELECT l.time_sale_id, SUM(l.quantity) FROM order_line l JOIN orders o ON o.order_id = l.order_id"
        f" WHERE l.order_id > ? AND l.time_sale_id IS NOT NULL AND o.status NOT IN {_CLOSED}"
        " AND NOT EXISTS (SELECT 1 FROM stock_entry e"
        " WHERE e.cause = l.order_id AND e.product_id = l.product_id AND e.kind = 'RETURN')"
        " GROUP BY l.time_sale_id",
        (after,),
    )
    return {time_sale_id: int(units) for time_sale_id, units in rows}


async def coupons_astray(tx: Tx, after: str) -> int:
    """How many coupons are spent on an order behind an id that does not have them, and the reverse.

    Reads the lines of these orders, and the coupons spent on them by their index.
    """
    spent = await tx.one(
        "SELECT COUNT(*) FROM coupon c WHERE c.order_id > ? AND NOT EXISTS (SELECT 1 FROM order_line l"
        " JOIN orders o ON o.order_id = l.order_id WHERE l.order_id = c.order_id AND l.coupon_id = c.coupon_id"
        f" AND o.status NOT IN {_CLOSED})",
        (after,),
    )
    used = await tx.one(
        "SELECT COUNT(*) FROM order_line l JOIN orders o ON o.order_id = l.order_id"
        " LEFT JOIN coupon c ON c.coupon_id = l.coupon_id WHERE l.order_id > ? AND l.coupon_id IS NOT NULL"
        f" AND o.status NOT IN {_CLOSED} AND (c.order_id IS NULL OR c.order_id <> l.order_id)",
        (after,),
    )
    return (spent[0] if spent else 0) + (used[0] if used else 0)
