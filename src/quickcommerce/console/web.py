"""Operations over HTTP: is it alive, is it ready, how much is there, what could not be handled."""

import re

import msgspec
from litestar import Response, get, post
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from quickcommerce.console import docs as pages
from quickcommerce.console.invariants import Invariants
from quickcommerce.console.operations import MASTER, Operations, position
from quickcommerce.kit import assets, web
from quickcommerce.kit.inbox import DeadLetter
from quickcommerce.kit.openapi import Doc
from quickcommerce.kit.problem import InvalidState, NotFound, Unavailable
from quickcommerce.kit.web import AnyRequest

STATIC = assets.load("quickcommerce.console")
LETTER = re.compile(r"[a-z]{1,20}\.[!-~]{1,60}")
"""The id of a dead letter: its consumer and its event."""
METRICS = CONTENT_TYPE_LATEST.removesuffix("; charset=utf-8")
"""The framework names the charset of every text itself."""


class Health(msgspec.Struct):
    """Whether it is up, or done."""

    status: str


class DeadLetterList(msgspec.Struct):
    """What could not be handled, the oldest first."""

    items: list[DeadLetter]
    next_cursor: str | None


class Counts(msgspec.Struct):
    """How much there is."""

    orders: int
    order_events: int
    outbox_pending: int
    payments: int
    documents: int
    on_hand: int
    reserved: int
    sold: int


@get("/healthz", opt={"doc": Doc("Is the process alive", gives={200: Health})})
async def healthz() -> Response[bytes]:
    """The process is alive."""
    return web.answer(Health("alive"))


@get("/readyz", opt={"doc": Doc("Can it serve", gives={200: Health}, problems=(Unavailable,))})
async def readyz(state: State) -> Response[bytes]:
    """Whether the process can serve; 503 with `reasons` while it cannot."""
    operations: Operations = state.operations
    reasons = await operations.unready()
    if reasons:
        raise Unavailable("not ready", extra={"reasons": reasons})
    return web.answer(Health("ready"))


@get("/metrics", opt={"doc": Doc("Prometheus metrics", gives={200: None}, media="text/plain")})
async def metrics() -> Response[bytes]:
    """Prometheus metrics."""
    return Response(generate_latest(), media_type=METRICS)


@get("/v1/ops/counts", opt={"doc": Doc("How much there is", MASTER, gives={200: Counts}, problems=(Unavailable,))})
async def counts(request: AnyRequest, state: State) -> Response[bytes]:
    """How much there is."""
    operations: Operations = state.operations
    (await web.caller(request)).need(*MASTER)
    return web.answer(msgspec.convert(dict(await operations.counts()), Counts))


@get(
    "/v1/ops/invariants",
    opt={
        "doc": Doc(
            "What must always hold, and whether it does", MASTER, gives={200: Invariants}, problems=(Unavailable,)
        )
    },
)
async def invariants(request: AnyRequest, state: State) -> Response[bytes]:
    """What must always hold, looked at now."""
    operations: Operations = state.operations
    (await web.caller(request)).need(*MASTER)
    return web.answer(await operations.invariants())


@get(
    "/v1/ops/dead-letters",
    opt={
        "doc": Doc(
            "What could not be handled",
            MASTER,
            gives={200: DeadLetterList},
            problems=(Unavailable,),
            query=("limit", "cursor"),
        )
    },
)
async def dead_letters(request: AnyRequest, state: State) -> Response[bytes]:
    """What could not be handled, the oldest first."""
    operations: Operations = state.operations
    (await web.caller(request)).need(*MASTER)
    limit, after = web.page_limit(request), web.cursor(request, lambda identity: LETTER.fullmatch(identity) is not None)
    letters, last = web.paged(await operations.dead_letters(after, limit + 1), limit)
    return web.answer(DeadLetterList(letters, web.next_cursor(position(last)) if last else None))


@post(
    "/v1/ops/dead-letters/{letter_id:str}/replay",
    status_code=200,
    opt={
        "doc": Doc(
            "Handle a dead letter again",
            MASTER,
            takes=web.Nothing,
            gives={200: Health},
            problems=(NotFound, InvalidState, Unavailable),
        )
    },
)
async def replay(request: AnyRequest, state: State, letter_id: FromPath[str]) -> Response[bytes]:
    """Handle a dead letter again, after what made it fail was mended."""
    operations: Operations = state.operations
    (await web.caller(request)).need(*MASTER)
    await web.nothing(request)
    await operations.replay(letter_id)
    return web.answer(Health("replayed"))


@get("/openapi.json", opt={"doc": Doc("This description", gives={200: None}, media="application/json")})
async def openapi(state: State) -> Response[bytes]:
    """The OpenAPI description."""
    return web.answer(state.openapi)


@get("/asyncapi.json", opt={"doc": Doc("The events", gives={200: None}, media="application/json")})
async def asyncapi(state: State) -> Response[bytes]:
    """The AsyncAPI description."""
    return web.answer(state.asyncapi)


@get("/docs", opt={"doc": Doc("This description, as a page", gives={200: None}, media=web.HTML)})
async def docs(state: State) -> Response[str]:
    """The description as a page, made when it is first asked for."""
    if "docs" not in state:
        state.docs = pages.render(state.openapi)
    return Response(state.docs, media_type=web.HTML, headers=pages.HEADERS)


@get([f"/static/{name}" for name in STATIC], sync_to_thread=False)
def asset(request: AnyRequest) -> Response[bytes]:
    """A file of these pages."""
    return STATIC[request.url.path.removeprefix("/static/")].answer(request)


def health() -> list[HTTPRouteHandler]:
    """What every process answers, whatever it does."""
    return [healthz, readyz, metrics]


def routes() -> list[HTTPRouteHandler]:
    """The operations routes; they find `Operations` in the app's state as `operations`."""
    return [*health(), counts, invariants, dead_letters, replay, openapi, asyncapi, docs, asset]
