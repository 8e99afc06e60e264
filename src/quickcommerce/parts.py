"""The parts: what the settings ask for, each made once, in the order in which they need each other. No other file knows
an adapter.
"""

import asyncio
import random
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from quickcommerce.catalog.flow import Catalog
from quickcommerce.catalog.sales import TimeSales
from quickcommerce.coupon.flow import Coupons, Issued, Issuing
from quickcommerce.history.flow import Projection
from quickcommerce.history.sql import SqlIndex
from quickcommerce.kit import db, migrate
from quickcommerce.kit.adapters import adapter
from quickcommerce.kit.batch import A, GroupCommit, Handle, Q
from quickcommerce.kit.bus import Consumer, Subscription
from quickcommerce.kit.clock import Clock
from quickcommerce.kit.db import Database, Tx
from quickcommerce.kit.ids import Ids
from quickcommerce.kit.inbox import DeadLetters, Handler, Inbox
from quickcommerce.kit.outbox import Message, Relay
from quickcommerce.order.book import OrderBook
from quickcommerce.order.changes import Changes
from quickcommerce.order.crowd import Crowd
from quickcommerce.order.flow import Orders
from quickcommerce.order.notes import Notes
from quickcommerce.order.place import Place
from quickcommerce.order.placing import Placed, Placing
from quickcommerce.order.settlement import Settlement
from quickcommerce.payment.attempts import Attempts
from quickcommerce.payment.breaker import Sparing
from quickcommerce.payment.capture import Captures
from quickcommerce.payment.flow import Payments
from quickcommerce.payment.looks import Looks
from quickcommerce.payment.mending import Mending
from quickcommerce.payment.opening import Openings
from quickcommerce.payment.outcomes import Outcomes
from quickcommerce.payment.reconcile import Reconciling
from quickcommerce.payment.reconcile_loop import Continuous
from quickcommerce.payment.refund_steps import RefundSteps
from quickcommerce.payment.refunding import Refunding
from quickcommerce.payment.refunds import Refunds
from quickcommerce.payment.toss import Toss
from quickcommerce.payment.toss_webhooks import Told
from quickcommerce.payment.webhook_reading import WebhookReading
from quickcommerce.payment.webhooks import Verdict, Webhooks
from quickcommerce.settings import EMULATOR, MEMORY, Settings
from quickcommerce.shop.live import Live
from quickcommerce.stock.flow import Stock
from quickcommerce.stock.restock import Shelves
from quickcommerce.toss_emulator import AppTransport, Emulator

if TYPE_CHECKING:
    from quickcommerce.history.elastic_index import ElasticIndex
    from quickcommerce.kit.kafka import Publisher, Topics
    from quickcommerce.kit.kafka_reader import Reader
    from quickcommerce.stock.gate import RedisGate

LIST_MAX = 64
"""Requests in one transaction, of payments, coupons and webhooks."""
WITHIN_S = 10.0
"""How long a request waits for its group commit before it is told to ask again."""
LOOK_S = 1.0
"""How much longer a look that many share may wait than one for a connection."""
RELAY_LEASE_S = 30.0
"""How long a relay keeps the shards that it publishes from others, if it dies with them."""
EMULATOR_PREFIX = "/_toss"

Source = Literal["shop", "payment"]
"""The stores that speak: each has an outbox."""
MIGRATIONS = {
    "shop": ("events", "cursor", "shop"),
    "payment": ("events", "cursor", "payment"),
    "history": ("cursor", "history"),
}


def migrations(store: str, dialect: str) -> list[migrate.Migration]:
    """Those of a store, in order."""
    return migrate.load(*MIGRATIONS[store], dialect=dialect)


class Connect(Protocol):
    """Opens the database behind a URL."""

    def __call__(self, url: str, *, rng: random.Random, inline: bool = False, threaded: bool = False) -> Database:
        """See `kit.db.connect`."""
        ...


@dataclass(frozen=True)
class Stores:
    """The three databases: A (catalog, stock, orders), B (payments), and the history's.

    Where documents are in Elasticsearch the history has none of its own: it remembers in A how far it has read.
    """

    shop: Database
    payment: Database
    history: Database

    def every(self) -> dict[str, Database]:
        """By name."""
        own = {} if self.history is self.shop else {"history": self.history}
        return {"shop": self.shop, "payment": self.payment, **own}


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
    reconciling: Reconciling
    continuous: Continuous
    webhooks: Webhooks
    hearing: GroupCommit[Told | None, Verdict]
    webhook_reading: WebhookReading
    index: "SqlIndex | ElasticIndex"
    live: Live
    gate: "RedisGate | None"
    toss: Toss
    emulator: Emulator | None


