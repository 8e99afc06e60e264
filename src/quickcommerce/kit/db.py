"""One transaction wrapper for every database, and the only door to their drivers.

A unit of work is an `async def fn(tx)`, given to `Database.run`. It may await nothing but its `tx`: the embedded
database drives the whole function to its end without giving way to anything else, so a network call inside a
transaction is not a matter of discipline but an error (`WaitedInTransaction`).

`run` owns commit, rollback and repeats: `fn` may be run again from its start after a deadlock, a lock timeout or a
duplicate key that a parallel transaction caused, so it must have no effect outside `tx`. What it has to tell others,
a log line or a count among them, it gives to `tx.after_commit`.

SQL is written once for both databases: question marks, ids from the application, no upsert, integers for time and
money. A read that locks its rows ends in `LOCK`, which is nothing on SQLite (its one writer is the lock).
"""

import asyncio
import contextvars
import itertools
import random
import sqlite3
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

from prometheus_client import Counter

from quickcommerce.kit.policy import Backoff
from quickcommerce.kit.problem import Unavailable
from quickcommerce.kit.telemetry import log

T = TypeVar("T")
Row = tuple[Any, ...]
Params = Sequence[Any]
Tell = Callable[[], None]

LOCK = "/*lock*/"
"""Ends a SELECT whose rows stay as read until the transaction's end."""

REPEATS_MAX = 8
BUSY_WAIT_S = 5.0
_ROWS_LOG2_MAX = 7
_REPEAT_BACKOFF = Backoff(base_s=0.002, cap_s=0.2)

TRANSACTIONS = Counter("qc_db_transactions_total", "Transactions by end", ["db", "end"])
STATEMENTS = Counter("qc_db_statements_total", "Statements sent; a bulk insert is one", ["db"])


class Repeatable(Exception):
    """The database undid the transaction through no fault of its own; run it again."""


class Busy(Repeatable):
    """Another process is writing; it will be done in a moment."""


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

    def after_commit(self, tell: Tell) -> None:
        """Call `tell` once this transaction is committed, whoever still waits for it; never if it is undone.

        A hint, as an announcement is: the process may die between the two.
        """
        ...


Work = Callable[[Tx], Awaitable[T]]


class Database(Protocol):
    """A place where units of work are committed whole or not at all."""

    name: str

    async def run(self, work: Work[T]) -> T:
        """Run a unit of work in one transaction. Raises `Unavailable` when the database cannot take it now."""
        ...

    async def read(self, work: Work[T]) -> T:
        """Run a unit of work that reads a few rows by their keys, on one snapshot, beside the writers.

        Raises `Unavailable` as `run` does. What only reads commits nothing, so nobody is told anything after it.
        """
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


class _SqliteTx:
    """`Tx` on a SQLite connection. Its methods are coroutines that never suspend."""

    def __init__(self, connection: sqlite3.Connection, count: Tell, wake: Tell, after: list[Tell]) -> None:
        self._connection = connection
        self._count = count
        self._wake = wake
        self._after = after

    async def all(self, sql: str, params: Params = ()) -> list[Row]:
        return self._execute(sql, params).fetchall()

    async def one(self, sql: str, params: Params = ()) -> Row | None:
        return cast("Row | None", self._execute(sql, params).fetchone())

    async def run(self, sql: str, params: Params = ()) -> int:
        return self._execute(sql, params).rowcount

    async def insert(self, table: str, columns: str, rows: Iterable[Params]) -> None:
        rows = list(rows)
        while rows:
            # As few statements as can be, of few different lengths, so that each text is prepared once.
            count = 1 << min(len(rows).bit_length() - 1, _ROWS_LOG2_MAX)
            head, rows = rows[:count], rows[count:]
            values = ", ".join([f"({marks(head[0])})"] * count)
            self._execute(f"INSERT INTO {table} ({columns}) VALUES {values}", [value for row in head for value in row])

    def announce(self) -> None:
        if self._wake not in self._after:
            self._after.append(self._wake)

    def after_commit(self, tell: Tell) -> None:
        self._after.append(tell)

    def _execute(self, sql: str, params: Params) -> sqlite3.Cursor:
        self._count()
        return self._connection.execute(sql, params)


