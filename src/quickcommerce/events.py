"""The public vocabulary: what the contexts tell each other, as versioned structs.

Order events carry the whole order and its version, so a reader needs no other source and an older version loses.
Unknown fields are ignored, so a field may be added without a new type; a change of meaning gets a new type name.
"""

from typing import Any

import msgspec

from quickcommerce.kit.ids import OrderId, PaymentId

CURRENCY = "KRW"


class Line(msgspec.Struct, frozen=True):
    """One line of an order. Money is integer won; `amount` is quantity times unit price less discount."""

    product_id: int
    name: str
    quantity: int
    unit_price: int
    discount: int
    amount: int
    coupon_id: int | None


TITLE_MAX = 100
"""How long a title may be at the PG, in characters."""


def title(lines: list[Line]) -> str:
    """An order in a few words: the first good, and how many more; at most `TITLE_MAX` characters."""
    more = f" 외 {len(lines) - 1}건" if len(lines) > 1 else ""
    return lines[0].name[: TITLE_MAX - len(more)] + more


class Order(msgspec.Struct, frozen=True):
    """A whole order at one version: the object that the HTTP contract shows, without its checkout_url.

    Times are RFC 3339 with microseconds, always UTC, so text order is time order.
    """

    order_id: OrderId
    user_id: int
    status: str
    version: int
    lines: list[Line]
    total: int
    discount: int
    payable: int
    paid: int
    refunded: int
    currency: str
    placed_at: str
    expires_at: str
    updated_at: str


class OrderEvent(msgspec.Struct, frozen=True):
    """Something happened to an order; `cause` says why.

    `names_en` are the English names of the lines, in their order, for search.
    """

    order: Order
    names_en: list[str]
    cause: str


class OrderPlaced(OrderEvent, frozen=True):
    """Stock is held; to be paid by `expires_at`."""


class OrderChanged(OrderEvent, frozen=True):
    """Paying, open again after a declined payment, or partly refunded."""


class OrderPaid(OrderEvent, frozen=True):
    """The money is captured and the stock is sold."""


class OrderClosed(OrderEvent, frozen=True):
    """Failed, expired or cancelled: everything held was given back."""


class OrderRefunded(OrderEvent, frozen=True):
    """All the money went back."""


class PaymentEvent(msgspec.Struct, frozen=True):
    """Something happened to the payment of an order. `version` grows by one with each event of a payment."""

    payment_id: PaymentId
    order_id: OrderId
    version: int
    amount: int


class PaymentStarted(PaymentEvent, frozen=True):
    """The buyer came back from the PG's page; a capture is under way."""


class PaymentAwaited(PaymentEvent, frozen=True):
    """The buyer is to pay into an account; no money has come yet."""


class PaymentSettled(PaymentEvent, frozen=True):
    """The PG captured exactly `amount`, read from the PG itself.

    `left` won of it were still there then, where somebody at the PG had given some back already; else it is not told.
    """

    left: int | None = None


class PaymentDeclined(PaymentEvent, frozen=True):
    """One attempt failed for good; the buyer may try again while the order lives."""

    code: str


class PaymentFailed(PaymentEvent, frozen=True):
    """Too many attempts were declined; there will be no other."""

    code: str


class PaymentRefunded(PaymentEvent, frozen=True):
    """Money went back: `refunded` won in all, the last of them by this refund.

    `restock`: it made the refund whole, and the goods are to be sold again.
    """

    refunded: int
    restock: bool = False
    refund_id: str = ""


class RefundFailed(PaymentEvent, frozen=True):
    """A refund that was owed will not be made: the PG refuses it for good. Its `asked` won may be asked for again."""

    asked: int
    refund_id: str
    code: str


class MoneyUnclaimed(msgspec.Struct, frozen=True):
    """The shop has no use for money that was captured: all that is left of it is to go back. Source: shop."""

    order_id: OrderId
    payment_id: PaymentId
    amount: int
    reason: str


Event = OrderEvent | PaymentEvent | MoneyUnclaimed
ORDER_EVENTS: tuple[type[OrderEvent], ...] = (OrderPlaced, OrderChanged, OrderPaid, OrderClosed, OrderRefunded)
PAYMENT_EVENTS: tuple[type[PaymentEvent], ...] = (
    PaymentStarted, PaymentAwaited, PaymentSettled, PaymentDeclined, PaymentFailed, PaymentRefunded, RefundFailed,
)  # fmt: skip
SHOP_NOTICES: tuple[type[MoneyUnclaimed], ...] = (MoneyUnclaimed,)
"""What the shop tells that is no new version of an order, and so no part of its history."""

_encoder = msgspec.json.Encoder()
_decoders: dict[str, msgspec.json.Decoder[Any]] = {
    event.__name__: msgspec.json.Decoder(event) for event in (*ORDER_EVENTS, *PAYMENT_EVENTS, *SHOP_NOTICES)
}


def encode(event: Event) -> bytes:
    """The event's data as JSON."""
    return _encoder.encode(event)


def decode(event_type: str, data: bytes) -> Any:
    """The event behind a type name. Raises ValueError for an unknown type or data that does not fit it."""
    decoder = _decoders.get(event_type)
    if decoder is None:
        raise ValueError(f"unknown event type {event_type}")
    return decoder.decode(data)
