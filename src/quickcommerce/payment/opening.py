"""How payments begin: from OrderPlaced, or from the order itself where somebody asks before its event is here."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from quickcommerce import events
from quickcommerce.kit.clock import Clock, from_rfc3339
from quickcommerce.kit.db import Database, Tx
from quickcommerce.kit.ids import Ids, OrderId
from quickcommerce.kit.outbox import Message
from quickcommerce.payment import store
from quickcommerce.payment.model import Status
from quickcommerce.payment.store import NEVER_US, Payment


class Payable(Protocol):
    """What an order tells payment."""

    @property
    def user_id(self) -> int:
        """Whose it is."""
        ...

    @property
    def payable(self) -> int:
        """What is to be paid, in won; 0 needs no payment."""
        ...

    @property
    def title(self) -> str:
        """What the PG shows the buyer; at most 100 characters."""
        ...

    @property
    def expires_us(self) -> int:
        """When the time to pay ends, microseconds UTC."""
        ...

    @property
    def trace(self) -> str:
        """The trace id of the request that placed it."""
        ...


class Opening(msgspec.Struct, frozen=True):
    """Somebody asks for the payment of this order, which had none when they looked."""

    order_id: OrderId
    order: Payable


@dataclass(frozen=True)
class Openings:
    """The transactions on store B that make payments."""

    db: Database
    clock: Clock
    ids: Ids

    async def opened(self, tx: Tx, messages: list[Message]) -> None:
        """OrderPlaced: a payment for each that is to be paid and has none yet."""
        placed = {each.subject: (events.decode(each.type, each.data).order, each.trace) for each in messages}
        await self._ensure(
            tx, [Opening(order.order_id, _of_event(order, trace)) for order, trace in placed.values() if order.payable]
        )

    async def open(self, requests: list[Opening]) -> Sequence[Payment]:
        """The payments of these orders, made where there are none, as one transaction."""
        payments = await self.db.run(lambda tx: self._ensure(tx, requests))
        return [payments[request.order_id] for request in requests]

    def new(self, order_id: OrderId, order: Payable, status: Status) -> Payment:
        """A payment for an order, to be stored."""
        now = self.clock()
        return Payment(
            payment_id=self.ids.payment(),
            order_id=order_id,
            user_id=order.user_id,
            amount=order.payable,
            title=order.title,
            status=status,
            version=0,
            captured=0,
            refunded=0,
            expires_us=order.expires_us,
            payment_key=None,
            attempt=0,
            tries=0,
            declines=0,
            unknown_us=0,
            due_us=NEVER_US,
            lease_token="",
            trace=order.trace,
            created_us=now,
            updated_us=now,
            captured_us=0,
            refunding=0,
        )

    async def _ensure(self, tx: Tx, requests: list[Opening]) -> dict[OrderId, Payment]:
        wanted = {request.order_id: request.order for request in requests}
        known = await store.of_orders(tx, wanted.keys(), locked=True)
        missing = [order_id for order_id in sorted(wanted) if order_id not in known]
        made = {order_id: self.new(order_id, wanted[order_id], Status.READY) for order_id in missing}
        await store.insert(tx, made.values())
        return known | made


class _Facts(msgspec.Struct, frozen=True):
    """`Payable` from an event."""

    user_id: int
    payable: int
    title: str
    expires_us: int
    trace: str


def _of_event(order: events.Order, trace: str) -> Payable:
    return _Facts(order.user_id, order.payable, events.title(order.lines), from_rfc3339(order.expires_at), trace)
