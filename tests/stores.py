"""Databases and consumer groups under contract: how each is opened, and what a test does to it from outside."""

import asyncio
import random
import sqlite3
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar
from unittest.mock import patch

import msgspec
import prometheus_client
import pytest

import schemas
from quickcommerce.kit import migrate, outbox
from quickcommerce.kit.bus import Subscription
from quickcommerce.kit.clock import SECOND_US
from quickcommerce.kit.db import Database, Limits, Tx, Unmatched, Work, connect
from quickcommerce.kit.ids import EventId
from quickcommerce.kit.inbox import DeadLetters, Inbox
from quickcommerce.kit.mariadb import MariaDb
from quickcommerce.kit.outbox import Message
from quickcommerce.kit.problem import Unavailable
from quickcommerce.kit.sqlite import Sqlite
from streams import Stream, close_all

T = TypeVar("T")
TEXTS = (
    "' OR '1'='1", "'; DROP TABLE thing; --", "\\", "\\'", "'\\", "\\\\'", '"', "\\x27", "%s %d %%", "? ?", "/*lock*/",
    "\x00", "\n\r\t\x1a", "우유 🥛", "a\u0301", "\ufeff", "\uffff", "''", "\\0",
)  # fmt: skip
"""Texts that mean something in SQL, in a string of SQL, in Python's formats, or to us."""


@dataclass(frozen=True)
class Store:
    """A database, and how to reach behind it."""

    db: Database
    elsewhere: Callable[..., None]
    """Commits one statement (SQL, parameters) as another process would; raises where something is still locked."""
    stalled: Callable[[str], Any]
    """`with stalled("commit")`, or `"scan"`: those that are asked for meanwhile stay in flight."""


def _sqlite(path: Path, *, inline: bool = False, threaded: bool = False) -> Store:
    db = Sqlite(path, rng=random.Random(path.name), inline=inline, threaded=threaded)

    def elsewhere(sql: str, params: Sequence[Any] = ()) -> None:
        with closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as connection:
            connection.execute(sql, params)

    @contextmanager
    def stalled(what: str) -> Iterator[None]:
        go_on = threading.Event()
        db._threads[{"commit": "writer", "scan": "scanner"}[what]].submit(go_on.wait)
        try:
            yield
        finally:
            go_on.set()

    return Store(db, elsewhere, stalled)


def _mariadb(path: Path, *, connections: int = 8) -> Store:
    schema = schemas.make(schemas.name_of(path))
    limits = Limits(writers=connections, readers=connections, wait_s=30.0, statement_s=10.0)
    db = connect(schemas.url_of(schema), rng=random.Random(path.name), limits=limits)
    assert isinstance(db, MariaDb)

    def elsewhere(sql: str, params: Sequence[Any] = ()) -> None:
        schemas.sql(sql, params, schema=schema)

    @contextmanager
    def stalled(what: str) -> Iterator[None]:
        go_on = asyncio.Event()
        ask = db._ask

        async def held(role: str, connection: Any, flight: Sequence[str]) -> Any:
            if {"commit": role == "writer" and "COMMIT" in flight, "scan": role == "scanner"}[what]:
                await go_on.wait()
            return await ask(role, connection, flight)

        with patch.object(db, "_ask", held):
            try:
                yield
            finally:
                go_on.set()

    return Store(db, elsewhere, stalled)


STORES: dict[str, Callable[[Path], Store]] = {
    "sqlite": _sqlite,
    "sqlite-threaded": lambda path: _sqlite(path, threaded=True),
    "sqlite-inline": lambda path: _sqlite(path, inline=True),
    "mariadb": _mariadb,
    "mariadb-narrow": lambda path: _mariadb(path, connections=1),
}
"""Every adapter of the database port. `sqlite` is what orders and payments use, `sqlite-threaded` the history;
`mariadb-narrow` has one connection of each kind, so that one waits for the other as on SQLite."""


