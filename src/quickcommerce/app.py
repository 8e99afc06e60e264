"""The wiring: settings become parts, parts become routes and loops. The only place that knows every adapter.

Read it from top to bottom: `build` makes each part once, in the order in which they need each other; `_handlers` is
the table of which event goes where; `_loops` is all that runs by itself; `_routes` is all that answers.
"""

import asyncio
import random
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

from litestar import Litestar, asgi
from litestar.exceptions import HTTPException
from litestar.types import ControllerRouterHandler, Receive, Scope, Send

from quickcommerce.catalog import sales_web
from quickcommerce.catalog import web as catalog_web
from quickcommerce.catalog.flow import Catalog
from quickcommerce.catalog.sales import TimeSales
from quickcommerce.console import asyncapi
from quickcommerce.console import web as console_web
from quickcommerce.console.invariants import Audit, Watch
from quickcommerce.coupon import web as coupon_web
from quickcommerce.coupon.flow import Coupons, Issued, Issuing
from quickcommerce.history import web as history_web
from quickcommerce.history.flow import Projection
from quickcommerce.history.sql import SqlIndex
from quickcommerce.kit import bus, db, folders, idempotency, inbox, migrate, openapi, outbox, web
from quickcommerce.kit.auth import Role, Verifier, mint, secret_bytes
from quickcommerce.kit.batch import A, GroupCommit, Handle, Q
from quickcommerce.kit.bus import Subscription
from quickcommerce.kit.clock import SECOND_US, Clock, system_clock
from quickcommerce.kit.db import Database, Tx
from quickcommerce.kit.ids import Ids, SystemRandom
from quickcommerce.kit.inbox import DeadLetters, Handler, Inbox
from quickcommerce.kit.life import Loop, Supervisor
from quickcommerce.kit.middleware import Drain, Head, Shortcut, Telemetry
from quickcommerce.kit.outbox import Message
from quickcommerce.kit.problem import Problem
from quickcommerce.kit.rate import UserRate
from quickcommerce.order import store as order_store
from quickcommerce.order import web as order_web
from quickcommerce.order.book import OrderBook
from quickcommerce.order.changes import Changes
from quickcommerce.order.flow import Orders
from quickcommerce.order.place import Place, Placed, Placing
from quickcommerce.order.settlement import Settlement
from quickcommerce.order.web import Checkout
from quickcommerce.payment import store as payment_store
from quickcommerce.payment import web as payment_web
from quickcommerce.payment.attempts import Attempts
from quickcommerce.payment.capture import Captures
from quickcommerce.payment.flow import Payments
from quickcommerce.payment.opening import Openings
from quickcommerce.payment.outcomes import Outcomes
from quickcommerce.payment.refund_steps import RefundSteps
from quickcommerce.payment.refunding import Refunding
from quickcommerce.payment.refunds import Refunds
from quickcommerce.payment.toss import Toss
from quickcommerce.settings import EMULATOR, Settings
from quickcommerce.shop import page as shop_page
from quickcommerce.shop import web as shop_web
from quickcommerce.shop.live import Live
from quickcommerce.shop.session import SESSION_S
from quickcommerce.stock import store as stock_store
from quickcommerce.stock import web as stock_web
from quickcommerce.stock.flow import Stock
from quickcommerce.stock.restock import Shelves
from quickcommerce.toss_emulator import AppTransport, Emulator

PRUNE_MAX = 500
"""Old rows of one kind deleted in one transaction, which keeps others waiting for as long as it takes."""
LIST_MAX, QUEUE_MAX = 64, 1024
"""Bounds of the group commits of payments and coupons: requests in one transaction, and those that may wait."""
WITHIN_S = 10.0
"""How long a request waits for its group commit before it is told to ask again."""
PRUNE_EVERY_S = 30.0
POLL_S = 1.0
"""How often a loop looks by itself; what happens in this process wakes it at once."""
GATHER_S = 0.2
"""How long events gather before a reader takes them: 30 in one transaction cost little more than one."""
EMULATOR_PREFIX = "/_toss"
DEMO = ("local", "test")
"""Profiles in which whoever opens the shop may choose who they are."""

