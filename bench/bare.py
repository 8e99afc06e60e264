"""Stores of their own on the real servers, and one process that takes orders on them: what the comparisons stand on."""

import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncmy
from redis.asyncio import Redis
from redis.asyncio.sentinel import Sentinel

from bench import processes
from bench.figures import Count
from bench.processes import QC, Running
from bench.room import Room
from bench.servers import Server, brokers
from bench.shapes import EVERYWHERE, Goods, Shop, stock
from bench.yardstick.guard import PREFIX

NOBODY = "http://127.0.0.1:9"
"""Where nobody answers: the api asks search and PG only for what no order needs."""


@dataclass(frozen=True)
class Bare:
    """Stores without a shop. `settings` lead one there; `redis_url` is the primary behind the gate."""

    room: Room
    folder: Path
    settings: Mapping[str, object]
    redis_url: str
    servers: tuple[Server, ...]

    @property
    def database_url(self) -> str:
        """Store A."""
        return str(self.settings["database_url"])

    @property
    def payment_url(self) -> str:
        """Store B."""
        return str(self.settings["payment_database_url"])

    @property
    def kafka(self) -> str:
        """The brokers."""
        return brokers(str(self.settings["bus_url"]))

    @property
    def database(self) -> Mapping[str, Any]:
        """Store A, as asyncmy takes it."""
        return _address(self.database_url)

    async def rows(self, sql: str, url: str = "") -> list[tuple[Any, ...]]:
        """What one statement gives in store A, or in another; it is committed."""
        connection = await asyncmy.connect(**_address(url or self.database_url), autocommit=True)
        async with connection, connection.cursor() as cursor:
            await cursor.execute(sql)
            return list(await cursor.fetchall())

    async def number(self, sql: str, url: str = "") -> int:
        """The one number that a statement gives."""
        return int((await self.rows(sql, url))[0][0] or 0)

    async def stock(self, goods: Goods) -> None:
        """Make the stores and topics of a shop, with goods."""
        # With an embedded history, which is made without asking anybody.
        await stock(self.folder, goods, dict(self.settings) | {"search_url": ""})

    async def counts(self, accepted: int, units: int) -> list[Count]:
        """What must hold of store A, which was empty, after so many orders of so many units each, whoever took them."""
        return [
            Count("orders stored", accepted, await self.number("SELECT COUNT(*) FROM orders")),
            Count("Idempotency-Keys stored", accepted, await self.number("SELECT COUNT(*) FROM idempotency")),
            Count("events of orders", accepted, await self.number("SELECT COUNT(*) FROM order_change WHERE step = 0")),
            Count("events in the outbox", accepted, await self.number("SELECT COUNT(*) FROM outbox")),
            Count("units in lines", accepted * units, await self.number("SELECT SUM(quantity) FROM order_line")),
        ]

    async def oversold(self) -> int:
        """Products of which more units were ordered than there are."""
        return await self.number(
            "SELECT COUNT(*) FROM product WHERE on_hand <"
            " (SELECT COALESCE(SUM(quantity), 0) FROM order_line WHERE order_line.product_id = product.product_id)"
        )

    async def units_taken(self, goods: Goods) -> int:
        """Units gone from the yardstick's Redis, which began with the goods."""
        async with Redis.from_url(self.redis_url) as redis:
            left = await redis.mget([f"{PREFIX}{each}" for each in goods.ids])
        return goods.products * goods.stock - sum(int(each or 0) for each in left)

    async def units_reserved(self) -> int:
        """Units that the rows of products say are held."""
        return await self.number("SELECT SUM(reserved) FROM product")

    def shop(self, *api: Running) -> Shop:
        """These processes, as buyers and whoever measures them know a shop."""
        urls = tuple(each.url for each in api)
        return Shop(urls[0], urls, NOBODY, api, (), self.servers)

    def ours(self, vcpu: float | None = None, number: int = 1) -> AbstractAsyncContextManager[Running]:
        """The shop's api role, with its gate."""
        return self.running(f"api-{number}", (QC, "run", "--role", "api", "--port", "0"), vcpu=vcpu)

    def yardstick(self, guard: str = "script") -> AbstractAsyncContextManager[Running]:
        """The yardstick with one of its guards."""
        command = (sys.executable, "-m", "bench.yardstick", "--database", self.database_url, "--redis", self.redis_url)
        return self.running("yardstick", (*command, "--guard", guard))

    @asynccontextmanager
    async def running(
        self, name: str, command: tuple[str, ...], *, vcpu: float | None = None, **settings: object
    ) -> AsyncIterator[Running]:
        """Runs a process that says where it is open, at most at so many CPUs, and stops it at the end."""
        group = self.room.limit(f"{self.folder.name}-{name}", vcpu)
        process = await processes.start(
            name, command, self.folder, settings=dict(self.settings) | settings, group=group
        )
        try:
            yield process
        finally:
            await processes.stop(process)


@asynccontextmanager
async def bare(room: Room) -> AsyncIterator[Bare]:
    """Empty schemas and an empty Redis; the schemas are dropped at the end."""
    servers, number = await room.servers(), room.next_shop()
    folder = room.folder / f"bare-{number}"
    folder.mkdir()
    settings = (
        EVERYWHERE | servers.place(number) | {"data_dir": folder / "data", "search_url": NOBODY, "pg_url": NOBODY}
    )
    redis_url = await _primary(str(settings["gate_url"]))
    async with Redis.from_url(redis_url) as redis:
        await redis.flushdb()
    await servers.make(number)
    try:
        yield Bare(room, folder, settings, redis_url, servers.running)
    finally:
        await servers.drop(number)


async def _primary(gate_url: str) -> str:
    """The Redis that the Sentinels of `redis+sentinel://HOST:PORT,.../NAME/DB` call the primary."""
    at = urlsplit(gate_url)
    name, _, db = at.path.strip("/").partition("/")
    addresses = [(host, int(port)) for host, _, port in (each.partition(":") for each in at.netloc.split(","))]
    sentinel: Any = Sentinel(addresses)  # type: ignore[no-untyped-call]
    host, port = await sentinel.discover_master(name)
    for client in sentinel.sentinels:
        await client.aclose()
    return f"redis://{host}:{port}/{db or 0}"


def _address(url: str) -> dict[str, Any]:
    at = urlsplit(url)
    return {"host": at.hostname, "port": at.port, "user": at.username, "password": at.password, "db": at.path[1:]}
