"""The real servers of a run: started from nothing by `scripts/services`, with a place of its own for each shop."""

import asyncio
import getpass
import shutil
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from elasticsearch import ApiError, AsyncElasticsearch, TransportError

from bench import processes

T = TypeVar("T")
SERVICES = "scripts/services"
RIGHTS = "SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, REFERENCES"
"""Rows for the shop, tables for its migrations."""
GATES = 16
"""Databases of a Redis."""
BUFFER_POOL_MB = 2_048
"""Memory of MariaDB: what a small server of its own gives it, and what holds the rows that a run uses."""
ASK_S = 30.0
"""How long the brokers may take to answer."""


@dataclass(frozen=True)
class Server:
    """A server that runs."""

    name: str
    pid: int
    version: str


@dataclass(frozen=True)
class Servers:
    """MariaDB, Redis with its Sentinels, Kafka and Elasticsearch. `urls` are the shop's settings that lead there."""

    folder: Path
    urls: Mapping[str, str]
    running: tuple[Server, ...]

    def place(self, number: int) -> dict[str, str]:
        """The settings of a shop of this number, which shares nothing with those of other numbers."""
        server = self.urls["database_url"].rpartition("/")[0]
        return dict(self.urls) | {
            "database_url": f"{server}/bench_{number}_shop",
            "payment_database_url": f"{server}/bench_{number}_payment",
            "gate_url": f"{self.urls['gate_url']}/{number % GATES}",
            "bus_prefix": f"bench-{number}.",
            "search_index": f"bench-{number}",
        }

    async def make(self, number: int) -> None:
        """Make the schemas of a shop. Its user may then do in them what a shop does."""
        user = self.urls["database_url"].removeprefix("mariadb://").partition(":")[0]
        for schema in _schemas(number):
            await self._as_root(f"CREATE DATABASE {schema} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin")
            await self._as_root(f"GRANT {RIGHTS} ON {schema}.* TO '{user}'@'127.0.0.1'")

    async def drop(self, number: int) -> None:
        """Drop what a shop of this number has stored: the next one finds servers that hold nothing. Raises Failed."""
        for schema in _schemas(number):
            await self._as_root(f"DROP DATABASE IF EXISTS {schema}")
        place = self.place(number)
        await patiently(lambda: asyncio.to_thread(_drop_topics, brokers(place["bus_url"]), place["bus_prefix"]))
        await patiently(lambda: _drop_index(place["search_url"], place["search_index"]))

    async def stop(self) -> None:
        """Stop all, and delete what they kept."""
        await _services(self.folder, "down")
        shutil.rmtree(self.folder)

    async def _as_root(self, sql: str) -> None:
        """Root is whoever started the server, through its socket, whose path may have 107 bytes: from its folder."""
        client = ["mariadb", "--no-defaults", "--socket=mariadb.sock", f"--user={getpass.getuser()}", "--execute", sql]
        await processes.run("env", "-C", str(self.folder / "mariadb" / "data"), *client)


def brokers(bus_url: str) -> str:
    """The addresses in a shop's setting, as Kafka's client takes them."""
    return bus_url.removeprefix("kafka://")


async def patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """What servers answer that may be busy for a moment. Raises Failed."""
    for wait_s in (0.2, 1.0, 5.0, 15.0):
        try:
            return await ask()
        except (KafkaException, ApiError, TransportError):
            await asyncio.sleep(wait_s)
    try:
        return await ask()
    except (KafkaException, ApiError, TransportError) as error:
        raise processes.Failed(f"a server did not do what it was asked to, five times in a row: {error}") from error


async def start(folder: Path) -> Servers:
    """Start all from nothing, in a folder that does not exist yet. Raises Failed; then nothing of them is left."""
    folder.mkdir()
    try:
        await _services(folder, "up")
        lines = (await _services(folder, "url")).splitlines()
        urls = {name.removeprefix("QC_").lower(): url for name, url in (line.split("=", 1) for line in lines)}
        status = [line.split() for line in (await _services(folder, "status")).splitlines()]
    except BaseException:
        await _services(folder, "down")
        shutil.rmtree(folder)
        raise
    return Servers(folder, urls, tuple(Server(words[0], int(words[3]), words[4]) for words in status))


def _drop_topics(addresses: str, prefix: str) -> None:
    """Delete the topics of a shop. Blocks. Raises KafkaException."""
    admin = AdminClient({"bootstrap.servers": addresses})
    topics = [topic for topic in admin.list_topics(timeout=ASK_S).topics if topic.startswith(prefix)]
    for deleted in admin.delete_topics(topics, operation_timeout=ASK_S).values() if topics else ():
        deleted.result()


async def _drop_index(url: str, name: str) -> None:
    """Delete the indices behind an alias of a history. Raises elasticsearch.ApiError, TransportError."""
    async with AsyncElasticsearch(url) as server:
        indices = list(await server.indices.get(index=f"{name}-*"))
        if indices:
            await server.indices.delete(index=indices)


def _schemas(number: int) -> tuple[str, str]:
    return f"bench_{number}_shop", f"bench_{number}_payment"


async def _services(folder: Path, *words: str) -> str:
    memory = f"SERVICES_BUFFER_POOL_MB={BUFFER_POOL_MB}"
    return await processes.run("env", "-u", "SERVICES_PORT_BASE", f"SERVICES_DIR={folder}", memory, SERVICES, *words)
