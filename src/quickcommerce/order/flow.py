"""How orders end before they are paid: cancelled by the buyer, or expired. Close before release: stock goes back only
after payment has said that no money can come.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from prometheus_client import Counter

from quickcommerce.kit.auth import Caller
from quickcommerce.kit.clock import SECOND_US, Clock
from quickcommerce.kit.db import Database, Tx
from quickcommerce.kit.ids import Ids, OrderId
from quickcommerce.kit.problem import InvalidState, Unavailable
from quickcommerce.kit.repeating import singly
from quickcommerce.kit.telemetry import log
from quickcommerce.order import store, timeline_store
from quickcommerce.order.book import OrderBook
from quickcommerce.order.changes import Changes, Move
from quickcommerce.order.model import HOLDING, Status

STUCK = Counter("qc_orders_stuck_total", "Times that an order could not be ended; the log says which and why")

LEASE_S = 2.0
"""How long an expiry in progress keeps others away; also the wait before a refused one is tried again."""
LONG_S, LATER_S = 600, 30.0
"""One that has been refused for so long, as while a deposit is awaited for days, is tried again only so often."""
EXPIRE_MAX = 200
BUSY_RETRY_AFTER_S = 3


class Payments(Protocol):
    """What payment does for an order that is about to end."""

    async def close(self, order_ids: Collection[OrderId]) -> set[OrderId]:
        """Make sure these are never paid; returns those for which that is certain. A capture that is under way,
        done, or not known yet refuses. Raises `Unavailable` when payment cannot be asked: then nothing may end.
        """
        ...


@dataclass(frozen=True)
class Orders:
    """The ends of unpaid orders in store A."""

    db: Database
    book: OrderBook
    payments: Payments
    changes: Changes
    clock: Clock
    ids: Ids

    async def cancel(self, order_id: OrderId, caller: Caller, trace: str) -> store.Row:
        """End an order before it is paid. Asking again gives the same. Raises NotFound and InvalidState."""
        row = await self.book.get(order_id, caller)
        if row.status in HOLDING:
            closed = await self.payments.close([order_id])
            if closed:
                await self.db.run(lambda tx: self._cancel(tx, order_id, trace))
            row = await self.book.get(order_id, caller)
            if row.status in HOLDING and not closed:
                raise InvalidState("a payment of this order is under way", retry_after_s=BUSY_RETRY_AFTER_S)
        if row.status is Status.PAID and row.payable == 0:
            raise InvalidState("the order is final: there was nothing to pay, so there is nothing to refund")
        if row.status in (Status.PAID, Status.REFUNDED):
            raise InvalidState("the order is paid; ask for a refund instead")
        if row.status is not Status.CANCELLED:
            raise InvalidState(f"the order is {row.status}")
        return row

    async def _cancel(self, tx: Tx, order_id: OrderId, trace: str) -> None:
        row = (await store.load(tx, [order_id], locked=True))[order_id]
        if row.status in HOLDING:
            await self.changes.apply(tx, [Move(order_id, Status.CANCELLED, "cancelled", "buyer", trace)], [row])

    async def expire(self) -> bool:
        """End orders whose time to pay is over. Returns whether more may be due.

        A payment that is under way keeps its order, and is asked again when the lease has ended. Raises Unavailable
        where payment cannot be asked; then nothing ends, and nothing stays leased.
        """
        now = self.clock()
        token, until = self.ids.token(), now + int(LEASE_S * SECOND_US)
        due = await self.db.run(lambda tx: store.claim_due(tx, token, now, until, EXPIRE_MAX))
        if not due:
            return False
        try:
            closed = await self.payments.close(due)
        except Unavailable:
            # While they are leased nothing is due, and a step that has nothing to ask looks like one that was answered.
            await self.db.run(lambda tx: store.unclaim(tx, token, due))
            raise

        try:
            await self.db.run(partial(self._expire, token=token, due=due, closed=closed))
        except Exception as failure:
            # Whichever order it is, its neighbours end.
            if not singly(failure):
                raise
            log.exception("expire.singled", orders=len(due))
            for order_id in due:
                await self._expire_alone(token, order_id, closed)
        return len(due) == EXPIRE_MAX

    async def _expire_alone(self, token: str, order_id: OrderId, closed: set[OrderId]) -> None:
        """End one order of a list that failed. What cannot be ended is told, and tried again when its lease ends."""
        try:
            await self.db.run(partial(self._expire, token=token, due=[order_id], closed=closed))
        except Unavailable:
            raise
        except Exception:  # noqa: BLE001 - told with the order, for a human
            STUCK.inc()
            log.exception("order.stuck", order_id=order_id)

    async def _expire(self, tx: Tx, token: str, due: Sequence[OrderId], closed: set[OrderId]) -> None:
        rows = (await store.load(tx, due, locked=True)).values()
        held = [row for row in rows if row.lease_token == token and row.status in HOLDING]
        await self.changes.apply(
            tx,
            [
                Move(row.order_id, Status.EXPIRED, "expired", "time to pay ended", row.trace)
                for row in held
                if row.order_id in closed
            ],
            held,
        )
        now = self.clock()
        refused = [row for row in held if row.order_id not in closed]
        long_ago = [row.order_id for row in refused if now - row.expires_us >= LONG_S * SECOND_US]
        await store.defer(tx, token, long_ago, now + int(LATER_S * SECOND_US))
        told = ("expiry deferred", "payment may still be captured")
        await tx.gather([timeline_store.note(tx, row, now, *told) for row in refused])
