"""What an order is: its states, and what a basket may be. Pure: no clock, no store."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

import msgspec

LINES_MAX = 50
QUANTITY_MAX = 999


class Status(StrEnum):
    """Where an order stands."""

    PLACED = "PLACED"
    """Stock is held; to be paid by `expires_at`."""
    PAYING = "PAYING"
    """A capture is under way, or its outcome is not known yet."""
    PAID = "PAID"
    """Captured; the stock is sold."""
    REFUNDED = "REFUNDED"
    """All the money went back."""
    FAILED = "FAILED"
    """Too many payments were declined."""
    EXPIRED = "EXPIRED"
    """Not paid in time."""
    CANCELLED = "CANCELLED"
    """The buyer changed their mind before paying."""


NEXT: Mapping[Status, frozenset[Status]] = {
    Status.PLACED: frozenset({Status.PAYING, Status.PAID, Status.FAILED, Status.EXPIRED, Status.CANCELLED}),
    Status.PAYING: frozenset(
        {Status.PLACED, Status.PAYING, Status.PAID, Status.FAILED, Status.EXPIRED, Status.CANCELLED}
    ),
    Status.PAID: frozenset({Status.PAID, Status.REFUNDED}),
    Status.REFUNDED: frozenset(),
    Status.FAILED: frozenset(),
    Status.EXPIRED: frozenset({Status.PAID}),
    Status.CANCELLED: frozenset(),
}
"""Every status and those it may become. Checked here in code, and again by each UPDATE, which names the old status.

PAYING stays PAYING when it turns out that a deposit is awaited, and PAID stays PAID when part of the money goes back.
EXPIRED becomes PAID only where money came late and all that the order had held could be held again.
"""

HOLDING = frozenset({Status.PLACED, Status.PAYING})
"""While an order is one of these, its lines hold stock and it may be paid."""

CLOSED = frozenset({Status.FAILED, Status.EXPIRED, Status.CANCELLED})
"""What was held went back."""


REFUND_FAILED = "refund failed"
"""What the timeline calls a refund that will not be made."""

LATE = "late payment"
"""What the timeline calls money for an order that has ended."""

LATE_BACK = "late payment refunded"
"""What the timeline calls such money that went back."""

TOLD = (REFUND_FAILED, LATE, LATE_BACK)
"""The notes of the timeline that buyers see too: they are about the buyer's money."""


class Want(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A basket line as the buyer asks for it."""

    product_id: Annotated[int, msgspec.Meta(ge=1, lt=2**53)]
    quantity: Annotated[int, msgspec.Meta(ge=1, le=QUANTITY_MAX)]
    coupon_id: Annotated[int, msgspec.Meta(ge=1, lt=2**53)] | None = None
    expected_price: Annotated[int, msgspec.Meta(ge=0, lt=2**53)] | None = None


class Basket(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `POST /v1/orders` takes."""

    lines: Annotated[list[Want], msgspec.Meta(min_length=1, max_length=LINES_MAX)]

    def repeated(self) -> list[int]:
        """The positions of lines whose product stands in an earlier line already."""
        first: dict[int, int] = {}
        return [at for at, want in enumerate(self.lines) if first.setdefault(want.product_id, at) != at]
