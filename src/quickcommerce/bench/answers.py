"""The shop's answers as far as the bench reads them, and what an order's answer must say."""

from collections.abc import Mapping

import msgspec

from quickcommerce.bench.plan import Basket


class Line(msgspec.Struct):
    """A line of an order; money in won."""

    product_id: int
    quantity: int
    unit_price: int
    amount: int


class Order(msgspec.Struct):
    """An order, from its own route or from the history."""

    order_id: str
    status: str
    lines: list[Line]
    total: int
    payable: int
    placed_at: str
    expires_at: str


class Payment(msgspec.Struct):
    """A payment; `amount` in won is what the PG must be asked for."""

    payment_id: str
    status: str
    amount: int


class Authenticated(msgspec.Struct):
    """What the emulator gives a buyer who authenticated."""

    payment_key: str = msgspec.field(name="paymentKey")


class Product(msgspec.Struct):
    """A product at the price it has now, in won."""

    product_id: int
    price: int


class ProductPage(msgspec.Struct):
    """One page of the catalog."""

    items: list[Product]
    next_cursor: str | None = None


class HistoryPage(msgspec.Struct):
    """One page of the history; `total` counts all pages."""

    items: list[Order]
    total: int
    next_cursor: str | None = None


class DeadLetters(msgspec.Struct):
    """One page of what could not be handled."""

    items: list[msgspec.Raw]


class Problem(msgspec.Struct):
    """A refusal."""

    code: str = "no-code"
    detail: str = ""


def problem(body: bytes) -> Problem:
    """Reads a refusal; one that is no problem object gets the code `no-code` and the start of its text as detail."""
    try:
        return msgspec.json.decode(body, type=Problem)
    except msgspec.DecodeError:
        return Problem(detail=body[:200].decode(errors="replace"))


def fault_of(order: Order, basket: Basket, prices: Mapping[int, int]) -> str | None:
    """What is wrong with the answer to an accepted basket at these catalog prices (won); None when nothing is."""
    if order.status != "PLACED":
        return f"status is {order.status}, not PLACED"
    answered = sorted((line.product_id, line.quantity) for line in order.lines)
    if answered != sorted(basket.lines):
        return f"lines are {answered}, asked were {sorted(basket.lines)}"
    for line in order.lines:
        if line.unit_price != prices[line.product_id] or line.amount != line.unit_price * line.quantity:
            return f"product {line.product_id} at {line.unit_price} is {line.amount}, catalog {prices[line.product_id]}"
    total = sum(prices[product_id] * quantity for product_id, quantity in basket.lines)
    if order.total != total or order.payable != total:
        return f"total {order.total}, payable {order.payable}, the lines come to {total}"
    return None
