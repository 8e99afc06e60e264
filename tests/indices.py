"""Indices under contract: how each is opened, and what stands between one and its server in a test."""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from aiohttp import web

from quickcommerce.events import Line, Order, OrderChanged, OrderEvent, OrderPaid, OrderPlaced
from quickcommerce.history import elastic_index
from quickcommerce.history.elastic_index import ElasticIndex
from quickcommerce.history.flow import Document, Found, Index, Query
from quickcommerce.history.sql import SqlIndex
from quickcommerce.kit.clock import rfc3339
from quickcommerce.kit.ids import OrderId
from stores import opened

SQL = ("sql-sqlite-threaded", "sql-sqlite-inline")
ELASTIC = pytest.param("elastic", marks=pytest.mark.servers)
EVERY: list[Any] = [*SQL, ELASTIC]
"""Every adapter of the index port; that of a server needs `QC_TEST_ELASTIC_URL`."""
NO_NORI = "no-such-analyzer"
"""Asked for, it shows what is done on a server without the plugin."""
STEPS: list[tuple[type[OrderEvent], str]] = [(OrderPlaced, "PLACED"), (OrderChanged, "PAYING"), (OrderPaid, "PAID")]


def order_event(number: int, version: int = 1, *, name: str = "우유", user_id: int = 7) -> OrderEvent:
    """What is told of an order when it has come to a version."""
    kind, status = STEPS[version - 1]
    at = rfc3339(1_767_225_600_000_000 + number)
    line = Line(1, f"{name} {number}호", 1, 2_900, 0, 2_900, None)
    order_id = OrderId(f"ord_{number:026d}")
    order = Order(order_id, user_id, status, version, [line], 2_900, 0, 2_900, 0, 0, "KRW", at, at, at)
    return kind(order, ["Milk"], "buyer")


def elastic_url() -> str:
    """Where the server for tests is. Without one a test fails: nobody would notice one that is passed by."""
    url = os.environ.get("QC_TEST_ELASTIC_URL", "")
    assert url, "QC_TEST_ELASTIC_URL must tell where an Elasticsearch for tests is, such as http://127.0.0.1:9200"
    return url


def new_name() -> str:
    """A name for an index that no other test has."""
    return f"qc-test-{uuid.uuid4().hex[:12]}"


@asynccontextmanager
async def elastic(
    name: str = "", *, url: str = "", korean: str = NO_NORI, made: bool = True
) -> AsyncIterator[ElasticIndex]:
    """An index of its own on the server. `made=False`: it is not there yet. A name given: somebody else removes it."""
    connected = elastic_index.connect(url or elastic_url(), name or new_name())
    index = ElasticIndex(connected.server, connected.name, korean)
    try:
        if made:
            await (await index.begin()).finish()
        yield index
    finally:
        if not name:
            await wipe(index)
        await index.close()


async def wipe(index: ElasticIndex) -> None:
    """Delete it, as somebody may who has the key."""
    indices = index.server.client.indices
    there = await indices.get(index=f"{index.name}*")
    if there:
        await indices.delete(index=",".join(there))


@dataclass(frozen=True)
class AtOnce:
    """An index in which what was written is found at once."""

    index: ElasticIndex

    async def write(self, documents: Sequence[Document]) -> None:
        await self.index.write(documents)
        await self.index.refresh()

    async def search(self, query: Query) -> Found:
        return await self.index.search(query)

    async def count(self) -> int:
        return await self.index.count()


@asynccontextmanager
async def opened_index(adapter: str, folder: Path) -> AsyncIterator[Index]:
    """An index that is empty, and finds at once what was written."""
    kind, _, store = adapter.partition("-")
    if kind == "elastic":
        async with elastic() as index:
            yield AtOnce(index)
    else:
        async with opened(store, folder / "history.db", "cursor", "history") as found:
            yield SqlIndex(found.db)


@dataclass
class Between:
    """What a server does wrong, to whoever asks at this address instead. `does` maps part of a path to a fault."""

    server: str
    url: str = ""
    does: dict[str, int | str] = field(default_factory=dict)
    """A status that is answered, or `hang`: no answer comes. `items` of a bulk: some are refused with 429."""
    once: dict[str, int] = field(default_factory=dict)
    """Statuses that are answered once."""
    asked: list[tuple[str, str]] = field(default_factory=list)
    """(path, Authorization) of every request."""
    _runner: web.AppRunner | None = None
    _over: asyncio.Event = field(default_factory=asyncio.Event)

    async def start(self) -> None:
        """Listen, at the same address as before."""
        self._over = asyncio.Event()
        app = web.Application(client_max_size=2**26)
        app.router.add_route("*", "/{path:.*}", self._pass)
        self._runner = web.AppRunner(app, shutdown_timeout=0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", urlsplit(self.url).port or 0).start()
        port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{port}"

    async def stop(self) -> None:
        """Nobody listens, and what was connected is cut."""
        self._over.set()
        if self._runner:
            await self._runner.cleanup()
            self._runner = None

    async def _pass(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.path_qs, request.headers.get("Authorization", "")))
        fault = next((fault for part, fault in (self.once | self.does).items() if part in request.path), None)
        for part in [part for part in self.once if part in request.path]:
            del self.once[part]
        if fault == "hang":
            await self._over.wait()
        if isinstance(fault, int):
            body = {"error": {"type": "scripted", "reason": "a test says so"}, "status": fault}
            return web.json_response(body, status=fault, headers={"X-Elastic-Product": "Elasticsearch"})
        async with (
            aiohttp.ClientSession() as session,
            session.request(
                request.method,
                self.server + request.path_qs,
                data=await request.read(),
                headers={name: request.headers[name] for name in ("Content-Type", "Accept") if name in request.headers},
            ) as answer,
        ):
            headers = {name: answer.headers[name] for name in ("Content-Type", "X-Elastic-Product")}
            if fault == "items":
                told = await answer.json(content_type=None)
                item = told["items"][-1]["index"]
                item |= {"status": 429, "error": {"type": "es_rejected_execution_exception", "reason": "queue is full"}}
                return web.json_response(told, headers={"X-Elastic-Product": "Elasticsearch"})
            return web.Response(status=answer.status, body=await answer.read(), headers=headers)


@asynccontextmanager
async def between() -> AsyncIterator[Between]:
    """Something that passes everything on to the server for tests, until it is told otherwise."""
    there = Between(elastic_url())
    await there.start()
    try:
        yield there
    finally:
        await there.stop()
