"""What becomes of an order, by how long it has a connection: all the time, for its rows alone, or for a list's rows."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from asyncmy.connection import Connection
from redis.asyncio import Redis

from bench.pool.pools import Pool, lent

LINES = 3
LIST_MAX = 256
TABLES = (
    "CREATE TABLE pool_order (order_id BIGINT PRIMARY KEY, body VARCHAR(600) NOT NULL)",
    "CREATE TABLE pool_line (order_id BIGINT, line BIGINT, quantity BIGINT NOT NULL, PRIMARY KEY (order_id, line))",
)
TAKE = "return redis.call('DECRBY', KEYS[1], ARGV[1])"
BODY = "x" * 500

Order = Callable[[int], Awaitable[None]]
"""Does everything for the order with this id; returns when it may be answered."""


@dataclass(frozen=True)
class Elsewhere:
    """All that an order waits for beside its rows: a script in Redis for each line, and calls that take `call_s`."""

    redis: Redis
    call_s: float

    async def visit(self, order_id: int) -> None:
        """Wait for all of it, one after the other."""
        for line in range(LINES):
            # The client's types say that a script may also be called without a loop.
            called: Any = self.redis.eval(TAKE, 1, f"pool:{(order_id + line) % 200}", 1)
            await called
        await asyncio.sleep(self.call_s)


def held(pool: Pool, elsewhere: Elsewhere) -> Order:
    """The original's: the transaction comes first, and holds its connection while everything else is waited for."""

    async def place(order_id: int) -> None:
        async with lent(pool) as connection:
            await connection.begin()
            await elsewhere.visit(order_id)
            await _write(connection, [order_id])
            await connection.commit()

    return place


def short(pool: Pool, elsewhere: Elsewhere) -> Order:
    """Everything else first; a connection only for the transaction."""

    async def place(order_id: int) -> None:
        await elsewhere.visit(order_id)
        async with lent(pool) as connection:
            await connection.begin()
            await _write(connection, [order_id])
            await connection.commit()

    return place


@dataclass
class Lists:
    """Ours: as `short`, and all orders that wait share the transaction of a list. `runners` take lists in turn."""

    pool: Pool
    elsewhere: Elsewhere
    _waiting: list[tuple[int, asyncio.Future[None]]] = field(default_factory=list)
    _come: asyncio.Event = field(default_factory=asyncio.Event)

    async def place(self, order_id: int) -> None:
        """See `Order`."""
        await self.elsewhere.visit(order_id)
        written = asyncio.get_running_loop().create_future()
        self._waiting.append((order_id, written))
        self._come.set()
        await written

    async def run(self) -> None:
        """A runner: takes what waits, writes it, answers it, until cancelled."""
        while True:
            await self._come.wait()
            taken, self._waiting = self._waiting[:LIST_MAX], self._waiting[LIST_MAX:]
            if not self._waiting:
                self._come.clear()
            if taken:
                async with lent(self.pool) as connection:
                    await connection.begin()
                    await _write(connection, [order_id for order_id, _ in taken])
                    await connection.commit()
                for _, written in taken:
                    written.set_result(None)


async def _write(connection: Connection, order_ids: list[int]) -> None:
    orders = [(order_id, BODY) for order_id in order_ids]
    lines = [(order_id, line, 1) for order_id in order_ids for line in range(LINES)]
    async with connection.cursor() as cursor:
        await cursor.execute(_insert("pool_order", 2, len(orders)), [each for row in orders for each in row])
        await cursor.execute(_insert("pool_line", 3, len(lines)), [each for row in lines for each in row])


def _insert(table: str, columns: int, rows: int) -> str:
    row = f"({', '.join(['%s'] * columns)})"
    return f"INSERT INTO {table} VALUES {', '.join([row] * rows)}"
