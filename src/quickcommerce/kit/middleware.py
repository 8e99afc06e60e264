"""What stands around every route: its trace and its time."""

import time
from collections.abc import Iterable

from litestar.enums import HttpMethod, ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from prometheus_client import Histogram

from quickcommerce.kit.ids import Ids
from quickcommerce.kit.problem import NotFound
from quickcommerce.kit.telemetry import trace_of, tracing

METHODS = frozenset(HttpMethod)
"""Those that may be a metric's label; the others are whatever a client writes, and each would be a series."""

LATENCY = Histogram(
    "qc_http_seconds",
    "Time to answer, by route",
    ["method", "route", "status"],
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)


class Telemetry:
    """ASGI middleware: a trace id for each request, its time by route, and headers that every answer has."""

    def __init__(self, app: ASGIApp, ids: Ids, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
        self._app = app
        self._ids = ids
        self._headers = list(headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        given = next((value for name, value in scope["headers"] if name == b"traceparent"), b"")
        trace_id = trace_of(given.decode("latin-1")) or self._ids.token()
        started = time.perf_counter()
        status = 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                extra = [*self._headers, (b"x-trace-id", trace_id.encode())]
                message["headers"] = [*message.get("headers", []), *extra]
            await send(message)

        with tracing(trace_id):
            await self._app(scope, receive, sending)
        route = str(scope.get("path_template", "")) if status != NotFound.status else ""
        method = scope["method"] if scope["method"] in METHODS else "OTHER"
        LATENCY.labels(method, route, status).observe(time.perf_counter() - started)
