"""Changes of orders that are locked. Every one goes through `Changes.apply`: check the move against `NEXT`, write the
new state (the old one in the WHERE), the timeline and one event each, then coupons, time sales and, last, stock.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from quickcommerce import events
from quickcommerce.kit import outbox
from quickcommerce.kit.clock import Clock
from quickcommerce.kit.db import Tx
from quickcommerce.kit.ids import Ids, OrderId
from quickcommerce.kit.outbox import Message
from quickcommerce.kit.problem import InvalidState
from quickcommerce.kit.telemetry import log, tracing
from quickcommerce.order import store, timeline_store
from quickcommerce.order.model import CLOSED, NEXT, Status
from quickcommerce.order.ports import Coupons, Reservations, Sales

SOURCE = "shop"


class Move(msgspec.Struct, frozen=True):
    """A change asked of an order: where to, what to call it, why, and in which trace.

    `refunded` is the won that went back with it; `restock` says that the goods came back; `payment_version` is that of
    the payment's event that asks for it.
    """

    order_id: OrderId
    to: Status
    what: str
    cause: str
    trace: str
    refunded: int = 0
    restock: bool = False
    payment_version: int = 0


_EVENTS: Mapping[Status, type[events.OrderEvent]] = {
    Status.PLACED: events.OrderChanged,
    Status.PAYING: events.OrderChanged,
    Status.PAID: events.OrderPaid,
    Status.REFUNDED: events.OrderRefunded,
    Status.FAILED: events.OrderClosed,
    Status.EXPIRED: events.OrderClosed,
    Status.CANCELLED: events.OrderClosed,
}


@dataclass(frozen=True)
class Changes:
    """Writes changes of orders to store A."""

    reservations: Reservations
    sales: Sales
    coupons: Coupons
    clock: Clock
    ids: Ids

    async def apply(self, tx: Tx, moves: Sequence[Move], locked: Iterable[store.Row]) -> list[store.Row]:
        """Change orders (each named once) with all that belongs to a change; returns them as they are then.

        `locked`: these orders, as this transaction has locked or stored them, and perhaps others. Raises InvalidState.
        """
        rows = {row.order_id: row for row in locked}
        ordered = sorted(moves, key=lambda move: move.order_id)
        changed = [(move, rows[move.order_id], self._moved(move, rows[move.order_id])) for move in ordered]
        for _, old, new in changed:
            await store.move(tx, old, new)
        await timeline_store.record(
            tx,
            [
                timeline_store.Change(
                    new.order_id, new.version, 0, new.updated_us, move.what, move.cause, old.status, new.status
                )
                for move, old, new in changed
            ],
        )
        await outbox.append(
            tx, [message(self.ids, new, _event(move, old, new), move.trace) for move, old, new in changed]
        )
        await self._move_goods(tx, changed)
        tx.after_commit(lambda: _tell(moves))
        return [new for _, _, new in changed]

    def _moved(self, move: Move, old: store.Row) -> store.Row:
        if move.to not in NEXT[old.status]:
            raise InvalidState(f"an order that is {old.status} cannot become {move.to}")
        return msgspec.structs.replace(
            old,
            status=move.to,
            version=old.version + 1,
            paid=old.payable if move.to is Status.PAID else old.paid,
            refunded=old.refunded + move.refunded,
            payment_version=max(old.payment_version, move.payment_version),
            # Never before the last change, whatever a clock that was set back says.
            updated_us=max(self.clock(), old.updated_us + 1),
        )

    async def _move_goods(self, tx: Tx, changed: Sequence[tuple[Move, store.Row, store.Row]]) -> None:
        """Give back what closed orders and returned goods had taken, and sell what is paid."""
        closed = [old for move, old, _ in changed if move.to in CLOSED]
        returned = [old for move, old, _ in changed if move.restock]
        await self.coupons.give_back(tx, [old.order_id for old in closed])
        quota: Counter[str] = Counter()
        for old in (*closed, *returned):
            quota.update(old.quota)
        await self.sales.give_back(tx, quota)
        await self.reservations.take_back(tx, [(old.order_id, old.units) for old in returned])
        sold = [old for move, old, _ in changed if move.to is Status.PAID and old.status is not Status.PAID]
        await self.reservations.give_back_and_sell(
            tx, [(old.order_id, old.units) for old in closed], [(old.order_id, old.units) for old in sold]
        )


def _event(move: Move, old: store.Row, new: store.Row) -> events.OrderEvent:
    kind = events.OrderChanged if old.status is new.status else _EVENTS[new.status]
    return kind(new.public(), new.names_en, move.what)


def message(ids: Ids, row: store.Row, event: events.OrderEvent, trace: str) -> Message:
    """An order event on its way; the key is the order's id."""
    return Message(ids.event(), type(event).__name__, SOURCE, row.order_id, row.updated_us, trace, events.encode(event))


def _tell(moves: Sequence[Move]) -> None:
    for move in moves:
        with tracing(move.trace):
            log.info("order.changed", order_id=move.order_id, what=move.what, status=move.to)
