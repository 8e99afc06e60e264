"""Order events poured onto a topic at a steady rate, whether or not anybody keeps up."""

import threading
import time
from datetime import UTC, datetime, timedelta

from confluent_kafka import Producer

_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"
_EVENT = (
    b'{"order":{"order_id":"%s","user_id":7,"status":"PLACED","version":1,"lines":[{"product_id":1,"name":"goods 1",'
    b'"quantity":1,"unit_price":1010,"discount":0,"amount":1010,"coupon_id":null}],"total":1010,"discount":0,'
    b'"payable":1010,"paid":0,"refunded":0,"currency":"KRW","placed_at":"%s","expires_at":"%s","updated_at":"%s"},'
    b'"names_en":["goods 1"],"cause":"buyer"}'
)
POISON = b"null"
"""What the original's payment service sends where it finds no order, and what ends the stream of whoever reads it."""
TICK_S = 0.02


Times = tuple[bytes, bytes, bytes]
"""When an order was placed, when its time to pay ends, and when it was changed."""


def times() -> Times:
    """Of an order that is placed now and may be paid for a day."""
    placed = datetime.now(UTC)
    now, end = (at.strftime(_TIME).encode() for at in (placed, placed + timedelta(days=1)))
    return now, end, now


def event_of(order_id: str, at: Times) -> bytes:
    """The data of an OrderPlaced."""
    return _EVENT % (order_id.encode(), *at)


def headers_of(order_id: str, event_id: str, at: Times) -> dict[str, str | bytes | None]:
    """Its attributes, as the shop's relay gives them."""
    return {
        "ce_specversion": "1.0", "ce_id": event_id, "ce_type": "OrderPlaced", "ce_source": "shop",
        "ce_subject": order_id, "ce_time": at[0], "content-type": "application/json",
    }  # fmt: skip


class Flood:
    """Pours OrderPlaced events of new orders onto a topic, in the form that the shop's relay gives them."""

    def __init__(self, brokers: str, topic: str) -> None:
        self.topic = topic
        self.poured = 0
        """Events that are handed over, poison left out."""
        self._producer = Producer({"bootstrap.servers": brokers, "linger.ms": 10, "acks": "all"})
        self._times = times()
        # Numbers that go on from the time: of our shape, unlike any other flood's, and made in no time.
        self._number = time.time_ns()

    def pour(self, count: int) -> None:
        """So many events, as fast as the brokers take them. Blocks."""
        for _ in range(count):
            self._next()
        self._producer.flush()

    def poison(self) -> None:
        """One event that cannot be handled. Blocks."""
        self._send(POISON)
        self._producer.flush()

    def pour_for(self, seconds: float, per_s: float, stop: threading.Event) -> None:
        """Events at a rate for so many seconds, or until told to stop. Blocks."""
        begun, before = time.monotonic(), self.poured
        while not stop.is_set() and (passed_s := time.monotonic() - begun) < seconds:
            for _ in range(round(passed_s * per_s) - (self.poured - before)):
                self._next()
            self._producer.poll(TICK_S)
        self._producer.flush()

    def _next(self) -> None:
        self._send(None)
        self.poured += 1

    def _send(self, value: bytes | None) -> None:
        """An event of a new order, with this value in the place of its own, if given."""
        self._number += 1
        order_id, event_id = f"ord_{self._number:026d}", f"evt_{self._number:026d}"
        value = value or event_of(order_id, self._times)
        headers = headers_of(order_id, event_id, self._times)
        while True:
            try:
                return self._producer.produce(self.topic, key=order_id, value=value, headers=headers)
            except BufferError:
                self._producer.poll(TICK_S)
