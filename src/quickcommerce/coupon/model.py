"""What a coupon is: how much it takes off a line, and when it can be had and used. Pure: no clock, no store."""

from enum import StrEnum
from typing import Annotated

import msgspec

from quickcommerce.kit.ids import PolicyId
from quickcommerce.kit.text import VISIBLE

NAME_MAX = 100
WON_MAX = 10_000_000_000
ISSUED_MAX = 1_000_000_000
RATE_MAX = 100
TIME_MAX = 40
"""Characters of an RFC 3339 time; 32 are enough for microseconds and an offset."""

Name = Annotated[
    str,
    msgspec.Meta(min_length=1, max_length=NAME_MAX, pattern=VISIBLE),
]
Time = Annotated[str, msgspec.Meta(max_length=TIME_MAX, extra_json_schema={"format": "date-time"})]


class DiscountType(StrEnum):
    """What `discount_value` counts."""

    RATE = "RATE"
    """Per cent of the line, 1 to 100."""
    AMOUNT = "AMOUNT"
    """Won."""


class PolicyDraft(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `POST /v1/coupons` takes. Amounts in won; `discount_value` in per cent or won; times as RFC 3339."""

    name: Name
    discount_type: DiscountType
    discount_value: Annotated[int, msgspec.Meta(ge=1, le=WON_MAX)]
    min_order_amount: Annotated[int, msgspec.Meta(ge=0, le=WON_MAX)]
    max_discount_amount: Annotated[int, msgspec.Meta(ge=1, le=WON_MAX)]
    total_quantity: Annotated[int, msgspec.Meta(ge=1, le=ISSUED_MAX)]
    starts_at: Time
    ends_at: Time


class Policy(msgspec.Struct, frozen=True):
    """What the coupons of one kind are worth. Amounts in won, times in microseconds UTC; `ends_us` is outside."""

    policy_id: PolicyId
    name: str
    discount_type: DiscountType
    discount_value: int
    min_order_amount: int
    max_discount_amount: int
    total_quantity: int
    issued: int
    starts_us: int
    ends_us: int

    @property
    def left(self) -> int:
        """How many can still be had."""
        return self.total_quantity - self.issued

    def withheld(self, now_us: int, left: int) -> str | None:
        """Why nobody can be given a coupon now, where `left` are left; None where one can."""
        if now_us < self.starts_us:
            return "this coupon cannot be had yet"
        if now_us >= self.ends_us:
            return "this coupon cannot be had any more"
        return None if left > 0 else "all of these coupons are gone"

    def off(self, amount: int, now_us: int) -> int | str:
        """The won that a coupon takes off a line of this amount, from 1 to all of it; or why it cannot be used."""
        if now_us < self.starts_us:
            return "the coupon cannot be used yet"
        if now_us >= self.ends_us:
            return "the coupon has expired"
        if amount < self.min_order_amount:
            return f"the coupon needs a line of at least {self.min_order_amount} won"
        rate = self.discount_type is DiscountType.RATE
        worth = amount * self.discount_value // RATE_MAX if rate else self.discount_value
        # A coupon that is spent for nothing is lost to its owner.
        return min(worth, self.max_discount_amount, amount) or "the coupon takes nothing off so small an amount"


class Coupon(msgspec.Struct, frozen=True):
    """A user's coupon as it was at `read_us`, the time by which `off` judges its window."""

    coupon_id: int
    policy: Policy
    user_id: int
    order_id: str | None
    """The order that it is spent on."""
    issued_us: int
    read_us: int

    def off(self, amount: int) -> int | str:
        """The won it takes off a line of this amount, from 1 to all of it; or why it cannot be used for it."""
        return self.policy.off(amount, self.read_us)
