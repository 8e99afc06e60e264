"""Payments as the buyer and the order see them: shown, confirmed, closed.

A capture is three steps that never overlap a transaction with the network: an attempt row is committed, the PG is
called (`capture.py`), the outcome is committed.
"""

import asyncio
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import msgspec
from prometheus_client import Counter

from quickcommerce.kit.auth import Caller
from quickcommerce.kit.batch import GroupCommit
from quickcommerce.kit.clock import SECOND_US, Clock
from quickcommerce.kit.db import Database, Tx
from quickcommerce.kit.ids import Ids, OrderId, PaymentId
from quickcommerce.kit.problem import AmountMismatch, InvalidState, NotFound, Unavailable
from quickcommerce.kit.telemetry import log
from quickcommerce.payment import deposit_store, store
from quickcommerce.payment.attempts import Begun, Confirming, Joined, refusal
from quickcommerce.payment.capture import Captures
from quickcommerce.payment.deposit_model import Account
from quickcommerce.payment.model import CLOSABLE, UNDER_WAY, Ended, Outcome, Status, let_go
from quickcommerce.payment.opening import Opening, Openings, Payable
from quickcommerce.payment.running import MOMENT_S
from quickcommerce.payment.store import NEVER_US, Attempt, Payment, Whole

RETRY_AFTER_S = 3
AMOUNT_REFUSED = "amount refused"
"""What the timeline calls an amount that is not the one asked for."""
AMOUNTS = Counter("qc_payment_amounts_refused_total", "Confirms that brought another amount than is asked for")


class Orders(Protocol):
    """Where payment asks for an order when its event is not here yet."""

    async def rows(self, order_ids: Collection[OrderId]) -> Mapping[OrderId, Payable]:
        """Orders by id; those that do not exist are left out."""
        ...


class Notes(Protocol):
    """Where operators read of an order what others tried."""

    async def once(self, order_id: OrderId, what: str, cause: str) -> None:
        """Note `what` unless that was noted of this order before. Raises Unavailable."""
        ...


