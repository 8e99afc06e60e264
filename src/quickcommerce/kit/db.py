"""One transaction wrapper for every database; the doors to their drivers are `sqlite.py` and `mariadb.py`.

A unit of work is an `async def fn(tx)`, given to `Database.run`. It may await nothing but its `tx`: the databases drive
the function step by step and know what it waits for, so a network call inside a transaction is not a matter of
discipline but an error (`WaitedInTransaction`).

`run` owns commit, rollback and repeats: `fn` may be run again from its start after a deadlock, a lock timeout, a
duplicate key that a parallel transaction caused, or a commit whose reply was lost, so it must have no effect outside
`tx`, and must find what an earlier run of it stored. What it has to tell others, a log line or a count among them, it
gives to `tx.after_commit`.

SQL is written once for both databases: question marks, ids from the application, no upsert, integers for time and
money. A read that locks its rows ends in `LOCK`, which is nothing on SQLite (its one writer is the lock).
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from prometheus_client import Counter

from quickcommerce.kit.adapters import adapter
from quickcommerce.kit.addresses import server_of
from quickcommerce.kit.telemetry import log

T = TypeVar("T")
Row = tuple[Any, ...]
Params = Sequence[Any]
Tell = Callable[[], None]

LOCK = "/*lock*/"
"""Ends a SELECT whose rows stay as read until the transaction's end."""

WAITED = "a transaction may await nothing but itself: no network, no sleep, no lock"

TRANSACTIONS = Counter("qc_db_transactions_total", "Transactions by end", ["db", "end"])
STATEMENTS = Counter("qc_db_statements_total", "Statements sent; a bulk insert is one", ["db"])

ROUND_TRIPS = Counter("qc_db_round_trips_total", "Times that statements were sent over the network", ["db"])


class Repeatable(Exception):
    """The database undid the transaction through no fault of its own; run it again."""


class Busy(Repeatable):
    """Another process is writing; it will be done in a moment."""


class Lost(Repeatable):
    """The connection was lost. Whether a commit that was under way happened is for the next run to find out."""


class Duplicate(Repeatable):
    """A row with this key exists already: most often a parallel transaction made it, and a second run will see it."""


class Unmatched(Exception):
    """A change met other rows than it was to meet (`Tx.write`); all that its transaction did is undone."""


class WaitedInTransaction(RuntimeError):
    """A unit of work awaited something other than its transaction. A defect in the calling code."""