class Sqlite:
    """The embedded database: one file, one writer at a time, durable.

    `synchronous=FULL`: a commit survives a power cut. The statements of a short transaction run on the event loop, and
    only its COMMIT, which waits for the disk, hops to a thread. Python's sqlite3 lets go of the interpreter lock at
    every row it steps over; a transaction of a hundred steps on a thread of its own waits a hundred times to get it
    back from a busy loop (measured at 625 orders/s: 35 ms a placed order instead of 6). `threaded=True` moves whole
    transactions to the thread: for a store whose work is long and not urgent.

    `inline=True` does everything on the calling thread, for the simulation and for tests, where an order of events must
    be the same each time.
    """

    def __init__(self, path: Path, *, rng: random.Random, inline: bool = False, threaded: bool = False) -> None:
        self.name = path.stem
        self._path = path
        self._rng = rng
        self._inline = inline
        self._threaded = threaded and not inline
        self._ends = {end: TRANSACTIONS.labels(self.name, end) for end in ("committed", "undone", "repeated")}
        self._count = STATEMENTS.labels(self.name).inc
        self._threads = {role: ThreadPoolExecutor(1, f"{self.name}-{role}") for role in ("writer", "scanner")}
        self._opened: dict[str, sqlite3.Connection] = {}
        self._listeners: list[Tell] = []
        self._turn = asyncio.Lock()
        self._closed = False

    async def run(self, work: Work[T]) -> T:
        """See `Database.run`."""

        async def once() -> T:
            async with self._turn:
                return await self._write(work)

        return await self._repeating(once)

    async def read(self, work: Work[T]) -> T:
        """See `Database.read`."""

        async def once() -> T:
            return self._reading("reader", work)

        return await self._repeating(once)

    async def scan(self, work: Work[T]) -> T:
        """See `Database.scan`."""
        return await self._repeating(lambda: self._on("scanner", lambda: self._reading("scanner", work)))

    def listen(self, listener: Tell) -> None:
        """See `Database.listen`."""
        self._listeners.append(listener)

    async def close(self) -> None:
        """See `Database.close`."""
        async with self._turn:
            for thread in self._threads.values():
                thread.shutdown()
            for connection in self._opened.values():
                connection.close()
            self._opened.clear()
            self._closed = True

    async def _repeating(self, once: Callable[[], Awaitable[T]]) -> T:
        """Do again what the database undid or could not begin through no fault of the work."""
        give_up = asyncio.get_running_loop().time() + BUSY_WAIT_S
        runs = 0
        for repeat in itertools.count():
            try:
                return await once()
            except (Repeatable, sqlite3.Error) as failure:
                undone = self._meaning(failure)
                cause = None if undone is failure else failure
                if not isinstance(undone, Repeatable):
                    raise undone from cause
                self._ends["repeated"].inc()
                if isinstance(undone, Busy) and asyncio.get_running_loop().time() > give_up:
                    raise Unavailable(f"the database {self.name} is busy") from undone
                # While another process holds the database, the work has not been run.
                runs += not isinstance(undone, Busy)
                if runs > REPEATS_MAX:
                    raise undone from cause
                await asyncio.sleep(_REPEAT_BACKOFF.delay_s(repeat, self._rng))
        raise AssertionError("unreachable: the loop above ends by itself")

    async def _write(self, work: Work[T]) -> T:
        after: list[Tell] = []
        try:
            if self._threaded:
                return await self._on("writer", lambda: self._commit(self._statements(work), after))
            changes = self._changes()
            done = self._statements(work)
            if self._changes() == changes:
                # Nothing was written, so there is no disk to wait for.
                return self._commit(done, after)
            return await self._on("writer", lambda: self._commit(done, after))
        finally:
            # Not only where it returns: the commit of a caller who was cancelled has happened all the same.
            self._tell(after)

    def _tell(self, after: list[Tell]) -> None:
        for tell in after:
            try:
                tell()
            except Exception:  # noqa: BLE001 - the transaction is committed, and its caller must not hear otherwise
                log.exception("db.untold", db=self.name)

    def _wake(self) -> None:
        self._tell(self._listeners)

    def _changes(self) -> int:
        return self._connection("writer").total_changes

    def _statements(self, work: Work[T]) -> tuple[T, list[Tell]]:
        """Everything of a transaction but its COMMIT: its result, and whom to tell after it."""
        connection = self._connection("writer")
        connection.execute("BEGIN IMMEDIATE")
        after: list[Tell] = []
        try:
            return _drive(work(_SqliteTx(connection, self._count, self._wake, after))), after
        except BaseException:
            self._undo()
            raise

    def _commit(self, done: tuple[T, list[Tell]], committed: list[Tell]) -> T:
        result, after = done
        try:
            self._connection("writer").execute("COMMIT")
        except BaseException:
            self._undo()
            raise
        self._ends["committed"].inc()
        committed += after
        return result

    def _undo(self) -> None:
        self._ends["undone"].inc()
        if self._connection("writer").in_transaction:
            self._connection("writer").execute("ROLLBACK")

    def _reading(self, role: str, work: Work[T]) -> T:
        connection = self._connection(role)
        connection.execute("BEGIN")
        try:
            return _drive(work(_SqliteTx(connection, self._count, self._wake, [])))
        finally:
            connection.execute("ROLLBACK")

    async def _on(self, role: str, call: Callable[[], T]) -> T:
        """Run a call on a thread to its end: one whose caller was cancelled is waited for before the next may start."""
        self._refuse_if_closed()
        if self._inline:
            return call()
        context = contextvars.copy_context()
        future = asyncio.get_running_loop().run_in_executor(self._threads[role], lambda: context.run(call))
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            while not future.done():
                # However often it is cancelled: the call still uses the connection that the next would use.
                with suppress(asyncio.CancelledError):
                    await asyncio.wait([future])
            raise

    def _connection(self, role: str) -> sqlite3.Connection:
        self._refuse_if_closed()
        if role not in self._opened:
            connection = sqlite3.connect(
                self._path, isolation_level=None, check_same_thread=False, cached_statements=256, timeout=0
            )
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "cache_size=-16000"):
                connection.execute(f"PRAGMA {pragma}")
            if role != "writer":
                # What a reader writes would be rolled back without a word.
                connection.execute("PRAGMA query_only=ON")
            self._opened[role] = connection
        return self._opened[role]

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise Unavailable(f"the database {self.name} is closed")

    def _meaning(self, error: Exception) -> Exception:
        """What an error of SQLite means here."""
        code: int = getattr(error, "sqlite_errorcode", 0)
        primary = code & 0xFF
        if code in (sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_UNIQUE):
            return Duplicate(str(error))
        if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return Busy(str(error))
        if primary in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            return Unavailable(f"the database {self.name} is damaged ({self._path}): {error}")
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


def path_of(url: str) -> Path:
    """The file behind a URL, `sqlite:///PATH`. Raises ValueError for a scheme that is not installed."""
    scheme, _, path = url.partition(":///")
    if scheme != "sqlite" or not path:
        raise ValueError(f"no database for {scheme or url!r}: use sqlite:///PATH")
    return Path(path)


def connect(url: str, *, rng: random.Random, inline: bool = False, threaded: bool = False) -> Database:
    """The database behind a URL, as `path_of`. Its folder must be there when it is first used (`folders.make`)."""
    return Sqlite(path_of(url), rng=rng, inline=inline, threaded=threaded)
