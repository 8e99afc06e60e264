"""Coupons for orders. This shop has issued none, so every coupon that an order names is refused."""

from collections.abc import Mapping

from quickcommerce.kit.db import Tx


class Coupons:
    """The coupons of store A."""

    async def discounts(self, _tx: Tx, _user_id: int, amounts: Mapping[int, int]) -> Mapping[int, int | str]:
        """For each coupon, given the amount of its line in won: the won it takes off, or why it cannot be used."""
        return dict.fromkeys(amounts, "there is no such coupon")