class Tx(Protocol):
    """What a unit of work may do."""

    async def all(self, sql: str, params: Params = ()) -> list[Row]:
        """Every row of a SELECT."""
        ...

    async def one(self, sql: str, params: Params = ()) -> Row | None:
        """The first row of a SELECT, or None."""
        ...

    async def run(self, sql: str, params: Params = ()) -> int:
        """Change rows; returns how many matched (not how many came out different)."""
        ...

    async def write(self, sql: str, params: Params = (), rows: int | None = None) -> None:
        """Change rows, and do not wait for the answer. Where so many `rows` must match and others do, the whole work is
        undone, whatever the work makes of it, and `Database.run` raises Unmatched.

        It may travel with the next statement that has an answer, or with the commit: its error comes from there then.
        """
        ...

    async def insert(self, table: str, columns: str, rows: Iterable[Params]) -> None:
        """Insert rows, many with a statement; `columns` as written in SQL. No rows, no statement. Travels as `write`
        does.
        """
        ...

    async def gather(self, parts: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
        """Run parts of the work that do not need each other, and give their results.

        What they ask at the same time is one round trip, in their order. Where that is worth nothing they run one after
        another, so none may count on another's being under way. What one of them raises ends the whole work, whatever
        the work makes of it: the others were left wherever they were.
        """
        ...

    def announce(self) -> None:
        """Call the database's listeners once this transaction is committed."""
        ...

    def after_commit(self, tell: Tell) -> None:
        """Call `tell` once this transaction is committed, whoever still waits for it; never if it is undone.

        A hint, as an announcement is: the process may die between the two.
        """
        ...


Work = Callable[[Tx], Awaitable[T]]


class Database(Protocol):
    """A place where units of work are committed whole or not at all."""

    name: str
    dialect: str
    """Whose lines of a migration are meant for it: `sqlite` or `mariadb`."""

    async def run(self, work: Work[T]) -> T:
        """Run a unit of work in one transaction. Raises `Unavailable` when the database cannot take it now, and
        `Unmatched` where a change met other rows than it was to meet.
        """
        ...

    async def read(self, work: Work[T]) -> T:
        """Run a unit of work that reads a few rows by their keys, on one snapshot, beside the writers.

        Raises `Unavailable` as `run` does. What only reads commits nothing, so nobody is told anything after it.
        """
        ...

    async def look(self, work: Work[T]) -> T:
        """As `read`, for what asks all that it wants at once, whose answer ends it: one round trip in all."""
        ...

    async def scan(self, work: Work[T]) -> T:
        """As `read`, for what may take long: lists, searches, counts. It must not keep short work waiting."""
        ...

    def listen(self, listener: Tell) -> None:
        """Call `listener` after each commit that announced something. A hint: other processes commit too."""
        ...

    async def close(self) -> None:
        """Finish what was handed over and let go of the database; what is asked later is `Unavailable`."""
        ...


def marks(values: Sequence[Any]) -> str:
    """`?, ?, ?`: one mark for each value, for an IN list. An empty list gives NULL, which is IN nothing."""
    return ", ".join("?" * len(values)) or "NULL"


async def to_its_end(future: asyncio.Future[T]) -> T:
    """Wait for a call on a connection, also where the caller is cancelled, however often: it is raised at the end.

    Whoever is told that it is over could ask what became of it, and the connection is the next one's.
    """
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        while not future.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([future])
        raise


def tell_all(name: str, after: Sequence[Tell]) -> None:
    """Tell of a commit on the database `name`."""
    for tell in after:
        try:
            tell()
        except Exception:  # noqa: BLE001 - the transaction is committed, and its caller must not hear otherwise
            log.exception("db.untold", db=name)


@dataclass(frozen=True)
class Limits:
    """Bounds of a database behind a network. Sizes are connections; the rest is seconds.

    `writers` are for `run`; `readers` for `read`, and as many again for `scan`. `wait_s` is how long work waits for a
    connection, `statement_s` how long one statement may take, and `scan_s` one of a scan.
    """

    writers: int = 8
    readers: int = 4
    wait_s: float = 1.0
    statement_s: float = 5.0
    scan_s: float = 30.0


def connect(
    url: str, *, rng: random.Random, inline: bool = False, threaded: bool = False, limits: Limits | None = None
) -> Database:
    """The database behind a URL, `sqlite:///PATH` or `mariadb://USER:PASSWORD@HOST:PORT/SCHEMA`.

    The folder of a file must be there when it is first used (`folders.make`); `inline` and `threaded` are for files,
    `limits` for servers. Raises ValueError for what is no such URL, Unavailable where the extra is not installed.
    """
    # Adapters are imported where they are asked for: an embedded install has no other driver.
    scheme = url.partition(":")[0]
    if scheme == "sqlite":
        from quickcommerce.kit import sqlite  # noqa: PLC0415

        return sqlite.Sqlite(sqlite.path_of(url), rng=rng, inline=inline, threaded=threaded)
    if scheme == "mariadb":
        found: Database = adapter("quickcommerce.kit.mariadb", "mariadb").MariaDb(
            server_of(url), rng=rng, limits=limits or Limits()
        )
        return found
    raise ValueError(f"no database for {scheme!r}: use sqlite:///PATH or mariadb://USER:PASSWORD@HOST:PORT/SCHEMA")
