"""Consumers: a list of events is one transaction, with an inbox row for each, so that its effect happens once.

A list that fails is handled one by one. An event that keeps failing is poison: it goes to the dead letters with its
reason, and its neighbours go on. A dependency that is down is not poison, nor is what the database undoes again and
again: `Unavailable` passes through to the loop, which waits and tries the same list again.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import msgspec
from prometheus_client import Counter

from quickcommerce.kit.bus import CursorMoved, Settle
from quickcommerce.kit.clock import Clock, rfc3339
from quickcommerce.kit.db import Database, Tx, marks
from quickcommerce.kit.outbox import Message
from quickcommerce.kit.policy import Backoff
from quickcommerce.kit.problem import NotFound, Unavailable
from quickcommerce.kit.repeating import singly
from quickcommerce.kit.telemetry import log, tracing

TRIES_MAX = 5
"""So often is an event tried before it is poison, the list in which it first failed among them."""
LETTERS_MAX = 1_000
"""Dead letters that are read at once."""
_BACKOFF = Backoff(base_s=0.02, cap_s=0.2)

CONSUMED = Counter("qc_events_total", "Events by what became of them", ["consumer", "end"])

Handler = Callable[[Tx, list[Message]], Awaitable[None]]


class Poison(Exception):
    """The event can never be handled as things are; it belongs to the dead letters. The text is the reason."""


def waves(messages: list[Message]) -> list[dict[str, list[Message]]]:
    """Split a list so that handlers can take many events at once without breaking the order of any key.

    Wave k holds the k-th event of every key, grouped by type: within a wave no two events share a key.
    """
    result: list[dict[str, list[Message]]] = []
    depth: dict[str, int] = {}
    for message in messages:
        at = depth.get(message.subject, 0)
        depth[message.subject] = at + 1
        if at == len(result):
            result.append({})
        result[at].setdefault(message.type, []).append(message)
    return result


@dataclass(frozen=True)
class DeadLetter:
    """An event that could not be handled, as operators see it."""

    id: str
    consumer: str
    event_type: str
    order_id: Annotated[str, msgspec.Meta(description="What the event is about, as it says itself.")]
    reason: str
    tries: int
    failed_at: str


@dataclass(frozen=True)
class DeadLetters:
    """The dead letters of one store: one for each consumer and event."""

    db: Database
    clock: Clock

    async def add(self, tx: Tx, consumer: str, message: Message, reason: str, tries: int) -> None:
        """Keep an event with the reason why it could not be handled, after how many tries. A second time: nothing."""
        letter_id = f"{consumer}.{message.id}"
        if await tx.one("SELECT 1 FROM dead_letter WHERE letter_id = ?", (letter_id,)):
            return
        kept = msgspec.json.encode(message)
        await tx.insert(
            "dead_letter",
            "letter_id, consumer, event_type, subject, reason, tries, failed_at_us, message",
            [(letter_id, consumer, message.type, message.subject, reason[:1000], tries, self.clock(), kept)],
        )

        def tell() -> None:
            CONSUMED.labels(consumer, "dead").inc()
            with tracing(message.trace):
                log.error("event.dead", consumer=consumer, type=message.type, order_id=message.subject, reason=reason)

        tx.after_commit(tell)

    async def list(self, after: tuple[int, str] = (0, ""), *, limit: int = LETTERS_MAX) -> list[DeadLetter]:
        """The oldest first, behind `after`: the time in microseconds and the id of the last that was seen."""
        at, letter_id = after
        rows = await self.db.scan(
            lambda tx: tx.all(
                "SELECT letter_id, consumer, event_type, subject, reason, tries, failed_at_us FROM dead_letter"
                " WHERE failed_at_us > ? OR (failed_at_us = ? AND letter_id > ?)"
                " ORDER BY failed_at_us, letter_id LIMIT ?",
                (at, at, letter_id, limit),
            )
        )
        return [DeadLetter(*row) for row in ((*facts, rfc3339(at)) for *facts, at in rows)]

    async def about(self, event_types: Collection[str]) -> set[str]:
        """What the letters of these types are about: order ids. There are few letters, and all are read."""
        sql = f"SELECT DISTINCT subject FROM dead_letter WHERE event_type IN ({marks(list(event_types))})"
        return {subject for (subject,) in await self.db.scan(lambda tx: tx.all(sql, sorted(event_types)))}

    async def peek(self, tx: Tx, letter_id: str) -> Message:
        """The event of a letter. Raises NotFound."""
        row = await tx.one("SELECT message FROM dead_letter WHERE letter_id = ?", (letter_id,))
        if row is None:
            raise NotFound("there is no such dead letter")
        return msgspec.json.decode(row[0], type=Message)

    async def take(self, tx: Tx, letter_id: str) -> Message:
        """Remove a letter and return its event. Raises NotFound."""
        message = await self.peek(tx, letter_id)
        if await tx.run("DELETE FROM dead_letter WHERE letter_id = ?", (letter_id,)) != 1:
            # Another operator was faster, between the look and now.
            raise NotFound("there is no such dead letter")
        return message


async def try_alone(
    handle: Callable[[], Awaitable[None]], bury: Callable[[str, int], Awaitable[None]], rng: random.Random
) -> None:
    """Handle one event of a list that failed, which was its first try; bury it (reason, tries) if it keeps failing.

    Raises Unavailable: a dependency that is down is no fault of the event.
    """
    for tries in range(2, TRIES_MAX + 1):
        try:
            return await handle()
        except Unavailable:
            raise
        except Exception as failure:  # noqa: BLE001 - the reason goes to the dead letters
            if tries == TRIES_MAX or isinstance(failure, Poison):
                return await bury(str(failure) if isinstance(failure, Poison) else repr(failure), tries)
        await asyncio.sleep(_BACKOFF.delay_s(tries, rng))
    raise AssertionError("unreachable: the last try returns")


@dataclass(frozen=True)
class Inbox:
    """A consumer whose handlers write to one database: effect, inbox row and cursor are one transaction."""

    name: str
    db: Database
    handlers: Mapping[str, Handler]
    letters: DeadLetters
    clock: Clock
    rng: random.Random

    async def deliver(self, messages: list[Message], settle: Settle) -> None:
        """See `Consumer.deliver`."""

        async def together(tx: Tx) -> None:
            await self._handle(tx, messages)
            await settle(tx)

        try:
            await self.db.run(together)
        except Exception as failure:
            if isinstance(failure, CursorMoved) or not singly(failure):
                raise
            log.warning("consumer.singled", consumer=self.name, events=len(messages), error=repr(failure))
            for message in messages:
                await self._deliver_one(message)
            await self.db.run(settle)

    async def put_aside(self, message: Message, reason: str) -> None:
        """See `Consumer.put_aside`."""
        await self.db.run(partial(self._bury, message=message, reason=reason, tries=1))

    async def replay(self, letter_id: str) -> None:
        """Handle a dead letter again, after what made it fail was mended. It is gone only if that succeeds."""

        async def work(tx: Tx) -> None:
            message = await self.letters.take(tx, letter_id)
            await self._handlers(tx, [message])

        await self.db.run(work)
        CONSUMED.labels(self.name, "replayed").inc()

    async def _deliver_one(self, message: Message) -> None:
        async def alone() -> None:
            await self.db.run(lambda tx: self._handle(tx, [message]))

        async def bury(reason: str, tries: int) -> None:
            await self.db.run(partial(self._bury, message=message, reason=reason, tries=tries))

        await try_alone(alone, bury, self.rng)

    async def _bury(self, tx: Tx, message: Message, reason: str, tries: int) -> None:
        if await self._fresh(tx, [message]):
            await self.letters.add(tx, self.name, message, reason, tries)
            await self._remember(tx, [message])

    async def _handle(self, tx: Tx, messages: list[Message]) -> None:
        fresh = await self._fresh(tx, messages)
        await self._handlers(tx, fresh)
        await self._remember(tx, fresh)

        def count() -> None:
            CONSUMED.labels(self.name, "handled").inc(len(fresh))
            CONSUMED.labels(self.name, "repeated").inc(len(messages) - len(fresh))

        tx.after_commit(count)

    async def _handlers(self, tx: Tx, messages: list[Message]) -> None:
        for wave in waves(messages):
            for event_type, group in wave.items():
                handler = self.handlers.get(event_type)
                if handler is None:
                    raise Poison(f"unknown event type {event_type}")
                await handler(tx, group)

    async def _fresh(self, tx: Tx, messages: list[Message]) -> list[Message]:
        """The messages this consumer has not handled, each once."""
        ids = [message.id for message in messages]
        rows = await tx.all(
            f"SELECT event_id FROM inbox WHERE consumer = ? AND event_id IN ({marks(ids)})", [self.name, *ids]
        )
        known = {event_id for (event_id,) in rows}
        fresh: dict[str, Message] = {}
        for message in messages:
            if message.id not in known:
                fresh.setdefault(message.id, message)
        return list(fresh.values())

    async def _remember(self, tx: Tx, messages: list[Message]) -> None:
        now = self.clock()
        await tx.insert("inbox", "consumer, event_id, at_us", [(self.name, message.id, now) for message in messages])


async def prune(tx: Tx, older_than_us: int, limit: int) -> int:
    """Delete inbox rows older than the bus can replay; at most `limit`. Returns how many."""
    old = "SELECT consumer, event_id FROM inbox WHERE at_us < ? ORDER BY at_us LIMIT ?"
    rows = await tx.all(old, (older_than_us, limit))
    for consumer in sorted({each for each, _ in rows}):
        ids = [event_id for each, event_id in rows if each == consumer]
        await tx.write(f"DELETE FROM inbox WHERE consumer = ? AND event_id IN ({marks(ids)})", [consumer, *ids])
    return len(rows)
