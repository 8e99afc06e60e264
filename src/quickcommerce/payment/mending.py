"""Suspicions of reconciliation looked into: the payment is read again, and what is safe to heal is healed.

Money is only ever written down by the ways that it always takes: a capture as the outcome of its own attempt, a cancel
as what somebody gave back at the PG, both from a reading of the payment. Whatever else does not fit is for a human.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import msgspec

from quickcommerce.kit.clock import SECOND_US, Clock
from quickcommerce.kit.db import Database, Tx
from quickcommerce.kit.ids import Ids, OrderId, PaymentId, RefundId
from quickcommerce.payment import reconcile_store, refund_store, store
from quickcommerce.payment.capture import Captures
from quickcommerce.payment.deposit_model import Awaiting
from quickcommerce.payment.model import (
    MISMATCH,
    MONEY_TAKEN,
    TAKEN,
    Asked,
    Captured,
    Found,
    Missing,
    Reading,
    Unknown,
    Unreadable,
)  # fmt: skip
from quickcommerce.payment.reconcile_model import SETTLE_S, Kind, Mismatch, OrderFact, behind
from quickcommerce.payment.refund_model import RefundStatus
from quickcommerce.payment.refund_store import Refund
from quickcommerce.payment.retelling import tell_again, write_back
from quickcommerce.payment.store import Attempt, Payment


class End(StrEnum):
    """What looking into a mismatch came to."""

    NONE = "none"
    """It is none, or none any more."""
    HEALED = "healed"
    TOLD = "told"
    """Healed, if the order takes what it was told again."""
    WAITS = "waits"
    """It is worked on by its own loop, or cannot be read now: it is looked at again."""
    LEFT = "left"
    """A human must look."""


class Verdict(msgspec.Struct, frozen=True):
    """What looking into a mismatch came to, and why."""

    end: End
    detail: str


class Orders(Protocol):
    """Where orders are."""

    async def facts(self, order_ids: Collection[OrderId]) -> Mapping[OrderId, OrderFact]:
        """Orders in short, by id; those that do not exist are left out."""
        ...


class Pg(Protocol):
    """The payment provider."""

    async def read_patiently(self, asked: Asked) -> Reading:
        """Read a payment back, after others whom somebody waits for."""
        ...


class Held(msgspec.Struct, frozen=True):
    """A payment with its attempts and refunds, as it is now."""

    payment: Payment
    attempts: list[Attempt]
    refunds: list[Refund]


NONE = Verdict(End.NONE, "")
UNREAD = "the PG could not be read: "
CAN_HEAL = Verdict(End.LEFT, "it heals when this is run without --report-only, or by itself in the running shop")


@dataclass(frozen=True)
class Mending:
    """Looks into mismatches one by one, and heals what is safe to heal."""

    db: Database
    pg: Pg
    captures: Captures
    orders: Orders
    clock: Clock
    ids: Ids

    async def look(self, seen: Mismatch, *, told_us: int = 0, heal: bool) -> Verdict:
        """What there is to a mismatch now. `told_us`: when its order was told again, 0 if never. Raises Unavailable."""
        held = await self.db.read(lambda tx: held_of(tx, PaymentId(seen.payment_id)))
        if held is None or seen.kind is Kind.ORPHAN:
            return NONE if held else await self._nobodys(seen, "no payment of ours has this orderId")
        match seen.kind:
            case Kind.CAPTURED_NOT_RECORDED:
                return await self._captured(seen, held, heal=heal)
            case Kind.RECORDED_NOT_CAPTURED:
                return await self._recorded(held.payment)
            case Kind.AMOUNT:
                return _amount(seen, held)
            case Kind.CANCEL_MISSING_HERE:
                return await self._cancelled(seen, held, heal=heal)
            case Kind.CANCEL_MISSING_THERE:
                return await self._given_back(seen, held)
        return await self._behind(held.payment, told_us, heal=heal)

    async def _nobodys(self, seen: Mismatch, why: str) -> Verdict:
        """Money that is not in our books by any way of ours. Where all of it is back, nothing is to be done."""
        reading = await self.pg.read_patiently(Asked(seen.payment_key, seen.payment_id, seen.pg_won, ""))
        match reading:
            case Unreadable(reason):
                return Verdict(End.WAITS, UNREAD + reason)
            case Found() if reading.payment_key == seen.payment_key and reading.left == 0:
                return NONE
        return Verdict(End.LEFT, f"{why}; see at the PG whose it is, and give it back there if it is nobody's")

    async def _captured(self, seen: Mismatch, held: Held, *, heal: bool) -> Verdict:
        payment = held.payment
        taken = payment.status in MONEY_TAKEN
        if taken and payment.payment_key == seen.payment_key:
            return NONE
        attempt = next((each for each in held.attempts if each.payment_key == seen.payment_key), None)
        if taken:
            return await self._nobodys(seen, "the PG captured this payment twice, under two keys")
        if attempt is None:
            return await self._nobodys(seen, "the PG captured it under a key for which we never asked")
        if payment.lease_token and payment.due_us > self.clock():
            return Verdict(End.WAITS, "the capture is under way")
        if not heal:
            return CAN_HEAL
        reading = await self.pg.read_patiently(attempt.asked(payment.amount))
        outcome = await self.captures.proven(payment, attempt, reading)
        if isinstance(outcome, Captured):
            return Verdict(End.HEALED, "read back: it is captured")
        if isinstance(outcome, Awaiting):
            return NONE
        if isinstance(outcome, Unknown) and outcome.code != MISMATCH.code:
            return Verdict(End.WAITS, f"read back: {outcome.message}")
        return Verdict(End.LEFT, f"the PG lists it as captured, and a reading says otherwise: {outcome.message}")

    async def _recorded(self, payment: Payment) -> Verdict:
        if payment.status not in MONEY_TAKEN:
            return NONE
        match reading := await self.pg.read_patiently(_asked(payment)):
            case Unreadable(reason):
                return Verdict(End.WAITS, UNREAD + reason)
            case Missing():
                return Verdict(End.LEFT, "the PG knows no such payment")
            case Found() if reading.status not in TAKEN:
                return Verdict(End.LEFT, f"the PG says {reading.status}")
            case Found() if not _same(reading, payment):
                return Verdict(End.LEFT, f"the PG has another payment of {reading.amount} {reading.currency} there")
        return NONE

    async def _cancelled(self, seen: Mismatch, held: Held, *, heal: bool) -> Verdict:
        payment = held.payment
        keys = {each.transaction_key for each in held.refunds}
        if seen.transaction_key in keys:
            return NONE
        if any(each.status is RefundStatus.PENDING for each in held.refunds):
            if heal:
                await self.db.run(lambda tx: refund_store.hurry(tx, payment.payment_id, self.clock()))
            return Verdict(End.WAITS, "a refund of this payment is under way, and reads what went back")
        reading = await self.pg.read_patiently(_asked(payment))
        if not isinstance(reading, Found):
            reason = reading.reason if isinstance(reading, Unreadable) else "it is not found"
            return Verdict(End.WAITS, UNREAD + reason)
        new = tuple(each for each in reading.cancels if each.transaction_key not in keys)
        told = {each.transaction_key for each in new}
        there = seen.transaction_key in told and "" not in told
        left = payment.captured - payment.refunded - sum(each.amount for each in new)
        if not there or not _same(reading, payment) or reading.left != left:
            return Verdict(End.LEFT, f"the PG says that {reading.left} won are left, which its cancels do not explain")
        if not heal:
            return CAN_HEAL
        if not await self.db.run(lambda tx: write_back(tx, self.ids, payment, new, self.clock())):
            return Verdict(End.WAITS, "something else happened to this payment meanwhile")
        return Verdict(End.HEALED, "read back: written down as given back at the PG")

    async def _given_back(self, seen: Mismatch, held: Held) -> Verdict:
        mine = next((each for each in held.refunds if each.refund_id == seen.refund_id), None)
        if mine is None or mine.transaction_key != seen.transaction_key:
            return NONE
        match reading := await self.pg.read_patiently(_asked(held.payment)):
            case Unreadable(reason):
                return Verdict(End.WAITS, UNREAD + reason)
            case Found() if seen.transaction_key in {each.transaction_key for each in reading.cancels}:
                return NONE
        return Verdict(End.LEFT, "the refund is done here, and the PG has no such cancel: the buyer may have no money")

    async def _behind(self, payment: Payment, told_us: int, *, heal: bool) -> Verdict:
        now = self.clock()
        settled_us = now - SETTLE_S * SECOND_US
        [fact] = await self.db.read(lambda tx: reconcile_store.facts(tx, [payment.payment_id]))
        order = (await self.orders.facts([payment.order_id])).get(payment.order_id)
        if told_us > settled_us:
            # Telling it was a change of the payment: until it has settled, that says nothing.
            fresh = msgspec.structs.replace(fact, updated_us=0)
            waits = Verdict(End.WAITS, "the order was told again a moment ago")
            return waits if behind(fresh, order, settled_us) else NONE
        if not behind(fact, order, settled_us):
            return NONE
        if order is None:
            return Verdict(End.LEFT, "there is no such order")
        if told_us:
            why = f"the order is {order.status} and did not take what it was told again: see the dead letters"
            return Verdict(End.LEFT, why)
        if not heal:
            return CAN_HEAL
        if not await self.db.run(lambda tx: tell_again(tx, self.ids, payment, order, now)):
            return Verdict(End.WAITS, "something else happened to this payment meanwhile")
        return Verdict(End.TOLD, f"the order was {order.status}; it was told again")


def _amount(seen: Mismatch, held: Held) -> Verdict:
    ours = {each.refund_id: each.amount for each in held.refunds}
    won = ours.get(RefundId(seen.refund_id)) if seen.refund_id else held.payment.captured
    if won is None or (won == seen.pg_won and not seen.note):
        return NONE
    return Verdict(End.LEFT, seen.note or f"the PG has {seen.pg_won} won, we have {won}")


async def held_of(tx: Tx, payment_id: PaymentId) -> Held | None:
    """A payment as it is now, None where there is none."""
    payment = await store.get(tx, payment_id)
    if payment is None:
        return None
    return Held(payment, await store.attempts(tx, payment_id), await refund_store.of_payment(tx, payment_id))


def _asked(payment: Payment) -> Asked:
    return Asked(payment.payment_key or "", payment.payment_id, payment.amount, "")


def _same(found: Found, payment: Payment) -> bool:
    """Whether the PG tells of this payment: its key, its id, its sum."""
    facts = (found.payment_key, found.payment_id, found.amount, found.currency)
    return facts == (payment.payment_key, payment.payment_id, payment.captured, "KRW")
