"""The HTTP manners that every route shares: who asks, bodies read strictly, problems answered, pages of lists.

Precedence of refusals: route (404, 405), 401, 403, 413, 415, 400, 422, then state. A handler keeps it by asking in
that order: `caller`, `Caller.need`, `body`, then its flow. `POST /v1/orders` alone says 503 before 401, while its queue
is full (ADR 4).
"""

import base64
import re
from collections.abc import Callable, Iterable
from typing import Annotated, Any, TypeVar

import msgspec
from litestar import Request, Response
from litestar.datastructures import State
from litestar.enums import HttpMethod, MediaType
from litestar.exceptions import HTTPException
from litestar.routes import HTTPRoute

from quickcommerce.kit import session, strict
from quickcommerce.kit.auth import ID_MAX, Caller, Role, Verifier
from quickcommerce.kit.problem import (
    Forbidden,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    PayloadTooLarge,
    Problem,
    Unauthorized,
    UnsupportedMediaType,
)  # fmt: skip
from quickcommerce.kit.rate import UserRate
from quickcommerce.kit.telemetry import log

T = TypeVar("T")
AnyRequest = Request[Any, Any, State]
decode = strict.decode

BODY_MAX_BYTES = 64 * 1024
PAGE_DEFAULT = 20
PAGE_MAX = 100
JSON = "application/json"
HTML = "text/html"
PROBLEM_JSON = "application/problem+json"
ENCODING = "content-encoding"
UTF_8 = frozenset({"charset=utf-8", 'charset="utf-8"', "charset=us-ascii"})
"""What JSON may say of its characters: it has those of UTF-8 and no others (RFC 8259 section 8.1)."""
FOREIGN_CURSOR = "cursor is not one that this list gave"
_NUMBER = re.compile(r"[1-9][0-9]{0,15}")


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No body, or `{}`."""


async def caller(request: AnyRequest) -> Caller:
    """Who asks, by Authorization or else by session; what may change something is counted, but for a MASTER's.

    Raises Unauthorized, Forbidden where another site asks, and TooManyRequests.
    """
    found = await _identified(request)
    if request.method not in session.SAFE and found.role is not Role.MASTER:
        rate: UserRate = request.app.state.user_rate
        rate.take(found.user_id)
    return found


async def _identified(request: AnyRequest) -> Caller:
    verifier: Verifier = request.app.state.verifier
    given = request.headers.getall("authorization", [])
    if len(given) > 1:
        raise Unauthorized("send one Authorization")
    if given:
        return await verifier.caller(given[0])
    token = request.cookies.get(session.COOKIE)
    found = await verifier.caller(f"Bearer {token}" if token else None)
    if request.method not in session.SAFE and not session.is_own(request):
        raise Forbidden("with a session, send the Origin of the shop's own pages")
    return found


def is_head(request: AnyRequest) -> bool:
    """Whether only the head of an answer is wanted (see `middleware.Head`), so that nothing may come of the request."""
    scope: Any = request.scope
    return bool(scope.get("head"))


def answer(content: object, status: int = 200, headers: dict[str, str] | None = None) -> Response[bytes]:
    """A JSON answer from anything msgspec encodes, or from bytes that are JSON already."""
    body = content if isinstance(content, bytes) else msgspec.json.encode(content)
    return Response(body, status_code=status, media_type=JSON, headers=headers)


async def raw_body(request: AnyRequest, limit: int = BODY_MAX_BYTES) -> bytes:
    """The body's bytes, which must be JSON by their type. Raises PayloadTooLarge, then UnsupportedMediaType."""
    declared = request.headers.get("content-length", "")
    too_large = declared.isdecimal() and int(declared) > limit
    body, more = b"", not too_large
    while more:
        message: Any = await request.receive()
        if message["type"] == "http.disconnect":
            raise InvalidRequest("the body did not arrive whole")
        body += message.get("body", b"")
        too_large = len(body) > limit
        more = message.get("more_body", False) and not too_large
    if too_large:
        raise PayloadTooLarge(f"the body may have at most {limit} bytes")
    if body:
        _check_type(request)
    return body


def _check_type(request: AnyRequest) -> None:
    """Raises UnsupportedMediaType for a body that is not JSON in UTF-8 as it stands."""
    essence, *parameters = (part.strip().lower() for part in request.headers.get("content-type", "").split(";"))
    if essence != JSON:
        raise UnsupportedMediaType("send Content-Type: application/json")
    if any(each.startswith("charset=") and each not in UTF_8 for each in parameters):
        raise UnsupportedMediaType("send JSON in UTF-8")
    if any(each.strip().lower() not in ("", "identity") for each in request.headers.getall(ENCODING, [])):
        raise UnsupportedMediaType("send the body as it is, without Content-Encoding")


async def nothing(request: AnyRequest) -> None:
    """Read a body that may only be absent or `{}`. Raises as `raw_body` and `decode` do."""
    decode(await raw_body(request) or b"{}", Nothing)


def number(text: str, what: str) -> int:
    """A number from a path that names something. Raises NotFound for anything that cannot be one."""
    if not _NUMBER.fullmatch(text) or int(text) >= ID_MAX:
        raise NotFound(f"there is no such {what}")
    return int(text)


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


def cursor(request: AnyRequest, fits: Callable[[str], bool] = str.isprintable) -> tuple[int, str] | None:
    """`cursor` of a list: where the last page ended. `fits`: whether a text can be the id of one of its items.

    Raises InvalidRequest for one that we did not make.
    """
    text = one(request, "cursor")
    if text is None:
        return None
    try:
        position = msgspec.json.decode(base64.urlsafe_b64decode(text), type=_Cursor)
    except ValueError as error:
        raise InvalidRequest(FOREIGN_CURSOR) from error
    if not fits(position.identity):
        raise InvalidRequest(FOREIGN_CURSOR)
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
    """What the framework refuses by itself: no such route, not this method, or what it cannot read."""
    if error.status_code == NotFound.status:
        return on_problem(request, NotFound("there is no such address"))
    if error.status_code == MethodNotAllowed.status:
        return on_problem(request, MethodNotAllowed(_with_head((error.headers or {})["allow"].split(", "))))
    return on_problem(request, InvalidRequest("the request cannot be read"))


def _with_head(methods: Iterable[str]) -> set[str]:
    """The methods of a path, with HEAD where it has GET."""
    found = set(methods)
    return found | {"HEAD"} if "GET" in found else found


async def before_request(request: AnyRequest) -> Response[None] | None:
    """Answer OPTIONS: the framework's own answer knows only the methods of a path's first handler."""
    if request.method != HttpMethod.OPTIONS:
        return None
    path = request.scope["path_template"]
    routes = [route for route in request.app.routes if isinstance(route, HTTPRoute) and route.path_format == path]
    methods = _with_head(method for route in routes for method in route.methods)
    return Response(None, status_code=204, headers={"Allow": ", ".join(sorted(methods))}, media_type=MediaType.TEXT)


def on_defect(request: AnyRequest, _error: Exception) -> Response[bytes]:
    """A defect of ours: logged whole, told to the client in one sentence."""
    log.exception("http.defect", method=request.method, path=request.url.path)
    return on_problem(request, Problem("an unexpected error; it has been logged"))
