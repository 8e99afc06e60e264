"""Placing orders: a list of baskets becomes one transaction, each basket with an answer of its own."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from quickcommerce import events
from quickcommerce.kit import idempotency, outbox
from quickcommerce.kit.clock import SECOND_US, Clock
from quickcommerce.kit.db import Database, Tx, Unmatched
from quickcommerce.kit.ids import Ids, OrderId
from quickcommerce.kit.sql import both
from quickcommerce.kit.telemetry import log, tracing
from quickcommerce.order import pricing, refusals, store, timeline_store
from quickcommerce.order.changes import Changes, Move, message
from quickcommerce.order.model import Status
from quickcommerce.order.placing import Answer, Placed, Placing, follow
from quickcommerce.order.ports import Coupons, Prices, Reservations, Sales
from quickcommerce.order.pricing import Offer, Priced, Refusal

_Shelf = tuple[Mapping[int, Offer], dict[int, int]]
"""Offers, and how much may be sold, by product."""


@dataclass(frozen=True)
class Place:
    """Turns lists of baskets into orders: keys, orders, lines, timeline, outbox, then coupons, quota, last stock."""

    db: Database
    prices: Prices
    reservations: Reservations
    sales: Sales
    coupons: Coupons
    changes: Changes
    clock: Clock
    ids: Ids
    payment_window_s: int
    payable_min: int

    async def place(self, requests: list[Placing]) -> list[Answer]:
        """One answer for each basket, in order. Optimistic at first; with the rows locked where that fails."""
        try:
            answers = await self._transact(requests, locked=False)
        except Unmatched:
            # A parallel transaction took what was read, or changed a price.
            answers = await self._transact(requests, locked=True)
        lines = log.bind()  # once: it takes a quarter of the time of a line
        for request, answer in zip(requests, answers, strict=True):
            with tracing(request.trace):
                if isinstance(answer, Placed):
                    lines.info("order.placed", order_id=answer.order_id, replayed=answer.replayed)
                else:
                    lines.info("order.refused", code=answer.code)
        return answers

    async def _transact(self, requests: list[Placing], *, locked: bool) -> list[Answer]:
        runs = 0

        async def work(tx: Tx) -> list[Answer]:
            nonlocal runs
            runs += 1
            return await self._place(tx, requests, locked=locked, again=runs > 1 or locked)

        return await self.db.run(work)

    async def _place(self, tx: Tx, requests: list[Placing], *, locked: bool, again: bool) -> list[Answer]:
        # One moment for the whole list: a price is that of the time which the order itself tells.
        now = self.clock()
        kept, shelf = await self._found(tx, requests, now, locked=locked)
        answers, followers = await self._known(tx, requests, kept, again=again)
        todo = [at for at in range(len(requests)) if at not in answers and at not in followers]
        claims = {at: claim for at in todo if (claim := requests[at].claim)}
        if locked:
            # The keys before the rows that are locked to decide, or two lists could wait for each other.
            await idempotency.keep(tx, [(claim, requests[at].order_id) for at, claim in claims.items()], now)
        priced = await self._decide(tx, requests, todo, answers, now, shelf)
        rows = {at: self._row(requests[at], basket, now) for at, (basket, _) in priced.items()}
        orders = {at: row.public() for at, row in rows.items()}
        bodies = {at: msgspec.json.encode(order) for at, order in orders.items()}
        if locked:
            await idempotency.forget(tx, [claim for at, claim in claims.items() if at not in rows])
        else:
            await idempotency.keep(tx, [(claims[at], row.order_id) for at, row in rows.items() if at in claims], now)
        await self._write(tx, [(row, orders[at], bodies[at]) for at, row in rows.items()], now)
        await self._take(tx, list(rows.values()), priced.values())
        bodies |= await self._pay_nothing(tx, {at: row for at, row in rows.items() if row.payable == 0})
        answers |= {at: Placed(requests[at].order_id, body, replayed=False) for at, body in bodies.items()}
        for at, leader in followers.items():
            answers[at] = follow(requests[at], requests[leader], answers[leader])
        return [answers[at] for at in range(len(requests))]

    async def _found(
        self, tx: Tx, requests: list[Placing], now: int, *, locked: bool
    ) -> tuple[dict[str, idempotency.Kept], _Shelf | None]:
        """The keys that were used, and in the same round trip the goods, unless their rows are to be locked."""
        find = idempotency.find(tx, [request.claim for request in requests if request.claim])
        if locked:
            return await find, None
        return await both(tx, find, self._shelf(tx, requests, now, locked=False))

    async def _shelf(self, tx: Tx, requests: Iterable[Placing], now: int, *, locked: bool) -> _Shelf:
        """What the goods that are wanted cost, and how much of them may be sold."""
        products = sorted({want.product_id for request in requests for want in request.basket.lines})
        if locked:
            # One after the other: side by side, what is there would be read before its rows are locked.
            offers = await self.prices.offers(tx, products, now, locked=True)
            return offers, await self.reservations.available(tx, products)
        return await both(
            tx, self.prices.offers(tx, products, now, locked=False), self.reservations.available(tx, products)
        )

    async def _known(
        self, tx: Tx, requests: list[Placing], kept: Mapping[str, idempotency.Kept], *, again: bool
    ) -> tuple[dict[int, Answer], dict[int, int]]:
        """What is answered already: keys that were used, and, on a second run, orders that the first one stored."""
        own = [request.order_id for request in requests] if again else []
        bodies = await store.placed(tx, [*(OrderId(one.resource) for one in kept.values()), *own])
        answers: dict[int, Answer] = {}
        leaders: dict[str, int] = {}
        followers: dict[int, int] = {}
        for at, request in enumerate(requests):
            if request.order_id in bodies:
                answers[at] = Placed(request.order_id, bodies[request.order_id], replayed=False)
            elif request.claim and (earlier := kept.get(request.claim.scoped)):
                order_id = OrderId(earlier.resource)
                reused = idempotency.reused(request.claim, earlier)
                answers[at] = reused or Placed(order_id, bodies[order_id], replayed=True)
            elif request.claim and leaders.setdefault(request.claim.scoped, at) != at:
                followers[at] = leaders[request.claim.scoped]
        return answers, followers

    async def _decide(
        self,
        tx: Tx,
        requests: list[Placing],
        todo: list[int],
        answers: dict[int, Answer],
        now: int,
        shelf: _Shelf | None,
    ) -> dict[int, tuple[Priced, Mapping[int, Offer]]]:
        """Decide the baskets in the order of their arrival; refusals go to `answers`. Without a shelf, lock it."""
        wants = [want for at in todo for want in requests[at].basket.lines]
        if not wants:
            return {}
        coupon_ids = sorted({want.coupon_id for want in wants if want.coupon_id is not None})
        coupons = await self.coupons.of(tx, coupon_ids, now, locked=shelf is None) if coupon_ids else {}
        offers, there = shelf or await self._shelf(tx, [requests[at] for at in todo], now, locked=True)
        available = pricing.on_offer(there, offers)
        priced: dict[int, tuple[Priced, Mapping[int, Offer]]] = {}
        spent: set[int] = set()
        for at in todo:
            basket, user_id = requests[at].basket, requests[at].user_id
            off = pricing.stale(basket.lines, offers) or pricing.discounts(
                basket.lines, offers, coupons, spent, user_id
            )
            decision: Priced | Refusal = (
                pricing.decide(basket.lines, offers, available, off, payable_min=self.payable_min)
                if isinstance(off, dict)
                else off
            )
            if isinstance(decision, Priced):
                priced[at] = (decision, offers)
                spent.update(want.coupon_id for want in basket.lines if want.coupon_id is not None)
            else:
                answers[at] = refusals.problem(basket, decision)
        return priced

    async def _take(
        self, tx: Tx, rows: Sequence[store.Row], priced: Iterable[tuple[Priced, Mapping[int, Offer]]]
    ) -> None:
        """Spend the coupons, use up the quota, hold the stock: each only if it still is as it was read."""
        spent = {coupon_id: str(row.order_id) for row in rows for coupon_id in row.coupons}
        quota: Counter[str] = Counter()
        for row in rows:
            quota.update(row.quota)
        wanted: dict[int, tuple[int, int]] = {}
        for basket, offers in priced:
            for line in basket.lines:
                units, _ = wanted.get(line.product_id, (0, 0))
                wanted[line.product_id] = (units + line.quantity, offers[line.product_id].price_version)
        await self.coupons.spend(tx, spent)
        await self.sales.take(tx, quota)
        await self.reservations.hold(tx, wanted)

    async def _pay_nothing(self, tx: Tx, rows: Mapping[int, store.Row]) -> dict[int, bytes]:
        """Orders of which nothing is left to pay are PAID at once. Returns what is answered instead, by position."""
        if not rows:
            return {}
        moves = [Move(row.order_id, Status.PAID, "paid", "nothing to pay", row.trace) for row in rows.values()]
        paid = {
            row.order_id: msgspec.json.encode(row.public())
            for row in await self.changes.apply(tx, moves, rows.values())
        }
        for order_id, body in paid.items():
            await store.answer_again(tx, order_id, body)
        return {at: paid[row.order_id] for at, row in rows.items()}

    def _row(self, request: Placing, basket: Priced, now: int) -> store.Row:
        return store.Row(
            order_id=request.order_id,
            user_id=request.user_id,
            status=Status.PLACED,
            version=1,
            total=basket.total,
            discount=basket.discount,
            payable=basket.payable,
            paid=0,
            refunded=0,
            placed_us=now,
            expires_us=now + self.payment_window_s * SECOND_US,
            updated_us=now,
            lease_token="",
            trace=request.trace,
            payment_version=0,
            lines=basket.lines,
            names_en=basket.names_en,
            sales=basket.sales,
        )

    async def _write(self, tx: Tx, placed: list[tuple[store.Row, events.Order, bytes]], now: int) -> None:
        await store.insert(tx, [(row, body) for row, _, body in placed])
        await timeline_store.record(
            tx,
            [
                timeline_store.Change(row.order_id, 1, 0, now, "placed", "buyer", None, row.status)
                for row, _, _ in placed
            ],
        )
        told = ((row, events.OrderPlaced(order, row.names_en, "buyer")) for row, order, _ in placed)
        await outbox.append(tx, [message(self.ids, row, event, row.trace) for row, event in told])
