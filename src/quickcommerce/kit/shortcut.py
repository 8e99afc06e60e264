"""A short way to the handlers of a few addresses, those that are asked most.

The framework's own way to a handler and back, and the middleware of all addresses around it, take longer than the
handler: a third of the time of an order (ADR 4). What is answered is the same, and the handlers are the framework's own
as well: it describes them, and serves what is not spelled as here.
"""

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

from litestar import Litestar, Request, Response
from litestar.datastructures import State
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from quickcommerce.kit.middleware import Telemetry, measure
from quickcommerce.kit.problem import NotFound, Problem
from quickcommerce.kit.telemetry import tracing
from quickcommerce.kit.web import BODY_MAX_BYTES, on_defect, on_problem

Handler = Callable[..., Awaitable[Response[bytes]]]
"""Takes the request, and what stands in the place that its address leaves open, if it does."""
Shortcuts = Mapping[tuple[str, str], Handler]
"""Handlers by method and address, which leaves open its third part, `/v1/orders/{order_id:str}/payment`, or none."""
OPEN_PARTS, OPEN_AT = 5, 3
"""Of `/v1/orders/{order_id:str}/payment`, cut at its slashes: how many there are, and which is open."""


class Shortcut:
    """ASGI middleware: goes straight to a handler, where the whole of a request is small and its length is told."""

    def __init__(self, app: ASGIApp, telemetry: Telemetry, routes: Litestar, handlers: Shortcuts) -> None:
        """`app`: the long way. `handlers`: of `routes`."""
        self._app = app
        self._telemetry = telemetry
        self._routes = routes
        if any(("{" in address) != bool(_shape(address)[1]) for _, address in handlers):
            raise AssertionError("a short way leaves open the third part of its address, or none")
        self._handlers = {
            (method, _shape(address)[0]): (handler, address.replace(":str}", "}"))
            for (method, address), handler in handlers.items()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        http = cast("HTTPScope", scope)
        shape, given = _shape(http["path"]) if scope["type"] == ScopeType.HTTP else ("", [])
        found = self._handlers.get((http["method"], shape)) if shape else None
        if found is None or not _is_small(http):
            await self._app(scope, receive, send)
            return
        handler, route = found
        started = time.perf_counter()
        # The whole body comes first: behind an answer that did not wait for it, what still comes must be read as well.
        body = await _whole(receive)
        if body is None:
            return  # nobody is there any more
        http["litestar_app"] = self._routes
        trace_id = self._telemetry.trace(http)
        with tracing(trace_id):
            answer = await self._answer(handler, Request(scope, body), given)
        headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in answer.headers.items()]
        headers += [
            (b"content-type", str(answer.media_type).encode()),
            (b"content-length", b"%d" % len(answer.content)),
        ]
        status = answer.status_code or 200
        told = self._telemetry.told(headers, trace_id)
        await send({"type": "http.response.start", "status": status, "headers": told})
        await send({"type": "http.response.body", "body": answer.content, "more_body": False})
        measure(http["method"], route if status != NotFound.status else "", status, started)

    async def _answer(self, handler: Handler, request: Request[Any, Any, State], given: list[str]) -> Response[bytes]:
        try:
            return await handler(request, *given)
        except Problem as problem:
            return on_problem(request, problem)
        except Exception as defect:  # noqa: BLE001 - logged whole, and told to the client in one sentence
            return on_defect(request, defect)


def _shape(path: str) -> tuple[str, list[str]]:
    """A path without the part that an address may leave open, and that part."""
    parts = path.split("/")
    if len(parts) != OPEN_PARTS:
        return path, []
    given, parts[OPEN_AT] = parts[OPEN_AT], ""
    return "/".join(parts), [given]


def _is_small(scope: HTTPScope) -> bool:
    """Whether the body has a length, one that is taken here, or there can be none. What says it in two ways goes the
    long way.
    """
    lengths = [value for name, value in scope["headers"] if name in (b"content-length", b"transfer-encoding")]
    if scope["method"] == "GET" and not lengths:
        return True
    return len(lengths) == 1 and lengths[0].isdigit() and int(lengths[0]) <= BODY_MAX_BYTES


async def _whole(receive: Receive) -> Receive | None:
    """What gives the whole body at once; None where it did not come."""
    message: Any = await receive()
    while message["type"] == "http.request" and message.get("more_body"):
        more: Any = await receive()
        more["body"] = message.get("body", b"") + more.get("body", b"")
        message = more
    if message["type"] != "http.request":
        return None

    async def given() -> Any:
        return message

    return given
