"""What the events of payments do to orders: paying, paid, open again, failed, refunded; and money that comes late."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import msgspec

from quickcommerce import events
from quickcommerce.kit import outbox
from quickcommerce.kit.clock import Clock
from quickcommerce.kit.db import Tx
from quickcommerce.kit.ids import Ids, OrderId
from quickcommerce.kit.inbox import Poison
from quickcommerce.kit.outbox import Message
from quickcommerce.order import store, timeline_store
from quickcommerce.order.changes import SOURCE, Changes, Move
from quickcommerce.order.model import CLOSED, HOLDING, LATE, LATE_BACK, REFUND_FAILED, Status


class _Late(msgspec.Struct, frozen=True):
    """Money for an order that has ended: the order, the event, and how it came."""

    row: store.Row
    settled: events.PaymentSettled
    message: Message


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

    async def awaited(self, tx: Tx, messages: list[Message]) -> None:
        """PaymentAwaited: the buyer is to pay into an account; the goods are held until its due date."""
        await self._take(tx, messages, Status.PAYING, "awaiting deposit", if_in=HOLDING)

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
        late = []
        for each, settled in told:
            row = rows[each.subject]
            if row.payable != settled.amount:
                raise Poison(f"{settled.amount} won captured where {row.payable} were asked")
            if row.status in CLOSED:
                late.append(_Late(row, settled, each))
        again = await self._held_again(tx, [one.row for one in late if self._wanted(one)])
        for one in late:
            if one.row.order_id not in again:
                await self._unclaimed(tx, one)
        await self._move(tx, messages, rows, Status.PAID, "paid", if_in=HOLDING)
        moves = [
            Move(
                one.row.order_id, Status.PAID, "paid late", f"payment event {one.message.id}", one.message.trace,
                payment_version=one.settled.version,
            )
            for one in late
            if one.row.order_id in again
        ]  # fmt: skip
        await self.changes.apply(tx, moves, rows.values())

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
                await timeline_store.note(tx, row, self.clock(), LATE_BACK, f"payment event {each.id}")
            elif event.refunded > row.refunded:
                to = Status.REFUNDED if event.refunded == row.paid else Status.PAID
                what = "refunded" if to is Status.REFUNDED else "partly refunded"
                cause, back = f"payment event {each.id}", event.refunded - row.refunded
                moves.append(Move(row.order_id, to, what, cause, each.trace, refunded=back, restock=event.restock))
        await self.changes.apply(tx, moves, rows.values())

    async def refund_failed(self, tx: Tx, messages: list[Message]) -> None:
        """RefundFailed: the buyer, who was promised this money, can read that it is not on its way."""
        rows = await _rows(tx, messages)
        for each in messages:
            failed: events.RefundFailed = events.decode(each.type, each.data)
            cause = f"{failed.asked} won, {failed.refund_id}: {failed.code}"
            await timeline_store.note(tx, rows[each.subject], self.clock(), REFUND_FAILED, cause)

    async def _take(self, tx: Tx, messages: list[Message], to: Status, what: str, *, if_in: Collection[Status]) -> None:
        """Move the orders of these payment events; those in other states than `if_in` have moved on already."""
        await self._move(tx, messages, await _rows(tx, messages), to, what, if_in=if_in)

    async def _move(
        self,
        tx: Tx,
        messages: list[Message],
        rows: Mapping[str, store.Row],
        to: Status,
        what: str,
        *,
        if_in: Collection[Status],
    ) -> None:
        """See `_take`. What tells no end is old news where a later event of the payment was taken: this one was a dead
        letter.
        """
        moves = []
        for each in messages:
            row, version = rows[each.subject], events.decode(each.type, each.data).version
            old_news = to in HOLDING and version <= row.payment_version
            if row.status in if_in and not old_news:
                cause = f"payment event {each.id}"
                moves.append(Move(row.order_id, to, what, cause, each.trace, payment_version=version))
            else:
                await store.heard(tx, row.order_id, version)
        await self.changes.apply(tx, moves, rows.values())

    def _wanted(self, late: _Late) -> bool:
        """Whether late money may buy everything again."""
        return self.hold_again and late.row.status is Status.EXPIRED and late.settled.left != 0

    async def _unclaimed(self, tx: Tx, late: _Late) -> None:
        """The shop has no use for this money. Of what went back at the PG by itself nothing is to be done."""
        row, settled, now = late.row, late.settled, self.clock()
        if settled.left == 0:
            await timeline_store.note(tx, row, now, LATE, f"{settled.amount} won came, and went back at the PG")
            return
        reason = f"the order is {row.status}"
        notice = events.MoneyUnclaimed(row.order_id, settled.payment_id, settled.amount, reason)
        name, data = type(notice).__name__, events.encode(notice)
        await outbox.append(tx, [Message(self.ids.event(), name, SOURCE, row.order_id, now, late.message.trace, data)])
        await timeline_store.note(tx, row, now, LATE, f"{settled.amount} won are to go back: {reason}")

    async def _held_again(self, tx: Tx, rows: Collection[store.Row]) -> set[OrderId]:
        """Hold again what these orders had held, for each of them all or none. Returns those for which it could be.

        Coupons of all of them, then time sales, then goods: in the order in which rows are locked everywhere.
        """
        changes, short = self.changes, set[OrderId]()
        taken: dict[tuple[OrderId, str], int] = {}
        for coupon_id, order_id in sorted((coupon_id, row.order_id) for row in rows for coupon_id in row.coupons):
            if order_id not in short and not await changes.coupons.spend_again(tx, coupon_id, order_id):
                short.add(order_id)
        for sale, order_id, units in sorted(
            (sale, row.order_id, units) for row in rows for sale, units in row.quota.items()
        ):
            if order_id in short:
                continue
            if await changes.sales.take_again(tx, sale, units):
                taken[order_id, sale] = units
            else:
                short.add(order_id)
        wanted = [(row.order_id, row.units) for row in rows if row.order_id not in short]
        held = {OrderId(order_id) for order_id in await changes.reservations.hold_again(tx, wanted)}
        await changes.coupons.give_back(tx, [row.order_id for row in rows if row.order_id not in held])
        unused: Counter[str] = Counter()
        for (order_id, sale), units in taken.items():
            unused[sale] += 0 if order_id in held else units
        await changes.sales.give_back(tx, {sale: units for sale, units in unused.items() if units})
        return held


async def _rows(tx: Tx, messages: list[Message]) -> dict[str, store.Row]:
    """The orders of these events, locked. Raises Poison where there is none."""
    rows = await store.load(tx, [OrderId(each.subject) for each in messages], locked=True)
    if any(each.subject not in rows for each in messages):
        raise Poison("there is no such order")
    return {str(order_id): row for order_id, row in rows.items()}