MIGRATIONS = {
    "shop": ("events", "cursor", "shop"),
    "payment": ("events", "cursor", "payment"),
    "history": ("cursor", "history"),
}


class Connect(Protocol):
    """Opens the database behind a URL."""

    def __call__(self, url: str, *, rng: random.Random, inline: bool = False, threaded: bool = False) -> Database:
        """See `kit.db.connect`."""
        ...


@dataclass(frozen=True)
class Stores:
    """The three databases: A (catalog, stock, orders), B (payments), and the history's."""

    shop: Database
    payment: Database
    history: Database

    def every(self) -> dict[str, Database]:
        """By name."""
        return {"shop": self.shop, "payment": self.payment, "history": self.history}


@dataclass(frozen=True)
class Flows:
    """What the system can do, wired to its stores and to the PG."""

    ids: Ids
    catalog: Catalog
    sales: TimeSales
    shelves: Shelves
    book: OrderBook
    orders: Orders
    settlement: Settlement
    place: Place
    placing: GroupCommit[Placing, Placed]
    coupons: Coupons
    issuing: GroupCommit[Issuing, Issued]
    payments: Payments
    captures: Captures
    refunding: Refunding
    index: SqlIndex
    live: Live
    toss: Toss
    emulator: Emulator | None


@dataclass(frozen=True)
class App:
    """The whole system in one process."""

    settings: Settings
    stores: Stores
    flows: Flows
    subscriptions: list[Subscription]
    supervisor: Supervisor
    operations: console_web.Operations
    routes: Litestar
    draining: list[str]

    @property
    def asgi(self) -> Drain:
        """The ASGI application, for a server that speaks lifespan."""
        return Drain(Telemetry(Head(Shortcut(self.routes, order_web.SHORTCUTS)), self.flows.ids))

    async def start(self) -> None:
        """Start the emulator, if it is ours, and every loop."""
        if self.flows.emulator:
            await self.flows.emulator.start()
        self.supervisor.start()

    async def stop(self) -> None:
        """Finish what is in hand, then let go of everything."""
        self.drain()
        await self.flows.placing.drain()
        await self.flows.issuing.drain()
        await self.flows.payments.opening.drain()
        await self.flows.payments.beginning.drain()
        # Side by side: a platform kills what takes the sum of all graces to stop.
        await asyncio.gather(
            self.flows.captures.drain(self.settings.drain_s),
            self.flows.refunding.drain(self.settings.drain_s),
            self.supervisor.stop(drain_s=self.settings.drain_s),
        )
        # What the due loops began in their last step: it is cut off, and found again by its lease.
        await asyncio.gather(self.flows.captures.drain(0), self.flows.refunding.drain(0))
        await self.flows.captures.settling.drain()
        await self.flows.toss.close()
        if self.flows.emulator:
            await self.flows.emulator.stop()
        for database in self.stores.every().values():
            await database.close()

    def drain(self) -> None:
        """Say that no new work should come here."""
        self.draining[:] = ["the process is stopping"]
        self.flows.live.close()

    async def migrate(self) -> list[str]:
        """Bring every store to the present schema. Returns what was applied. Raises Unavailable."""
        urls = (self.settings.database_url, self.settings.payment_database_url, self.settings.history_database_url)
        for url in urls:
            folders.make(db.path_of(url).parent)
        applied = [
            f"{name}: {migration}"
            for name, database in self.stores.every().items()
            for migration in await migrate.migrate(database, migrate.load(*MIGRATIONS[name]))
        ]
        await self.flows.catalog.fold()
        return applied