def kinds(*names: str) -> list[Any]:
    """Parameters of a test: these adapters, those that need a server marked so."""
    return [pytest.param(name, marks=[pytest.mark.servers] * name.startswith("mariadb")) for name in names]


EMBEDDED = kinds("sqlite", "sqlite-threaded", "sqlite-inline")
EVERY = [*EMBEDDED, *kinds("mariadb")]
WAITING = kinds("sqlite", "sqlite-threaded", "mariadb-narrow")
"""Those that give way to the event loop while they commit or scan, one at a time."""


_migrated: dict[tuple[str, ...], bytes] = {}


def _copied(path: Path, folders: tuple[str, ...]) -> None:
    """Start a new SQLite file as one that was migrated before: that waits for the disk less often."""
    if folders in _migrated and not path.exists():
        path.write_bytes(_migrated[folders])


@asynccontextmanager
async def opened(kind: str, path: Path, *folders: str) -> AsyncIterator[Store]:
    """A database with the migrations of these folders."""
    embedded = not kind.startswith("mariadb")
    if embedded:
        _copied(path, folders)
    store = STORES[kind](path)
    await migrate.migrate(store.db, migrate.load(*folders, dialect=store.db.dialect))
    if embedded and folders not in _migrated:
        with closing(sqlite3.connect(path)) as connection:
            _migrated[folders] = connection.serialize()
    try:
        yield store
    finally:
        await store.db.close()


class Clock:
    """A clock that a test moves."""

    def __init__(self, now_us: int = 1_767_225_600 * SECOND_US) -> None:
        self.now_us = now_us

    def __call__(self) -> int:
        return self.now_us

    def advance(self, seconds: float) -> None:
        self.now_us += round(seconds * SECOND_US)


def metric(name: str, **labels: str) -> float:
    """A metric's value now."""
    return prometheus_client.REGISTRY.get_sample_value(name, labels) or 0.0


LIMIT_S = 240
"""Of a condition that is waited for: it is there for a test that fails, and not for one on a slow machine."""


async def until(check: Callable[[], bool]) -> None:
    """Wait for a condition; the limit is for a test that fails, not for one that passes."""
    async with asyncio.timeout(LIMIT_S):
        while not check():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.001)


async def eventually(check: Callable[[], Awaitable[bool]]) -> None:
    """As `until`, for a condition that is awaited."""
    async with asyncio.timeout(LIMIT_S):
        while not await check():  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)


async def turns(count: int = 10) -> None:
    """Let every other task run as far as it can without a thread or a timer."""
    for _ in range(count):
        await asyncio.sleep(0)


class CancelledAt(Generic[T]):
    """Await a coroutine, and cancel the task around it at these of its awaits, counted from 0."""

    def __init__(self, work: Coroutine[Any, Any, T], *at: int) -> None:
        self._work = work
        self._at = at
        self.awaits = 0

    def __await__(self) -> Generator[Any, Any, T]:
        step: Callable[[Any], Any] = self._work.send
        value: Any = None
        while True:
            try:
                waiting = step(value)
            except StopIteration as done:
                result: T = done.value
                return result
            if self.awaits in self._at and (task := asyncio.current_task()):
                # The task's own machinery then cancels what it is about to wait for.
                task.cancel()
            self.awaits += 1
            try:
                value = yield waiting
                step = self._work.send
            except BaseException as thrown:  # noqa: BLE001 - passed on to the coroutine
                step, value = self._work.throw, thrown


def message(key: str, n: int, *, kind: str = "Counted", data: bytes | None = None) -> Message:
    """The n-th event of a key."""
    return Message(
        EventId(f"evt_{key}_{n}"), kind, "source", key, n, f"{n:032x}", msgspec.json.encode(n) if data is None else data
    )


