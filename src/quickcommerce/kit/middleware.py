"""What stands around every route: its trace, its time, and the end of a body that nobody read."""

import asyncio
import time
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from typing import Any

from litestar.enums import HttpMethod, ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from prometheus_client import Histogram

from quickcommerce.kit.ids import Ids
from quickcommerce.kit.problem import NotFound
from quickcommerce.kit.telemetry import trace_of, tracing

METHODS = frozenset(HttpMethod)
"""Those that may be a metric's label; the others are whatever a client writes, and each would be a series."""
DRAIN_MAX_BYTES = 4 * 1024 * 1024
DRAIN_S = 3.0

LATENCY = Histogram(
    "qc_http_seconds",
    "Time to answer, by route",
    ["method", "route", "status"],
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)


class Telemetry:
    """ASGI middleware: a trace id for each request, its time by route, and headers where none of these is given."""

    def __init__(self, app: ASGIApp, ids: Ids, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
        self._app = app
        self._ids = ids
        self._headers = list(headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        trace_id = self.trace(scope)
        started = time.perf_counter()
        status = 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = self.told(list(message.get("headers", [])), trace_id)
            await send(message)

        with tracing(trace_id):
            await self._app(scope, receive, sending)
        route = str(scope.get("path_template", "")) if status != NotFound.status else ""
        measure(scope["method"], route, status, started)

    def trace(self, scope: Scope) -> str:
        """The trace id that a request came with, or a new one."""
        given = next((value for name, value in scope["headers"] if name == b"traceparent"), b"")
        return (given and trace_of(given.decode("latin-1"))) or self._ids.token()

    def told(self, headers: list[tuple[bytes, bytes]], trace_id: str) -> list[tuple[bytes, bytes]]:
        """The headers of an answer, with those of every answer."""
        names = {name.lower() for name, _ in headers}
        extra = [each for each in self._headers if each[0] not in names]
        return [*headers, *extra, (b"x-trace-id", trace_id.encode())]


def measure(method: str, route: str, status: int, started: float) -> None:
    """Count an answer, and its time since `started` (`time.perf_counter`)."""
    _latency(method if method in METHODS else "OTHER", route, status).observe(time.perf_counter() - started)


_latency = cache(LATENCY.labels)
"""There are as many as there are routes, and finding one by its labels takes a lock, and 0.7 us."""


class Head:
    """ASGI middleware: HEAD is answered as GET is, without the body (RFC 9110 section 9.3.2).

    A GET that does something is to ask `kit.web.is_head` first: whoever checks a link wants nothing done.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != ScopeType.HTTP or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        ended = False

        async def sending(message: Message) -> None:
            nonlocal ended
            if message["type"] == "http.response.start":
                await send(message)
            elif not ended:
                # A body may have no end: what follows is not waited for.
                ended = True
                await send({"type": "http.response.body", "body": b"", "more_body": False})

        as_get: Any = {**scope, "method": "GET", "head": True}
        await self._app(as_get, receive, sending)
        # Telemetry names the route by it.
        scope["path_template"] = as_get.get("path_template", "")


class Drain:
    """ASGI middleware: behind an answer that did not wait for the request's body, read what still comes of it.

    A connection that is closed while bytes come in is reset, and a client that writes its whole body before it reads
    loses the answer (RFC 9112 section 9.6). The answer is not held back: only its end is, for at most
    `DRAIN_MAX_BYTES` and `DRAIN_S`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        framing = (b"content-length", b"transfer-encoding")
        if scope["type"] != ScopeType.HTTP or not any(name in framing for name, _ in scope["headers"]):
            await self._app(scope, receive, send)
            return
        more = True

        async def receiving() -> Any:
            nonlocal more
            message: Any = await receive()
            more = bool(message.get("more_body"))
            return message

        async def sending(message: Message) -> None:
            if more and message["type"] == "http.response.body" and not message["more_body"]:
                await send({**message, "more_body": True})
                with suppress(TimeoutError):
                    async with asyncio.timeout(DRAIN_S):
                        await drain()
                message = {"type": "http.response.body", "body": b"", "more_body": False}
            await send(message)

        async def drain() -> None:
            left = DRAIN_MAX_BYTES
            while more and left > 0:
                left -= len((await receiving()).get("body", b""))

        await self._app(scope, receiving, sending)
