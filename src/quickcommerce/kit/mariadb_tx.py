"""A unit of work on MariaDB, driven step by step by whoever holds the connection; knows no driver.

A method of its `Tx` hands its statement to `driven` and gets the answer back. Whatever else the unit of work awaits is
seen there, and is an error, as on SQLite.
"""

from collections.abc import Awaitable, Callable, Generator, Iterable
from dataclasses import dataclass

from quickcommerce.kit.db import Params, Repeatable, Row, T, Tell, WaitedInTransaction
from quickcommerce.kit.mariadb_sql import inserts, statement
from quickcommerce.kit.problem import Unavailable

Answer = tuple[list[Row], int]
"""The rows of a statement, and how many it matched."""
Outcome = tuple[T | None, BaseException | None]
"""A result, or what was raised instead."""


@dataclass(frozen=True)
class _Asked:
    """A statement on its way from a unit of work to the task that drives it."""

    sql: str

    def __await__(self) -> Generator["_Asked", Answer, Answer]:
        return (yield self)


class MariaDbTx:
    """`Tx` of a unit of work that is driven step by step."""

    def __init__(self, count: Tell, wake: Tell, after: list[Tell]) -> None:
        self._count = count
        self._wake = wake
        self._after = after

    async def all(self, sql: str, params: Params = ()) -> list[Row]:
        """See `Tx.all`."""
        self._count()
        return (await _Asked(statement(sql, params)))[0]

    async def one(self, sql: str, params: Params = ()) -> Row | None:
        """See `Tx.one`."""
        rows = await self.all(sql, params)
        return rows[0] if rows else None

    async def run(self, sql: str, params: Params = ()) -> int:
        """See `Tx.run`."""
        self._count()
        return (await _Asked(statement(sql, params)))[1]

    async def insert(self, table: str, columns: str, rows: Iterable[Params]) -> None:
        """See `Tx.insert`."""
        for sql in inserts(table, columns, rows):
            self._count()
            await _Asked(sql)

    def announce(self) -> None:
        """See `Tx.announce`."""
        if self._wake not in self._after:
            self._after.append(self._wake)

    def after_commit(self, tell: Tell) -> None:
        """See `Tx.after_commit`."""
        self._after.append(tell)


async def driven(work: Awaitable[T], ask: Callable[[str], Awaitable[Answer]]) -> Outcome[T]:
    """Run a unit of work to its end, its statements by `ask`. What it raises is returned beside its result.

    A statement that was undone with its whole transaction ends the work, whatever the work makes of it.
    """
    steps = work.__await__()
    answer: Answer | None = None
    failure: Exception | None = None
    undone: Exception | None = None
    while True:
        try:
            asked = steps.throw(failure) if failure else steps.send(answer)
        except StopIteration as done:
            return (None, undone) if undone else (done.value, None)
        except BaseException as raised:  # noqa: BLE001 - raised by whoever waits for the transaction
            return None, undone or raised
        if not isinstance(asked, _Asked):
            steps.close()
            return None, WaitedInTransaction(
                "a transaction may await nothing but itself: no network, no sleep, no lock"
            )
        answer = failure = None
        try:
            answer = await ask(asked.sql)
        except Exception as failed:  # noqa: BLE001 - it is the work's
            failure = failed
            if isinstance(failed, Repeatable | Unavailable):
                undone = failed
