"""What happens to orders after they are placed: paying, paid, failed, expired, cancelled.

Every change goes through `apply`: lock the orders, check the move against `NEXT`, write the new state (the old one in
the WHERE), the timeline and one event each, and move the stock last.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from quickcommerce import events
from quickcommerce.kit import outbox
from quickcommerce.kit.auth import Caller
from quickcommerce.kit.clock import SECOND_US, Clock
from quickcommerce.kit.db import Database, Tx
from quickcommerce.kit.ids import Ids, OrderId
from quickcommerce.kit.inbox import Poison
from quickcommerce.kit.outbox import Message
from quickcommerce.kit.problem import InvalidState, Unavailable
from quickcommerce.kit.telemetry import log, tracing
from quickcommerce.order import store
from quickcommerce.order.book import OrderBook
from quickcommerce.order.model import CLOSED, HOLDING, NEXT, Status
from quickcommerce.order.place import Reservations, message

LEASE_S = 2.0
"""How long an expiry in progress keeps others away; also the wait before a refused one is tried again."""
EXPIRE_MAX = 200
BUSY_RETRY_AFTER_S = 3


class Payments(Protocol):
    """What payment does for an order that is about to end."""

    async def close(self, order_ids: Collection[OrderId]) -> set[OrderId]:
        """Make sure these are never paid; returns those for which that is certain. A capture that is under way,
        done, or not known yet refuses. Raises `Unavailable` when payment cannot be asked: then nothing may end.
        """
        ...


class Move(msgspec.Struct, frozen=True):
    """A change asked of an order: where to, what to call it, why, and in which trace."""

    order_id: OrderId
    to: Status
    what: str
    cause: str
    trace: str


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
class Orders:
    """The life of orders in store A."""

    db: Database
    book: OrderBook
    reservations: Reservations
    payments: Payments
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
        if row.status in (Status.PAID, Status.REFUNDED):
            raise InvalidState("the order is paid; ask for a refund instead")
        if row.status is not Status.CANCELLED:
            raise InvalidState(f"the order is {row.status}")
        return row

    async def _cancel(self, tx: Tx, order_id: OrderId, trace: str) -> None:
        row = (await store.load(tx, [order_id], locked=True))[order_id]
        if row.status in HOLDING:
            await self.apply(tx, [Move(order_id, Status.CANCELLED, "cancelled", "buyer", trace)])

    async def expire(self) -> bool:
        """End orders whose time to pay is over. Returns whether more may be due.

        Close before release: stock goes back only after payment has said that no money can come. A payment that is
        under way keeps its order, and is asked again when the lease has ended. Raises Unavailable where payment cannot
        be asked; then nothing ends, and nothing stays leased.
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

        async def work(tx: Tx) -> None:
            mine = {row.order_id: row for row in (await store.load(tx, due, locked=True)).values()}
            held = [row for row in mine.values() if row.lease_token == token and row.status in HOLDING]
            await self.apply(
                tx, [Move(row.order_id, Status.EXPIRED, "expired", "time to pay ended", row.trace)
                     for row in held if row.order_id in closed]
            )  # fmt: skip
            for row in held:
                if row.order_id not in closed:
                    await store.note(tx, row, self.clock(), "expiry deferred", "payment may still be captured")

        await self.db.run(work)
        return len(due) == EXPIRE_MAX

    async def payment_started(self, tx: Tx, messages: list[Message]) -> None:
        """PaymentStarted: the order is being paid. One that has ended, or was paid by now, stays as it is."""
        await self._take(tx, messages, Status.PAYING, "paying", if_in={Status.PLACED})

    async def payment_declined(self, tx: Tx, messages: list[Message]) -> None:
        """PaymentDeclined: open again, with its stock still held, until its time ends."""
        await self._take(tx, messages, Status.PLACED, "payment declined", if_in={Status.PAYING})

    async def payment_failed(self, tx: Tx, messages: list[Message]) -> None:
        """PaymentFailed: there will be no other attempt; what was held goes back."""
        await self._take(tx, messages, Status.FAILED, "payment failed", if_in=HOLDING)

    async def payment_settled(self, tx: Tx, messages: list[Message]) -> None:
        """PaymentSettled: paid. Money for an order that has ended is nobody's guess: it goes to the dead letters."""
        for settled in [events.decode(each.type, each.data) for each in messages]:
            row = (await store.load(tx, [settled.order_id], locked=True)).get(settled.order_id)
            if row and row.status in CLOSED:
                raise Poison(f"{settled.amount} won captured for an order that is {row.status}")
            if row and row.payable != settled.amount:
                raise Poison(f"{settled.amount} won captured where {row.payable} were asked")
        await self._take(tx, messages, Status.PAID, "paid", if_in=HOLDING)

    async def _take(self, tx: Tx, messages: list[Message], to: Status, what: str, *, if_in: Collection[Status]) -> None:
        """Move the orders of these payment events; those in other states than `if_in` have moved on already."""
        rows = await store.load(tx, [OrderId(each.subject) for each in messages], locked=True)
        moves = []
        for each in messages:
            row = rows.get(OrderId(each.subject))
            if row is None:
                raise Poison("there is no such order")
            if row.status in if_in:
                moves.append(Move(row.order_id, to, what, f"payment event {each.id}", each.trace))
        await self.apply(tx, moves)

    async def apply(self, tx: Tx, moves: Sequence[Move]) -> None:
        """Change orders (each named once) with all that belongs to a change. Raises InvalidState."""
        rows = await store.load(tx, [move.order_id for move in moves], locked=True)
        now = self.clock()
        released: list[tuple[str, Counter[int]]] = []
        sold: list[tuple[str, Counter[int]]] = []
        changes, messages = [], []
        for move in sorted(moves, key=lambda move: move.order_id):
            old = rows[move.order_id]
            if move.to not in NEXT[old.status]:
                raise InvalidState(f"an order that is {old.status} cannot become {move.to}")
            new = msgspec.structs.replace(
                old,
                status=move.to,
                version=old.version + 1,
                paid=old.payable if move.to is Status.PAID else old.paid,
                # Never before the last change, whatever a clock that was set back says.
                updated_us=max(now, old.updated_us + 1),
            )
            await store.move(tx, old, new)
            changes.append(
                store.Change(
                    old.order_id, new.version, 0, new.updated_us, move.what, move.cause, old.status, new.status
                )
            )
            messages.append(message(self.ids, new, _EVENTS[move.to](new.public(), new.names_en, move.what), move.trace))
            units = Counter({line.product_id: line.quantity for line in old.lines})
            if move.to in CLOSED:
                released.append((old.order_id, units))
            elif move.to is Status.PAID:
                sold.append((old.order_id, units))
        await store.record(tx, changes)
        await outbox.append(tx, messages)
        await self.reservations.give_back_and_sell(tx, released, sold)
        tx.after_commit(lambda: _tell(moves))


def _tell(moves: Sequence[Move]) -> None:
    for move in moves:
        with tracing(move.trace):
            log.info("order.changed", order_id=move.order_id, what=move.what, status=move.to)
