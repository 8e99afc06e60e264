"""Pools of connections that tell how long was waited: a plain one, and the original's, a pool inside a pool."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import asyncmy
from asyncmy.connection import Connection


@dataclass
class Waits:
    """What a pool would show in its metrics: waits in microseconds."""

    waited_us: list[int] = field(default_factory=list)

    @asynccontextmanager
    async def measured(self) -> AsyncIterator[None]:
        """Around a wait for a connection."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.waited_us.append(round((time.perf_counter() - begun) * 1_000_000))


class Pool(Protocol):
    """Something that lends connections."""

    waits: Waits

    async def take(self) -> Connection:
        """A connection, waited for as long as it takes."""
        ...

    def give(self, connection: Connection) -> None:
        """Give it back."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


@asynccontextmanager
async def lent(pool: Pool) -> AsyncIterator[Connection]:
    """A connection for the time being. It is given back as it is: what fails here ends the experiment."""
    async with pool.waits.measured():
        connection = await pool.take()
    try:
        yield connection
    finally:
        pool.give(connection)


class Plain:
    """At most `size` connections, all of them open before the first is used."""

    def __init__(self, size: int) -> None:
        self.size, self.waits = size, Waits()
        self._idle: asyncio.Queue[Connection] = asyncio.Queue()

    async def fill(self, database: Mapping[str, Any]) -> "Plain":
        """Open the connections."""
        for _ in range(self.size):
            self._idle.put_nowait(await asyncmy.connect(**database))
        return self

    async def take(self) -> Connection:
        """See `Pool.take`."""
        return await self._idle.get()

    def give(self, connection: Connection) -> None:
        """See `Pool.give`."""
        self._idle.put_nowait(connection)

    async def close(self) -> None:
        """See `Pool.close`; those that were never given back are not waited for."""
        while not self._idle.empty():
            await self._idle.get_nowait().ensure_closed()


class Nested:
    """A pool of `size` that opens its connections by taking them out of another, as r2dbc-pool does around a driver
    named `pool`, whose own pool has 10.

    Whoever asks while fewer than `size` are open waits for one to be opened, and for nothing else: once the inner pool
    is empty, for ever, since what the outer pool has it keeps. There is no deadline, as there was none.
    """

    def __init__(self, size: int, inner: Plain) -> None:
        self.size, self.waits = size, Waits()
        self._inner, self._opened = inner, 0
        self._idle: asyncio.Queue[Connection] = asyncio.Queue()

    async def take(self) -> Connection:
        """See `Pool.take`."""
        if self._idle.empty() and self._opened < self.size:
            self._opened += 1
            return await self._inner.take()
        return await self._idle.get()

    def give(self, connection: Connection) -> None:
        """See `Pool.give`."""
        self._idle.put_nowait(connection)

    async def close(self) -> None:
        """See `Pool.close`."""
        while not self._idle.empty():
            self._inner.give(self._idle.get_nowait())
        await self._inner.close()
