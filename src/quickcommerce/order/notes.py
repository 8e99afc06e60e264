"""Notes that others leave in the timeline of an order, for operators: what somebody tried, and changed nothing."""

from dataclasses import dataclass

from quickcommerce.kit.clock import Clock
from quickcommerce.kit.db import Database, Tx
from quickcommerce.kit.ids import OrderId
from quickcommerce.order import store, timeline_store


@dataclass(frozen=True)
class Notes:
    """The notes of store A."""

    db: Database
    clock: Clock

    async def once(self, order_id: OrderId, what: str, cause: str) -> None:
        """Note `what` unless that was noted of this order before, for whatever cause. Raises Unavailable.

        However often somebody tries, there is one note; and nothing is locked for the others.
        """
        if not await self.db.look(lambda tx: timeline_store.noted(tx, order_id, what)):
            await self.db.run(lambda tx: self._once(tx, order_id, what, cause))

    async def _once(self, tx: Tx, order_id: OrderId, what: str, cause: str) -> None:
        row = (await store.load(tx, [order_id], locked=True)).get(order_id)
        if row and not await timeline_store.noted(tx, order_id, what):
            await timeline_store.note(tx, row, self.clock(), what, cause)
