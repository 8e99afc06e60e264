"""Whole systems on one MariaDB, in real time: processes that share their stores, their PG and nothing else.

The events go through relays: the outbox is read by leases, as with a broker, and not as a log.
"""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
from asyncmy.errors import OperationalError

import schemas
from quickcommerce import settings as settings_module
from quickcommerce.app import App, build
from quickcommerce.kit.bus import Subscription
from quickcommerce.kit.clock import system_clock
from quickcommerce.kit.db import Tx
from quickcommerce.kit.mariadb import MariaDb
from quickcommerce.kit.mariadb_errors import meaning
from quickcommerce.kit.outbox import Message, Relay
from quickcommerce.kit.problem import Unavailable
from quickcommerce.toss_emulator import AppTransport
from world import GOODS, Clock, World, buyers


class RealClock(Clock):
    """The time that it is."""

    def __call__(self) -> int:
        return system_clock()


def built(folder: Path, number: int, *, port: int = 0, **settings: object) -> App:
    """One process on the schemas of this folder; nothing of it runs yet. `port`: of a line to the server."""
    environment = {f"QC_{name.upper()}": str(value) for name, value in settings.items()}
    loaded = settings_module.load(
        {"QC_PROFILE": "test", "QC_DATA_DIR": str(folder / f"process {number}"), "QC_LOG_LEVEL": "ERROR"} | environment
    )
    names = [schemas.make(schemas.name_of(folder / name)) for name in ("shop", "payment")]
    urls = [schemas.url_of(name, port=port) for name in names]
    # A process of the real thing has a broker; here the test carries the events.
    return build(msgspec.structs.replace(loaded, database_url=urls[0], payment_database_url=urls[1]))


UNDOES = (1020, 1205, 1213, 1062)
"""What MariaDB says where it undoes a transaction that is right: a row changed, a wait, a deadlock, a twin."""


def unsteady(patch: pytest.MonkeyPatch, share: float, seed: int = 1) -> Counter[int]:
    """From now on the server undoes this share of the statements that write. Returns what it said how often."""
    ask, rng, said = MariaDb._ask, random.Random(seed), Counter[int]()

    async def undone(self: MariaDb, role: str, connection: Any, sql: str, params: Any) -> Any:
        answer = await ask(self, role, connection, sql, params)
        writes = sql.startswith(("INSERT", "UPDATE", "DELETE")) or "FOR UPDATE" in sql
        if role == "writer" and writes and rng.random() < share:
            code = rng.choice(UNDOES)
            said[code] += 1
            raise meaning(self.name, OperationalError(code, "injected"))
        return answer

    patch.setattr(MariaDb, "_ask", undone)
    return said


async def settled(_: Tx) -> None:
    """A bus that keeps its own place."""


def relays(app: App) -> list[Relay]:
    """What carries the events of each outbox to all their consumers, in place of a broker."""

    def relay(subscriptions: list[Subscription]) -> Relay:
        async def publish(messages: list[Message]) -> int:
            try:
                for subscription in subscriptions:
                    await subscription.consumer.deliver(messages, settled)
            except Unavailable:
                return 0
            return len(messages)

        return Relay(subscriptions[0].source, publish, system_clock, app.flows.ids, lease_s=10.0, list_max=100)

    by_source: dict[str, list[Subscription]] = {}
    for subscription in app.parts.subscriptions:
        by_source.setdefault(subscription.source.name, []).append(subscription)
    return [relay(subscriptions) for subscriptions in by_source.values()]


async def _keep(step: Any) -> None:
    while True:
        try:
            if await step():
                continue
        except Unavailable:
            pass
        await asyncio.sleep(0.02)


class InTurn(httpx2.AsyncBaseTransport):
    """The processes of a shop as buyers reach them, through something that gives each request to the next one."""

    def __init__(self, worlds: list[World]) -> None:
        self._first = AppTransport(worlds[0].app.asgi)
        self._next = itertools.cycle([AppTransport(w.app.asgi) for w in worlds])

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """The PG is one, and in the first."""
        to = self._first if request.url.path.startswith("/_toss/") else next(self._next)
        return await to.handle_async_request(request)


@asynccontextmanager
async def in_turn(folder: Path, **settings: object) -> AsyncIterator[World]:
    """Two processes that look like one. The events of both go through the first, which has the history."""
    async with shops(folder, 2, port=0, carriers=1, **settings) as worlds, buyers(InTurn(worlds)) as http:
        yield World(worlds[0].app, RealClock(), http)


@asynccontextmanager
async def shops(
    folder: Path, count: int = 2, *, port: int = 0, carriers: int | None = None, **settings: object
) -> AsyncIterator[list[World]]:
    """So many processes, with some goods, whose loops run. They share the PG of the first. `carriers`: so many of them
    carry events, where it is not all.
    """
    apps = [built(folder, number, port=port, **settings) for number in range(count)]
    await apps[0].migrate()
    await apps[0].flows.catalog.put(GOODS)
    first = apps[0].flows.emulator
    assert first
    await first.start()
    running: list[asyncio.Task[None]] = []
    async with AsyncExitStack() as stack:
        worlds = []
        for app in apps:
            await app.open()
            app.flows.toss._http._transport = AppTransport(first.asgi)
            http = await stack.enter_async_context(buyers(AppTransport(app.asgi)))
            worlds.append(World(app, RealClock(), http))
            loops = (app.flows.orders.expire, app.flows.captures.due, app.flows.refunding.due)
            carrying = relays(app) if carriers is None or len(worlds) <= carriers else []
            running += [asyncio.create_task(_keep(each)) for each in (*loops, *(one.step for one in carrying))]
        try:
            yield worlds
        finally:
            for task in running:
                task.cancel()
            ended = await asyncio.gather(*running, return_exceptions=True)
            for app in apps:
                await app.stop()
    assert all(isinstance(each, asyncio.CancelledError) for each in ended), ended


async def at_rest(world: World) -> None:
    """Wait until no event is under way."""

    async def empty() -> bool:
        counted = [
            await store.scan(lambda tx: tx.one("SELECT COUNT(*) FROM outbox"))
            for store in (world.app.stores.shop, world.app.stores.payment)
        ]
        return counted == [(0,), (0,)]

    await world.until("the outboxes are empty", empty)
