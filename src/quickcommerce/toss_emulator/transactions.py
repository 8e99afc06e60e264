"""The list of transactions: which ones a request asks for, and how the API shows each.

A capture is a transaction and so is every cancel (Toss's guide to the transactions API).
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from quickcommerce.toss_emulator.cancel import status_after
from quickcommerce.toss_emulator.clock import SECOND_US, seoul, seoul_us
from quickcommerce.toss_emulator.payment import shown_method

LIMIT: Final = 100
LIMIT_MAX: Final = 5_000

_TIME: Final = re.compile(r"\A\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{3})?\Z")
_LIMIT: Final = re.compile(r"\A[0-9]{1,4}\Z")


class Span(msgspec.Struct, frozen=True):
    """Which transactions are asked for; times in microseconds UTC, `before_us` exclusive.

    `after`: the transaction key that the page before ended with.
    """

    from_us: int
    before_us: int
    after: str | None
    limit: int


class Transaction(msgspec.Struct, frozen=True):
    """A movement of money together with its payment; won; microseconds UTC. `left` is there for a cancel alone."""

    transaction_key: str
    payment_key: str
    order_id: str
    method: str
    kind: str
    amount: int
    left: int | None
    at: int


def read_span(query: Mapping[str, str]) -> Span | None:
    """Read the query of a request; None where a part is missing or wrong.

    Dates are `yyyy-MM-dd'T'HH:mm:ss` in Seoul, with milliseconds or without; the end covers its whole second.
    """
    start, end = (_time(query.get(name, "")) for name in ("startDate", "endDate"))
    limit = query.get("limit", str(LIMIT))
    if start is None or end is None or start > end or not _LIMIT.match(limit) or not 1 <= int(limit) <= LIMIT_MAX:
        return None
    return Span(start, end // SECOND_US * SECOND_US + SECOND_US, query.get("startingAfter") or None, int(limit))


def shown_transaction(transaction: Transaction) -> dict[str, Any]:
    """The Transaction object of the API; what an emulated payment never has is null.

    The amount of a cancel is what it gave back, and that of a reversal what was taken back: that money went the other
    way is said by the status.
    """
    left = transaction.left
    status = "WAITING_FOR_DEPOSIT" if transaction.kind == "reversal" else "DONE"
    return {
        "mId": "emulator",
        "transactionKey": transaction.transaction_key,
        "paymentKey": transaction.payment_key,
        "orderId": transaction.order_id,
        "method": shown_method(transaction.method),
        "customerKey": None,
        "useEscrow": False,
        "receiptUrl": None,
        "status": status if left is None else status_after(left),
        "transactionAt": seoul(transaction.at),
        "currency": "KRW",
        "amount": transaction.amount,
    }


def _time(text: str) -> int | None:
    if not _TIME.match(text):
        return None
    try:
        return seoul_us(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        return None
