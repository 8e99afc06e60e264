"""A small bounded pool of connections, whatever they are connections to.

A turn comes first, then a connection: whoever has a turn takes the connection that was used last, or opens one where
none is idle. One that broke is given back as nothing, and the next turn opens another: the pool keeps its size.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from prometheus_client import Counter, Gauge, Histogram

from quickcommerce.kit.problem import Unavailable

C = TypeVar("C")

WAITING_MAX = 64
"""So many may wait for each connection; who comes then is refused at once."""

SIZE = Gauge("qc_db_pool_size", "Connections that the pool may have", ["db", "pool"])
IN_USE = Gauge("qc_db_pool_in_use", "Connections in use", ["db", "pool"])
WAIT_S = Histogram(
    "qc_db_pool_wait_seconds", "Waits for a connection", ["db", "pool"], buckets=[0.001, 0.01, 0.05, 0.1, 0.5, 1, 5]
)
REFUSED = Counter("qc_db_pool_refused_total", "Units of work that got no connection in time", ["db", "pool"])


class Pool(Generic[C]):
    """At most `size` connections, and a wait for one of at most `wait_s` seconds."""

    def __init__(
        self,
        db: str,
        role: str,
        opened: Callable[[], Awaitable[C]],
        closed: Callable[[C], None],
        *,
        size: int,
        wait_s: float,
    ) -> None:
        self.role = role
        self._db = db
        self._opened = opened
        self._closed = closed
        self._size = size
        self._wait_s = wait_s
        self._turns = asyncio.Semaphore(size)
        self._waiting = 0
        self._idle: list[C] = []
        self._ended = False
        self._in_use = IN_USE.labels(db, role)
        self._waited = WAIT_S.labels(db, role)
        self._refused = REFUSED.labels(db, role)
        SIZE.labels(db, role).set(size)

    async def enter(self) -> None:
        """Wait for a turn, which `leave` ends. Raises Unavailable where none comes in time."""
        self._refuse_if_ended()
        if self._turns.locked():
            await self._wait()
        else:
            await self._turns.acquire()
            self._waited.observe(0)
        self._in_use.inc()
        try:
            self._refuse_if_ended()
        except Unavailable:
            self.leave(None)
            raise

    async def _wait(self) -> None:
        if self._waiting >= WAITING_MAX * self._size:
            raise self._refusal()
        loop = asyncio.get_running_loop()
        begun = loop.time()
        self._waiting += 1
        try:
            async with asyncio.timeout(self._wait_s):
                await self._turns.acquire()
        except TimeoutError:
            raise self._refusal() from None
        finally:
            self._waiting -= 1
            self._waited.observe(loop.time() - begun)

    def _refuse_if_ended(self) -> None:
        if self._ended:
            raise Unavailable(f"the database {self._db} is closed")

    def _refusal(self) -> Unavailable:
        self._refused.inc()
        return Unavailable(f"every connection to the database {self._db} is in use")

    async def connection(self) -> C:
        """The connection of one who has a turn: the one used last, or a new one. Raises what opening it raises."""
        return self._idle.pop() if self._idle else await self._opened()

    def leave(self, connection: C | None) -> None:
        """End a turn, and give back its connection; None where it is broken, or there is none."""
        if connection is not None:
            if self._ended:
                self._closed(connection)
            else:
                self._idle.append(connection)
        self._in_use.dec()
        self._turns.release()

    def forget(self) -> None:
        """Close what is idle: where one connection broke, the others may have broken too."""
        while self._idle:
            self._closed(self._idle.pop())

    def end(self) -> None:
        """Refuse who comes from now on."""
        self._ended = True

    async def close(self) -> None:
        """End, wait until every turn has ended, and close everything."""
        self.end()
        for _ in range(self._size):
            await self._turns.acquire()
        self.forget()
        for _ in range(self._size):
            self._turns.release()
