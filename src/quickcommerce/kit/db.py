"""One transaction wrapper for every database, and the only door to their drivers.

A unit of work is an `async def fn(tx)`, given to `Database.run`. It may await nothing but its `tx`: the embedded
database drives the whole function on its writer thread in one hop, where there is no event loop to wait on, so a
network call inside a transaction is not a matter of discipline but an error (`WaitedInTransaction`).

`run` owns commit, rollback and repeats: `fn` may be run again from its start after a deadlock, a lock timeout or a
duplicate key that a parallel transaction caused, so it must have no effect outside `tx`.

SQL is written once for both databases: question marks, ids from the application, no upsert, integers for time and
money. A read that locks its rows ends in `LOCK`, which is nothing on SQLite (its one writer is the lock).
"""

import asyncio
import contextvars
import random
import sqlite3
import threading
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

from prometheus_client import Counter

from quickcommerce.kit.policy import Backoff
from quickcommerce.kit.problem import Unavailable

T = TypeVar("T")
Row = tuple[Any, ...]
Params = Sequence[Any]

LOCK = "/*lock*/"
"""Ends a SELECT whose rows stay as read until the transaction's end."""

REPEATS_MAX = 8
_REPEAT_BACKOFF = Backoff(base_s=0.002, cap_s=0.2)

TRANSACTIONS = Counter("qc_db_transactions_total", "Transactions by end", ["db", "end"])
STATEMENTS = Counter("qc_db_statements_total", "Statements sent; a bulk insert is one", ["db"])


class Repeatable(Exception):
    """The database undid the transaction through no fault of its own; run it again."""


class Duplicate(Repeatable):
    """A row with this key exists already: most often a parallel transaction made it, and a second run will see it."""


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

    async def insert(self, table: str, columns: str, rows: Iterable[Params]) -> None:
        """Insert rows in one statement; `columns` as written in SQL. No rows, no statement."""
        ...

    def announce(self) -> None:
        """Call the database's listeners once this transaction is committed."""
        ...


Work = Callable[[Tx], Awaitable[T]]


