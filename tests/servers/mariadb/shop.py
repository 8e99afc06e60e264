"""Whole systems on one MariaDB, in real time: processes that share their stores, their PG and nothing else.

The events go through relays: the outbox is read by leases, as with a broker, and not as a log.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

import schemas
from quickcommerce import settings as settings_module
from quickcommerce.app import App, build
from quickcommerce.kit.clock import system_clock
from quickcommerce.kit.problem import Unavailable
from quickcommerce.parts import Connect
from quickcommerce.toss_emulator import AppTransport
from relays import relays
from world import GOODS, Clock, World, buyers


class RealClock(Clock):
    """The time that it is."""

    def __call__(self) -> int:
        return system_clock()


def built(folder: Path, number: int, *, port: int = 0, connect: Connect | None = None, **settings: object) -> App:
    """One process on the schemas of this folder; nothing of it runs yet. `port`: of a line to the server."""
    environment = {f"QC_{name.upper()}": str(value) for name, value in settings.items()}
    loaded = settings_module.load(
        {"QC_PROFILE": "test", "QC_DATA_DIR": str(folder / f"process {number}"), "QC_LOG_LEVEL": "ERROR"} | environment
    )
    names = [schemas.make(schemas.name_of(folder / name)) for name in ("shop", "payment")]
    urls = [schemas.url_of(name, port=port) for name in names]
    # A process of the real thing has a broker; here the test carries the events.
    return build(msgspec.structs.replace(loaded, database_url=urls[0], payment_database_url=urls[1]), connect=connect)


async def _keep(step: Any) -> None:
    while True:
        try:
            if await step():
                continue
        except Unavailable:
            pass
        await asyncio.sleep(0.02)


@asynccontextmanager
async def shops(
    folder: Path, count: int = 2, *, port: int = 0, connect: Connect | None = None, **settings: object
) -> AsyncIterator[list[World]]:
    """So many processes, with some goods, whose loops run. They share the PG of the first."""
    apps = [built(folder, number, port=port, connect=connect, **settings) for number in range(count)]
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
            for client in (app.flows.toss._paying, app.flows.toss._reading):
                client._transport = AppTransport(first.asgi)
            http = await stack.enter_async_context(buyers(AppTransport(app.asgi)))
            worlds.append(World(app, RealClock(), http))
            loops = (app.flows.orders.expire, app.flows.captures.due, app.flows.refunding.due)
            running += [
                asyncio.create_task(_keep(each))
                for each in (*loops, *(one.step for one in relays(app, system_clock, {})))
            ]
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