@dataclass
class Group:
    """A consumer group whose events each leave a row, in the order in which they were handled; and its faults."""

    name: str
    clock: Clock
    db: Database
    letters: DeadLetters
    down: bool = False
    broken: set[str] = field(default_factory=set)
    handled: list[str] = field(default_factory=list)
    """The ids of events that were begun, those of transactions that were undone among them."""

    @property
    def inbox(self) -> Inbox:
        """The group's consumer, made anew, as after a restart."""
        handlers = {"Counted": self._handle, "Added": self._handle}
        return Inbox(self.name, self.db, handlers, self.letters, self.clock, random.Random(self.name))

    async def _handle(self, tx: Tx, messages: list[Message]) -> None:
        if self.down:
            raise Unavailable("a dependency is down")
        for one in messages:
            self.handled.append(one.id)
            n = msgspec.convert(msgspec.json.decode(one.data), int)
            if one.id in self.broken:
                raise RuntimeError(f"{one.id} breaks the handler")
            last = await tx.one("SELECT COUNT(*) FROM effect")
            position = last[0] if last else 0
            await tx.insert("effect", "position, consumer, subject, n", [(position, self.name, one.subject, n)])

    async def effects(self) -> list[tuple[str, int]]:
        """(key, n) of every effect, in order."""
        sql = "SELECT subject, n FROM effect WHERE consumer = ? ORDER BY position"
        return [(row[0], row[1]) for row in await self.db.read(lambda tx: tx.all(sql, (self.name,)))]

    async def had_each_once_in_order(self, messages: Sequence[Message]) -> None:
        """Asserts that these events, and no others, had one effect each, and those of one key in their order."""
        effects = await self.effects()
        expected = sorted((one.subject, one.time_us) for one in messages)
        assert sorted(effects) == expected, f"{len(effects)} effects of {len(expected)} events"
        for key in {one.subject for one in messages}:
            of_key = [n for subject, n in effects if subject == key]
            assert of_key == sorted(of_key), f"the events of {key} were handled as {of_key}"


@dataclass(frozen=True)
class Post:
    """A store that speaks and a store that listens."""

    source: Store
    target: Store
    clock: Clock
    letters: DeadLetters

    def group(self, name: str = "group") -> Group:
        """A consumer group of the store that listens."""
        return Group(name, self.clock, self.target.db, self.letters)

    async def publish(self, messages: Sequence[Message]) -> None:
        """Events in one transaction."""
        await self.source.db.run(lambda tx: outbox.append(tx, messages))

    async def waiting(self) -> int:
        """How many events the outbox holds."""
        row = await self.source.db.read(lambda tx: tx.one("SELECT COUNT(*) FROM outbox"))
        return row[0] if row else 0


@asynccontextmanager
async def post(kind: str, folder: Path) -> AsyncIterator[Post]:
    """Both stores. The same folder again is a restart."""
    async with (
        opened(kind, folder / "source.db", "events", "cursor") as source,
        opened(kind, folder / "target.db", "events", "cursor") as target,
    ):
        await target.db.run(
            lambda tx: tx.run(
                "CREATE TABLE IF NOT EXISTS effect (position BIGINT PRIMARY KEY, consumer VARCHAR(20) NOT NULL,"
                " subject VARCHAR(60) NOT NULL, n BIGINT NOT NULL)"
            )
        )
        clock = Clock()
        try:
            yield Post(source, target, clock, DeadLetters(target.db, clock))
        finally:
            await close_all()


class Reader(Protocol):
    """What brings a group its events."""

    async def step(self) -> bool:
        """Deliver the next list. Returns whether more is waiting."""
        ...


READERS: dict[str, Callable[[Database, Inbox, int], Reader]] = {"memory:": Subscription, "kafka:": Stream}
"""Every adapter of the bus port."""
BUSES = [pytest.param("memory:"), pytest.param("kafka:", marks=pytest.mark.servers)]


async def drain(reader: Reader) -> None:
    """Deliver until nothing waits."""
    while await reader.step():
        pass


async def undone(db: Database, work: Work[None]) -> bool:
    """Whether a unit of work met other rows than it was to meet."""
    try:
        await db.run(work)
    except Unmatched:
        return True
    return False
