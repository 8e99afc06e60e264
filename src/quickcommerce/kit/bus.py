"""The in-process bus (`memory:`): the outbox is the log, and each consumer group has a durable cursor per shard.

A cursor lives in the consumer's own store and moves in the transaction of the effect, so a crash between the two
cannot happen. Groups read at their own pace: one that is stalled stalls nobody else. Rows are deleted when every group
has passed them.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from prometheus_client import Gauge

from quickcommerce.kit import outbox
from quickcommerce.kit.db import Database, Tx
from quickcommerce.kit.outbox import SHARDS, Message
from quickcommerce.kit.sql import each_its_own
from quickcommerce.kit.telemetry import log

LAG = Gauge(
    "qc_bus_lag_events", "Events that a group had not taken when it last looked; in process at most a list", ["group"]
)

PRUNE_MAX = 500
"""Rows deleted in one transaction, which keeps others waiting for as long as it takes."""

Settle = Callable[[Tx], Awaitable[None]]
"""Moves the bus's cursor, in the consumer's own transaction where there is one. Raises CursorMoved."""


class CursorMoved(Exception):
    """The cursor is not where the list began: these events were delivered already. What was done for them is undone."""


class Consumer(Protocol):
    """Takes lists of events. Once `deliver` returns, each is handled or in the dead letters, and never needed again."""

    @property
    def name(self) -> str:
        """Its consumer group."""
        ...

    @property
    def db(self) -> Database:
        """The store its cursors live in."""
        ...

    async def deliver(self, messages: list[Message], settle: Settle) -> None:
        """Handle the list and call `settle` in the transaction of the last effect, or in one after it."""
        ...

    async def put_aside(self, message: Message, reason: str) -> None:
        """Keep among the dead letters what came by the bus and is no event. Twice is as once. Raises Unavailable."""
        ...


@dataclass(frozen=True)
class Subscription:
    """A consumer group reading one outbox."""

    source: Database
    consumer: Consumer
    list_max: int
    _cursors: dict[int, int] = field(default_factory=dict)

    async def step(self) -> bool:
        """Deliver the next list. Returns whether more is waiting."""
        if not self._cursors:
            self._cursors.update(await self.consumer.db.run(self._load))
        each = outbox.share(self.list_max, SHARDS)
        messages = await self.source.look(lambda tx: outbox.after(tx, self._cursors, self.list_max, each))
        LAG.labels(self.consumer.name).set(len(messages))
        if not messages:
            return False
        ahead = {message.shard: message.seq for message in messages}
        try:
            await self.consumer.deliver(messages, self._settle(ahead))
        except CursorMoved as moved:
            # Another reader of the group was faster, or a commit of ours whose reply was lost did happen.
            log.warning("bus.overtaken", consumer=self.consumer.name, reason=str(moved))
            self._cursors.clear()
            return True
        self._cursors.update(ahead)
        return len(messages) >= each

    async def cursors(self) -> dict[int, int]:
        """How far this group has come, by shard, as committed."""
        return await self.consumer.db.run(self._load)

    async def behind(self) -> int:
        """How many events this group has not taken yet. Raises Unavailable."""
        cursors = await self.cursors()
        return await self.source.scan(lambda tx: outbox.pending(tx, cursors))

    async def _load(self, tx: Tx) -> dict[int, int]:
        mine = (self.consumer.name, self.source.name)
        sql = "SELECT shard, seq FROM bus_cursor WHERE consumer = ? AND source = ?"
        known: dict[int, int] = dict(await tx.all(sql, mine))
        missing = [shard for shard in range(SHARDS) if shard not in known]
        await tx.insert("bus_cursor", "consumer, source, shard, seq", [(*mine, shard, 0) for shard in missing])
        return dict.fromkeys(missing, 0) | known

    def _settle(self, ahead: dict[int, int]) -> Settle:
        async def settle(tx: Tx) -> None:
            # One statement for all shards: their number is the same however few events a list has.
            shards = sorted(ahead)
            seq, seq_of = each_its_own("shard", ahead)
            moved = await tx.run(
                f"UPDATE bus_cursor SET seq = {seq}"
                f" WHERE consumer = ? AND source = ? AND ({' OR '.join(['shard = ? AND seq = ?'] * len(shards))})",
                [
                    *seq_of,
                    self.consumer.name,
                    self.source.name,
                    *(value for shard in shards for value in (shard, self._cursors[shard])),
                ],
            )
            if moved != len(shards):
                raise CursorMoved(f"{self.consumer.name}: a cursor in {self.source.name} was moved")

        return settle


async def passed(source: Database, subscriptions: list[Subscription]) -> dict[int, int]:
    """How far every group of an outbox has come, by shard. Where none reads it, it waits whole for a relay."""
    groups = [await subscription.cursors() for subscription in subscriptions if subscription.source is source]
    return {shard: min((cursors[shard] for cursors in groups), default=0) for shard in range(SHARDS)}


async def prune(source: Database, subscriptions: list[Subscription]) -> bool:
    """Delete the rows of an outbox that all its groups have passed. Returns whether more may be waiting."""
    upto = await passed(source, subscriptions)
    deleted = await source.run(lambda tx: outbox.prune(tx, upto, PRUNE_MAX))
    return deleted >= PRUNE_MAX
