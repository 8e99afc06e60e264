"""The gate on Redis: figures of what is left, each of which ends by itself. The only door to Redis.

Redis may be down, slow, wiped, or an old copy of itself. Whatever fails is as good as knowing nothing, and costs no
more than `CALL_S` once in `REST_S`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from prometheus_client import Counter
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.sentinel import Sentinel

from quickcommerce.kit.problem import Unavailable
from quickcommerce.kit.telemetry import log

T = TypeVar("T")
U = TypeVar("U")

KNOWN_MS = 3_000
"""How long a figure is believed."""
CALL_S = 0.1
"""How long a list of orders waits for the gate."""
COMMAND_S = 5.0
"""How long an operator's command waits for it."""
REST_S = 1.0
"""How long the gate is left alone after a call that failed."""
CONNECTIONS_MAX = 8
"""Lists of orders are handled a few at a time, and each makes one call after another."""
PREFIX = "qc:gate:"
DIGITS_MAX = 19
"""A stock is a 64-bit integer."""

CALLS = Counter("qc_gate_calls_total", "Calls to the gate by end; failed ones cost up to 0.1 s", ["end"])


class RedisGate:
    """`order.crowd.Gate` on Redis."""

    def __init__(self, url: str) -> None:
        self._redis, self._sentinels = _connect(url)
        self._rests_until_s = float("-inf")
        self._calls: set[asyncio.Future[Any]] = set()

    async def figures(self, product_ids: Collection[int]) -> Mapping[int, int]:
        """See `Gate.figures`. One call, whatever the number of products."""
        ids = sorted(product_ids)
        if not ids:
            return {}
        nothing: list[bytes | str | None] = [None] * len(ids)
        values = await self._ask(lambda: self._redis.mget([PREFIX + str(product_id) for product_id in ids]), nothing)
        return {each: int(value) for each, value in zip(ids, values, strict=True) if value and _is_figure(value)}

    async def tell(self, figures: Mapping[int, int]) -> None:
        """See `Gate.tell`. One round trip, whatever the number of products."""
        pipeline = self._redis.pipeline(transaction=False)
        for product_id, units in figures.items():
            pipeline.set(PREFIX + str(product_id), units, px=KNOWN_MS)
        await self._ask(pipeline.execute, [])

    async def forget(self, product_ids: Collection[int]) -> None:
        """See `Gate.forget`."""
        await self._ask(lambda: self._redis.delete(*(PREFIX + str(product_id) for product_id in product_ids)), 0)

    async def ping(self) -> None:
        """Raises Unavailable where the gate does not answer."""
        await self._sure(self._redis.ping)

    async def empty(self) -> int:
        """Forget every figure. Returns how many there were. Raises Unavailable where the gate does not answer."""

        async def forget() -> int:
            keys = [key async for key in self._redis.scan_iter(f"{PREFIX}*")]
            return int(await self._redis.delete(*keys)) if keys else 0

        return await self._sure(forget)

    async def close(self) -> None:
        """Let go of its connections."""
        if self._calls:
            await asyncio.wait(self._calls)
        for client in (self._redis, *self._sentinels):
            await client.aclose()

    async def _sure(self, call: Callable[[], Awaitable[T]]) -> T:
        answer = await self._ask(call, None, COMMAND_S)
        if answer is None:
            raise Unavailable("the gate does not answer")
        return answer

    async def _ask(self, call: Callable[[], Awaitable[T]], otherwise: U, within_s: float | None = None) -> T | U:
        """What a call gives, or `otherwise`.

        Nobody cancels a call that has begun: it would leave its connection with an answer that is another's. It ends
        by itself, by the deadline of its socket.
        """
        loop = asyncio.get_running_loop()
        if loop.time() < self._rests_until_s:
            return otherwise
        asking = asyncio.ensure_future(call())
        self._calls.add(asking)
        asking.add_done_callback(self._ended)
        done, _ = await asyncio.wait({asking}, timeout=within_s or CALL_S)
        failure = asking.exception() if done else TimeoutError()
        if failure is None:
            CALLS.labels("answered").inc()
            return asking.result()
        self._rests_until_s = loop.time() + REST_S
        CALLS.labels("failed").inc()
        log.warning("gate.failed", error=repr(failure))
        return otherwise

    def _ended(self, call: asyncio.Future[Any]) -> None:
        self._calls.discard(call)
        if not call.cancelled():
            # Whoever asked may not wait any more; then nobody else hears of it.
            call.exception()


def _is_figure(value: bytes | str) -> bool:
    """Whether we may have written this: Redis holds what it is given, and Python makes no number of 5,000 digits."""
    return value.isdigit() and len(value) <= DIGITS_MAX


def _connect(url: str) -> tuple[Redis, Sequence[Redis]]:
    """A client for `redis://[:password@]host[:port][/db]`, or `redis+sentinel://host:port[,host:port...]/name[/db]`.

    With it the clients of the Sentinels that it asks, if any.
    """
    options: dict[str, Any] = {"socket_connect_timeout": CALL_S, "socket_timeout": CALL_S}
    if not url.startswith("redis+sentinel:"):
        pool = BlockingConnectionPool.from_url(url, max_connections=CONNECTIONS_MAX, timeout=CALL_S, **options)
        return Redis.from_pool(pool), ()
    parts = urlsplit(url)
    credentials, _, hosts = parts.netloc.rpartition("@")
    password = unquote(credentials.partition(":")[2]) or None
    name, _, db = parts.path.strip("/").partition("/")
    addresses = [(host, int(port or 26379)) for host, _, port in (each.rpartition(":") for each in hosts.split(","))]
    # The client's own types end here.
    sentinel: Any = Sentinel(addresses, sentinel_kwargs=options, password=password, db=int(db or 0), **options)  # type: ignore[no-untyped-call]
    client: Redis = sentinel.master_for(name, max_connections=CONNECTIONS_MAX)
    return client, sentinel.sentinels
