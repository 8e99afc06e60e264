"""What moved at the PG in a span of time, page by page, whole or not at all."""

from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from quickcommerce.payment.model import Unreadable
from quickcommerce.payment.reconcile_model import Span, Transaction
from quickcommerce.payment.toss_transactions import NoSuchPage, Page, Unread

PAGE = 1_000
RESTARTS_MAX = 2
"""So often is a list begun again whose page the PG does not find any more."""


class Unlisted(Exception):
    """The PG's list cannot be read now; the text says why."""


class Pages(Protocol):
    """Where the list is."""

    async def transactions(self, span: Span, after: str | None, limit: int) -> Page | NoSuchPage | Unreadable:
        """At most `limit` of what moved in a span, behind a transaction."""
        ...


class Listed(msgspec.Struct, frozen=True):
    """All that moved, each transaction once, and the rows that cannot be read; `waiting`: see `Page`."""

    transactions: tuple[Transaction, ...]
    unread: tuple[Unread, ...]
    waiting: tuple[Transaction, ...] = ()


async def listed(pages: Pages, span: Span, each_page: Callable[[], Awaitable[None]], limit: int = PAGE) -> Listed:
    """Read the list of a span; `each_page` is awaited before each page. Raises Unlisted.

    Where the PG does not know the key behind which a page is to begin, the list is begun again: what came twice is the
    same transaction.
    """
    moved: dict[str, Transaction] = {}
    waiting: dict[str, Transaction] = {}
    unread: dict[Unread, None] = {}
    after, seen, restarts = None, set[str](), 0
    while True:
        await each_page()
        found = await pages.transactions(span, after, limit)
        if isinstance(found, NoSuchPage):
            restarts += 1
            if restarts > RESTARTS_MAX:
                raise Unlisted("the PG does not find the pages of its own list of transactions")
            after, seen = None, set()
            continue
        if isinstance(found, Unreadable):
            raise Unlisted(f"the PG's list of transactions cannot be read: {found.reason}")
        moved |= {each.transaction_key: each for each in found.transactions}
        waiting |= {each.transaction_key: each for each in found.waiting}
        unread |= dict.fromkeys(found.unread)
        # A short page is no end, unless it names none to go on from: a PG may hand out fewer than it is asked for.
        if not found.rows or (found.last is None and found.rows < limit):
            return Listed(tuple(moved.values()), tuple(unread), tuple(waiting.values()))
        if found.last is None or found.last in seen:
            raise Unlisted("the PG's list of transactions cannot be followed: a page ends with no key, or an old one")
        after = found.last
        seen.add(after)