@dataclass(frozen=True)
class Wire:
    """The parts of a bus between processes. There are none where each outbox is a bus itself (`memory:`)."""

    topics: "Topics"
    publisher: "Publisher"
    relays: dict[Source, Relay]
    readers: list["Reader"]

    async def close(self) -> None:
        """Leave the groups and let go of the brokers."""
        await asyncio.gather(self.publisher.close(), *(reader.close() for reader in self.readers))


@dataclass(frozen=True)
class Parts:
    """Everything that was made. Events reach their consumers by `subscriptions` or by a `wire`."""

    stores: Stores
    flows: Flows
    letters: dict[str, DeadLetters]
    consumers: dict[str, "Inbox | Projection"]
    subscriptions: list[Subscription]
    wire: Wire | None


def make(settings: Settings, clock: Clock, rng: random.Random, connect: Connect | None, *, inline: bool) -> Parts:
    """Every part. Nothing runs and nothing is written yet."""
    stores = _stores(settings, connect, rng, inline=inline)
    flows = _flows(settings, stores, clock, rng, inline=inline)
    letters = {name: DeadLetters(database, clock) for name, database in stores.every().items() if name != "history"}
    takes = _handlers(flows)
    payment = Inbox("payment", stores.payment, takes["payment"], letters["payment"], clock, rng)
    order = Inbox("order", stores.shop, takes["order"], letters["shop"], clock, rng)
    history = Projection("history", stores.history, flows.index, letters["shop"], rng)
    readings: list[tuple[Source, Consumer]] = [("shop", payment), ("payment", order), ("shop", history)]
    if settings.bus_url == MEMORY:
        most = settings.event_list_max
        subscriptions = [Subscription(stores.every()[source], each, most) for source, each in readings]
        wire = None
    else:
        subscriptions, wire = [], _wire(settings, stores, readings, flows.ids, clock)
    consumers: dict[str, Inbox | Projection] = {"payment": payment, "order": order, "history": history}
    return Parts(stores, flows, letters, consumers, subscriptions, wire)


def _stores(settings: Settings, connect: Connect | None, rng: random.Random, *, inline: bool) -> Stores:
    """The databases; `connect` where a test has its own way to open them."""
    connect = connect or partial(db.connect, limits=_limits(settings))
    shop = connect(settings.database_url, rng=rng, inline=inline)
    payment = connect(settings.payment_database_url, rng=rng, inline=inline)
    if settings.searches_elastic:
        return Stores(shop, payment, shop)
    return Stores(shop, payment, connect(settings.history_database_url, rng=rng, inline=inline, threaded=True))


def _index(settings: Settings, stores: Stores) -> "SqlIndex | ElasticIndex":
    """Where documents are."""
    if not settings.searches_elastic:
        return SqlIndex(stores.history)
    elastic_index = adapter("quickcommerce.history.elastic_index", "elastic")
    index: ElasticIndex = elastic_index.connect(settings.search_url, settings.search_index)
    return index


def _flows(settings: Settings, stores: Stores, clock: Clock, rng: random.Random, *, inline: bool) -> Flows:
    """Every flow, wired."""
    ids = Ids(clock, rng)
    stock = Stock(clock)
    sales, coupons = TimeSales(stores.shop, clock, ids), Coupons(stores.shop, clock, ids)
    catalog = Catalog(stores.shop, stock, sales, clock)
    book = OrderBook(stores.shop)
    emulator = _emulator(settings, clock, rng, inline=inline)
    toss = _toss(settings, emulator)
    pg = Sparing(toss, settings.pg_calls_per_s)
    payments = _payments(settings, stores.payment, book, Notes(stores.shop, clock), pg, ids, clock, rng)
    mending = Mending(stores.payment, pg, payments.captures, book, clock, ids)
    reconciling = Reconciling(stores.payment, pg, book, mending, clock, ids)
    webhooks = Webhooks(stores.payment, clock)
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
    gate = _gate(settings)
    placing = Crowd(gate, place.place, stores.shop).place if gate else place.place
    return Flows(
        ids=ids,
        catalog=catalog,
        sales=sales,
        shelves=Shelves(stores.shop, stock, clock, ids),
        book=book,
        orders=Orders(stores.shop, book, payments, changes, clock, ids),
        settlement=Settlement(changes, clock, ids, hold_again=settings.late_money == "hold_again"),
        place=place,
        gate=gate,
        placing=GroupCommit(
            "orders",
            placing,
            list_max=settings.order_list_max,
            queue_max=settings.order_queue_max,
            within_s=WITHIN_S,
            runners=_runners(settings, stores.shop),
        ),
        coupons=coupons,
        issuing=_grouped("coupons", coupons.issue, settings, stores.shop),
        payments=payments,
        captures=payments.captures,
        refunding=_refunding(settings, stores, pg, clock, ids, rng),
        reconciling=reconciling,
        continuous=Continuous(
            stores.payment, reconciling, clock, ids, settings.reconcile_every_s, settings.reconcile_lease_s
        ),
        webhooks=webhooks,
        hearing=_grouped("webhooks", webhooks.take, settings, stores.payment),
        webhook_reading=WebhookReading(
            stores.payment, pg, payments.captures, reconciling, clock, ids, rng, settings.webhook_lease_s
        ),
        index=_index(settings, stores),
        live=Live(book),
        toss=toss,
        emulator=emulator,
    )


