"""Orders that somebody watches: one read for all of them, in short, tells every watcher what changed.

A page that is open holds a connection of the web server, and nothing of the database. `step` is a loop of the process,
woken by commits, that looks once in a while, however many watch.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from quickcommerce.kit.ids import OrderId
from quickcommerce.kit.problem import Unavailable
from quickcommerce.order.audit import Fact
from quickcommerce.order.model import HOLDING, NEXT, Status
from quickcommerce.order.store import Row

HEARTBEAT_S = 15.0
"""A proxy cuts a connection on which nothing comes."""
LIFE_S = 240.0
"""How long one stream lasts; the browser then asks again, which looks at the session again too."""
RETRY_MS = 2_000
WATCHERS_MAX = 4_096


class Book(Protocol):
    """Where orders are read."""

    async def facts(self, order_ids: Collection[OrderId]) -> Mapping[OrderId, Fact]:
        """Orders in short, by id."""
        ...


class _Seen(msgspec.Struct):
    """What a page is told of an order."""

    version: int
    status: Status
    refunded: int


@dataclass(eq=False)
class _Watcher:
    order_id: OrderId
    seen: _Seen
    wake: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True)
class Live:
    """The watchers of this process."""

    book: Book
    _watchers: set[_Watcher] = field(default_factory=set)
    _closed: list[bool] = field(default_factory=list)

    async def step(self) -> bool:
        """Look at every order that is watched. Raises Unavailable."""
        watched: dict[OrderId, list[_Watcher]] = defaultdict(list)
        for watcher in self._watchers:
            watched[watcher.order_id].append(watcher)
        for order_id, fact in (await self.book.facts(watched)).items():
            for watcher in watched[order_id]:
                if fact.version > watcher.seen.version:
                    watcher.seen = _Seen(fact.version, Status(fact.status), fact.refunded)
                    watcher.wake.set()
        return False

    def close(self) -> None:
        """End every stream: the process is stopping, and another may serve what the browser asks next."""
        self._closed.append(True)
        for watcher in self._watchers:
            watcher.wake.set()

    def follow(self, row: Row) -> AsyncIterator[bytes]:
        """An order as it is and as it becomes, as server-sent events. Raises Unavailable where too many watch."""
        if len(self._watchers) >= WATCHERS_MAX:
            raise Unavailable("too many orders are watched", retry_after_s=5)
        return self._events(row)

    async def _events(self, row: Row) -> AsyncIterator[bytes]:
        now = asyncio.get_running_loop().time
        ends = now() + LIFE_S
        with self._watching(row) as watcher:
            yield f"retry: {RETRY_MS}\n".encode() + _message(watcher.seen)
            told = row.version
            while not self._closed:
                if watcher.seen.version > told:
                    told = watcher.seen.version
                    yield _message(watcher.seen)
                    continue
                left = ends - now()
                if left <= 0 or not NEXT[watcher.seen.status]:
                    break
                watcher.wake.clear()
                try:
                    async with asyncio.timeout(min(HEARTBEAT_S, left)):
                        await watcher.wake.wait()
                except TimeoutError:
                    yield b": \n\n"
            if not self._closed and watcher.seen.status not in HOLDING:
                yield b"event: end\ndata: {}\n\n"

    @contextmanager
    def _watching(self, row: Row) -> Iterator[_Watcher]:
        watcher = _Watcher(row.order_id, _Seen(row.version, row.status, row.refunded))
        self._watchers.add(watcher)
        try:
            yield watcher
        finally:
            self._watchers.discard(watcher)


def _message(seen: _Seen) -> bytes:
    return b"id: %d\nevent: order\ndata: %s\n\n" % (seen.version, msgspec.json.encode(seen))
