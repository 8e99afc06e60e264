"""The embedded database: SQLite, one file, one writer at a time. The only door to its driver."""

import asyncio
import contextvars
import random
import sqlite3
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

from quickcommerce.kit.db import (
    STATEMENTS,
    TRANSACTIONS,
    WAITED,
    Busy,
    Duplicate,
    Params,
    Row,
    T,
    Tell,
    Unmatched,
    WaitedInTransaction,
    Work,
    marks,
    tell_all,
    to_its_end,
)  # fmt: skip
from quickcommerce.kit.problem import Unavailable
from quickcommerce.kit.repeating import repeating

SCHEME = "sqlite:///"
_ROWS_LOG2_MAX = 7
_PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "foreign_keys=ON",
    "cache_size=-16000",  # KiB
    # Pages, 16 MB, until the log is copied into the file: those that are written again and again are copied less often.
    # It saves 10 us of CPU for an order.
    "wal_autocheckpoint=4000",
)


class _SqliteTx:
    """`Tx` on a SQLite connection. Its methods are coroutines that never suspend."""

    def __init__(self, connection: sqlite3.Connection, count: Tell, wake: Tell, after: list[Tell]) -> None:
        self._connection = connection
        self._count = count
        self._wake = wake
        self._after = after
        self.broken: Exception | None = None

    async def all(self, sql: str, params: Params = ()) -> list[Row]:
        return self._execute(sql, params).fetchall()

    async def one(self, sql: str, params: Params = ()) -> Row | None:
        return cast("Row | None", self._execute(sql, params).fetchone())

    async def run(self, sql: str, params: Params = ()) -> int:
        return self._execute(sql, params).rowcount

    async def write(self, sql: str, params: Params = (), rows: int | None = None) -> None:
        matched = self._execute(sql, params).rowcount
        if rows is not None and matched != rows:
            self.broken = Unmatched(f"met {matched} rows where it was to meet {rows}: {sql}")
            raise self.broken

    async def insert(self, table: str, columns: str, rows: Iterable[Params]) -> None:
        rows = list(rows)
        while rows:
            # As few statements as can be, of few different lengths, so that each text is prepared once: 0.7 us a row
            # instead of 1.7.
            count = 1 << min(len(rows).bit_length() - 1, _ROWS_LOG2_MAX)
            head, rows = rows[:count], rows[count:]
            values = ", ".join([f"({marks(head[0])})"] * count)
            self._execute(f"INSERT INTO {table} ({columns}) VALUES {values}", [value for row in head for value in row])

    async def gather(self, parts: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
        try:
            return [await part for part in parts]
        except Exception as failure:
            self.broken = failure
            raise
        finally:
            for part in parts:
                part.close()  # behind one that raised they have not begun

    def announce(self) -> None:
        if self._wake not in self._after:
            self._after.append(self._wake)

    def after_commit(self, tell: Tell) -> None:
        self._after.append(tell)

    def _execute(self, sql: str, params: Params) -> sqlite3.Cursor:
        self._count()
        return self._connection.execute(sql, params)


class _Look(_SqliteTx):
    """`_SqliteTx` of what asks all that it wants at once: once, or once in each of several parts."""

    _asked = False

    async def gather(self, parts: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
        async def alone(part: Coroutine[Any, Any, T]) -> T:
            self._asked = before
            return await part

        before = self._asked
        try:
            found = await super().gather([alone(part) for part in parts])
        finally:
            for part in parts:
                part.close()
        self._asked = before or bool(parts)
        return found

    def _execute(self, sql: str, params: Params) -> sqlite3.Cursor:
        if self._asked:
            raise AssertionError("a look asks all that it wants at once")
        self._asked = True
        return super()._execute(sql, params)


class Sqlite:
    """`Database` on a file: one file, one writer at a time, durable.

    `synchronous=FULL`: a commit survives a power cut. The statements of a short transaction run on the event loop, and
    only its COMMIT, which waits for the disk, hops to a thread. Python's sqlite3 lets go of the interpreter lock at
    every row it steps over; a transaction of a hundred steps on a thread of its own waits a hundred times to get it
    back from a busy loop (when the whole shop was one process at 625 orders/s: 35 ms a placed order instead of 6).
    `threaded=True` moves whole transactions to the thread: for a store whose work is long and not urgent.

    `inline=True` does everything on the calling thread, for the simulation and for tests, where an order of events must
    be the same each time.
    """

    dialect = "sqlite"

    def __init__(self, path: Path, *, rng: random.Random, inline: bool = False, threaded: bool = False) -> None:
        self.name = path.stem
        self._path = path
        self._rng = rng
        self._inline = inline
        self._threaded = threaded and not inline
        self._ends = {end: TRANSACTIONS.labels(self.name, end) for end in ("committed", "undone")}
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
        return await self._at_once(work, _SqliteTx)

    async def look(self, work: Work[T]) -> T:
        """See `Database.look`. There is no round trip here, but what would be a second one elsewhere is refused."""
        return await self._at_once(work, _Look)

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
        return await repeating(self.name, once, (sqlite3.Error,), self._meaning, self._rng)

    async def _at_once(self, work: Work[T], kind: type[_SqliteTx]) -> T:
        async def once() -> T:
            return self._reading("reader", work, kind)

        return await self._repeating(once)

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
            tell_all(self.name, after)

    def _wake(self) -> None:
        tell_all(self.name, self._listeners)

    def _changes(self) -> int:
        return self._connection("writer").total_changes

    def _statements(self, work: Work[T]) -> tuple[T, list[Tell]]:
        """Everything of a transaction but its COMMIT: its result, and whom to tell after it."""
        connection = self._connection("writer")
        connection.execute("BEGIN IMMEDIATE")
        after: list[Tell] = []
        try:
            return _drive(work, _SqliteTx(connection, self._count, self._wake, after)), after
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

    def _reading(self, role: str, work: Work[T], kind: type[_SqliteTx] = _SqliteTx) -> T:
        connection = self._connection(role)
        connection.execute("BEGIN")
        try:
            return _drive(work, kind(connection, self._count, self._wake, []))
        finally:
            connection.execute("ROLLBACK")

    async def _on(self, role: str, call: Callable[[], T]) -> T:
        """Run a call on a thread to its end: one whose caller was cancelled is waited for before the next may start."""
        self._refuse_if_closed()
        if self._inline:
            return call()
        context = contextvars.copy_context()
        future = asyncio.get_running_loop().run_in_executor(self._threads[role], lambda: context.run(call))
        return await to_its_end(future)

    def _connection(self, role: str) -> sqlite3.Connection:
        self._refuse_if_closed()
        if role not in self._opened:
            connection = sqlite3.connect(
                self._path, isolation_level=None, check_same_thread=False, cached_statements=256, timeout=0
            )
            for pragma in _PRAGMAS:
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


def _drive(work: Work[T], tx: _SqliteTx) -> T:
    """Run a unit of work to its end without an event loop: every await in it must be ready at once."""
    steps = work(tx).__await__()
    try:
        next(steps)
    except StopIteration as done:
        if tx.broken:
            raise tx.broken from None
        return cast("T", done.value)
    if hasattr(steps, "close"):
        steps.close()
    raise WaitedInTransaction(WAITED)


def path_of(url: str) -> Path:
    """The file behind a URL, `sqlite:///PATH`. Raises ValueError where it is none."""
    path = url.removeprefix(SCHEME)
    if path in ("", url):
        raise ValueError(f"{url!r} is not {SCHEME}PATH")
    return Path(path)