def _gate(settings: Settings) -> "RedisGate | None":
    """The gate before the database, if there is one."""
    return adapter("quickcommerce.stock.gate", "redis").RedisGate(settings.gate_url) if settings.gate_url else None


def _limits(settings: Settings) -> db.Limits:
    return db.Limits(
        writers=settings.db_writers_max,
        readers=settings.db_readers_max,
        wait_s=settings.db_wait_s,
        statement_s=settings.db_statement_s,
        scan_s=settings.db_scan_s,
    )


def _runners(settings: Settings, store: Database) -> int:
    """Lists of a group commit in flight at once: SQLite has one writer."""
    return settings.db_runners_max if store.dialect == "mariadb" else 1


def _grouped(
    name: str, handle: Handle[Q, A], settings: Settings, store: Database, within_s: float = WITHIN_S
) -> GroupCommit[Q, A]:
    """A group commit of anything but orders."""
    return GroupCommit(
        name,
        handle,
        list_max=LIST_MAX,
        queue_max=settings.request_queue_max,
        within_s=within_s,
        runners=_runners(settings, store),
    )


def _payments(
    settings: Settings,
    store: Database,
    book: OrderBook,
    notes: Notes,
    pg: Sparing,
    ids: Ids,
    clock: Clock,
    rng: random.Random,
) -> Payments:
    """Payments on store B."""
    attempts = Attempts(store, clock, ids, settings.capture_lease_s)
    outcomes = Outcomes(store, clock, ids, rng, settings.unknown_hold_s, settings.virtual_account_max_s)
    settling = _grouped("outcomes", outcomes.settle, settings, store)
    captures = Captures(attempts, settling, pg, clock, settings.unknown_hold_s)
    openings, looks = Openings(store, clock, ids), Looks(store)
    # A look waits for the list before it, and for a connection.
    look_s = settings.db_wait_s + LOOK_S
    return Payments(
        db=store,
        orders=book,
        notes=notes,
        openings=openings,
        opening=_grouped("openings", openings.open, settings, store),
        finding=_grouped("payments-of-orders", looks.of_orders, settings, store, look_s),
        looking=_grouped("payments", looks.whole, settings, store, look_s),
        beginning=_grouped("confirms", captures.begin, settings, store),
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
        list_deadline_s=settings.pg_list_deadline_s,
        accounts=settings.virtual_account_max_s > 0,
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
        shop_url=settings.public_url,
        webhook_url=settings.pg_webhook_url or None,
        inline=inline,
    )


def _refunding(
    settings: Settings, stores: Stores, pg: Sparing, clock: Clock, ids: Ids, rng: random.Random
) -> Refunding:
    refunds = Refunds(stores.payment, clock, ids, settings.refund_window_s, settings.refund_claim_s)
    steps = RefundSteps(stores.payment, clock, ids, rng, settings.capture_lease_s)
    return Refunding(refunds, steps, pg, settings.answer_within_s)


def _wire(settings: Settings, stores: Stores, readings: list[tuple[Source, Consumer]], ids: Ids, clock: Clock) -> Wire:
    """Kafka: a topic for each outbox, and a consumer group for each that reads one."""
    kafka, reader = adapter("quickcommerce.kit.kafka", "kafka"), adapter("quickcommerce.kit.kafka_reader", "kafka")
    servers, prefix, most = kafka.servers_of(settings.bus_url), settings.bus_prefix, settings.event_list_max
    topics: dict[Source, str] = {"shop": f"{prefix}orders", "payment": f"{prefix}payments"}
    publisher: Publisher = kafka.Publisher(servers)
    return Wire(
        topics=kafka.Topics(servers, tuple(topics.values())),
        publisher=publisher,
        relays={
            source: Relay(stores.every()[source], publisher.to(topic), clock, ids, RELAY_LEASE_S, most)
            for source, topic in topics.items()
        },
        readers=[
            reader.Reader(servers, topics[source], consumer, group=f"{prefix}{consumer.name}", list_max=most)
            for source, consumer in readings
        ],
    )


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
            "PaymentAwaited": settlement.awaited,
            "PaymentSettled": settlement.settled,
            "PaymentDeclined": settlement.declined,
            "PaymentFailed": settlement.failed,
            "PaymentRefunded": settlement.refunded,
            "RefundFailed": settlement.refund_failed,
        },
    }


async def _ignored(_tx: Tx, _messages: list[Message]) -> None:
    """This consumer knows the event and has nothing to do."""
