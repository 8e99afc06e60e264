"""What an order needs of others: prices, stock, time sales, coupons. `app.py` joins them.

Whatever changes rows is called in the order in which rows are locked everywhere: coupons, time sales, products.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from quickcommerce.kit.db import Tx
from quickcommerce.order.pricing import Coupon, Offer


class Prices(Protocol):
    """What the catalog tells an order."""

    async def offers(self, tx: Tx, product_ids: Sequence[int], at_us: int, *, locked: bool) -> Mapping[int, Offer]:
        """Names and prices at this time, of those that exist; `locked` keeps them so until the transaction's end."""
        ...


class Reservations(Protocol):
    """What stock does for an order."""

    async def available(self, tx: Tx, product_ids: Sequence[int]) -> dict[int, int]:
        """Units that may still be sold, by product."""
        ...

    async def hold(self, tx: Tx, wanted: Mapping[int, tuple[int, int]]) -> None:
        """Reserve (units, price version) by product, each only if it is still so; else the transaction is undone."""
        ...

    async def hold_again(self, tx: Tx, wanted: Sequence[tuple[str, Mapping[int, int]]]) -> set[str]:
        """Reserve what orders that have ended had held, for each of them all or none. Returns those that have it."""
        ...

    async def give_back_and_sell(
        self, tx: Tx, released: Sequence[tuple[str, Mapping[int, int]]], sold: Sequence[tuple[str, Mapping[int, int]]]
    ) -> None:
        """End holds: (order id, units by product) back to the shelf, or sold."""
        ...

    async def take_back(self, tx: Tx, returned: Sequence[tuple[str, Mapping[int, int]]]) -> None:
        """Put units that were sold back on the shelf."""
        ...


class Sales(Protocol):
    """What time sales do for an order: units by sale."""

    async def take(self, tx: Tx, units: Mapping[str, int]) -> None:
        """Use up quota, only if so much is left; else the transaction is undone."""
        ...

    async def take_again(self, tx: Tx, time_sale_id: str, units: int) -> bool:
        """Use up quota of a sale for an order that has ended; False where so much is not left."""
        ...

    async def give_back(self, tx: Tx, units: Mapping[str, int]) -> None:
        """Let others have it."""
        ...


class Coupons(Protocol):
    """What coupons do for an order."""

    async def of(self, tx: Tx, coupon_ids: Collection[int], at_us: int, *, locked: bool) -> Mapping[int, Coupon]:
        """Coupons by id, as they are at this time; those that do not exist are left out."""
        ...

    async def spend(self, tx: Tx, spent: Mapping[int, str]) -> None:
        """Spend coupons on orders, only if none of them is spent yet; else the transaction is undone."""
        ...

    async def spend_again(self, tx: Tx, coupon_id: int, order_id: str) -> bool:
        """Spend a coupon on an order that has ended; False where it is spent on another by now."""
        ...

    async def give_back(self, tx: Tx, order_ids: Collection[str]) -> None:
        """Make what these orders spent usable again."""
        ...
