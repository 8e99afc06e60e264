"""What must always hold (I1 to I9), looked at in the running shop: one figure each, 0 where it holds.

Only scans are used: they read snapshots beside the writers and hold nobody up. What is about products reads all of
them and all their stock entries; what is about single orders reads those of the last `LOOK_BACK_S`, a page at a time,
and of older ones those whose money came late, is not settled, or went back since: one pass over the payments.
Measured on a shared core: 1 s for a million entries, and 12 us for each order that is looked back at.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import msgspec
from prometheus_client import Gauge

from quickcommerce import events
from quickcommerce.catalog import audit as catalog
from quickcommerce.console import differences
from quickcommerce.kit import outbox
from quickcommerce.kit.clock import SECOND_US, Clock
from quickcommerce.kit.db import Database, Tx
from quickcommerce.kit.ids import earliest
from quickcommerce.kit.inbox import DeadLetters
from quickcommerce.kit.outbox import Message
from quickcommerce.kit.telemetry import log
from quickcommerce.order import audit as orders
from quickcommerce.order import holds_audit as holds
from quickcommerce.payment import audit as payments
from quickcommerce.payment import ledger_store as ledger
from quickcommerce.stock import audit as stock
from quickcommerce.stock.store import Kind

LOOK_BACK_S = 2 * 86_400
"""Orders that are older than this are not looked at one by one, but for those whose money is not at rest."""
SALE_BACK_S = 14 * 86_400
"""Time sales that began before this are not looked at: it takes all lines of orders since they began."""
SETTLE_S = 90
"""So long may the stores tell different stories of an order: until then an event is on its way."""
LAST = "ord_~"
"""Sorts behind every order id."""
PAGE = 500
"""Orders that are compared at once: the event loop does nothing else for about 5 ms."""
EVENTS_MAX = 2_000
"""Events that wait in an outbox and are looked at, the oldest first."""
SHARE = 50
"""The watch rests so many times as long as its last look took: it never costs more than 2 % of a core."""

HOLDS = Gauge("qc_invariant_holds", "Whether the invariant held when it was last looked at: 1 or 0", ["id"])

NAMES = {
    "I1": "units held or sold beyond what there is",
    "I2": "units, quota and coupons taken that no order holds, or held and not taken",
    "I3": "payments captured more than once, or of another amount than the order owes",
    "I4": "captured payments whose order is not paid, and paid orders without captured money",
    "I5": "Idempotency-Keys that name no order, or one that another key names",
    "I6": "orders without a payment or their document, and events out of order",
    "I7": "units and sums in which entries, lines and totals differ, and payments that are booked otherwise",
    "I8": "refunds beyond what was captured, or that payment, its refunds and its order tell differently",
    "I9": "orders and payments with an illegal step or status",
}
"""What the figure of each counts."""


class Invariant(msgspec.Struct, frozen=True):
    """Something that must hold; `figure` is how much of what `name` says there is, 0 where it holds."""

    id: str
    name: str
    holds: bool
    figure: int


class Invariants(msgspec.Struct, frozen=True):
    """All that must hold, and whether it does."""

    holds: bool
    invariants: list[Invariant]


class Documents(Protocol):
    """What the history knows of its documents."""

    async def versions(self, after: str, upto: str) -> dict[str, int]:
        """Versions by order id, of those behind `after` up to `upto`. Raises Unavailable."""
        ...


@dataclass(frozen=True)
class Audit:
    """Looks at everything. The stores share no snapshot: what is about several of them lets `SETTLE_S` pass."""

    shop: Database
    payment: Database
    documents: Documents
    letters: tuple[DeadLetters, ...]
    clock: Clock

    async def look(self) -> Invariants:
        """Every invariant, now. Raises Unavailable where a store cannot be asked."""
        now = self.clock()
        since = earliest("ord", now - LOOK_BACK_S * SECOND_US)
        figures = dict.fromkeys(NAMES, 0)
        settled_us = now - SETTLE_S * SECOND_US
        refunded_since = earliest("ref", now - LOOK_BACK_S * SECOND_US)
        for found in (
            await self.shop.scan(_stock),
            await self.shop.scan(lambda tx: _held(tx, since, now - SALE_BACK_S * SECOND_US)),
            await self._compared(since, settled_us),
            await self._older(since, refunded_since, settled_us),
            {
                "I3": await self.payment.scan(lambda tx: payments.captured_twice(tx, since)),
                "I5": await self.shop.scan(lambda tx: orders.keys_astray(tx, now - LOOK_BACK_S * SECOND_US)),
                "I6": sum([disordered(await each.scan(_waiting)) for each in (self.shop, self.payment)]),
                "I7": await self.shop.scan(lambda tx: orders.unsummed(tx, since))
                + await self.payment.scan(lambda tx: ledger.astray(tx, since, refunded_since)),
                "I8": await self.payment.scan(lambda tx: payments.refunds_astray(tx, since, refunded_since)),
                "I9": await self.shop.scan(lambda tx: orders.illegal(tx, since)),
            },
        ):
            for name, figure in found.items():
                figures[name] += figure
        every = [Invariant(each, NAMES[each], not figure, figure) for each, figure in figures.items()]
        for each in every:
            HOLDS.labels(each.id).set(each.holds)
            if not each.holds:
                log.error("invariant.broken", invariant=each.id, name=each.name, figure=each.figure)
        return Invariants(all(each.holds for each in every), every)

    async def _compared(self, since: str, settled_us: int) -> Mapping[str, int]:
        """What the stores say of the same orders, page by page: the shop is asked first, since it learns last."""
        names = [event.__name__ for event in (*events.ORDER_EVENTS, *events.PAYMENT_EVENTS)]
        buried = {subject for letters in self.letters for subject in await letters.about(names)}
        figures: Counter[str] = Counter()
        after = since
        while after != LAST:
            rows = await self.shop.scan(partial(orders.facts, after=after, limit=PAGE))
            upto = rows[-1].order_id if len(rows) == PAGE else LAST
            paid = await self.payment.scan(partial(payments.facts, after=after, upto=upto))
            shown = await self.documents.versions(after, upto)
            after = upto
            placed = {row.order_id: row for row in rows}
            figures.update(differences.of_money(placed, paid, settled_us))
            figures.update(differences.of_tellings(placed, paid, shown, buried, settled_us))
        return figures

    async def _older(self, since: str, refunded_since: str, settled_us: int) -> Mapping[str, int]:
        """What the stores say of orders before `since`: those whose money moves still, or was never settled."""
        named = {
            *await self.payment.scan(partial(payments.came_late, upto=since)),
            *await self.payment.scan(partial(payments.refunded, upto=since, since=refunded_since)),
            *await self.shop.scan(partial(orders.live, upto=since)),
        }
        figures: Counter[str] = Counter()
        ids = sorted(named)
        for page in (ids[at : at + PAGE] for at in range(0, len(ids), PAGE)):
            placed = await self.shop.scan(partial(orders.named, order_ids=page))
            paid = await self.payment.scan(partial(payments.named, order_ids=page))
            figures.update(differences.of_money(placed, paid, settled_us))
        return figures


async def _stock(tx: Tx) -> dict[str, int]:
    counters, held, moved = await stock.counters(tx), await orders.held(tx), await stock.entries(tx)
    put_in, back = moved[Kind.PUT_IN], moved[Kind.RETURN]
    gone = {product_id: units - back.get(product_id, 0) for product_id, units in moved[Kind.SELL].items()}
    figures = dict.fromkeys(("I1", "I2", "I7"), 0)
    for product_id in {*counters, *held, *put_in, *gone}:
        on_hand, reserved, sold = counters.get(product_id, (0, 0, 0))
        holds, went = held.get(product_id, 0), gone.get(product_id, 0)
        figures["I1"] += max(0, holds + went - on_hand)
        figures["I2"] += abs(reserved - holds)
        figures["I7"] += abs(on_hand - put_in.get(product_id, 0)) + abs(sold - went)
    return figures


async def _held(tx: Tx, since: str, sales_since_us: int) -> dict[str, int]:
    """Quota of sales that began since a time, and coupons of orders behind an id, beside what orders hold of them."""
    sales = await catalog.used(tx, sales_since_us)
    first_us = min((starts_us for _, starts_us in sales.values()), default=0) - SETTLE_S * SECOND_US
    held = await holds.quota(tx, earliest("ord", first_us)) if sales else {}
    astray = sum(abs(used - held.get(sale, 0)) for sale, (used, _) in sales.items())
    return {"I2": astray + await holds.coupons_astray(tx, since)}


async def _waiting(tx: Tx) -> list[Message]:
    return await outbox.after(tx, dict.fromkeys(range(outbox.SHARDS), 0), EVENTS_MAX)


def disordered(messages: list[Message]) -> int:
    """How many events do not stand right behind the one before of their order, though that is still there."""
    last: dict[str, int] = {}
    wrong = 0
    for message in messages:
        try:
            told = events.decode(message.type, message.data)
        except ValueError:
            continue  # what nobody can read goes to the dead letters
        if isinstance(told, events.MoneyUnclaimed):
            continue  # no version of its order
        version = told.order.version if isinstance(told, events.OrderEvent) else told.version
        wrong += version != last.get(message.subject, version - 1) + 1
        last[message.subject] = version
    return wrong


class Looked(msgspec.Struct, frozen=True):
    """What a look found, and when it began (microseconds UTC)."""

    found: Invariants
    at_us: int


@dataclass
class Watch:
    """Looks every `every_s` seconds, and less often where that takes long. `last` is what the last look found."""

    audit: Audit
    clock: Clock
    every_s: float
    last: Looked | None = field(default=None)
    _next_s: float | None = field(default=None)

    async def look(self) -> Invariants:
        """Look now. Raises Unavailable."""
        at_us = self.clock()
        found = await self.audit.look()
        self.last = Looked(found, at_us)
        return found

    async def step(self) -> bool:
        """Look, if it is time. Raises Unavailable."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        # The first look waits as well: a start has enough to do.
        if self._next_s is None:
            self._next_s = started + self.every_s
        if started >= self._next_s:
            # Where a store cannot be asked, the next look is not sooner: looking is no work that anybody waits for.
            self._next_s = started + self.every_s
            await self.look()
            ended = loop.time()
            self._next_s = ended + max(self.every_s, SHARE * (ended - started))
        return False
