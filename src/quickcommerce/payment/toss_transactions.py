"""Toss's list of transactions: how a span of time is asked for, and how a page is read, leniently and row by row."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec

from quickcommerce.kit.clock import SECOND_US
from quickcommerce.payment.reconcile_model import Transaction
from quickcommerce.payment.toss_json import WON_MAX, decoded, sound, whole

SEOUL = timezone(timedelta(hours=9))
"""Toss's times; Korea has had no other offset since 1988."""
CAPTURES = frozenset({"DONE"})
CANCELS = frozenset({"CANCELED", "PARTIAL_CANCELED"})
WAITING = frozenset({"WAITING_FOR_DEPOSIT"})
"""An account was opened, or the bank took a deposit back: the row does not say which."""
UNMOVED = frozenset({"READY", "IN_PROGRESS", "ABORTED", "EXPIRED"})
"""What Toss calls transactions that move no money."""
LONGEST = {"transactionKey": 100, "paymentKey": 200, "orderId": 64, "currency": 10}
"""Characters that a text may have, and must have one of."""


class Unread(msgspec.Struct, frozen=True):
    """A row that cannot be read: its transaction key, empty where even that cannot be, and why."""

    transaction_key: str
    reason: str


class Page(msgspec.Struct, frozen=True):
    """A page of the list: the money that moved, the rows that cannot be read, how many rows it had, and the key behind
    which the next page begins: that of the last row that has one (None where none has).

    `waiting`: what says that a deposit is awaited from then on, whether for the first time or once more.
    """

    transactions: tuple[Transaction, ...]
    unread: tuple[Unread, ...]
    rows: int
    last: str | None
    waiting: tuple[Transaction, ...] = ()


class NoSuchPage(msgspec.Struct, frozen=True):
    """The PG does not know the key behind which a page was to begin."""


def seoul(at_us: int) -> str:
    """A moment as the query of the list tells it: whole seconds in Seoul, without an offset."""
    at = datetime.fromtimestamp(at_us // SECOND_US, UTC).astimezone(SEOUL)
    return at.replace(tzinfo=None).isoformat(timespec="seconds")


def page(content: bytes) -> Page | str:
    """Read a page; where it is none, why."""
    try:
        rows = decoded(content)
    except ValueError as error:
        return f"not a list of transactions: {error}"
    if not isinstance(rows, list):
        return "not a list of transactions"
    moved: list[Transaction] = []
    waiting: list[Transaction] = []
    unread: list[Unread] = []
    for row in rows:
        try:
            found = _transaction(row)
        except ValueError as error:
            unread.append(Unread(_key(row) or "", str(error)))
        else:
            if found:
                (waiting if row["status"] in WAITING else moved).append(found)
    keys = [key for row in rows if (key := _key(row))]
    return Page(tuple(moved), tuple(unread), len(rows), keys[-1] if keys else None, tuple(waiting))


def _transaction(row: Any) -> Transaction | None:
    """A row as money that moved or is awaited, None where it is neither. Raises ValueError, which says why."""
    row = row if isinstance(row, dict) else {}
    status = str(row.get("status"))
    if status in UNMOVED:
        return None
    if status not in CAPTURES | CANCELS | WAITING:
        raise ValueError("it says no status that is known")
    texts = {"currency": "KRW"} | {name: row[name] for name in LONGEST if name in row}
    for name, most in LONGEST.items():
        if not 0 < len(sound(texts.get(name))) <= most:
            raise ValueError(f"it has no {name}")
    return Transaction(
        texts["transactionKey"], texts["paymentKey"], texts["orderId"], _won(row.get("amount")), texts["currency"],
        status in CANCELS, _at_us(row.get("transactionAt")),
    )  # fmt: skip


def _won(amount: Any) -> int:
    """A cancel may be told as a negative amount: which way money went, its status says."""
    won = whole(amount)
    if won is None:
        raise ValueError(f"its amount is no whole number up to {WON_MAX}")
    return abs(won)


def _at_us(text: Any) -> int:
    try:
        at = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        raise ValueError("its transactionAt is no time") from None
    at = at if at.tzinfo else at.replace(tzinfo=SEOUL)
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _key(row: Any) -> str | None:
    return sound(row.get("transactionKey")) or None if isinstance(row, dict) else None
