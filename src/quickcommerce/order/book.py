"""Reading orders."""

from collections.abc import Collection
from dataclasses import dataclass
from functools import partial

from quickcommerce.events import OrderEvent
from quickcommerce.kit.auth import Caller
from quickcommerce.kit.db import Database
from quickcommerce.kit.ids import OrderId
from quickcommerce.kit.problem import NotFound
from quickcommerce.order import audit, store, timeline_store

FACTS_MAX = 500
"""Orders in short that are read with one statement."""


@dataclass(frozen=True)
class OrderBook:
    """The orders of store A, for reading."""

    db: Database

    async def get(self, order_id: OrderId, caller: Caller) -> store.Row:
        """An order that the caller may see. Raises NotFound, the same for absent and foreign."""
        row = (await self.rows([order_id])).get(order_id)
        if row is None or not caller.may_see(row.user_id):
            raise NotFound("there is no such order")
        return row

    async def rows(self, order_ids: Collection[OrderId]) -> dict[OrderId, store.Row]:
        """Orders by id; those that do not exist are left out."""
        return await self.db.look(lambda tx: store.load(tx, order_ids))

    async def facts(self, order_ids: Collection[OrderId]) -> dict[OrderId, audit.Fact]:
        """Orders in short, by id, without their lines; those that do not exist are left out."""
        found: dict[OrderId, audit.Fact] = {}
        ids = sorted(order_ids)
        for part in (ids[at : at + FACTS_MAX] for at in range(0, len(ids), FACTS_MAX)):
            rows = await self.db.scan(partial(audit.named, order_ids=part))
            found |= {OrderId(order_id): fact for order_id, fact in rows.items()}
        return found

    async def page(self, user_id: int, before: tuple[int, str] | None, limit: int) -> list[store.Row]:
        """A user's orders, newest first, behind `before` (placed_us, order_id)."""
        return await self.db.scan(lambda tx: store.page(tx, user_id, before, limit))

    async def after(self, order_id: str, limit: int) -> list[OrderEvent]:
        """Everybody's orders behind an id as they are now, in the order of their ids, in the form of events."""
        rows = await self.db.scan(lambda tx: store.after(tx, order_id, limit))
        return [OrderEvent(row.public(), row.names_en, "as it is") for row in rows]

    async def timeline(self, order_id: OrderId, caller: Caller, *, notes: bool) -> list[timeline_store.Change]:
        """What happened to an order, in order; `notes` are for operators. Raises NotFound."""
        await self.get(order_id, caller)
        return await self.db.look(lambda tx: timeline_store.timeline(tx, order_id, notes=notes))
