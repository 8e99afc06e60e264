"""The life of a process: it is built from its settings, opened, started, drained and stopped.

What it is made of stands in `parts`, what it runs by itself in `roles`, what it answers in `routes`.
"""

import asyncio
import random
from dataclasses import dataclass

from litestar import Litestar

from quickcommerce import roles, routes
from quickcommerce.console.invariants import Audit, Watch
from quickcommerce.console.operations import Operations
from quickcommerce.history.sql import SqlIndex
from quickcommerce.kit import bus, folders, migrate, outbox, sqlite
from quickcommerce.kit.bus import Subscription
from quickcommerce.kit.clock import Clock, system_clock
from quickcommerce.kit.db import Tx
from quickcommerce.kit.life import Opening, Supervisor
from quickcommerce.kit.middleware import Drain, Head, Telemetry
from quickcommerce.kit.problem import Unavailable
from quickcommerce.kit.shortcut import Shortcut
from quickcommerce.kit.telemetry import log
from quickcommerce.order import store as order_store
from quickcommerce.parts import Connect, Flows, Parts, Stores, make, migrations
from quickcommerce.payment import store as payment_store
from quickcommerce.payment.attention import Attentions
from quickcommerce.roles import ProcessRole
from quickcommerce.settings import BadSetting, Settings
from quickcommerce.stock import store as stock_store

HEADERS = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))
"""Of an answer that says nothing else about it: what a buyer was told is not kept, and is what it says it is."""
SERVING = ("all", "api")
"""Roles that serve the whole HTTP contract; the others tell how they are."""


