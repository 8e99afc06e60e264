"""What a basket costs, and whether it can be served: prices, time sales, coupons, stock. Pure: no clock, no store."""

from collections.abc import Collection, Mapping, MutableMapping, Sequence
from typing import Protocol

import msgspec

from quickcommerce.events import Line
from quickcommerce.order.model import Want


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
        """Won for one unit, under the time sale if there is one."""
        ...

    @property
    def price_version(self) -> int:
        """Grows when the price changes."""
        ...

    @property
    def time_sale_id(self) -> str | None:
        """The time sale in force."""
        ...

    @property
    def left(self) -> int | None:
        """Units left under the time sale in force."""
        ...


class Coupon(Protocol):
    """What a coupon is to an order."""

    @property
    def user_id(self) -> int:
        """Whose it is."""
        ...

    @property
    def order_id(self) -> str | None:
        """The order that it was spent on."""
        ...

    def off(self, amount: int) -> int | str:
        """The won it takes off a line of this amount, never more than that; or why it cannot be used for it."""
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
    sales: list[str | None]
    total: int
    discount: int

    @property
    def payable(self) -> int:
        """What is to be paid."""
        return self.total - self.discount


def on_offer(available: Mapping[int, int], offers: Mapping[int, Offer]) -> dict[int, int]:
    """Units that may be sold now, by product: what is there, and no more than what is left of a time sale.

    When its quota is used up, a product is out of stock for the rest of the window.
    """
    sales = {product_id: offer.left for product_id, offer in offers.items() if offer.left is not None}
    return {product_id: min(units, sales.get(product_id, units)) for product_id, units in available.items()}


def stale(wants: Sequence[Want], offers: Mapping[int, Offer]) -> Unknown | Moved | None:
    """Why a basket has to be looked at again before its coupons matter: goods that are not there, other prices."""
    unknown = [at for at, want in enumerate(wants) if want.product_id not in offers]
    if unknown:
        return Unknown(unknown)
    moved = [
        (at, offers[want.product_id].price)
        for at, want in enumerate(wants)
        if want.expected_price not in (None, offers[want.product_id].price)
    ]
    return Moved(moved) if moved else None


def discounts(
    wants: Sequence[Want], offers: Mapping[int, Offer], coupons: Mapping[int, Coupon], spent: Collection[int], user: int
) -> dict[int, int] | Unusable:
    """The won that coupons take off, by line, or the first line whose coupon this user cannot use there.

    Of a basket that is not `stale`. `coupons` are those that exist, `spent` those that other baskets of the list use.
    """
    taken: dict[int, int] = {}
    used = set(spent)
    for at, want in enumerate(wants):
        if want.coupon_id is None:
            continue
        coupon = coupons.get(want.coupon_id)
        if coupon is None or coupon.user_id != user:
            return Unusable(at, "you have no such coupon")
        if coupon.order_id is not None or want.coupon_id in used:
            return Unusable(at, "the coupon is used already")
        off = coupon.off(offers[want.product_id].price * want.quantity)
        if isinstance(off, str):
            return Unusable(at, off)
        taken[at] = off
        used.add(want.coupon_id)
    return taken


def decide(
    wants: Sequence[Want],
    offers: Mapping[int, Offer],
    available: MutableMapping[int, int],
    discounts: Mapping[int, int],
    *,
    payable_min: int,
) -> Priced | Short | Unusable:
    """Serve a basket that is not `stale` whole, taking its units out of `available`, or refuse it and take nothing.

    `discounts` is by line, in won, already bounded by the line's amount. `payable_min` is the least a PG captures.
    Each product stands once in `wants` (`Basket.repeated`): two lines that fit alone may be too much together.
    """
    if len({want.product_id for want in wants}) < len(wants):
        raise AssertionError("a product stands in a basket once")
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
    sales = [offers[want.product_id].time_sale_id for want in wants]
    return Priced(lines, names_en, sales, total, sum(line.discount for line in lines))
