"""MariaDB, 10.11 or later: the only door to its driver.

Each unit of work runs in a task of its own on a connection of its own. Whoever asked for it may be cancelled; the task
goes on to its commit or rollback, so no connection is ever left in the middle of a statement.

Sessions are as the house needs them, whatever the server's configuration says: see `_SESSION`.
"""

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from typing import Any, cast

from asyncmy import errors
from asyncmy.connection import Connection
from asyncmy.constants import CLIENT, FIELD_TYPE
from asyncmy.converters import conversions
from asyncmy.cursors import Cursor

from quickcommerce.kit.addresses import Server
from quickcommerce.kit.db import (
    ROUND_TRIPS,
    STATEMENTS,
    TRANSACTIONS,
    Limits,
    Lost,
    Params,
    Repeatable,
    T,
    Tell,
    WaitedInTransaction,
    Work,
    repeating,
    tell_all,
    to_its_end,
)  # fmt: skip
from quickcommerce.kit.mariadb_errors import meaning
from quickcommerce.kit.mariadb_sql import statement
from quickcommerce.kit.mariadb_tx import Answer, MariaDbTx, Outcome, driven
from quickcommerce.kit.pool import Pool
from quickcommerce.kit.problem import Unavailable

CONNECT_S = 3.0
LOCK_WAIT_S = 2
IDLE_S = 3
"""Seconds that a transaction may do nothing: then the server ends it, and a frozen process lets go of its rows."""
COLLATION = "utf8mb4_bin"

CLIENT_FLAGS = CLIENT.FOUND_ROWS
"""An UPDATE tells how many rows it matched, not how many came out different."""

_SQL_MODE = "STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION,SIMULTANEOUS_ASSIGNMENT"
_SESSION = (
    "SET SESSION autocommit = 0, tx_isolation = ?, tx_read_only = ?, sql_mode = ?, collation_connection = ?,"
    " default_storage_engine = 'InnoDB', innodb_lock_wait_timeout = ?, lock_wait_timeout = ?,"
    " idle_transaction_timeout = ?, net_read_timeout = ?, net_write_timeout = ?, max_statement_time = ?,"
    " sql_notes = 0"
)
_DECODED: dict[Any, Any] = {**conversions, FIELD_TYPE.DECIMAL: int, FIELD_TYPE.NEWDECIMAL: int}
"""A SUM of integers is a DECIMAL there; here money and counts are integers everywhere."""

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

    async def _repeating(self, role: str, work: Work[T]) -> T:
        if _inside.get():
            raise WaitedInTransaction("a transaction may not wait for another")
        pool = self._pools[role]

        async def once() -> T:
            await pool.enter()
            result, failure = await to_its_end(asyncio.create_task(self._transaction(pool, work)))
            if failure:
                raise failure
            return cast("T", result)

        return await repeating(self.name, once, (), lambda undone: undone, self._rng)

    async def _transaction(self, pool: Pool[Connection], work: Work[T]) -> Outcome[T]:
        """One run of a unit of work by one who has a turn: its result, or what it raised, which is the caller's."""
        _inside.set(True)
        connection: Connection | None = None
        committed = False
        after: list[Tell] = []
        try:
            connection = await pool.connection()
            ask = partial(self._ask, pool.role, connection)
            tx = MariaDbTx(self._count, self._wake, after)
            result, failure = await driven(work(tx), ask)
            if failure:
                return None, failure
            await ask([*tx.waiting(), "COMMIT"])
            committed = True
        except (Repeatable, Unavailable, errors.MySQLError) as failed:
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
        _drop(connection)
        pool.forget()
        return False

    async def _ask(self, role: str, connection: Connection, flight: Sequence[str]) -> list[Answer]:
        """Send statements in one flight: of each its rows, and how many it matched. The first that fails ends it.

        One that has no answer in time costs the connection.
        """
        self._flights()
        # The server ends a statement at its bound; a second later it is the server that does not answer.
        within_s, now_s = self._statement_s[role] + 1, asyncio.get_running_loop().time
        try:
            async with asyncio.timeout(within_s) as bound:
                cursor = connection.cursor()
                await cursor.execute("; ".join(flight))
                answers = [await _answer(cursor)]
                while len(answers) < len(flight):
                    bound.reschedule(now_s() + within_s)
                    await cursor.nextset()
                    answers.append(await _answer(cursor))
                return answers
        except TimeoutError:
            _drop(connection)
            raise Unavailable(f"the database {self.name} does not answer") from None
        except errors.MySQLError as error:
            meant = meaning(self.name, error)
            if isinstance(meant, Lost):
                _drop(connection)
            raise meant from error
        except BaseException:
            # Part of an answer may still be on its way, and would be the next one's.
            _drop(connection)
            raise

    async def _open(self, role: str) -> Connection:
        """A connection whose session is as `_SESSION` says, to a schema that tells upper from lower case."""
        server = self._server
        connection: Any = Connection(  # type: ignore[no-untyped-call]
            host=server.host, port=server.port, user=server.user, password=server.password.encode(),
            database=server.schema, charset="utf8mb4", autocommit=None, conv=_DECODED, client_flag=CLIENT_FLAGS,
            program_name="quickcommerce",
        )  # fmt: skip
        try:
            async with asyncio.timeout(CONNECT_S):
                await connection.connect()
            session = statement(_SESSION, self._session(role))
            _, (rows, _) = await self._ask(role, connection, [session, "SELECT @@collation_database"])
        except BaseException as error:
            _drop(connection)
            if isinstance(error, TimeoutError):
                raise Unavailable(f"the database {self.name} does not answer") from None
            # It hung up before anything was asked, as a proxy does whose server is not there, and as a server does that
            # has no connection left. Where that comes first, the driver finds no socket, and says so in its own way.
            gone = Unavailable(f"the database {self.name} cannot be reached: it ends the connection")
            if isinstance(error, RuntimeError):
                raise gone from error
            if isinstance(error, errors.MySQLError):
                meant = meaning(self.name, error)
                raise (gone if isinstance(meant, Lost) else meant) from error
            raise
        if rows[0][0] != COLLATION:
            _drop(connection)
            raise Unavailable(
                f"the schema {self.name} has the collation {rows[0][0]}, to which keys that differ in case are one;"
                f" ALTER DATABASE `{self.name}` COLLATE {COLLATION}, before there are tables in it"
            )
        return cast("Connection", connection)

    def _session(self, role: str) -> Params:
        """The values of `_SESSION`. What only reads sees one moment, from its first statement on."""
        isolation = "READ-COMMITTED" if role == "writer" else "REPEATABLE-READ"
        of_role = (isolation, int(role != "writer"), _SQL_MODE, COLLATION)
        return (*of_role, LOCK_WAIT_S, LOCK_WAIT_S, IDLE_S, IDLE_S, IDLE_S, self._statement_s[role])

    def _wake(self) -> None:
        tell_all(self.name, self._listeners)


async def _answer(cursor: Cursor) -> Answer:
    """The rows of the statement that a cursor has come to, and how many it matched."""
    rows = list(await cursor.fetchall()) if cursor.description else []
    return rows, cast("int", cursor.rowcount)


def _drop(connection: Connection) -> None:
    """Let go of a connection without waiting for what is still to be sent: it may never be."""
    transport: asyncio.Transport | None = vars(connection).get("_transport")
    if transport:
        transport.abort()
    connection.close()
