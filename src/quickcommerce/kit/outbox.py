"""The transactional outbox: an event is a row written in the transaction that it tells about.

Rows have a `seq` (the order of writing) and a shard, the hash of their key: events of one order stay in one shard, and
order within a shard is all that order per key needs. Two readers exist. The in-process bus reads the outbox as a log
(`bus.py`). A `Relay` moves rows to a broker: it leases shards, publishes each oldest first, and deletes what the
broker confirmed, naming its lease; so many relays can work side by side, and one that was frozen past its lease
changes nothing when it wakes.
"""

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

import msgspec

from quickcommerce.kit.clock import SECOND_US, Clock
from quickcommerce.kit.db import Database, Tx, marks
from quickcommerce.kit.ids import EventId, Ids
from quickcommerce.kit.problem import Unavailable

SHARDS = 16
"""How many shards the key space has; a fixed number, since rows carry it."""
_SHARE_MIN = 32
LEASED_MAX = SHARDS // 2
"""How many shards a relay leases at once. The others are for a second relay, or for its own next step."""
_FREE = "(until_us <= ? OR until_us > ?)"
"""A lease that has ended, or that ends later than any does now: the clock was set back after it was taken."""


class Message(msgspec.Struct, frozen=True):
    """One event on its way, with CloudEvents attribute names (https://cloudevents.io), its data still encoded."""

    id: EventId
    type: str
    source: str
    subject: str
    time_us: int
    trace: str
    data: bytes
    seq: int = 0

    @property
    def shard(self) -> int:
        """Where the events of this key are kept in order."""
        return shard_of(self.subject)


def shard_of(key: str) -> int:
    """The shard of a key: the same on every machine and in every version."""
    return zlib.crc32(key.encode()) % SHARDS


_COLUMNS = "shard, event_id, type, source, subject, time_us, trace, data"


async def append(tx: Tx, messages: Iterable[Message]) -> None:
    """Write events in the transaction that makes them true, and wake their readers once it is committed."""
    messages = list(messages)
    if messages:
        tx.announce()
    await tx.insert(
        "outbox", _COLUMNS, [(m.shard, m.id, m.type, m.source, m.subject, m.time_us, m.trace, m.data) for m in messages]
    )


