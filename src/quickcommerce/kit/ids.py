"""Typed ids, made before any effect: a prefix that says what it names, then 26 characters, time first.

48 bits of milliseconds keep new rows beside each other in every index; 80 random bits keep an id from being guessed.
"""

import random
import re
from dataclasses import dataclass
from typing import NewType

from quickcommerce.kit.clock import Clock

OrderId = NewType("OrderId", str)
PaymentId = NewType("PaymentId", str)
RefundId = NewType("RefundId", str)
EventId = NewType("EventId", str)
PolicyId = NewType("PolicyId", str)
TimeSaleId = NewType("TimeSaleId", str)
UserId = NewType("UserId", int)
ProductId = NewType("ProductId", int)

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]
_SHIFTS = range(120, -1, -10)
ID = "[0-9A-HJKMNP-TV-Z]{26}"
"""What stands behind the prefix of an id."""
_SHAPE = re.compile(f"(ord|pay|ref|mis|evt|pol|sal)_{ID}")


def earliest(prefix: str, at_us: int) -> str:
    """An id that sorts before every id with this prefix that is made at this time or later."""
    return f"{prefix}_" + _spelled(max(0, at_us) // 1_000 << 80)


def _spelled(number: int) -> str:
    return "".join([_PAIRS[number >> shift & 1023] for shift in _SHIFTS])


def is_id(prefix: str, text: str) -> bool:
    """Whether `text` has the shape of an id with this prefix; anything else in a path names nothing (404)."""
    return text.startswith(prefix + "_") and _SHAPE.fullmatch(text) is not None


@dataclass(frozen=True)
class Ids:
    """Makes ids, attempt keys, lease tokens and trace ids from a clock and a source of randomness."""

    clock: Clock
    rng: random.Random

    def order(self) -> OrderId:
        """An order's id."""
        return OrderId(self._make("ord"))

    def payment(self) -> PaymentId:
        """A payment's id: what the PG is told as its `orderId`, 30 of the 6 to 64 characters it allows."""
        return PaymentId(self._make("pay"))

    def refund(self) -> RefundId:
        """A refund's id."""
        return RefundId(self._make("ref"))

    def mismatch(self) -> str:
        """The id of something in which PG, payments and orders do not agree."""
        return self._make("mis")

    def event(self) -> EventId:
        """An event's id, by which inboxes know a repeat."""
        return EventId(self._make("evt"))

    def policy(self) -> PolicyId:
        """The id of a coupon policy."""
        return PolicyId(self._make("pol"))

    def time_sale(self) -> TimeSaleId:
        """The id of a time sale."""
        return TimeSaleId(self._make("sal"))

    def coupon(self) -> int:
        """A coupon's id: the contract wants a positive integer below 2^53. Two are the same once in 10^15 or so."""
        return self.rng.getrandbits(53) or 1

    def token(self) -> str:
        """A lease token or an Idempotency-Key for the PG: 128 random bits as hexadecimal."""
        return f"{self.rng.getrandbits(128):032x}"

    def _make(self, prefix: str) -> str:
        number = (self.clock() // 1_000 & (1 << 48) - 1) << 80 | self.rng.getrandbits(80)
        return f"{prefix}_{_spelled(number)}"
