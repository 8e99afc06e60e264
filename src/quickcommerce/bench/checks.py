"""The exact count after a run: what clients were told against what the shop has stored.

Counts are compared as differences over the run, so the shop need not be empty; it must only be left alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec


class Counts(msgspec.Struct, frozen=True):
    """The answer of `GET /v1/ops/counts`; the last three are units of goods over all products."""

    orders: int
    order_events: int
    outbox_pending: int
    payments: int
    documents: int
    on_hand: int
    reserved: int
    sold: int

    @property
    def available(self) -> int:
        """Units that can still be ordered."""
        return self.on_hand - self.reserved - self.sold


@dataclass(frozen=True)
class Told:
    """What the clients were told. `paid` maps each paid order's id to its units."""

    buyers: int
    answered: int
    accepted: int
    units: int
    wrong_bodies: int
    paid: Mapping[str, int]


@dataclass(frozen=True)
class Stored:
    """What the shop says of itself: counts before and after, and the ids of the orders of this run that are PAID."""

    before: Counts
    after: Counts
    paid: set[str]


@dataclass(frozen=True)
class Check:
    """One comparison."""

    name: str
    expected: int
    actual: int

    @property
    def holds(self) -> bool:
        """Whether it adds up."""
        return self.expected == self.actual


def drained(told: Told, before: Counts, now: Counts) -> bool:
    """Whether the loop behind the orders has nothing left to do, as far as counts can tell."""
    return (
        now.outbox_pending == 0
        and now.payments - before.payments >= told.accepted
        and now.documents - before.documents >= told.accepted
    )


def check(told: Told, stored: Stored) -> list[Check]:
    """Every comparison of a run in which each answer was read and each payment followed; all must hold."""
    return [
        *counted(told, stored.before, stored.after),
        Check("accepted answers with a wrong body", 0, told.wrong_bodies),
        Check("paid orders PAID in the history", len(told.paid), len(told.paid.keys() & stored.paid)),
        Check("PAID orders that nobody here paid", 0, len(stored.paid - told.paid.keys())),
    ]


def counted(told: Told, before: Counts, after: Counts) -> list[Check]:
    """Those that need nothing but numbers: of answers, and of what is stored."""
    return [
        Check("buyers answered", told.buyers, told.answered),
        Check("orders stored", told.accepted, after.orders - before.orders),
        Check("payments made", told.accepted, after.payments - before.payments),
        Check("history documents", told.accepted, after.documents - before.documents),
        # Each order has a PLACED event; a paid one also has PAYING and PAID.
        Check("order events", told.accepted + 2 * len(told.paid), after.order_events - before.order_events),
        Check("events still in the outbox", 0, after.outbox_pending),
        Check("units taken from stock", told.units, before.available - after.available),
        Check("units sold", sum(told.paid.values()), after.sold - before.sold),
    ]
