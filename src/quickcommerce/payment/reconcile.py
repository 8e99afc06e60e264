"""Reconciliation of a span of time: what moved at the PG is listed, held to payments and orders, and each suspicion is
looked into, healed where that is safe, and otherwise kept for a human until it is gone.

Any number of processes may do it, of any spans, at the same time: each step finds what another did.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial

import msgspec
from prometheus_client import Counter

from quickcommerce.kit.clock import SECOND_US, Clock
from quickcommerce.kit.db import Database, Tx
from quickcommerce.kit.ids import Ids, OrderId
from quickcommerce.kit.telemetry import log
from quickcommerce.payment import reconcile_store
from quickcommerce.payment.listing import PAGE, Pages, listed
from quickcommerce.payment.mending import End, Mending, Orders, Verdict
from quickcommerce.payment.reconcile_deposits import taken_back
from quickcommerce.payment.reconcile_model import SETTLE_S, Mismatch, Span, compare
from quickcommerce.payment.reconcile_store import Kept, State
from quickcommerce.payment.toss_transactions import Unread

SPAN_S = 3_600
"""The longest span that is compared at once: all of it is in memory, about 2 KB for each capture."""
MARGIN_S = 600
"""So much further, on both sides, the PG's list is read: its clock is not ours, and we learn later than it knows."""
SIDE_BY_SIDE = 8
"""Mismatches that are looked into at the same time, a reading of the PG each."""

MISMATCHES = Counter("qc_reconcile_mismatches_total", "Mismatches when they were first looked into", ["kind", "end"])
UNREADABLE = Counter("qc_reconcile_unreadable_total", "Rows of the PG's list that could not be read")


class Looked(msgspec.Struct, frozen=True):
    """A mismatch that was looked into."""

    seen: Mismatch
    verdict: Verdict


class Report(msgspec.Struct, frozen=True):
    """What a span came to: transactions and payments that were compared, mismatches, rows that could not be read."""

    transactions: int = 0
    payments: int = 0
    looked: tuple[Looked, ...] = ()
    unread: tuple[Unread, ...] = ()

    def __add__(self, other: "Report") -> "Report":
        """Both. Spans are read further than they are compared: a row that cannot be read may stand in two."""
        return Report(
            self.transactions + other.transactions, self.payments + other.payments, self.looked + other.looked,
            tuple(dict.fromkeys(self.unread + other.unread)),
        )  # fmt: skip

    @property
    def clear(self) -> bool:
        """Whether nothing is left for a human, or to be looked at again."""
        healed = all(each.verdict.end in (End.HEALED, End.TOLD) for each in self.looked)
        return healed and not self.unread


async def _go_on() -> None:
    """Nobody has to be told that it is still going on."""


@dataclass(frozen=True)
class Reconciling:
    """Compares spans of time."""

    db: Database
    pg: Pages
    orders: Orders
    mending: Mending
    clock: Clock
    ids: Ids
    page: int = PAGE
    compared: Callable[..., list[Mismatch]] = field(default=compare)

    def spans(self, from_us: int, before_us: int) -> Iterator[Span]:
        """A span in parts, up to what is old enough to be compared."""
        end_us = min(before_us, self._settled_us())
        for at_us in range(from_us, end_us, SPAN_S * SECOND_US):
            yield Span(at_us, min(at_us + SPAN_S * SECOND_US, end_us))

    def _settled_us(self) -> int:
        return self.clock() - SETTLE_S * SECOND_US

    async def span(self, span: Span, *, heal: bool, go_on: Callable[[], Awaitable[None]] = _go_on) -> Report:
        """Compare a span. `heal=False` changes nothing. `go_on` is awaited before each step that takes long.

        Raises Unlisted, Unavailable.
        """
        margin_us = MARGIN_S * SECOND_US
        wide = Span(max(0, span.from_us - margin_us), span.before_us + margin_us)
        there = await listed(self.pg, wide, go_on, self.page)
        unread = there.unread
        for row in unread:
            UNREADABLE.inc()
            log.error("reconcile.unreadable", transaction_key=row.transaction_key, reason=row.reason)
        moved = await self.db.scan(partial(reconcile_store.moved, span=span))
        told = {each.payment_id for each in (*there.transactions, *there.waiting)}
        payments = await self.db.scan(partial(reconcile_store.facts, payment_ids=moved | told))
        orders = await self.orders.facts([OrderId(each.order_id) for each in payments])
        seen = {
            (each.kind, each.subject): each for each in await self.db.scan(partial(reconcile_store.within, span=span))
        }
        found = self.compared(span, there.transactions, payments, orders.values(), self._settled_us())
        for each in (*found, *taken_back(span, there.waiting, there.transactions, payments)):
            seen[each.kind, each.subject] = each
        looked = await self.look(seen.values(), heal=heal, go_on=go_on)
        inside = sum(span.holds(each.at_us) for each in there.transactions)
        return Report(inside, len(payments), tuple(each for each in looked if each.verdict.end is not End.NONE), unread)

    async def look(
        self, seen: Iterable[Mismatch], *, heal: bool, go_on: Callable[[], Awaitable[None]] = _go_on
    ) -> list[Looked]:
        """Look into mismatches, a few at a time, and keep what is left. Raises Unavailable."""
        every, looked = list(seen), list[Looked]()
        for at in range(0, len(every), SIDE_BY_SIDE):
            await go_on()
            part = every[at : at + SIDE_BY_SIDE]
            known = await self.db.read(partial(reconcile_store.known, seen=part))
            told = [kept.told_us if (kept := known.get((each.kind, each.subject))) else 0 for each in part]
            verdicts = await asyncio.gather(
                *(self.mending.look(each, told_us=us, heal=heal) for each, us in zip(part, told, strict=True))
            )
            found = list(map(Looked, part, verdicts))
            if heal:
                await self.db.run(partial(self._keep, found=found))
            looked += found
        return looked

    async def _keep(self, tx: Tx, found: list[Looked]) -> None:
        """Keep what is left, and forget what is no mismatch any more."""
        known = await reconcile_store.known(tx, [each.seen for each in found])
        now = self.clock()
        for each in found:
            kept, end = known.get((each.seen.kind, each.seen.subject)), each.verdict.end
            if end in (End.NONE, End.HEALED):
                if kept:
                    await reconcile_store.drop(tx, each.seen)
            else:
                told_us = now if end is End.TOLD else kept.told_us if kept else 0
                first = (kept.mismatch_id, kept.found_us) if kept else (self.ids.mismatch(), now)
                new = Kept(first[0], each.seen, State(end), each.verdict.detail[:600], first[1], now, told_us)
                await reconcile_store.keep(tx, new, new=kept is None)
            if end is not (End(kept.state) if kept else End.NONE):
                tx.after_commit(partial(_tell, each))


def _tell(looked: Looked) -> None:
    """Say what a mismatch has come to; no key of a payment is told."""
    seen, verdict = looked.seen, looked.verdict
    MISMATCHES.labels(seen.kind, verdict.end).inc()
    (log.error if verdict.end is End.LEFT else log.warning)(
        "reconcile.mismatch",
        kind=seen.kind,
        end=verdict.end,
        payment_id=seen.payment_id,
        order_id=seen.order_id,
        pg_won=seen.pg_won,
        our_won=seen.our_won,
        detail=verdict.detail,
    )