@dataclass(frozen=True)
class Payments:
    """The payments of store B."""

    db: Database
    orders: Orders
    notes: Notes
    openings: Openings
    opening: GroupCommit[Opening, Payment]
    finding: GroupCommit[OrderId, Payment | None]
    looking: GroupCommit[PaymentId, Whole]
    beginning: GroupCommit[Confirming, Begun | Joined]
    captures: Captures
    clock: Clock
    ids: Ids
    unknown_hold_s: int
    answer_within_s: float

    async def of_order(self, order_id: OrderId, caller: Caller | None) -> Payment:
        """The payment of an order, made now if its event is not here yet. Raises NotFound."""
        found = await self.finding.submit(order_id)
        if found is None:
            order = (await self.orders.rows([order_id])).get(order_id)
            if order is None or order.payable == 0 or (caller and not caller.may_see(order.user_id)):
                raise NotFound("this order has no payment")
            found = await self.opening.submit(Opening(order_id, order))
        if (caller and not caller.may_see(found.user_id)) or found.amount == 0:
            raise NotFound("this order has no payment")
        return found

    async def known(self, order_ids: Collection[OrderId]) -> dict[OrderId, Payment]:
        """The payments that there are of these orders; none is made."""
        return await self.db.look(lambda tx: store.of_orders(tx, order_ids))

    async def whole(self, payment: Payment) -> Whole:
        """A payment as it is now, and its attempts in order. One without attempts is as it was seen."""
        return await self.looking.submit(payment.payment_id) if payment.attempt else (payment, [])

    async def account(self, payment: Payment) -> Account | None:
        """Into which account a deposit is awaited, if one is."""
        if payment.status is not Status.AWAITING_DEPOSIT:
            return None
        return (await self.db.look(lambda tx: deposit_store.of_payments(tx, [payment.payment_id])))[payment.payment_id]

    async def get(self, payment_id: PaymentId, caller: Caller | None = None) -> Payment:
        """A payment that the caller may see (None: identity is the unguessable id). Raises NotFound."""
        payment = await self.db.look(lambda tx: store.get(tx, payment_id))
        if payment is None or (caller and not caller.may_see(payment.user_id)):
            raise NotFound("there is no such payment")
        return payment

    async def close(self, order_ids: Collection[OrderId]) -> set[OrderId]:
        """Close the payments of orders that are about to end; returns those that can never be captured any more.

        An order without a payment gets a closed one, so that an OrderPlaced that is still on its way opens nothing.
        An outcome that may still be money refuses until its hold has passed; after that it lets go, and is still read
        back.
        """
        known = await self.db.look(lambda tx: store.of_orders(tx, order_ids))
        absent = await self.orders.rows([order_id for order_id in order_ids if order_id not in known])
        return await self.db.run(lambda tx: self._close(tx, order_ids, absent))

    async def confirm(
        self, payment_id: PaymentId, payment_key: str, amount: int, caller: Caller | None, trace: str
    ) -> tuple[Payment, list[Attempt]]:
        """Capture what the buyer authenticated, or join the capture of the same key that is under way.

        Returns the payment and its attempts within `answer_within_s`, CAPTURED or still under way; as it was last seen,
        where it cannot be looked at. Any number of parallel or repeated calls lead to one capture and equal answers.
        Raises NotFound, then AmountMismatch (first, always), InvalidState, PaymentDeclined, Unavailable (nothing is
        under way: the store is down, or the PG refuses us, not the buyer).
        """
        deadline = asyncio.get_running_loop().time() + self.answer_within_s
        asked = Confirming(payment_id, payment_key, amount, caller, trace, self.ids.token())
        try:
            begun = await self.beginning.submit(asked)
        except AmountMismatch:
            await self._tampered(payment_id, amount)
            raise
        if isinstance(begun, Begun):
            settled = await self.captures.settled(begun.payment, self.answer_within_s)
            if settled and settled.plain:
                return _captured(begun, settled.plain, settled.outcome)
        payment, attempts, looked = begun.payment, begun.attempts, True
        while True:
            try:
                payment, attempts = await self.looking.submit(payment_id)
            except Unavailable:
                # Who is told that nothing is under way brings another card.
                looked = False
            tried = {attempt.payment_key: attempt for attempt in attempts}[payment_key]
            if tried.outcome is Ended.DECLINED:
                raise refusal(tried)
            if payment.status is Status.CLOSED:
                # Nothing was taken, and the order has ended while the buyer waited: the answer of any later call.
                raise InvalidState(f"the payment is {payment.status}")
            if payment.status is Status.RETRY and tried.outcome is Ended.MISCONFIGURED:
                raise Unavailable("the payment provider does not accept us at the moment", retry_after_s=RETRY_AFTER_S)
            left_s = deadline - asyncio.get_running_loop().time()
            if not looked or payment.status not in UNDER_WAY or left_s < MOMENT_S:
                return payment, attempts
            await self.captures.settled(payment, left_s)

    async def _tampered(self, payment_id: PaymentId, amount: int) -> None:
        """Leave a trace of an amount that was changed on its way. It is refused all the same where a store is down."""
        AMOUNTS.inc()
        log.warning("payment.amount_refused", payment_id=payment_id, amount=amount)
        with suppress(Unavailable):
            payment = await self.get(payment_id)
            cause = f"{amount} won were brought, and {payment.amount} are asked"
            await self.notes.once(payment.order_id, AMOUNT_REFUSED, cause)

    async def judge(self, payment_id: PaymentId, payment_key: str, amount: int) -> Payment:
        """The payment as it is. Raises what `confirm` would refuse these with, and captures nothing."""
        await self.captures.attempts.judge(Confirming(payment_id, payment_key, amount, None, "", ""))
        return await self.get(payment_id)

    async def _close(self, tx: Tx, order_ids: Collection[OrderId], absent: Mapping[OrderId, Payable]) -> set[OrderId]:
        known = await store.of_orders(tx, order_ids, locked=True)
        now = self.clock()
        closed: set[OrderId] = set()
        for order_id in sorted(order_ids):
            payment = known.get(order_id)
            if payment is None:
                await store.insert(tx, [self.openings.new(order_id, absent[order_id], Status.CLOSED)])
                closed.add(order_id)
            elif payment.status in CLOSABLE and not payment.unknown_us:
                new = msgspec.structs.replace(payment, status=Status.CLOSED, due_us=NEVER_US, updated_us=now)
                await store.move(tx, payment, new)
                closed.add(order_id)
            elif payment.status in (Status.CLOSED, Status.FAILED) or self._let_go(payment, now):
                closed.add(order_id)
        return closed

    def _let_go(self, payment: Payment, now: int) -> bool:
        # In time, a RETRY is still tried again.
        # An account is in doubt only when its time is over: then `unknown_us` says since when.
        doubtful = payment.status in (Status.UNKNOWN, Status.AWAITING_DEPOSIT)
        waits = doubtful or (payment.status is Status.RETRY and now >= payment.expires_us)
        # Under a lease a capture may be on its way this moment.
        waits = waits and not payment.lease_token
        return waits and let_go(payment.unknown_us, now, self.unknown_hold_s * SECOND_US)


def _captured(begun: Begun, payment: Payment, outcome: Outcome) -> Whole:
    """What the buyer whose attempt captured the payment is told: as it was written, so nobody needs to look."""
    secret = getattr(outcome, "secret", "")
    ended = msgspec.structs.replace(begun.attempt, outcome=Ended.CAPTURED, ended_us=payment.updated_us, secret=secret)
    return payment, [*begun.attempts[:-1], ended]
