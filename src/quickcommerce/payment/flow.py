"""Payments as the buyer and the order see them: opened, confirmed, closed.

A capture is three steps that never overlap a transaction with the network: an attempt row is committed, the PG is
called (`capture.py`), the outcome is committed.
"""

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

import msgspec

from quickcommerce import events
from quickcommerce.kit.auth import Caller
from quickcommerce.kit.batch import GroupCommit
from quickcommerce.kit.clock import SECOND_US, Clock, from_rfc3339
from quickcommerce.kit.db import Database, Tx
from quickcommerce.kit.ids import Ids, OrderId, PaymentId
from quickcommerce.kit.outbox import Message
from quickcommerce.kit.problem import NotFound, Unavailable
from quickcommerce.payment import store
from quickcommerce.payment.attempts import Begun, Confirming, Joined, refusal
from quickcommerce.payment.capture import Captures
from quickcommerce.payment.model import CLOSABLE, Ended, Status, let_go
from quickcommerce.payment.store import NEVER_US, Attempt, Payment

POLL_S = 0.1
RETRY_AFTER_S = 3


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


class Orders(Protocol):
    """Where payment asks for an order when its event is not here yet."""

    async def rows(self, order_ids: Collection[OrderId]) -> Mapping[OrderId, Payable]:
        """Orders by id; those that do not exist are left out."""
        ...