def build(
    settings: Settings,
    *,
    clock: Clock = system_clock,
    rng: random.Random | None = None,
    connect: Connect = db.connect,
    inline: bool = False,
) -> App:
    """Make every part. Nothing runs and nothing is written before `migrate` and `start`.

    `clock`, `rng` and `connect` are the world outside; tests and the simulation give their own. `inline` keeps the
    embedded databases on the calling thread.
    """
    rng = rng or SystemRandom()
    stores = Stores(
        connect(settings.database_url, rng=rng, inline=inline),
        connect(settings.payment_database_url, rng=rng, inline=inline),
        connect(settings.history_database_url, rng=rng, inline=inline, threaded=True),
    )
    flows = _flows(settings, stores, clock, rng, inline=inline)
    letters = {name: DeadLetters(database, clock) for name, database in stores.every().items() if name != "history"}
    handlers = _handlers(flows)
    payment = Inbox("payment", stores.payment, handlers["payment"], letters["payment"], clock, rng)
    order = Inbox("order", stores.shop, handlers["order"], letters["shop"], clock, rng)
    history = Projection("history", stores.history, flows.index, letters["shop"], rng)
    subscriptions = [
        Subscription(stores.shop, payment, settings.event_list_max),
        Subscription(stores.payment, order, settings.event_list_max),
        Subscription(stores.shop, history, settings.event_list_max),
    ]
    audit = Audit(stores.shop, stores.payment, flows.index, tuple(letters.values()), clock)
    watch = Loop("invariants", Watch(audit, settings.invariants_every_s).step, POLL_S)
    supervisor = Supervisor([*_loops(settings, stores, flows, subscriptions, clock), watch], rng=rng)
    draining: list[str] = []
    operations = console_web.Operations(
        reasons=lambda: [*draining, *supervisor.stalled()],
        probe=lambda: _probe(stores),
        counts=lambda: _counts(stores, flows, subscriptions),
        invariants=audit.look,
        letters=tuple(letters.values()),
        consumers={"payment": payment, "order": order, "history": history},
    )
    routes = _routes(settings, flows, operations, clock)
    app = App(settings, stores, flows, subscriptions, supervisor, operations, routes, draining)
    routes.on_startup.append(app.start)
    routes.on_shutdown.append(app.stop)
    return app


def _flows(settings: Settings, stores: Stores, clock: Clock, rng: random.Random, *, inline: bool) -> Flows:
    ids = Ids(clock, rng)
    stock = Stock(clock)
    sales, coupons = TimeSales(stores.shop, clock, ids), Coupons(stores.shop, clock, ids)
    catalog = Catalog(stores.shop, stock, sales, clock)
    book = OrderBook(stores.shop)
    emulator = _emulator(settings, clock, rng, inline=inline)
    toss = _toss(settings, emulator)
    payments = _payments(settings, stores.payment, book, toss, ids, clock, rng)
    changes = Changes(stock, sales, coupons, clock, ids)
    place = Place(
        db=stores.shop,
        prices=catalog,
        reservations=stock,
        sales=sales,
        coupons=coupons,
        changes=changes,
        clock=clock,
        ids=ids,
        payment_window_s=settings.payment_window_s,
        payable_min=settings.payable_min_won,
    )
    return Flows(
        ids=ids,
        catalog=catalog,
        sales=sales,
        shelves=Shelves(stores.shop, stock, clock, ids),
        book=book,
        orders=Orders(stores.shop, book, payments, changes, clock, ids),
        settlement=Settlement(changes, clock, ids, hold_again=settings.late_money == "hold_again"),
        place=place,
        placing=_grouped("orders", place.place, settings.order_list_max, settings.order_queue_max),
        coupons=coupons,
        issuing=_grouped("coupons", coupons.issue),
        payments=payments,
        captures=payments.captures,
        refunding=_refunding(settings, stores, toss, clock, ids, rng),
        index=SqlIndex(stores.history),
        live=Live(book),
        toss=toss,
        emulator=emulator,
    )


def _grouped(
    name: str, handle: Handle[Q, A], list_max: int = LIST_MAX, queue_max: int = QUEUE_MAX
) -> GroupCommit[Q, A]:
    """A group commit; see the bounds above."""
    return GroupCommit(name, handle, list_max=list_max, queue_max=queue_max, within_s=WITHIN_S)