@dataclass(frozen=True)
class App:
    """The whole system in one process."""

    settings: Settings
    parts: Parts
    supervisor: Supervisor
    operations: Operations
    routes: Litestar
    draining: list[str]
    opening: Opening

    @property
    def stores(self) -> Stores:
        """The databases."""
        return self.parts.stores

    @property
    def flows(self) -> Flows:
        """What it can do."""
        return self.parts.flows

    @property
    def asgi(self) -> Shortcut:
        """The ASGI application, for a server that speaks lifespan."""
        telemetry = Telemetry(Head(self.routes), self.flows.ids, HEADERS)
        return Shortcut(Drain(telemetry), telemetry, self.routes, routes.SHORTCUTS)

    async def start(self) -> None:
        """Start the emulator, if it is ours, and every loop; those that need stores once these are fit."""
        if self.flows.emulator:
            await self.flows.emulator.start()
        self.opening.start()

    async def stop(self) -> None:
        """Finish what is in hand, then let go of everything."""
        self.drain()
        await self.opening.stop()
        await self.flows.placing.drain()
        await self.flows.issuing.drain()
        await self.flows.payments.finding.drain()
        await self.flows.payments.opening.drain()
        await self.flows.payments.beginning.drain()
        await self.flows.hearing.drain()
        # Side by side: a platform kills what takes the sum of all graces to stop.
        await asyncio.gather(
            self.flows.captures.drain(self.settings.drain_s),
            self.flows.refunding.drain(self.settings.drain_s),
            self.supervisor.stop(drain_s=self.settings.drain_s),
        )
        # What the due loops began in their last step: it is cut off, and found again by its lease.
        await asyncio.gather(self.flows.captures.drain(0), self.flows.refunding.drain(0))
        await self.flows.captures.settling.drain()
        await self.flows.payments.looking.drain()
        if self.parts.wire:
            await self.parts.wire.close()
        await self.flows.toss.close()
        if self.flows.emulator:
            await self.flows.emulator.stop()
        if self.flows.gate:
            await self.flows.gate.close()
        if not isinstance(self.flows.index, SqlIndex):
            await self.flows.index.close()
        for database in self.stores.every().values():
            await database.close()

    def drain(self) -> None:
        """Say that no new work should come here."""
        self.draining[:] = ["the process is stopping"]
        self.flows.live.close()

    async def open(self) -> None:
        """Make the stores fit for this process. An embedded one is migrated; a shared one is the operator's to migrate.

        Raises BadSetting where that was not done yet, and Unavailable.
        """
        shared = [name for name, database in self.stores.every().items() if database.dialect == "mariadb"]
        for name in shared:
            if await migrate.pending(self.stores.every()[name], migrations(name, "mariadb")):
                raise BadSetting(f"the database {name} is not at the present schema: run qc migrate")
        await self._check_topics()
        await self._migrate([name for name in self.stores.every() if name not in shared])

    async def migrate(self) -> list[str]:
        """Bring every store to the present schema. Returns what was applied. Raises Unavailable."""
        return await self._migrate(list(self.stores.every()))

    async def _migrate(self, names: list[str]) -> list[str]:
        for url in (self.settings.database_url, self.settings.payment_database_url, self.settings.history_database_url):
            if url.startswith(sqlite.SCHEME):
                folders.make(sqlite.path_of(url).parent)
        stores = {name: self.stores.every()[name] for name in names}
        applied = [
            f"{name}: {migration}"
            for name, database in stores.items()
            for migration in await migrate.migrate(database, migrations(name, database.dialect))
        ]
        if "shop" in stores:
            await self.flows.catalog.fold()
        return applied

    async def empty_gate(self) -> int:
        """Forget every figure of the gate. Returns how many there were. Raises Unavailable."""
        return await self.flows.gate.empty() if self.flows.gate else 0

    async def make_topics(self) -> list[str]:
        """Make what topics are missing. Returns which. Raises Unavailable."""
        if not self.parts.wire:
            return []
        # An inbox knows events for longer than the bus can repeat them.
        return await self.parts.wire.topics.make(self.settings.bus_partitions, self.settings.inbox_keep_s // 2)

    async def _check_topics(self) -> None:
        """Raises BadSetting where topics are missing. A bus that does not answer is waited for by those who need it."""
        if not self.parts.wire:
            return
        try:
            found = await self.parts.wire.topics.found()
        except Unavailable as down:
            log.warning("bus.down", reason=down.detail)
            return
        missing = [name for name in self.parts.wire.topics.names if name not in found]
        if missing:
            raise BadSetting(f"QC_BUS_URL has no topic {' and no '.join(missing)}: `qc migrate` makes them")


def build(
    settings: Settings,
    *,
    clock: Clock = system_clock,
    rng: random.Random | None = None,
    connect: Connect | None = None,
    inline: bool = False,
    role: ProcessRole = "all",
) -> App:
    """Make every part. Nothing runs and nothing is written before `migrate` and `start`.

    `clock`, `rng` and `connect` are the world outside; tests and the simulation give their own. `inline` keeps the
    embedded databases on the calling thread.
    """
    rng = rng or random.SystemRandom()
    parts = make(settings, clock, rng, connect, inline=inline)
    letters = tuple(parts.letters.values())
    watch = Watch(
        Audit(parts.stores.shop, parts.stores.payment, parts.flows.index, letters, clock),
        clock,
        settings.invariants_every_s,
    )
    supervisor = Supervisor(roles.loops(role, settings, parts, watch, clock), rng=rng)
    draining: list[str] = []
    opening = Opening(supervisor, BadSetting, rng=rng)
    operations = Operations(
        reasons=lambda: [*draining, *opening.stalled(), *supervisor.stalled()],
        probe=lambda: _probe(parts.stores),
        counts=lambda: _counts(parts),
        invariants=watch.look,
        looked=lambda: watch.last,
        loops=supervisor.states,
        behind=lambda: _behind(parts.subscriptions),
        attentions=Attentions(parts.stores.payment, clock),
        letters=letters,
        consumers=parts.consumers,
    )
    served = routes.whole(settings, parts.flows, operations, clock) if role in SERVING else routes.health(operations)
    app = App(settings, parts, supervisor, operations, served, draining, opening)
    served.on_startup.append(app.start)
    served.on_shutdown.append(app.stop)
    return app


async def _probe(stores: Stores) -> None:
    """Raises Unavailable where a store does not answer."""
    for database in stores.every().values():
        await database.read(lambda tx: tx.one("SELECT 1"))


async def _behind(subscriptions: list[Subscription]) -> dict[str, int]:
    """How many events each consumer group has not taken yet."""
    return {each.consumer.name: await each.behind() for each in subscriptions}


async def _counts(parts: Parts) -> dict[str, int]:
    """How much there is, counted now."""
    stores = parts.stores
    shop_passed = await bus.passed(stores.shop, parts.subscriptions)
    payment_passed = await bus.passed(stores.payment, parts.subscriptions)

    async def shop(tx: Tx) -> dict[str, int]:
        pending = await outbox.pending(tx, shop_passed)
        return {**await order_store.counts(tx), **await stock_store.counts(tx), "outbox_pending": pending}

    async def payment(tx: Tx) -> tuple[int, int]:
        return await payment_store.count(tx), await outbox.pending(tx, payment_passed)

    counted = await stores.shop.scan(shop)
    payments, pending = await stores.payment.scan(payment)
    counted["outbox_pending"] += pending
    return counted | {"payments": payments, "documents": await parts.flows.index.count()}
