"""A probe in every call to a database or the PG: it counts steps, and can end the process at one of them.

Told a number, it kills the process there, as kill -9 would: nothing that the process does after that reaches anything,
and nobody tidies up.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, TypeVar

import httpx2

from quickcommerce.kit.db import Database, Params, Row, Tx, Work
from quickcommerce.kit.problem import Unavailable

T = TypeVar("T")


class Killed(BaseException):
    """The process ended here."""


class Gate:
    """Holds whoever comes to a step until it is opened."""

    def __init__(self) -> None:
        self.reached, self.open = asyncio.Event(), asyncio.Event()

    async def wait(self) -> None:
        self.reached.set()
        await self.open.wait()


class Probe:
    """Counts steps, and ends the process at one of them.

    Steps between which nothing was written, sent or answered are one step: a crash leaves the same behind.

    `armed`: whether steps count now. `seen`: all of them, those that are one step counted apart.
    `kill_at`: the step to die at.
    `twice_at`, `lost_at`: the commit whose reply does not arrive; it is run again by the database's own repeat (twice),
    or fails as unavailable (lost).
    `down`: databases that do not answer, with the reason.
    `gates`: units of work, by the beginning of their names (or their database's and theirs), and calls to the PG
    (`pg confirm`, `pg cancel`, `pg read`), that wait until they are let through.
    `sql`: every statement, where a test wants to see them.
    """

    def __init__(self, *, kill_at: int | None = None, twice_at: int | None = None, lost_at: int | None = None) -> None:
        self.kill_at, self.twice_at, self.lost_at = kill_at, twice_at, lost_at
        self.armed = False
        self.steps: list[str] = []
        self.seen = 0
        self.commits: list[str] = []
        self.dead = asyncio.Event()
        self.down: dict[str, str] = {}
        self.gates: dict[str, Gate] = {}
        self.sql: list[str] | None = None
        self._news = True

    def step(self, name: str) -> None:
        """The process is about to do this, or has just done it."""
        if self.dead.is_set():
            raise Killed
        self.seen += self.armed
        if not self.armed or not self._news:
            return
        self._news = False
        self.steps.append(name)
        if len(self.steps) - 1 == self.kill_at:
            self.dead.set()
            raise Killed(name)

    def happened(self) -> None:
        """Something changed that a crash does not undo, or that makes the next step a different one to die at."""
        self._news = True

    def commit(self, name: str) -> str:
        """What becomes of the reply to this commit: `arrives`, `twice` or `lost`."""
        if not self.armed:
            return "arrives"
        self.commits.append(name)
        at = len(self.commits) - 1
        return "twice" if at == self.twice_at else "lost" if at == self.lost_at else "arrives"

    def hold(self, step: str) -> Gate:
        """From now on, whoever comes to this step waits."""
        self.gates[step] = Gate()
        return self.gates[step]

    async def call(self, database: str, step: str) -> None:
        """A database or the PG is about to be called."""
        for name, gate in list(self.gates.items()):
            if step.startswith(name) or f"{database} {step}".startswith(name):
                await gate.wait()
        if self.dead.is_set():
            raise Killed
        if database in self.down:
            raise Unavailable(self.down[database])


class WatchedTx:
    """A transaction, statement by statement."""

    def __init__(self, tx: Tx, probe: Probe, name: str) -> None:
        self._tx, self._probe, self._name = tx, probe, name
        self.wrote = False

    async def all(self, sql: str, params: Params = ()) -> list[Row]:
        self._reach(sql)
        return await self._tx.all(sql, params)

    async def one(self, sql: str, params: Params = ()) -> Row | None:
        self._reach(sql)
        return await self._tx.one(sql, params)

    async def run(self, sql: str, params: Params = ()) -> int:
        self._reach(sql)
        changed = await self._tx.run(sql, params)
        if changed:
            self._happened()
        return changed

    async def write(self, sql: str, params: Params = (), rows: int | None = None) -> None:
        self._reach(sql)
        await self._tx.write(sql, params, rows)
        self._happened()

    async def insert(self, table: str, columns: str, rows: Iterable[Params]) -> None:
        rows = list(rows)
        if rows:
            self._reach(f"INSERT INTO {table}")
            await self._tx.insert(table, columns, rows)
            self._happened()

    async def gather(self, parts: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
        return await self._tx.gather(parts)

    def announce(self) -> None:
        self._tx.announce()

    def after_commit(self, tell: Callable[[], None]) -> None:
        self._tx.after_commit(tell)

    def _happened(self) -> None:
        self.wrote = True
        self._probe.happened()

    def _reach(self, sql: str) -> None:
        if self._probe.sql is not None:
            self._probe.sql.append(sql)
        self._probe.step(f"{self._name}: before {sql[:60]}")


class Watched:
    """A database with a probe in it."""

    def __init__(self, inner: Database, probe: Probe) -> None:
        self.inner, self.name, self.dialect, self._probe = inner, inner.name, inner.dialect, probe

    async def run(self, work: Work[T]) -> T:
        name = _name(work)
        await self._probe.call(self.name, name)
        wrote = False

        async def watched(tx: Tx) -> T:
            nonlocal wrote
            seen = WatchedTx(tx, self._probe, self.name)
            result = await work(seen)
            wrote = seen.wrote
            self._probe.step(f"{self.name}: before COMMIT of {name}")
            return result

        result = await self.inner.run(watched)
        if not wrote:
            return result
        self._probe.happened()
        self._probe.step(f"{self.name}: after COMMIT of {name}")
        reply = self._probe.commit(f"{self.name}: {name}")
        if reply == "twice":
            return await self.inner.run(watched)
        if reply == "lost":
            raise Unavailable(f"the connection to {self.name} was lost while it committed")
        return result

    async def read(self, work: Work[T]) -> T:
        await self._probe.call(self.name, _name(work))
        return await self.inner.read(lambda tx: work(WatchedTx(tx, self._probe, self.name)))

    async def look(self, work: Work[T]) -> T:
        await self._probe.call(self.name, _name(work))
        return await self.inner.look(lambda tx: work(WatchedTx(tx, self._probe, self.name)))

    async def scan(self, work: Work[T]) -> T:
        await self._probe.call(self.name, _name(work))
        return await self.inner.scan(lambda tx: work(WatchedTx(tx, self._probe, self.name)))

    def listen(self, listener: Callable[[], None]) -> None:
        self.inner.listen(listener)

    async def close(self) -> None:
        await self.inner.close()


def _name(work: Callable[..., Any]) -> str:
    """Whose unit of work it is: `Payments.close.<lambda>`."""
    name: str = getattr(work, "func", work).__qualname__
    return name.replace(".<locals>", "")


class Line(httpx2.AsyncBaseTransport):
    """The line to the PG, with a probe at both ends of each call."""

    def __init__(self, inner: httpx2.AsyncBaseTransport, probe: Probe) -> None:
        self._inner, self._probe = inner, probe

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        what = "pg read" if request.method == "GET" else f"pg {request.url.path.rpartition('/')[2]}"
        await self._probe.call("pg", what)
        self._probe.step(f"before {what}")
        try:
            return await self._inner.handle_async_request(request)
        finally:
            self._probe.happened()
            self._probe.step(f"after {what}")

    async def aclose(self) -> None:
        await self._inner.aclose()


class Front(httpx2.AsyncBaseTransport):
    """The shop as buyers reach it: what one was told here, a crash does not make untold."""

    def __init__(self, inner: httpx2.AsyncBaseTransport, probe: Probe) -> None:
        self._inner, self._probe = inner, probe

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        answer = await self._inner.handle_async_request(request)
        self._probe.happened()
        return answer

    async def aclose(self) -> None:
        await self._inner.aclose()
