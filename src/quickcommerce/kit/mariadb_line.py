"""A line to MariaDB: how it is opened, what is asked over it, and how it is let go of.

Its session is as the house needs it, whatever the server's configuration says.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from asyncmy import errors
from asyncmy.connection import Connection
from asyncmy.constants import CLIENT, FIELD_TYPE
from asyncmy.converters import conversions
from asyncmy.cursors import Cursor

from quickcommerce.kit.addresses import Server
from quickcommerce.kit.db import Lost, Unmatched
from quickcommerce.kit.mariadb_errors import meaning
from quickcommerce.kit.mariadb_sql import statement
from quickcommerce.kit.mariadb_tx import Answer
from quickcommerce.kit.problem import Unavailable

CONNECT_S = 3.0
LOCK_WAIT_S = 2
IDLE_S = 3
"""Seconds that a transaction may do nothing: then the server ends it, and a frozen process lets go of its rows."""
MOVED_S = 0.5
"""How old the bound of an answer may be. To move it on at each answer took a tenth of the CPU of a list of orders."""
COLLATION = "utf8mb4_bin"
CLIENT_FLAGS = CLIENT.FOUND_ROWS | CLIENT.MULTI_STATEMENTS
"""An UPDATE tells how many rows it matched, not how many came out different; statements may travel together."""
PACKET_MIN = 1 << 24
"""Bytes that a server must take at once (`max_allowed_packet`), which is what it takes as it comes."""

_SQL_MODE = "STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION,SIMULTANEOUS_ASSIGNMENT"
_SESSION = (
    "SET SESSION character_set_client = 'utf8mb4', character_set_results = 'utf8mb4',"
    " autocommit = 0, tx_isolation = ?, tx_read_only = ?, sql_mode = ?, collation_connection = ?,"
    " default_storage_engine = 'InnoDB', innodb_lock_wait_timeout = ?, lock_wait_timeout = ?,"
    " idle_transaction_timeout = ?, net_read_timeout = ?, net_write_timeout = ?, max_statement_time = ?,"
    " sql_notes = 0"
)
_DECODED: dict[Any, Any] = {**conversions, FIELD_TYPE.DECIMAL: int, FIELD_TYPE.NEWDECIMAL: int}
"""A SUM of integers is a DECIMAL there; here money and counts are integers everywhere."""


@dataclass(frozen=True)
class Session:
    """What a connection is for. One that only reads sees one moment, from its first statement on."""

    writes: bool
    statement_s: float

    def flight(self) -> list[str]:
        """Makes a session so, and asks what cannot be set by it."""
        isolation = "READ-COMMITTED" if self.writes else "REPEATABLE-READ"
        values = (isolation, int(not self.writes), _SQL_MODE, COLLATION)
        times = (LOCK_WAIT_S, LOCK_WAIT_S, IDLE_S, IDLE_S, IDLE_S, self.statement_s)
        return [statement(_SESSION, (*values, *times)), "SELECT @@collation_database, @@max_allowed_packet"]


async def opened(
    server: Server, session: Session, ask: Callable[[Connection, Sequence[str]], Awaitable[list[Answer]]]
) -> Connection:
    """A connection with such a session, to a schema that tells upper from lower case. Raises Unavailable."""
    connection: Any = Connection(  # type: ignore[no-untyped-call]
        host=server.host, port=server.port, user=server.user, password=server.password.encode(),
        database=server.schema, charset="utf8mb4", autocommit=None, conv=_DECODED, client_flag=CLIENT_FLAGS,
        program_name="quickcommerce",
    )  # fmt: skip
    name = server.schema
    try:
        async with asyncio.timeout(CONNECT_S):
            await connection.connect()
        _, (rows, _) = await ask(connection, session.flight())
        _refuse_unfit(name, *rows[0])
    except BaseException as error:
        drop(connection)
        if isinstance(error, TimeoutError):
            raise Unavailable(f"the database {name} does not answer") from None
        # It hung up before anything was asked, as a proxy does whose server is not there, and as a server does that
        # has no connection left. Where that comes first, the driver finds no socket, and says so in its own way.
        gone = Unavailable(f"the database {name} cannot be reached: it ends the connection")
        if isinstance(error, RuntimeError):
            raise gone from error
        if isinstance(error, errors.MySQLError):
            meant = meaning(name, error)
            raise (gone if isinstance(meant, Lost) else meant) from error
        raise
    return cast("Connection", connection)


def _refuse_unfit(name: str, collation: str, packet: int) -> None:
    if collation != COLLATION:
        raise Unavailable(
            f"the schema {name} has the collation {collation}, to which keys that differ in case are one;"
            f" ALTER DATABASE `{name}` COLLATE {COLLATION}, before there are tables in it"
        )
    if packet < PACKET_MIN:
        raise Unavailable(
            f"the database {name} takes {packet:,} bytes at once, and {PACKET_MIN:,} are needed: set max_allowed_packet"
        )


async def asked(name: str, connection: Connection, flight: Sequence[str], within_s: float) -> list[Answer]:
    """Send statements in one flight: of each its rows, and how many it matched. The first that fails ends it.

    Raises what its error means for work on the schema `name`. One that has no answer within `within_s`, less
    `MOVED_S`, costs the connection, and so do more answers than statements, or fewer: nobody knows then whose they are.
    """
    answers: list[Answer] = []
    now_s = asyncio.get_running_loop().time
    try:
        async with asyncio.timeout(within_s) as bound:
            moved_s = now_s()
            cursor = connection.cursor()
            await cursor.execute("; ".join(flight))
            async for answer in _answers(cursor, len(flight)):
                answers.append(answer)
                if now_s() - moved_s > MOVED_S:
                    moved_s = now_s()
                    bound.reschedule(moved_s + within_s)
            return answers
    except TimeoutError:
        drop(connection)
        raise Unavailable(f"the database {name} does not answer") from None
    except errors.MySQLError as error:
        meant = meaning(name, error)
        at = min(len(answers), len(flight) - 1)
        if isinstance(meant, Lost) or at < len(answers):
            # Behind the last answer that was asked for, it is of a statement that was hidden in another.
            drop(connection)
        if isinstance(meant, Unmatched):
            at -= 1  # it is said of the statement before
            meant = Unmatched(f"{name}: {_head(flight[at])} met other rows than it was to meet")
        meant.add_note(f"statement {at + 1} of {len(flight)}: {_head(flight[at])}")
        raise meant from error
    except BaseException:
        # Part of an answer may still be on its way, and would be the next one's.
        drop(connection)
        raise


async def _answers(cursor: Cursor, count: int) -> AsyncGenerator[Answer, None]:
    """Of each of so many statements its rows, and how many it matched.

    Raises InternalError where there are fewer answers than that, AssertionError where there are more.
    """
    for at in range(count):
        if at and not await cursor.nextset():
            raise errors.InternalError("there are fewer answers than statements")
        yield list(await cursor.fetchall()) if cursor.description else [], cast("int", cursor.rowcount)
    if await cursor.nextset():
        raise AssertionError("there are more answers than statements: one of them was several")


def _head(sql: str) -> str:
    """How a statement begins, without any value."""
    return re.split("[(='0-9]", sql, maxsplit=1)[0].strip()


def drop(connection: Connection) -> None:
    """Let go of a connection without waiting for what is still to be sent: it may never be."""
    transport: asyncio.Transport | None = vars(connection).get("_transport")
    if transport:
        transport.abort()
    connection.close()
