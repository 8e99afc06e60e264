"""Payments and refunds that need a human: those that the shop cannot end by itself, or has not for long."""

from dataclasses import dataclass

import msgspec

from quickcommerce.kit.clock import SECOND_US, Clock
from quickcommerce.kit.db import Database
from quickcommerce.payment import attention_store
from quickcommerce.payment.attention_store import Attention

LONG_S = 600
"""What is open so long has outlived every deadline and many tries: the PG is down, or tells what cannot be believed."""


class Needing(msgspec.Struct, frozen=True):
    """Some of those that need a human, and how many there are."""

    items: list[Attention]
    total: int


@dataclass(frozen=True)
class Attentions:
    """What needs a human in store B; reads only."""

    db: Database
    clock: Clock

    async def look(self, after: tuple[int, str] | None, limit: int) -> Needing:
        """At most `limit` of them behind `after`, the longest first. Raises Unavailable."""
        long_ago_us = self.clock() - LONG_S * SECOND_US
        total = await self.db.scan(lambda tx: attention_store.count(tx, long_ago_us))
        if not total:
            return Needing([], 0)
        found = await self.db.scan(lambda tx: attention_store.page(tx, long_ago_us, after or (0, ""), limit))
        return Needing(found, total)
