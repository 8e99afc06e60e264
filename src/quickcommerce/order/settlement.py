"""What the events of payments do to orders: paying, paid, open again, failed, refunded; and money that comes late."""

from collections.abc import Collection
from dataclasses import dataclass

from quickcommerce import events
from quickcommerce.kit import outbox
from quickcommerce.kit.clock import Clock
from quickcommerce.kit.db import Tx
from quickcommerce.kit.ids import Ids, OrderId
from quickcommerce.kit.inbox import Poison
from quickcommerce.kit.outbox import Message
from quickcommerce.order import store, timeline_store
from quickcommerce.order.changes import SOURCE, Changes, Move
from quickcommerce.order.model import CLOSED, HOLDING, REFUND_FAILED, Status

LATE = "late payment"
"""What the timeline calls money for an order that has ended."""


@dataclass(frozen=True)
class Settlement:
    """The handlers of payment events. Each is given at most one event of an order at a time.

    `hold_again`: an order that expired before its money was known is PAID after all, if its stock, quota and coupons
    can be held again, all or none. Otherwise, and for an order that was cancelled or has failed, the money goes back.
    """

    changes: Changes
    clock: Clock
    ids: Ids
    hold_again: bool

    async def started(self, tx: Tx, messages: list[Message]) -> None:
        """PaymentStarted: the order is being paid. One that has ended, or was paid by now, stays as it is."""
        await self._take(tx, messages, Status.PAYING, "paying", if_in={Status.PLACED})

    async def declined(self, tx: Tx, messages: list[Message]) -> None:
        """PaymentDeclined: open again, with its stock still held, until its time ends."""
        await self._take(tx, messages, Status.PLACED, "payment declined", if_in={Status.PAYING})

    async def failed(self, tx: Tx, messages: list[Message]) -> None:
        """PaymentFailed: there will be no other attempt; what was held goes back."""
        await self._take(tx, messages, Status.FAILED, "payment failed", if_in=HOLDING)

    async def settled(self, tx: Tx, messages: list[Message]) -> None:
        """PaymentSettled: paid."""
        told = [(each, events.decode(each.type, each.data)) for each in messages]
        rows = await _rows(tx, messages)
        for each, settled in told:
            row = rows[each.subject]
            if row.payable != settled.amount:
                raise Poison(f"{settled.amount} won captured where {row.payable} were asked")
            if row.status in CLOSED:
                await self._late(tx, row, settled, each)
        await self._take(tx, messages, Status.PAID, "paid", if_in=HOLDING)

    async def refunded(self, tx: Tx, messages: list[Message]) -> None:
        """PaymentRefunded: some of the money went back, or all of it, and perhaps the goods came back too."""
        told = [(each, events.decode(each.type, each.data)) for each in messages]
        rows = await _rows(tx, messages)
        moves = []
        for each, event in told:
            row = rows[each.subject]
            if row.status in HOLDING:
                raise Poison(f"{event.refunded} won went back of an order that is {row.status}")
            if row.status in CLOSED:
                if not await timeline_store.noted(tx, row.order_id, LATE):
                    # Its PaymentSettled is a dead letter: replayed after this, it would sell goods for no money.
                    raise Poison(f"{event.refunded} won went back, and the order does not know yet that they came")
                await timeline_store.note(tx, row, self.clock(), "late payment refunded", f"payment event {each.id}")
            elif event.refunded > row.refunded:
                to = Status.REFUNDED if event.refunded == row.paid else Status.PAID
                what = "refunded" if to is Status.REFUNDED else "partly refunded"
                cause, back = f"payment event {each.id}", event.refunded - row.refunded
                moves.append(Move(row.order_id, to, what, cause, each.trace, refunded=back, restock=event.restock))
        await self.changes.apply(tx, moves)

    async def refund_failed(self, tx: Tx, messages: list[Message]) -> None:
        """RefundFailed: the buyer, who was promised this money, can read that it is not on its way."""
        rows = await _rows(tx, messages)
        for each in messages:
            failed: events.RefundFailed = events.decode(each.type, each.data)
            cause = f"{failed.asked} won, {failed.refund_id}: {failed.code}"
            await timeline_store.note(tx, rows[each.subject], self.clock(), REFUND_FAILED, cause)

    async def _take(self, tx: Tx, messages: list[Message], to: Status, what: str, *, if_in: Collection[Status]) -> None:
        """Move the orders of these payment events; those in other states than `if_in` have moved on already.

        What tells no end is old news where a later event of the payment was taken: this one was a dead letter.
        """
        rows = await _rows(tx, messages)
        moves = []
        for each in messages:
            row, version = rows[each.subject], events.decode(each.type, each.data).version
            old_news = to in HOLDING and version <= row.payment_version
            if row.status in if_in and not old_news:
                cause = f"payment event {each.id}"
                moves.append(Move(row.order_id, to, what, cause, each.trace, payment_version=version))
            else:
                await store.heard(tx, row.order_id, version)
        await self.changes.apply(tx, moves)

    async def _late(self, tx: Tx, row: store.Row, settled: events.PaymentSettled, message: Message) -> None:
        """Money for an order that has ended. Of money that went back at the PG by itself nothing is to be done."""
        if settled.left == 0:
            await timeline_store.note(
                tx, row, self.clock(), LATE, f"{settled.amount} won came, and went back at the PG"
            )
            return
        if self.hold_again and row.status is Status.EXPIRED and await self._held_again(tx, row):
            move = Move(row.order_id, Status.PAID, "paid late", f"payment event {message.id}", message.trace)
            await self.changes.apply(tx, [move])
            return
        now = self.clock()
        reason = f"the order is {row.status}"
        notice = events.MoneyUnclaimed(row.order_id, settled.payment_id, settled.amount, reason)
        name, data = type(notice).__name__, events.encode(notice)
        await outbox.append(tx, [Message(self.ids.event(), name, SOURCE, row.order_id, now, message.trace, data)])
        await timeline_store.note(tx, row, now, LATE, f"{settled.amount} won are to go back: {reason}")

    async def _held_again(self, tx: Tx, row: store.Row) -> bool:
        """Hold again what an order had held, all or none."""
        changes, taken = self.changes, dict[str, int]()

        async def undo() -> bool:
            await changes.coupons.give_back(tx, [row.order_id])
            await changes.sales.give_back(tx, taken)
            return False

        for coupon_id in sorted(row.coupons):
            if not await changes.coupons.spend(tx, {coupon_id: row.order_id}):
                return await undo()
        for sale, units in sorted(row.quota.items()):
            if not await changes.sales.take(tx, {sale: units}):
                return await undo()
            taken[sale] = units
        return await changes.reservations.hold_again(tx, row.order_id, row.units) or await undo()


async def _rows(tx: Tx, messages: list[Message]) -> dict[str, store.Row]:
    """The orders of these events, locked. Raises Poison where there is none."""
    rows = await store.load(tx, [OrderId(each.subject) for each in messages], locked=True)
    if any(each.subject not in rows for each in messages):
        raise Poison("there is no such order")
    return {str(order_id): row for order_id, row in rows.items()}
