"""Rebuilding the index from the orders, beside a running shop."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from quickcommerce.events import OrderEvent
from quickcommerce.history.flow import Document, document
from quickcommerce.kit.ids import OrderId
from quickcommerce.kit.telemetry import log

PAGE = 500
LAST = "ord_~"
"""Sorts behind every order id."""


class Orders(Protocol):
    """Where every order there is can be read."""

    async def after(self, order_id: str, limit: int) -> Sequence[OrderEvent]:
        """Orders behind an id as they are now, in the order of their ids. Raises Unavailable."""
        ...

    async def rows(self, order_ids: Collection[OrderId]) -> Mapping[OrderId, object]:
        """Those of these orders that exist. Raises Unavailable."""
        ...


class Mended(msgspec.Struct, frozen=True):
    """How many documents were missing, and how many were there and not right."""

    added: int
    renewed: int


class Documents(Protocol):
    """The documents of a rebuild."""

    async def mend(self, documents: Sequence[Document]) -> Mended:
        """Make these right, whole, where they are missing, older or damaged; a newer one stays. Raises Unavailable."""
        ...

    async def versions(self, after: str, upto: str) -> dict[str, int]:
        """The versions of the documents whose order ids are behind `after` up to `upto`. Raises Unavailable."""
        ...

    async def remove(self, order_ids: Sequence[str]) -> None:
        """Remove the documents of these orders. Raises Unavailable."""
        ...

    async def finish(self) -> None:
        """All are right: from now on these are searched. Raises Unavailable."""
        ...


class Rebuildable(Protocol):
    """An index that can be made anew while it is written and searched."""

    async def begin(self) -> Documents:
        """Documents, maybe none yet, to which every write goes too from now on. Raises Unavailable."""
        ...

    async def missing(self) -> bool:
        """Whether there is nothing to search. Raises Unavailable."""
        ...


class Rebuilt(msgspec.Struct, frozen=True):
    """What was done: orders that were read, and documents that were added, made right, and removed."""

    orders: int
    added: int
    renewed: int
    removed: int


@dataclass(frozen=True)
class Rebuild:
    """Makes the index what the orders are.

    The shop may take orders meanwhile. A document that is newer than the order that was read stays. One without an
    order is removed only after the shop was asked for its order again: an order is committed before it is folded.
    """

    orders: Orders
    index: Rebuildable

    async def run(self, progress: Callable[[int], None]) -> Rebuilt:
        """Rebuild; `progress` is told how many orders are done. Raises Unavailable, and may then be run again."""
        documents = await self.index.begin()
        done, after = Rebuilt(0, 0, 0, 0), ""
        while after != LAST:
            page = await self.orders.after(after, PAGE)
            upto = page[-1].order.order_id if len(page) == PAGE else LAST
            mended = await documents.mend([document(event) for event in page])
            shown = await documents.versions(after, upto)
            removed = await self._remove(documents, set(shown) - {event.order.order_id for event in page})
            done = Rebuilt(
                done.orders + len(page),
                done.added + mended.added,
                done.renewed + mended.renewed,
                done.removed + removed,
            )
            progress(done.orders)
            after = upto
        await documents.finish()
        return done

    async def _remove(self, documents: Documents, strange: Collection[str]) -> int:
        removed = 0
        for start in range(0, len(strange), PAGE):
            some = [OrderId(order_id) for order_id in sorted(strange)[start : start + PAGE]]
            gone = sorted(set(some) - set(await self.orders.rows(some)))
            await documents.remove(gone)
            removed += len(gone)
        return removed


@dataclass(frozen=True)
class Upkeep:
    """Makes the index where there is none: at the first start, and after it was lost."""

    rebuild: Rebuild

    async def step(self) -> bool:
        """Look, and rebuild where there is nothing to search. Raises Unavailable."""
        if await self.rebuild.index.missing():
            log.warning("history.missing")
            done = await self.rebuild.run(lambda _: None)
            log.info("history.rebuilt", orders=done.orders, documents=done.added)
        return False