def _payments(
    settings: Settings, store: Database, book: OrderBook, toss: Toss, ids: Ids, clock: Clock, rng: random.Random
) -> Payments:
    """Payments on store B."""
    attempts = Attempts(store, clock, ids, settings.capture_lease_s)
    outcomes = Outcomes(store, clock, ids, rng, settings.unknown_hold_s)
    settling = _grouped("outcomes", outcomes.settle)
    captures = Captures(attempts, settling, toss, clock, settings.unknown_hold_s)
    openings = Openings(store, clock, ids)
    return Payments(
        db=store,
        orders=book,
        openings=openings,
        opening=_grouped("openings", openings.open),
        beginning=_grouped("confirms", captures.begin),
        captures=captures,
        clock=clock,
        ids=ids,
        unknown_hold_s=settings.unknown_hold_s,
        answer_within_s=settings.answer_within_s,
    )


def _toss(settings: Settings, emulator: Emulator | None) -> Toss:
    """The client of the PG, wherever that is."""
    return Toss(
        "http://toss.emulator" if emulator else settings.pg_url,
        settings.pg_secret_key,
        confirm_deadline_s=settings.pg_confirm_deadline_s,
        read_deadline_s=settings.pg_read_deadline_s,
        transport=AppTransport(emulator.asgi) if emulator else None,
    )


def _emulator(settings: Settings, clock: Clock, rng: random.Random, *, inline: bool) -> Emulator | None:
    """The PG in this process, where it is ours."""
    if settings.pg_url != EMULATOR:
        return None
    return Emulator(
        data_dir=Path(settings.data_dir),
        secret_key=settings.pg_secret_key,
        now_us=clock,
        rng=rng,
        controls=settings.profile in ("local", "test"),
        prefix=EMULATOR_PREFIX,
        inline=inline,
    )


def _refunding(settings: Settings, stores: Stores, toss: Toss, clock: Clock, ids: Ids, rng: random.Random) -> Refunding:
    refunds = Refunds(stores.payment, clock, ids, settings.refund_window_s, settings.refund_claim_s)
    steps = RefundSteps(stores.payment, clock, ids, rng, settings.capture_lease_s)
    return Refunding(refunds, steps, toss, settings.answer_within_s)


def _handlers(flows: Flows) -> dict[str, dict[str, Handler]]:
    """Which event goes where. The history takes every order event and has no table."""
    settlement, openings = flows.settlement, flows.payments.openings
    return {
        "payment": {
            "OrderPlaced": openings.opened,
            "OrderChanged": _ignored,
            "OrderPaid": _ignored,
            "OrderClosed": _ignored,
            "OrderRefunded": _ignored,
            "MoneyUnclaimed": flows.refunding.refunds.refund_whole,
        },
        "order": {
            "PaymentStarted": settlement.started,
            "PaymentSettled": settlement.settled,
            "PaymentDeclined": settlement.declined,
            "PaymentFailed": settlement.failed,
            "PaymentRefunded": settlement.refunded,
        },
    }


async def _ignored(_tx: Tx, _messages: list[Message]) -> None:
    """This consumer knows the event and has nothing to do."""


def _loops(
    settings: Settings, stores: Stores, flows: Flows, subscriptions: list[Subscription], clock: Clock
) -> list[Loop]:
    """All that runs by itself."""
    inbox_keep_us, key_keep_us = settings.inbox_keep_s * SECOND_US, settings.idempotency_keep_s * SECOND_US

    async def prune() -> bool:
        now = clock()
        more = [await bus.prune(source, subscriptions) for source in (stores.shop, stores.payment)]
        for store in (stores.shop, stores.payment):
            more += [await store.run(lambda tx: inbox.prune(tx, now - inbox_keep_us, PRUNE_MAX)) == PRUNE_MAX]
            more += [await store.run(lambda tx: idempotency.prune(tx, now - key_keep_us, PRUNE_MAX)) == PRUNE_MAX]
        return any(more)

    readers = []
    for subscription in subscriptions:
        reader = Loop(f"events-{subscription.consumer.name}", subscription.step, POLL_S, rest_s=GATHER_S)
        subscription.source.listen(reader.wake.set)
        readers.append(reader)
    live = Loop("live", flows.live.step, POLL_S, rest_s=GATHER_S)
    stores.shop.listen(live.wake.set)
    return [
        *readers,
        live,
        Loop("expire", flows.orders.expire, POLL_S),
        Loop("payments-due", flows.captures.due, POLL_S / 2, wake=flows.captures.running.freed),
        Loop("refunds-due", flows.refunding.due, POLL_S / 2, wake=flows.refunding.running.freed),
        Loop("prune", prune, PRUNE_EVERY_S),
    ]