def share(limit: int, shards: int) -> int:
    """How many rows of one shard a list of `limit` takes at most, so that a backlog of all of them is cheap to read.

    It is twice what falls to each where all have as much. Where one has more than the others, lists are shorter than
    `limit` though more is waiting; they are no shorter than this.
    """
    return min(limit, max(_SHARE_MIN, 2 * limit // max(1, shards)))


async def after(tx: Tx, cursors: dict[int, int], limit: int, each: int | None = None) -> list[Message]:
    """The oldest rows behind each shard's cursor, in order of writing, at most `limit`, and `each` of a shard.

    Which they are is found in the index of each shard, and no more than `each` of any is looked at (`limit` if it is
    not given): a backlog makes no list dearer. With a `share` for each, finding them behind one took half the time.
    """
    each = limit if each is None else each
    of_shard = "SELECT seq FROM (SELECT seq FROM outbox WHERE shard = ? AND seq > ? ORDER BY seq LIMIT ?) AS s"
    oldest = f"{' UNION ALL '.join([of_shard] * len(cursors))} ORDER BY seq LIMIT ?"
    rows = await tx.all(
        f"SELECT {_COLUMNS}, o.seq FROM ({oldest}) AS f JOIN outbox AS o ON o.seq = f.seq ORDER BY o.seq",
        [*(value for shard, seq in cursors.items() for value in (shard, seq, each)), limit],
    )
    return [Message(*row[1:]) for row in rows]


async def pending(tx: Tx, cursors: dict[int, int]) -> int:
    """How many rows are behind each shard's cursor: what not every reader has taken yet."""
    behind = " OR ".join("(shard = ? AND seq > ?)" for _ in cursors)
    row = await tx.one(
        f"SELECT COUNT(*) FROM outbox WHERE {behind}", [value for cursor in cursors.items() for value in cursor]
    )
    return row[0] if row else 0


async def prune(tx: Tx, upto: dict[int, int], limit: int) -> int:
    """Delete rows that every reader has passed, up to the given `seq`: at most `limit` in all. Returns how many."""
    left = limit
    for shard, seq in sorted(upto.items()):
        rows = await tx.all(
            "SELECT seq FROM outbox WHERE shard = ? AND seq <= ? ORDER BY seq LIMIT ?", (shard, seq, left)
        )
        if rows:
            left -= await tx.run("DELETE FROM outbox WHERE shard = ? AND seq <= ?", (shard, rows[-1][0]))
        if left <= 0:
            break
    return limit - left


Publish = Callable[[list[Message]], Awaitable[int]]
"""Sends messages in order; returns how many from the front are confirmed. It stops at the first that failed.

Where not even the first could be sent it may raise Unavailable, which says why."""


@dataclass(frozen=True)
class Relay:
    """Publishes an outbox to a broker."""

    db: Database
    publish: Publish
    clock: Clock
    ids: Ids
    lease_s: float
    list_max: int

    async def step(self) -> bool:
        """Lease free shards in which something waits, publish their oldest rows, delete what was confirmed.

        Returns whether more waits. Shards are published side by side. Raises Unavailable if the broker takes nothing
        of one; the leases are given back first.
        """
        waiting = await self.db.look(self._waiting)
        if not waiting:
            return False
        # Any of them: two relays that begin at the same moment would both want the first.
        wanted = self.ids.rng.sample(waiting, min(len(waiting), LEASED_MAX))
        token = self.ids.token()
        shards = await self.db.run(lambda tx: self._lease(tx, token, wanted))
        each = share(self.list_max, len(shards))
        begins = dict.fromkeys(shards, 0)
        confirmed: list[int] = []
        down: list[Unavailable] = []

        async def send(of_shard: list[Message]) -> None:
            try:
                confirmed.extend(message.seq for message in of_shard[: await self.publish(of_shard)])
            except Unavailable as unavailable:
                down.append(unavailable)

        try:
            messages = await self.db.look(lambda tx: after(tx, begins, self.list_max, each)) if shards else []
            by_shard: dict[int, list[Message]] = {}
            for message in messages:
                by_shard.setdefault(message.shard, []).append(message)
            await asyncio.gather(*map(send, by_shard.values()))
        finally:
            # Also where a stop breaks it off: another one need not wait until the leases end. What is still on its way
            # may arrive twice, and overtakes nothing: of a key only one is on its way, and what is before it arrived.
            await self.db.run(lambda tx: self._settle(tx, token, confirmed))
        if down:
            raise down[0]
        return len(messages) >= each or len(waiting) > len(shards)

    @property
    def _lease_us(self) -> int:
        return int(self.lease_s * SECOND_US)

    async def _waiting(self, tx: Tx) -> list[int]:
        """Free shards in which there is something."""
        first = "SELECT seq FROM outbox WHERE outbox.shard = outbox_lease.shard ORDER BY seq LIMIT 1"
        sql = f"SELECT shard FROM outbox_lease WHERE {_FREE} AND ({first}) IS NOT NULL"
        return [shard for (shard,) in await tx.all(sql, self._free(self.clock()))]

    def _free(self, now: int) -> tuple[int, int]:
        """The values of `_FREE`.

        No lease is twice as long, however much two clocks differ: where one seems to be, a clock has been set back
        since, and its relay died.
        """
        return now, now + 2 * self._lease_us

    async def _lease(self, tx: Tx, token: str, wanted: list[int]) -> list[int]:
        now = self.clock()
        await tx.write(
            f"UPDATE outbox_lease SET token = ?, until_us = ? WHERE {_FREE} AND shard IN ({marks(wanted)})",
            [token, now + self._lease_us, *self._free(now), *wanted],
        )
        return await self._leased(tx, token)

    async def _leased(self, tx: Tx, token: str) -> list[int]:
        return [shard for (shard,) in await tx.all("SELECT shard FROM outbox_lease WHERE token = ?", (token,))]

    async def _settle(self, tx: Tx, token: str, confirmed: list[int]) -> None:
        mine = await self._leased(tx, token)
        if confirmed and mine:
            await tx.write(
                f"DELETE FROM outbox WHERE seq IN ({marks(confirmed)}) AND shard IN ({marks(mine)})",
                [*confirmed, *mine],
            )
        await tx.write("UPDATE outbox_lease SET token = '', until_us = 0 WHERE token = ?", (token,))