class Database(Protocol):
    """A place where units of work are committed whole or not at all."""

    name: str

    async def run(self, work: Work[T]) -> T:
        """Run a unit of work in one transaction. Raises `Unavailable` when the database cannot take it now."""
        ...

    async def read(self, work: Work[T]) -> T:
        """Run a unit of work that only reads, on one snapshot, beside the writers."""
        ...

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` after each commit that announced something. A hint: other processes commit too."""
        ...

    async def close(self) -> None:
        """Finish what was handed over and let go of the database."""
        ...


def marks(values: Sequence[Any]) -> str:
    """`?, ?, ?`: one mark for each value, for an IN list. An empty list gives NULL, which is IN nothing."""
    return ", ".join("?" * len(values)) or "NULL"


class _SqliteTx:
    """`Tx` on a SQLite connection. Its methods are coroutines that never suspend."""

    def __init__(self, connection: sqlite3.Connection, count: Callable[[], None]) -> None:
        self._connection = connection
        self._count = count
        self.announced = False

    async def all(self, sql: str, params: Params = ()) -> list[Row]:
        return self._execute(sql, params).fetchall()

    async def one(self, sql: str, params: Params = ()) -> Row | None:
        return cast("Row | None", self._execute(sql, params).fetchone())

    async def run(self, sql: str, params: Params = ()) -> int:
        return self._execute(sql, params).rowcount

    async def insert(self, table: str, columns: str, rows: Iterable[Params]) -> None:
        rows = list(rows)
        if rows:
            self._count()
            self._connection.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks(rows[0])})", rows)

    def announce(self) -> None:
        self.announced = True

    def _execute(self, sql: str, params: Params) -> sqlite3.Cursor:
        self._count()
        return self._connection.execute(sql, params)


class Sqlite:
    """The embedded database: one file, one writer thread, and a reader thread of its own for long reads.

    Durable (`synchronous=FULL`): what was committed survives a power cut. `inline=True` runs everything on the calling
    thread, for the simulation and for tests, where an order of events must be the same each time.
    """

    def __init__(self, path: Path, *, rng: random.Random, inline: bool = False) -> None:
        self.name = path.stem
        self._path = path
        self._rng = rng
        self._inline = inline
        self._transactions = {end: TRANSACTIONS.labels(self.name, end) for end in ("committed", "undone", "repeated")}
        self._count = STATEMENTS.labels(self.name).inc
        self._local = threading.local()
        self._writer = ThreadPoolExecutor(1, f"{self.name}-writer")
        self._reader = ThreadPoolExecutor(1, f"{self.name}-reader")
        self._opened: list[sqlite3.Connection] = []
        self._listeners: list[Callable[[], None]] = []

    async def run(self, work: Work[T]) -> T:
        """See `Database.run`."""
        for repeat in range(REPEATS_MAX):
            try:
                result, announced = await self._on(self._writer, lambda: self._transact("writer", work))
            except Repeatable as undone:
                self._transactions["repeated"].inc()
                last = undone
                await asyncio.sleep(_REPEAT_BACKOFF.delay_s(repeat, self._rng))
            else:
                for listener in self._listeners if announced else ():
                    listener()
                return result
        if isinstance(last, Duplicate):
            raise last
        raise Unavailable(f"the database {self.name} is busy") from last

    async def read(self, work: Work[T]) -> T:
        """See `Database.read`."""
        try:
            result, _ = await self._on(self._reader, lambda: self._transact("reader", work))
        except Repeatable as busy:
            raise Unavailable(f"the database {self.name} is busy") from busy
        return result

    def listen(self, listener: Callable[[], None]) -> None:
        """See `Database.listen`."""
        self._listeners.append(listener)

    async def close(self) -> None:
        """See `Database.close`."""
        for pool in (self._writer, self._reader):
            await asyncio.to_thread(pool.shutdown)
        for connection in self._opened:
            connection.close()
        self._opened.clear()

    async def _on(self, pool: ThreadPoolExecutor, call: Callable[[], T]) -> T:
        if self._inline:
            return call()
        context = contextvars.copy_context()
        return await asyncio.get_running_loop().run_in_executor(pool, lambda: context.run(call))

    def _transact(self, role: str, work: Work[T]) -> tuple[T, bool]:
        try:
            connection = self._connection(role)
            connection.execute("BEGIN IMMEDIATE" if role == "writer" else "BEGIN")
        except sqlite3.Error as error:
            raise self._translate(error) from error
        try:
            tx = _SqliteTx(connection, self._count)
            result = _drive(work(tx))
            connection.execute("COMMIT")
        except BaseException as error:
            self._transactions["undone"].inc()
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise self._translate(error) from error
            raise
        self._transactions["committed"].inc()
        return result, tx.announced

    def _connection(self, role: str) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, role, None)
        if connection is None:
            connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=5000", "foreign_keys=ON"):
                connection.execute(f"PRAGMA {pragma}")
            setattr(self._local, role, connection)
            self._opened.append(connection)
        return connection

    def _translate(self, error: sqlite3.Error) -> Exception:
        code: int = getattr(error, "sqlite_errorcode", 0)
        if code in (sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_UNIQUE):
            return Duplicate(str(error))
        primary = code & 0xFF
        if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return Repeatable(str(error))
        # A full disk or a folder that went away heals without us; the file itself is untouched.
        if primary in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
            return Unavailable(f"the database {self.name} cannot be written: {error}", retry_after_s=5)
        return error


def _drive(work: Awaitable[T]) -> T:
    """Run a unit of work to its end without an event loop: every await in it must be ready at once."""
    steps = work.__await__()
    try:
        next(steps)
    except StopIteration as done:
        return cast("T", done.value)
    if hasattr(steps, "close"):
        steps.close()
    raise WaitedInTransaction("a transaction may await nothing but itself: no network, no sleep, no lock")


def connect(url: str, *, rng: random.Random, inline: bool = False) -> Database:
    """The database behind a URL, `sqlite:///PATH`. Raises ValueError for a scheme that is not installed."""
    scheme, _, path = url.partition(":///")
    if scheme != "sqlite" or not path:
        raise ValueError(f"no database for {scheme or url!r}: use sqlite:///PATH")
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    return Sqlite(Path(path), rng=rng, inline=inline)