@dataclass(frozen=True)
class Payments:
    """The payments of store B."""

    db: Database
    orders: Orders
    beginning: GroupCommit[Confirming, Begun | Joined]
    captures: Captures
    clock: Clock
    ids: Ids
    unknown_hold_s: int
    answer_within_s: float

    async def opened(self, tx: Tx, messages: list[Message]) -> None:
        """OrderPlaced: a payment for each that is to be paid and has none yet."""
        placed = {each.subject: (events.decode(each.type, each.data).order, each.trace) for each in messages}
        known = await store.of_orders(tx, [OrderId(order_id) for order_id in placed])
        rows = [
            self._new(order.order_id, _of_event(order, trace), Status.READY)
            for order, trace in placed.values()
            if order.payable > 0 and order.order_id not in known
        ]
        await store.insert(tx, rows)

    async def of_order(self, order_id: OrderId, caller: Caller | None) -> Payment:
        """The payment of an order, made now if its event is not here yet. Raises NotFound."""
        found = (await self.db.read(lambda tx: store.of_orders(tx, [order_id]))).get(order_id)
        if found is None:
            order = (await self.orders.rows([order_id])).get(order_id)
            if order is None or order.payable == 0 or (caller and not caller.may_see(order.user_id)):
                raise NotFound("this order has no payment")
            found = await self.db.run(lambda tx: self._ensure(tx, order_id, order, Status.READY))
        if (caller and not caller.may_see(found.user_id)) or found.amount == 0:
            raise NotFound("this order has no payment")
        return found

    async def attempts(self, payment_id: PaymentId) -> list[Attempt]:
        """The attempts of a payment, in order."""
        return await self.db.read(lambda tx: store.attempts(tx, payment_id))

    async def get(self, payment_id: PaymentId, caller: Caller | None = None) -> Payment:
        """A payment that the caller may see (None: identity is the unguessable id). Raises NotFound."""
        payment = await self.db.read(lambda tx: store.get(tx, payment_id))
        if payment is None or (caller and not caller.may_see(payment.user_id)):
            raise NotFound("there is no such payment")
        return payment

    async def close(self, order_ids: Collection[OrderId]) -> set[OrderId]:
        """Close the payments of orders that are about to end; returns those that can never be captured any more.

        An order without a payment gets a closed one, so that an OrderPlaced that is still on its way opens nothing.
        An outcome that may still be money refuses until its hold has passed; after that it lets go, and is still read
        back.
        """
        known = await self.db.read(lambda tx: store.of_orders(tx, order_ids))
        absent = await self.orders.rows([order_id for order_id in order_ids if order_id not in known])
        return await self.db.run(lambda tx: self._close(tx, order_ids, absent))

    async def confirm(
        self, payment_id: PaymentId, payment_key: str, amount: int, caller: Caller | None, trace: str
    ) -> Payment:
        """Capture what the buyer authenticated, or join the capture of the same key that is under way.

        Returns the payment within `answer_within_s`, CAPTURED or still under way. Any number of parallel or repeated
        calls lead to one capture and equal answers. Raises AmountMismatch (first, always), InvalidState,
        PaymentDeclined, Unavailable (the PG refuses us, not the buyer), NotFound.
        """
        await self.get(payment_id, caller)
        begun = await self.beginning.submit(Confirming(payment_id, payment_key, amount, trace, self.ids.token()))
        if isinstance(begun, Begun):
            self.captures.launch(begun.payment, begun.attempt)
        return await self._known(payment_id, payment_key)

    async def _known(self, payment_id: PaymentId, payment_key: str) -> Payment:
        """Wait until the outcome is known, at most `answer_within_s`, and answer with it."""
        deadline = asyncio.get_running_loop().time() + self.answer_within_s
        while True:
            payment = await self.get(payment_id)
            left_s = deadline - asyncio.get_running_loop().time()
            if payment.status not in (Status.CAPTURING, Status.UNKNOWN) or left_s <= 0:
                break
            await self.captures.settled(payment, min(POLL_S, left_s))
        tried = {attempt.payment_key: attempt for attempt in await self.attempts(payment_id)}[payment_key]
        if tried.outcome is Ended.DECLINED:
            raise refusal(tried)
        if payment.status is Status.RETRY and tried.outcome is Ended.MISCONFIGURED:
            raise Unavailable("the payment provider does not accept us at the moment", retry_after_s=RETRY_AFTER_S)
        return payment

    async def _close(self, tx: Tx, order_ids: Collection[OrderId], absent: Mapping[OrderId, Payable]) -> set[OrderId]:
        known = await store.of_orders(tx, order_ids, locked=True)
        now = self.clock()
        closed: set[OrderId] = set()
        for order_id in sorted(order_ids):
            payment = known.get(order_id)
            if payment is None:
                await store.insert(tx, [self._new(order_id, absent[order_id], Status.CLOSED)])
                closed.add(order_id)
            elif payment.status in CLOSABLE and not payment.unknown_us:
                new = msgspec.structs.replace(payment, status=Status.CLOSED, due_us=NEVER_US, updated_us=now)
                if await store.move(tx, payment, new):
                    closed.add(order_id)
            elif payment.status in (Status.CLOSED, Status.FAILED) or self._let_go(payment, now):
                closed.add(order_id)
        return closed

    def _let_go(self, payment: Payment, now: int) -> bool:
        # In time, a RETRY is still tried again.
        waits = payment.status is Status.UNKNOWN or (payment.status is Status.RETRY and now >= payment.expires_us)
        # Under a lease a capture may be on its way this moment.
        waits = waits and not payment.lease_token
        return waits and let_go(payment.unknown_us, now, self.unknown_hold_s * SECOND_US)

    async def _ensure(self, tx: Tx, order_id: OrderId, order: Payable, status: Status) -> Payment:
        found = (await store.of_orders(tx, [order_id], locked=True)).get(order_id)
        if found is None:
            found = self._new(order_id, order, status)
            await store.insert(tx, [found])
        return found

    def _new(self, order_id: OrderId, order: Payable, status: Status) -> Payment:
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
        )


class _Facts(msgspec.Struct, frozen=True):
    """`Payable` from an event."""

    user_id: int
    payable: int
    title: str
    expires_us: int
    trace: str


def _of_event(order: events.Order, trace: str) -> Payable:
    return _Facts(order.user_id, order.payable, events.title(order.lines), from_rfc3339(order.expires_at), trace)
