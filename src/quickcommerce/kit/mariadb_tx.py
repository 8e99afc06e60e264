"""A unit of work on MariaDB, driven step by step by whoever holds the connection; knows no driver.

A method of its `Tx` that has an answer hands its statement to `driven`, with the writes before it, and gets the answer
back. Whatever else the unit of work awaits is seen there, and is an error, as on SQLite.
"""

from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic

from quickcommerce.kit.db import WAITED, Params, Repeatable, Row, T, Tell, WaitedInTransaction, Work
from quickcommerce.kit.mariadb_sql import inserts, matched, statement
from quickcommerce.kit.problem import Unavailable

FLIGHT_MAX_CHARS = 1 << 21
"""Of writes that wait to travel with the next statement. UTF-8 has up to four bytes for each, so it is half of what a
server must take at once (`mariadb_line.PACKET_MIN`); what parts in step ask beside them is small."""

Answer = tuple[list[Row], int]
"""The rows of a statement, and how many it matched."""
Ask = Callable[[Sequence[str]], Awaitable[list[Answer]]]
"""Sends statements in one flight, and gives the answer of each. The first that fails is the last that was run."""
Outcome = tuple[T | None, BaseException | None]
"""A result, or what was raised instead."""


@dataclass(frozen=True)
class _Asked:
    """Statements on their way from a unit of work to the task that drives it."""

    flight: list[str]

    def __await__(self) -> Generator["_Asked", list[Answer], list[Answer]]:
        return (yield self)


class MariaDbTx:
    """`Tx` of a unit of work that is driven step by step.

    A round trip costs both sides more than most statements do: 50 us of our CPU and 40 of the server's (ADR 16). So a
    write, of which nobody asks the answer, waits for the next statement and travels with it, and parts of the work that
    do not need each other's answers run in step.
    """

    def __init__(self, count: Tell, wake: Tell, after: list[Tell]) -> None:
        self._count = count
        self._wake = wake
        self._after = after
        self._waiting: list[str] = []
        self._chars = 0
        self.broken: Exception | None = None
        """What was raised by one of several parts that ran in step."""

    async def all(self, sql: str, params: Params = ()) -> list[Row]:
        """See `Tx.all`."""
        return (await self._asked(sql, params))[0]

    async def one(self, sql: str, params: Params = ()) -> Row | None:
        """See `Tx.one`."""
        rows = await self.all(sql, params)
        return rows[0] if rows else None

    async def run(self, sql: str, params: Params = ()) -> int:
        """See `Tx.run`."""
        return (await self._asked(sql, params))[1]

    async def write(self, sql: str, params: Params = (), rows: int | None = None) -> None:
        """See `Tx.write`."""
        self._count()
        text = statement(sql, params)
        await self._wait([text] if rows is None else [text, matched(rows)])

    async def insert(self, table: str, columns: str, rows: Iterable[Params]) -> None:
        """See `Tx.insert`."""
        for sql in inserts(table, columns, rows):
            self._count()
            await self._wait([sql])

    async def gather(self, parts: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
        """See `Tx.gather`."""
        try:
            return await _Gathered(parts)
        except Exception as failure:
            self.broken = failure
            raise

    def waiting(self) -> list[str]:
        """What is still to be sent, which is the caller's from now on."""
        waiting, self._waiting, self._chars = self._waiting, [], 0
        return waiting

    def announce(self) -> None:
        """See `Tx.announce`."""
        if self._wake not in self._after:
            self._after.append(self._wake)

    def after_commit(self, tell: Tell) -> None:
        """See `Tx.after_commit`."""
        self._after.append(tell)

    async def _wait(self, sql: Sequence[str]) -> None:
        """Let statements travel with the next one, unless they are too much for one flight."""
        chars = sum(map(len, sql))
        if self._waiting and self._chars + chars > FLIGHT_MAX_CHARS:
            await _Asked(self.waiting())
        self._waiting += sql
        self._chars += chars

    async def _asked(self, sql: str, params: Params) -> Answer:
        self._count()
        text = statement(sql, params)
        return (await _Asked([*self.waiting(), text]))[-1]


class _Gathered(Generic[T]):
    """Parts of a unit of work, driven in step: what each of them asks next is one flight."""

    def __init__(self, parts: Sequence[Coroutine[Any, Any, T]]) -> None:
        self._parts = parts

    def __await__(self) -> Generator[Any, Any, list[T]]:
        results: dict[int, T] = {}
        running = dict(enumerate(self._parts))
        answers: dict[int, list[Answer] | None] = dict.fromkeys(running)
        try:
            while running:
                flights: dict[int, list[str]] = {}
                for at, part in list(running.items()):
                    try:
                        asked = part.send(answers[at])
                    except StopIteration as done:
                        results[at] = done.value
                        del running[at]
                    else:
                        # Whatever else it awaits is refused by whoever drives this.
                        flights[at] = asked.flight if isinstance(asked, _Asked) else (yield asked)
                if flights:
                    told: list[Answer] = yield _Asked([sql for flight in flights.values() for sql in flight])
                    for at, flight in flights.items():
                        answers[at], told = told[: len(flight)], told[len(flight) :]
        finally:
            for part in running.values():
                part.close()
        return [results[at] for at in range(len(self._parts))]


async def driven(tx: MariaDbTx, work: Work[T], ask: Ask) -> Outcome[T]:
    """Run a unit of work to its end, its statements by `ask`. What it raises is returned beside its result.

    What ended more than itself ends the work, whatever the work makes of it: a statement that was undone with its whole
    transaction, one behind which others of its flight were not run, and what a part raised beside other parts.
    """
    steps = work(tx).__await__()
    answers: list[Answer] | None = None
    failure: Exception | None = None
    over: Exception | None = None
    while True:
        try:
            asked = steps.throw(failure) if failure else steps.send(answers)
        except StopIteration as done:
            over = over or tx.broken
            return (None, over) if over else (done.value, None)
        except BaseException as raised:  # noqa: BLE001 - raised by whoever waits for the transaction
            return None, over or raised
        if not isinstance(asked, _Asked):
            steps.close()
            return None, WaitedInTransaction(WAITED)
        answers = failure = None
        try:
            answers = await ask(asked.flight)
        except Exception as failed:  # noqa: BLE001 - it is the work's
            failure = failed
            if isinstance(failed, Repeatable | Unavailable) or len(asked.flight) > 1:
                over = failed
