"""The public vocabulary survives its way over a wire, an upgrade and a reader that is older or newer."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from quickcommerce import events
from quickcommerce.events import (
    ORDER_EVENTS,
    PAYMENT_EVENTS,
    SHOP_NOTICES,
    Line,
    MoneyUnclaimed,
    Order,
    OrderEvent,
    OrderPlaced,
    PaymentDeclined,
    PaymentFailed,
    PaymentRefunded,
    PaymentSettled,
    title,
)  # fmt: skip
from quickcommerce.kit.ids import OrderId, PaymentId

WON = st.integers(0, 2**53)
TEXT = st.text(max_size=30)
LINES = st.builds(
    Line, product_id=WON, name=TEXT, quantity=WON, unit_price=WON, discount=WON, amount=WON, coupon_id=st.none() | WON
)
ORDERS = st.builds(
    Order, order_id=TEXT.map(OrderId), user_id=WON, status=TEXT, version=WON, lines=st.lists(LINES, max_size=4),
    total=WON, discount=WON, payable=WON, paid=WON, refunded=WON, currency=TEXT, placed_at=TEXT, expires_at=TEXT,
    updated_at=TEXT,
)  # fmt: skip
ORDER_TOLD = st.sampled_from(ORDER_EVENTS).flatmap(
    lambda kind: st.builds(kind, order=ORDERS, names_en=st.lists(TEXT, max_size=4), cause=TEXT)
)
PAYMENT_TOLD = st.sampled_from(PAYMENT_EVENTS).flatmap(
    lambda kind: st.builds(
        kind, payment_id=TEXT.map(PaymentId), order_id=TEXT.map(OrderId), version=WON, amount=WON,
        **({"code": TEXT} if kind in (PaymentDeclined, PaymentFailed) else {}),
        **({"refunded": WON, "restock": st.booleans(), "refund_id": TEXT} if kind is PaymentRefunded else {}),
    )
)  # fmt: skip
NOTICED = st.builds(MoneyUnclaimed, order_id=TEXT.map(OrderId), payment_id=TEXT.map(PaymentId), amount=WON, reason=TEXT)

STORED = (
    '{"order":{"order_id":"ord_1","user_id":7,"status":"PLACED","version":1,"lines":[{"product_id":1,"name":"우유 1L",'
    '"quantity":2,"unit_price":2900,"discount":0,"amount":5800,"coupon_id":null}],"total":5800,"discount":0,'
    '"payable":5800,"paid":0,"refunded":0,"currency":"KRW","placed_at":"2026-01-01T00:00:00.000000Z",'
    '"expires_at":"2026-01-01T00:10:00.000000Z","updated_at":"2026-01-01T00:00:00.000000Z"},'
    '"names_en":["Milk 1L"],"cause":"buyer"}'
)
"""An event as it lies in an outbox or on a broker during an upgrade."""


@settings(deadline=None)
@given(ORDER_TOLD | PAYMENT_TOLD | NOTICED)
def test_what_is_told_is_what_is_heard(told: events.Event) -> None:
    heard = events.decode(type(told).__name__, events.encode(told))
    assert heard == told
    assert type(heard) is type(told)


def test_events_of_the_first_version_are_still_understood_and_written_the_same() -> None:
    heard = events.decode("OrderPlaced", STORED.encode())
    assert isinstance(heard, OrderPlaced)
    assert (heard.order.lines[0].name, heard.order.payable, heard.names_en) == ("우유 1L", 5_800, ["Milk 1L"])
    assert events.encode(heard).decode() == STORED
    settled = b'{"payment_id":"pay_1","order_id":"ord_1","version":2,"amount":5800}'
    assert events.decode("PaymentSettled", settled) == PaymentSettled(PaymentId("pay_1"), OrderId("ord_1"), 2, 5_800)


@settings(deadline=None)
@given(ORDER_TOLD | PAYMENT_TOLD, st.dictionaries(st.text(min_size=1).map("new_".__add__), st.none() | TEXT | WON))
def test_a_field_that_a_newer_version_added_is_ignored_at_every_depth(
    told: events.Event, added: dict[str, object]
) -> None:
    def newer(value: Any) -> Any:
        match value:
            case dict():
                return {**{name: newer(each) for name, each in value.items()}, **added}
            case list():
                return [newer(each) for each in value]
        return value

    assert events.decode(type(told).__name__, json.dumps(newer(json.loads(events.encode(told)))).encode()) == told


@pytest.mark.parametrize("kind", ["OrderEaten", "", "orderplaced", "OrderEvent", "PaymentEvent", "Order", "Line"])
def test_an_unknown_type_is_refused_by_its_name(kind: str) -> None:
    with pytest.raises(ValueError, match=f"unknown event type {kind}$"):
        events.decode(kind, b"{}")


SPOILED: list[Callable[[str], str]] = [
    lambda text: text[:-1],
    lambda _: "{}",
    lambda _: "[]",
    lambda _: "",
    lambda text: text.replace('"version":1', '"version":"1"'),
    lambda text: text.replace('"total":5800', '"total":5800.5'),
    lambda text: text.replace('"user_id":7,', ""),
    lambda text: text.replace('"quantity":2', '"quantity":null'),
    lambda text: text.replace("우유", "\\ud800"),
]


@pytest.mark.parametrize("spoil", SPOILED)
def test_data_that_does_not_fit_is_refused_and_never_guessed(spoil: Callable[[str], str]) -> None:
    with pytest.raises(ValueError, match=r"."):
        events.decode("OrderPlaced", spoil(STORED).encode())


def test_every_event_has_a_name_of_its_own_and_says_what_it_is_about() -> None:
    names = [kind.__name__ for kind in (*ORDER_EVENTS, *PAYMENT_EVENTS, *SHOP_NOTICES)]
    assert len(names) == len(set(names)) == 13
    assert all(issubclass(kind, OrderEvent) == kind.__name__.startswith("Order") for kind in ORDER_EVENTS)


@settings(deadline=None)
@given(st.lists(LINES, min_size=1, max_size=60), st.text(min_size=1, max_size=200))
@example([Line(2, "b", 1, 1, 0, 1, None)] * 49, "가" * 200)
def test_a_title_names_the_first_good_and_fits_the_pg(lines: list[Line], name: str) -> None:
    lines = [Line(1, name, 1, 1, 0, 1, None), *lines]
    text = title(lines)
    assert len(text) <= 100
    assert text.endswith(f" 외 {len(lines) - 1}건")
    assert name.startswith(text.removesuffix(f" 외 {len(lines) - 1}건"))
    assert title(lines[:1]) == name[:100]
