"""MariaDB, 10.11 or later: with `mariadb_line.py` the only door to its driver.

Each unit of work runs in a task of its own on a connection of its own. Whoever asked for it may be cancelled; the task
goes on to its commit or rollback, so no connection is ever left in the middle of a statement.
"""

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from typing import cast

from asyncmy import errors
from asyncmy.connection import Connection

from quickcommerce.kit.addresses import Server
from quickcommerce.kit.db import (
    ROUND_TRIPS,
    STATEMENTS,
    TRANSACTIONS,
    Limits,
    Repeatable,
    T,
    Tell,
    Unmatched,
    WaitedInTransaction,
    Work,
    tell_all,
    to_its_end,
)  # fmt: skip
from quickcommerce.kit.mariadb_line import Session, asked, drop, opened
from quickcommerce.kit.mariadb_tx import Answer, Ask, MariaDbTx, Outcome, driven
from quickcommerce.kit.pool import Pool
from quickcommerce.kit.problem import Unavailable
from quickcommerce.kit.repeating import repeating

_inside: ContextVar[bool] = ContextVar("inside a unit of work", default=False)


class MariaDb:
    """`Database` on a MariaDB schema: three small pools, for what writes, for short reads, and for long ones."""

    dialect = "mariadb"

    def __init__(self, server: Server, *, rng: random.Random, limits: Limits) -> None:
        self.name = server.schema
        self._server = server
        self._rng = rng
        self._statement_s = {"writer": limits.statement_s, "reader": limits.statement_s, "scanner": limits.scan_s}
        sizes = {"writer": limits.writers, "reader": limits.readers, "scanner": limits.readers}
        self._pools = {
            role: Pool(self.name, role, partial(self._open, role), Connection.close, size=size, wait_s=limits.wait_s)
            for role, size in sizes.items()
        }
        self._ends = {end: TRANSACTIONS.labels(self.name, end) for end in ("committed", "undone")}
        self._count = STATEMENTS.labels(self.name).inc
        self._flights = ROUND_TRIPS.labels(self.name).inc
        self._listeners: list[Tell] = []

    async def run(self, work: Work[T]) -> T:
        """See `Database.run`."""
        return await self._repeating("writer", work)

    async def read(self, work: Work[T]) -> T:
        """See `Database.read`."""
        return await self._repeating("reader", work)

    async def look(self, work: Work[T]) -> T:
        """See `Database.look`."""
        return await self._repeating("reader", work, at_once=True)

    async def scan(self, work: Work[T]) -> T:
        """See `Database.scan`."""
        return await self._repeating("scanner", work)

    def listen(self, listener: Tell) -> None:
        """See `Database.listen`."""
        self._listeners.append(listener)

    async def close(self) -> None:
        """See `Database.close`."""
        for pool in self._pools.values():
            pool.end()
        await asyncio.gather(*(pool.close() for pool in self._pools.values()))

    async def _repeating(self, role: str, work: Work[T], *, at_once: bool = False) -> T:
        if _inside.get():
            raise WaitedInTransaction("a transaction may not wait for another")
        pool = self._pools[role]

        async def once() -> T:
            await pool.enter()
            result, failure = await to_its_end(asyncio.create_task(self._transaction(pool, work, at_once=at_once)))
            if failure:
                raise failure
            return cast("T", result)

        return await repeating(self.name, once, (), lambda undone: undone, self._rng)

    async def _transaction(self, pool: Pool[Connection], work: Work[T], *, at_once: bool) -> Outcome[T]:
        """One run of a unit of work by one who has a turn: its result, or what it raised, which is the caller's.

        `at_once`: with its first flight it ends.
        """
        _inside.set(True)
        connection: Connection | None = None
        committed = False
        after: list[Tell] = []
        try:
            connection = await pool.connection()
            ask = partial(self._ask, pool.role, connection)
            tx = MariaDbTx(self._count, self._wake, after)
            result, failure = await driven(tx, work, _ending(tx, ask) if at_once else ask)
            if failure:
                return None, failure
            if not at_once:
                await ask([*tx.waiting(), "COMMIT"])
            committed = True
        except (Repeatable, Unavailable, Unmatched, errors.MySQLError) as failed:
            return None, failed
        finally:
            try:
                if connection and not committed and not await self._undone(pool, connection):
                    connection = None
            finally:
                pool.leave(connection)
            if pool.role == "writer":
                self._ends["committed" if committed else "undone"].inc()
        _inside.set(False)
        tell_all(self.name, after)
        return result, None

    async def _undone(self, pool: Pool[Connection], connection: Connection) -> bool:
        """Roll back. Returns whether the connection is fit for the next; if not, those that are idle go with it."""
        if connection.connected:
            with suppress(Repeatable, Unavailable, errors.MySQLError):
                await self._ask(pool.role, connection, ["ROLLBACK"])
                return True
        drop(connection)
        pool.forget()
        return False

    async def _ask(self, role: str, connection: Connection, flight: Sequence[str]) -> list[Answer]:
        self._flights()
        # The server ends a statement at its bound; a second later it is the server that does not answer.
        return await asked(self.name, connection, flight, self._statement_s[role] + 1)

    async def _open(self, role: str) -> Connection:
        session = Session(writes=role == "writer", statement_s=self._statement_s[role])
        return await opened(self._server, session, partial(self._ask, role))

    def _wake(self) -> None:
        tell_all(self.name, self._listeners)


def _ending(tx: MariaDbTx, ask: Ask) -> Ask:
    """Asks once, and ends the transaction with it. Where that fails it has not ended, whatever the work makes of it."""
    asked = False

    async def ask_and_end(flight: Sequence[str]) -> list[Answer]:
        nonlocal asked
        if asked:
            raise AssertionError("a look asks all that it wants at once")
        asked = True
        try:
            return (await ask([*flight, "COMMIT"]))[:-1]
        except Exception as failure:
            tx.broken = failure
            raise

    return ask_and_end
