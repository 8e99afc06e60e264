"""The ledger's file: transactions in groups, one after another, durable before anybody is answered."""

import asyncio
import contextvars
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar, cast

from quickcommerce.toss_emulator import schema
from quickcommerce.toss_emulator.ledger import Books

T = TypeVar("T")
Operation = Callable[[Books], T]
"""Something done to the books in one go; it may be run again when its group failed, so it has no other effect."""

BUSY_MS = 1_000
"""How long to wait for a process that is just closing the file."""


class LedgerError(Exception):
    """The ledger's file cannot be used; the text says which and why."""


class Store:
    """One SQLite file, owned by this process alone while it is open.

    Operations that wait are committed together by one thread of their own: the event loop never waits for the disk,
    and one fsync serves all of them. With `inline` each is committed at once in the caller's thread instead, so that
    nothing depends on real time. Without a path the ledger lives in memory.
    """

    def __init__(self, path: Path | None, *, inline: bool) -> None:
        self._path = path
        self._inline = inline
        self._connection: sqlite3.Connection | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._waiting: list[tuple[Operation[Any], asyncio.Future[Any]]] = []
        self._committer: asyncio.Task[None] | None = None

    async def open(self) -> bool:
        """Open the file, making it and its folder when they are missing. Returns False, doing nothing, when it is open.

        Raises LedgerError when another process has it open, when it is no ledger, and when it cannot be written.
        """
        if self._connection is not None:
            return False
        if self._inline:
            self._connection = _connect(self._path)
            return True
        thread = ThreadPoolExecutor(1, thread_name_prefix="toss-ledger")
        try:
            self._connection = await asyncio.get_running_loop().run_in_executor(thread, _connect, self._path)
        except BaseException:
            thread.shutdown(wait=False)
            raise
        self._thread = thread
        return True

    async def close(self) -> None:
        """Finish what was begun and close the file; nothing happens when it is closed."""
        while self._committer is not None:
            await asyncio.wait({self._committer})
        if self._thread is not None:
            self._thread.shutdown()
            self._thread = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def run(self, operation: Operation[T]) -> T:
        """Run an operation in a transaction and return its result once that is durable.

        A caller that is cancelled while it waits does not undo it. Raises what the operation raised, or
        sqlite3.Error when the file cannot be written; nothing of it was stored then.
        """
        if self._connection is None:
            raise RuntimeError("the emulator is not started")
        if self._inline:
            result = self._commit([operation])[0]
            if isinstance(result, _Failed):
                raise result.error
            return cast(T, result)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._waiting.append((operation, future))
        if self._committer is None:
            # A context of its own: the group is nobody's request.
            self._committer = loop.create_task(self._commit_waiting(), context=contextvars.Context())
        return await future

    async def _commit_waiting(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                group, self._waiting = self._waiting, []
                results = await loop.run_in_executor(self._thread, self._commit, [operation for operation, _ in group])
                for (_, future), result in zip(group, results, strict=True):
                    if future.done():  # its caller was cancelled
                        continue
                    if isinstance(result, _Failed):
                        future.set_exception(result.error)
                    else:
                        future.set_result(result)
        finally:
            self._committer = None

    def _commit(self, operations: list[Operation[Any]]) -> list[Any]:
        """Run a group in one transaction; when that fails, each alone, so that one bad apple spoils no other."""
        connection = cast(sqlite3.Connection, self._connection)
        books = Books(connection)
        try:
            connection.execute("BEGIN IMMEDIATE")
            results = [operation(books) for operation in operations]
            connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - handed to the caller whose operation it was
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            if len(operations) == 1:
                return [_Failed(error)]
            return [self._commit([operation])[0] for operation in operations]
        return results


class _Failed:
    """An operation's exception, carried as its result."""

    def __init__(self, error: Exception) -> None:
        self.error = error


def examined(path: Path) -> bool:
    """Look whether a ledger's file is sound. Returns False where it is not looked at, since a process has it open.

    Raises LedgerError when it is damaged or no ledger at all.
    """
    try:
        # Whoever works with it keeps it locked for as long as they run: there is nothing to wait for.
        with closing(sqlite3.connect(path, timeout=0)) as ledger:
            broken = ledger.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        if _is_busy(error):
            return False
        raise LedgerError(f"the emulator's ledger {path} cannot be used: {error}") from error
    if broken != ("ok",):
        raise LedgerError(f"the emulator's ledger {path} is damaged: {broken}")
    return True


def _is_busy(error: Exception) -> bool:
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY


def _connect(path: Path | None) -> sqlite3.Connection:
    try:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        # One thread at a time uses it, but it is opened and closed from others.
        connection = sqlite3.connect(path or ":memory:", isolation_level=None, check_same_thread=False)
        try:
            _prepare(connection)
        except BaseException:
            connection.close()
            raise
    except (sqlite3.Error, OSError) as error:
        if _is_busy(error):
            raise LedgerError(
                f"the emulator's ledger {path} is open in another process, a shop or an emulator; choose another folder"
            ) from error
        raise LedgerError(f"the emulator's ledger {path} cannot be used: {error}") from error
    return connection


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
    # The idempotency keys still being worked on are known to this process only, so no other may open the file.
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("BEGIN IMMEDIATE")
    schema.prepare(connection)
    connection.execute("COMMIT")
