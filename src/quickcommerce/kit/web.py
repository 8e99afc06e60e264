"""The HTTP manners that every route shares: who asks, bodies read strictly, problems answered, pages of lists.

Precedence of refusals: route (404, 405), 401, 403, 413, 415, 400, 422, then state. A handler keeps it by asking in
that order: `caller`, `Caller.need`, `body`, then its flow.
"""

import base64
import json
import time
from collections.abc import Iterable
from typing import Annotated, Any, TypeVar

import msgspec
from litestar import Request, Response
from litestar.datastructures import State
from litestar.enums import ScopeType
from litestar.exceptions import HTTPException
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from prometheus_client import Histogram

from quickcommerce.kit import problem
from quickcommerce.kit.auth import Caller, Verifier
from quickcommerce.kit.ids import Ids
from quickcommerce.kit.problem import InvalidRequest, PayloadTooLarge, Problem, UnsupportedMediaType
from quickcommerce.kit.telemetry import log, trace_of, tracing

T = TypeVar("T")
AnyRequest = Request[Any, Any, State]

BODY_MAX_BYTES = 64 * 1024
PAGE_DEFAULT = 20
PAGE_MAX = 100
JSON = "application/json"
PROBLEM_JSON = "application/problem+json"

LATENCY = Histogram(
    "qc_http_seconds",
    "Time to answer, by route",
    ["method", "route", "status"],
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No body, or `{}`."""


async def caller(request: AnyRequest) -> Caller:
    """Who asks. Raises Unauthorized."""
    verifier: Verifier = request.app.state.verifier
    return await verifier.caller(request.headers.get("authorization"))


def answer(content: object, status: int = 200, headers: dict[str, str] | None = None) -> Response[bytes]:
    """A JSON answer from anything msgspec encodes, or from bytes that are JSON already."""
    body = content if isinstance(content, bytes) else msgspec.json.encode(content)
    return Response(body, status_code=status, media_type=JSON, headers=headers)


async def raw_body(request: AnyRequest, limit: int = BODY_MAX_BYTES) -> bytes:
    """The body's bytes, which must be JSON by their type. Raises PayloadTooLarge, then UnsupportedMediaType."""
    too_large = PayloadTooLarge(f"the body may have at most {limit} bytes")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise too_large
    parts, size = [], 0
    async for part in request.stream():
        parts.append(part)
        size += len(part)
        if size > limit:
            raise too_large
    body = b"".join(parts)
    essence = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if body and essence != JSON:
        raise UnsupportedMediaType("send Content-Type: application/json")
    return body


def decode(body: bytes, shape: type[T]) -> T:
    """A body as a struct, strictly: no unknown field, no duplicate key, no NUL. Raises InvalidRequest with pointers."""
    try:
        value = msgspec.json.decode(body, type=shape)
        # msgspec keeps the last of two equal keys; a proxy before us may have believed the first.
        json.loads(body, object_pairs_hook=_unique)
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from error
    except (ValueError, RecursionError) as error:
        raise InvalidRequest("the body is not valid JSON") from error
    if b"\\u0000" in body and _has_nul(msgspec.json.decode(body)):
        raise InvalidRequest("NUL is not a character of any text here")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _has_nul(value: Any) -> bool:
    match value:
        case str():
            return "\0" in value
        case list():
            return any(map(_has_nul, value))
        case dict():
            return any(map(_has_nul, value)) or any(map(_has_nul, value.values()))
    return False


def _invalid(text: str) -> InvalidRequest:
    """Msgspec says `Expected ... - at `$.lines[0].quantity``; the contract wants a JSON pointer."""
    detail, _, path = text.partition(" - at `")
    pointer = path.rstrip("`").removeprefix("$").replace("[", "/").replace("]", "").replace(".", "/")
    return InvalidRequest("the body does not fit", errors=[{"pointer": pointer or "", "detail": detail}])


def integer(request: AnyRequest, name: str, *, low: int, high: int) -> int | None:
    """An integer query parameter, or None where it is absent. Raises InvalidRequest."""
    text = one(request, name)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(high)) and low <= int(text) <= high):
        raise InvalidRequest(f"{name} must be a whole number from {low} to {high}")
    return int(text)


def one(request: AnyRequest, name: str) -> str | None:
    """A query parameter that may stand once, or None where it is absent. Raises InvalidRequest."""
    values = request.query_params.getall(name, [])
    if len(values) > 1:
        raise InvalidRequest(f"{name} may be given once")
    if values and "\0" in values[0]:
        raise InvalidRequest(f"{name} may hold no NUL")
    return values[0] if values else None


def page_limit(request: AnyRequest) -> int:
    """`limit` of a list."""
    limit = integer(request, "limit", low=1, high=PAGE_MAX)
    return PAGE_DEFAULT if limit is None else limit


class _Cursor(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """Where a page ends: a number that any database can hold, and an id."""

    at: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
    identity: str


def cursor(request: AnyRequest) -> tuple[int, str] | None:
    """`cursor` of a list: where the last page ended. Raises InvalidRequest for one that we did not make."""
    text = one(request, "cursor")
    if text is None:
        return None
    try:
        position = msgspec.json.decode(base64.urlsafe_b64decode(text), type=_Cursor)
    except ValueError as error:
        raise InvalidRequest("cursor is not one that this list gave") from error
    return position.at, position.identity


def next_cursor(position: tuple[int, str]) -> str:
    """A cursor behind this position."""
    return base64.urlsafe_b64encode(msgspec.json.encode(position)).decode()


def paged(items: list[T], limit: int) -> tuple[list[T], T | None]:
    """A page from `limit + 1` rows: the rows to show, and the last of them if there is a next page."""
    shown = items[:limit]
    return shown, shown[-1] if len(items) > limit else None


def on_problem(request: AnyRequest, error: Problem) -> Response[bytes]:
    """A problem as application/problem+json."""
    body = msgspec.json.encode(error.body(request.url.path))
    return Response(body, status_code=error.status, media_type=PROBLEM_JSON, headers=error.headers())


def on_http(request: AnyRequest, error: HTTPException) -> Response[bytes]:
    """What the framework refuses by itself: no such route, or not this method."""
    allow = (error.headers or {}).get("Allow") or (error.headers or {}).get("allow")
    known: dict[int, type[Problem]] = {404: problem.NotFound, 405: problem.MethodNotAllowed, 400: InvalidRequest}
    response = on_problem(request, known.get(error.status_code, InvalidRequest)("no such route or method"))
    if allow:
        response.headers["Allow"] = allow
    return response


def on_defect(request: AnyRequest, _error: Exception) -> Response[bytes]:
    """A defect of ours: logged whole, told to the client in one sentence."""
    log.exception("http.defect", method=request.method, path=request.url.path)
    return on_problem(request, Problem("an unexpected error; it has been logged"))


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
        route = str(scope.get("path_template", "")) if status != problem.NotFound.status else ""
        LATENCY.labels(scope["method"], route, status).observe(time.perf_counter() - started)
