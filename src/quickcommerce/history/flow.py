"""The history: every order event folded into one searchable document per order.

A fold may be repeated and reordered as it likes: a document carries its order's version, and an older one loses.
"""

import random
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import msgspec

from quickcommerce import events
from quickcommerce.kit.bus import Settle
from quickcommerce.kit.clock import from_rfc3339
from quickcommerce.kit.db import Database
from quickcommerce.kit.inbox import DeadLetters, try_alone
from quickcommerce.kit.outbox import Message
from quickcommerce.kit.problem import Unavailable
from quickcommerce.kit.telemetry import log, tracing
from quickcommerce.kit.text import fold

NOTICES = frozenset(notice.__name__ for notice in events.SHOP_NOTICES)
WORD_MAX = 100
WORDS_CACHED = 4_096
"""Texts whose words are kept: an order names goods that many orders name. A name costs 2.8 us where it is not."""


class Document(msgspec.Struct, frozen=True):
    """An order as it is found: its facts for filters, its words, and the object to show."""

    order_id: str
    version: int
    user_id: int
    status: str
    placed_us: int
    words: frozenset[str]
    body: bytes


class Query(msgspec.Struct, frozen=True):
    """What is looked for; every condition must hold. `before` is (placed_us, order_id) of the last page's end."""

    limit: int
    order_id: str | None = None
    user_id: int | None = None
    status: str | None = None
    words: tuple[str, ...] = ()
    from_us: int | None = None
    to_us: int | None = None
    before: tuple[int, str] | None = None


class Found(msgspec.Struct, frozen=True):
    """A page: (placed_us, order_id, order object as JSON) newest first, and how many match in all."""

    hits: list[tuple[int, str, bytes]]
    total: int


class Index(Protocol):
    """Where documents are kept and found."""

    async def write(self, documents: Sequence[Document]) -> None:
        """Keep documents; one whose version is not newer than the one kept is ignored. Raises Unavailable."""
        ...

    async def search(self, query: Query) -> Found:
        """A page of what matches. Raises Unavailable."""
        ...

    async def count(self) -> int:
        """How many documents there are. Raises Unavailable."""
        ...


@lru_cache(maxsize=WORDS_CACHED)
def words_of(text: str) -> tuple[str, ...]:
    """The tokens of a text: runs of letters, digits and combining marks, NFC, caseless, in order."""
    return tuple("".join(char if unicodedata.category(char)[0] in "LNM" else " " for char in fold(text)).split())


def document(event: events.OrderEvent) -> Document:
    """The document of an order event."""
    order = event.order
    names = [line.name for line in order.lines] + event.names_en
    return Document(
        order.order_id,
        order.version,
        order.user_id,
        order.status,
        from_rfc3339(order.placed_at),
        frozenset(word[:WORD_MAX] for name in names for word in words_of(name)),
        msgspec.json.encode(order),
    )


@dataclass(frozen=True)
class Projection:
    """The consumer that keeps the index: a `Consumer` whose effect is a write that may be repeated.

    It needs no inbox. `db` holds its cursors; its dead letters are in the shop's store, where operators look.
    """

    name: str
    db: Database
    index: Index
    letters: DeadLetters
    rng: random.Random

    async def deliver(self, messages: list[Message], settle: Settle) -> None:
        """Fold the list, then move the cursor."""
        try:
            await self._fold(messages)
        except Unavailable:
            raise
        except Exception as failure:  # noqa: BLE001 - whichever event it is, its neighbours go on
            log.warning("consumer.singled", consumer=self.name, events=len(messages), error=repr(failure))
            for message in messages:
                await self._deliver_one(message)
        await self.db.run(settle)

    async def put_aside(self, message: Message, reason: str) -> None:
        """See `Consumer.put_aside`."""
        await self.letters.db.run(lambda tx: self.letters.add(tx, self.name, message, reason, 1))

    async def replay(self, letter_id: str) -> None:
        """Fold a dead letter again; it is gone only if that succeeds."""
        message = await self.letters.db.read(lambda tx: self.letters.peek(tx, letter_id))
        await self._fold([message])
        await self.letters.db.run(lambda tx: self.letters.take(tx, letter_id))

    async def _deliver_one(self, message: Message) -> None:
        async def bury(reason: str, tries: int) -> None:
            await self.letters.db.run(lambda tx: self.letters.add(tx, self.name, message, reason, tries))

        await try_alone(lambda: self._fold([message]), bury, self.rng)

    async def _fold(self, messages: list[Message]) -> None:
        messages = [message for message in messages if message.type not in NOTICES]
        await self.index.write([_folded(message) for message in messages])
        lines = log.bind()  # once: it takes a quarter of the time of a line
        for message in messages:
            with tracing(message.trace):
                lines.info("history.folded", order_id=message.subject, type=message.type)


def _folded(message: Message) -> Document:
    return document(events.decode(message.type, message.data))
