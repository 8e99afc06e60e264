"""What an order is: its states, its prices, and whether a basket can be served. Pure: no clock, no store."""

from collections.abc import Mapping, MutableMapping, Sequence
from enum import StrEnum
from typing import Annotated, Protocol

import msgspec

from quickcommerce.events import Line

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
    Status.PAYING: frozenset({Status.PLACED, Status.PAID, Status.FAILED, Status.EXPIRED, Status.CANCELLED}),
    Status.PAID: frozenset({Status.REFUNDED}),
    Status.REFUNDED: frozenset(),
    Status.FAILED: frozenset(),
    Status.EXPIRED: frozenset(),
    Status.CANCELLED: frozenset(),
}
"""Every status and those it may become. Checked here in code, and again by each UPDATE, which names the old status."""

HOLDING = frozenset({Status.PLACED, Status.PAYING})
"""While an order is one of these, its lines hold stock and it may be paid."""

CLOSED = frozenset({Status.FAILED, Status.EXPIRED, Status.CANCELLED})
"""What was held went back."""


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


class Offer(Protocol):
    """What the catalog says of a product now: its names, its price in won, and the version of that price."""

    @property
    def name(self) -> str:
        """The name as shown."""
        ...

    @property
    def name_en(self) -> str:
        """The English name, for search."""
        ...

    @property
    def price(self) -> int:
        """Won for one unit."""
        ...

    @property
    def price_version(self) -> int:
        """Grows when the price changes."""
        ...


class Unknown(msgspec.Struct, frozen=True):
    """These lines name products that do not exist."""

    lines: list[int]


class Short(msgspec.Struct, frozen=True):
    """These lines ask for more than is left: (line, available)."""

    lines: list[tuple[int, int]]


class Moved(msgspec.Struct, frozen=True):
    """The price of these lines is not what the buyer expects: (line, price now)."""

    lines: list[tuple[int, int]]


class Unusable(msgspec.Struct, frozen=True):
    """The coupon of a line (or the payable it leads to) is refused, for this reason."""

    line: int | None
    reason: str


Refusal = Unknown | Short | Moved | Unusable


class Priced(msgspec.Struct, frozen=True):
    """A basket that can be served, with its money in won."""

    lines: list[Line]
    names_en: list[str]
    total: int
    discount: int

    @property
    def payable(self) -> int:
        """What is to be paid."""
        return self.total - self.discount


def decide(
    wants: Sequence[Want],
    offers: Mapping[int, Offer],
    available: MutableMapping[int, int],
    discounts: Mapping[int, int],
    *,
    payable_min: int,
) -> Priced | Refusal:
    """Serve a basket whole, taking its units out of `available`, or refuse it and take nothing.

    `discounts` is by line, in won, already bounded by the line's amount. `payable_min` is the least a PG captures.
    Each product stands once in `wants` (`Basket.repeated`): two lines that fit alone may be too much together.
    """
    if len({want.product_id for want in wants}) < len(wants):
        raise AssertionError("a product stands in a basket once")
    unknown = [at for at, want in enumerate(wants) if want.product_id not in offers]
    if unknown:
        return Unknown(unknown)
    moved = [
        (at, offers[want.product_id].price)
        for at, want in enumerate(wants)
        if want.expected_price not in (None, offers[want.product_id].price)
    ]
    if moved:
        return Moved(moved)
    short = [
        (at, available[want.product_id]) for at, want in enumerate(wants) if want.quantity > available[want.product_id]
    ]
    if short:
        return Short(short)
    priced = _price(wants, offers, discounts)
    if 0 < priced.payable < payable_min:
        return Unusable(None, f"what is left to pay must be 0 or at least {payable_min} won")
    for want in wants:
        available[want.product_id] -= want.quantity
    return priced


def _price(wants: Sequence[Want], offers: Mapping[int, Offer], discounts: Mapping[int, int]) -> Priced:
    lines = []
    for at, want in enumerate(wants):
        offer = offers[want.product_id]
        amount = offer.price * want.quantity
        discount = discounts.get(at, 0)
        if not 0 <= discount <= amount:
            raise AssertionError("a discount is never more than its line")
        lines.append(
            Line(want.product_id, offer.name, want.quantity, offer.price, discount, amount - discount, want.coupon_id)
        )
    total = sum(line.unit_price * line.quantity for line in lines)
    names_en = [offers[want.product_id].name_en for want in wants]
    return Priced(lines, names_en, total, sum(line.discount for line in lines))
