"""Coupons for orders. This shop has issued none, so every coupon that an order names is refused."""

from collections.abc import Collection, Mapping
from typing import Any

from quickcommerce.kit.db import Tx


class Coupons:
    """The coupons of store A."""

    async def of(self, _tx: Tx, _coupon_ids: Collection[int], *, locked: bool) -> Mapping[int, Any]:  # noqa: ARG002
        """Coupons by id."""
        return {}

    async def spend(self, _tx: Tx, spent: Mapping[int, str]) -> bool:
        """Spend coupons on orders."""
        return not spent

    async def give_back(self, _tx: Tx, order_ids: Collection[str]) -> None:
        """Make what these orders spent usable again."""
