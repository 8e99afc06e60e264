"""The yardstick's application: the route, who may use it, and what a team would put around it."""

import hashlib
import hmac
import json
import secrets
import time
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated

import jwt
import structlog
from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, Histogram, generate_latest
from pydantic import ValidationError
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from sqlalchemy import select
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from bench.yardstick import guard
from bench.yardstick.model import Basket, Problem
from bench.yardstick.orders import Claim, Orders
from bench.yardstick.tables import ProductRow

PATH = "/v1/orders"
BODY_MAX = 64 * 1024
REDIS_CONNECTIONS = 64
PATIENCE_S = 120.0
"""How long a connection, or what is asked over it, is waited for. SQLAlchemy's pool gives one that is free to whoever
asks just then, before those who wait: under load some wait long, and are to be counted by their latency."""

LATENCY = Histogram("yardstick_http_seconds", "Time to answer", ["method", "route", "status"])
log = structlog.get_logger("yardstick")


@dataclass(frozen=True)
class Settings:
    """Where its servers are, who signs tokens, which guard it has, and how many connections to the database."""

    database_url: str
    redis_url: str
    jwt_secret: bytes = field(repr=False)
    guard: str
    pool_size: int


router = APIRouter()


def build(settings: Settings) -> FastAPI:
    """The application."""
    structlog.configure(
        processors=[structlog.processors.TimeStamper(fmt="iso"), structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger("info"),
        cache_logger_on_first_use=True,
    )
    app = FastAPI(title="yardstick", lifespan=_life)
    app.state.settings = settings
    app.include_router(router)
    app.middleware("http")(_measured)
    app.exception_handler(Problem)(_refused)
    app.exception_handler(PoolTimeout)(_overloaded)
    return app


@asynccontextmanager
async def _life(app: FastAPI) -> AsyncIterator[None]:
    settings: Settings = app.state.settings
    engine = create_async_engine(
        settings.database_url, pool_size=settings.pool_size, max_overflow=0, pool_timeout=PATIENCE_S,
        isolation_level="READ COMMITTED", connect_args={"connect_timeout": PATIENCE_S},
    )  # fmt: skip
    # A busy machine shows as latency. And a script that may have run is not called again: it would take twice.
    pool = BlockingConnectionPool.from_url(
        settings.redis_url, max_connections=REDIS_CONNECTIONS, timeout=PATIENCE_S, socket_timeout=PATIENCE_S,
        socket_connect_timeout=PATIENCE_S, retry=Retry(NoBackoff(), 0),
    )  # fmt: skip
    redis = Redis.from_pool(pool)
    sessions = async_sessionmaker(engine, expire_on_commit=False)
    await _fill(sessions, redis)
    app.state.orders = Orders(sessions, guard.guard(settings.guard, redis))
    yield
    await redis.aclose()
    await engine.dispose()


async def _caller(request: Request) -> int:
    """The user behind a request. Raises Problem."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Problem("unauthorized", "send Authorization: Bearer and a token")
    settings: Settings = request.app.state.settings
    try:
        claims = jwt.decode(token, settings.jwt_secret, ["HS256"], options={"require": ["exp", "sub"]})
        return int(claims["id"])
    except (jwt.InvalidTokenError, KeyError, ValueError) as error:
        raise Problem("unauthorized", "the token is not valid") from error


@router.post(PATH, status_code=201)
async def place(request: Request, user_id: Annotated[int, Depends(_caller)]) -> Response:
    """Place an order."""
    raw = await _json(request)
    basket = _basket(raw)
    claim = _claim(request, user_id, raw)
    trace = secrets.token_hex(16)
    orders: Orders = request.app.state.orders
    placed = await orders.place(user_id, basket, claim, trace)
    log.info("order.placed", order_id=placed.order_id, user_id=user_id, trace_id=trace, replayed=placed.replayed)
    secret: bytes = request.app.state.settings.jwt_secret
    mac = hmac.digest(secret, f"checkout:{placed.order_id}".encode(), hashlib.sha256)
    url = f"/pay/{placed.order_id}?token={urlsafe_b64encode(mac[:18]).decode()}"
    headers = {"Location": f"{PATH}/{placed.order_id}", "X-Trace-Id": trace}
    if placed.replayed:
        headers["Idempotency-Replayed"] = "true"
    body = placed.body[:-1] + b',"checkout_url":' + json.dumps(url).encode() + b"}"
    return Response(body, 201, headers, "application/json")


@router.get("/metrics")
def metrics() -> Response:
    """What Prometheus reads."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


async def _measured(request: Request, call: Callable[[Request], Awaitable[Response]]) -> Response:
    begun = time.perf_counter()
    response = await call(request)
    route = getattr(request.scope.get("route"), "path", "")
    LATENCY.labels(request.method, route, response.status_code).observe(time.perf_counter() - begun)
    return response


async def _refused(request: Request, problem: Problem) -> JSONResponse:
    headers = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": "1"}}.get(problem.status)
    return JSONResponse(problem.body(request.url.path), problem.status, headers, "application/problem+json")


async def _overloaded(request: Request, _error: PoolTimeout) -> JSONResponse:
    return await _refused(request, Problem("unavailable", "every connection to the database is in use"))


async def _fill(sessions: async_sessionmaker[AsyncSession], redis: Redis) -> None:
    """Put the units of all products into Redis."""
    async with sessions() as session:
        products = await session.scalars(select(ProductRow))
        units = {f"{guard.PREFIX}{product.product_id}": product.available for product in products}
    if units:
        await redis.mset(units)


async def _json(request: Request) -> bytes:
    """The body. Raises Problem."""
    too_large = Problem("payload-too-large", f"the body may have at most {BODY_MAX} bytes")
    if int(request.headers.get("content-length") or 0) > BODY_MAX:
        raise too_large
    raw = await request.body()
    if len(raw) > BODY_MAX:
        raise too_large
    if raw and request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Problem("unsupported-media-type", "send Content-Type: application/json")
    return raw


def _basket(raw: bytes) -> Basket:
    """The basket in a body. Raises Problem."""
    try:
        basket = Basket.model_validate_json(raw)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        if found[0]["type"] == "json_invalid":
            raise Problem("invalid-request", "the body is not valid JSON") from error
        faults = [{"pointer": "".join(f"/{part}" for part in each["loc"]), "detail": each["msg"]} for each in found]
        raise Problem("invalid-request", "the body does not fit", faults) from error
    first: dict[int, int] = {}
    repeated = [at for at, want in enumerate(basket.lines) if first.setdefault(want.product_id, at) != at]
    if repeated:
        raise Problem(
            "invalid-request",
            "a product may stand in a basket once",
            [{"pointer": f"/lines/{at}/product_id", "detail": "stands in an earlier line"} for at in repeated],
        )
    return basket


def _claim(request: Request, user_id: int, raw: bytes) -> Claim | None:
    """What the Idempotency-Key asks for, if there is one. Raises Problem."""
    keys = request.headers.getlist("idempotency-key")
    if not keys:
        return None
    if len(keys) > 1:
        raise Problem("invalid-request", "Idempotency-Key is given more than once")
    if not 1 <= len(keys[0]) <= 255 or not all("!" <= char <= "~" for char in keys[0]):
        raise Problem("invalid-request", "Idempotency-Key must be 1 to 255 visible ASCII characters")
    fingerprint = hashlib.sha256(f"POST {PATH}\n".encode() + raw).hexdigest()
    return Claim(f"{user_id}:{keys[0]}", fingerprint)