def _routes(settings: Settings, flows: Flows, operations: console_web.Operations, clock: Clock) -> Litestar:
    """All that answers."""
    checkout = Checkout(secret_bytes(settings.jwt_secret or settings.pg_secret_key))
    demo = settings.profile in DEMO and bool(settings.jwt_secret)
    pg_checkout = (EMULATOR_PREFIX if flows.emulator else settings.pg_url) + "/emulator/checkout"
    handlers: list[ControllerRouterHandler] = [
        order_web.router(),
        catalog_web.router(),
        catalog_web.categories,
        sales_web.router(),
        *stock_web.routes(),
        *coupon_web.routes(),
        *payment_web.routes(),
        history_web.search,
        *console_web.routes(),
        *shop_web.routes(demo=demo),
    ]
    if flows.emulator:
        emulator = flows.emulator

        @asgi(EMULATOR_PREFIX, is_mount=True, copy_scope=True)
        async def mounted(scope: Scope, receive: Receive, send: Send) -> None:
            await emulator.asgi(scope, receive, send)

        handlers.append(mounted)
    app = Litestar(
        handlers,
        openapi_config=None,
        before_request=web.before_request,
        exception_handlers={Problem: web.on_problem, HTTPException: shop_page.on_http, Exception: web.on_defect},
        logging_config=None,
    )
    app.state.user_rate = UserRate(settings.user_burst_max, settings.user_rate_per_s)
    app.state.verifier = Verifier(clock, settings.jwt_secret, settings.jwks_url or None)
    app.state.orders_web = order_web.Web(flows.book, flows.orders, flows.placing, checkout, flows.ids)
    app.state.payments_web = payment_web.Web(flows.payments, flows.refunding, flows.ids)
    app.state.catalog = flows.catalog
    app.state.sales = flows.sales
    app.state.stock_web = stock_web.Web(flows.shelves)
    app.state.coupons_web = coupon_web.Web(flows.coupons, flows.issuing)
    app.state.history = flows.index
    app.state.operations = operations
    app.state.public_url = settings.public_url
    app.state.pages = shop_page.Pages(
        book=flows.book,
        payments=flows.payments,
        checkout=checkout,
        live=flows.live,
        clock=clock,
        pg_checkout=pg_checkout,
        pg_client_key=settings.pg_client_key,
        public_url=settings.public_url,
        mint=partial(_demo_token, settings.jwt_secret, clock) if demo else None,
    )
    app.state.openapi = openapi.describe(app, version("quickcommerce"))
    app.state.asyncapi = asyncapi.describe(version("quickcommerce"))
    return app


def _demo_token(secret: str, clock: Clock, user_id: int, role: Role) -> str:
    """What a demo buyer is given who signs in."""
    return mint(secret, user_id, role, now_us=clock(), ttl_s=SESSION_S)


async def _probe(stores: Stores) -> None:
    """Raises Unavailable where a store does not answer."""
    for database in stores.every().values():
        await database.read(lambda tx: tx.one("SELECT 1"))


async def _counts(stores: Stores, flows: Flows, subscriptions: list[Subscription]) -> dict[str, int]:
    """How much there is, counted now."""
    shop_passed = await bus.passed(stores.shop, subscriptions)
    payment_passed = await bus.passed(stores.payment, subscriptions)

    async def shop(tx: Tx) -> dict[str, int]:
        pending = await outbox.pending(tx, shop_passed)
        return {**await order_store.counts(tx), **await stock_store.counts(tx), "outbox_pending": pending}

    async def payment(tx: Tx) -> tuple[int, int]:
        return await payment_store.count(tx), await outbox.pending(tx, payment_passed)

    counted = await stores.shop.scan(shop)
    payments, pending = await stores.payment.scan(payment)
    counted["outbox_pending"] += pending
    return counted | {"payments": payments, "documents": await flows.index.count()}
