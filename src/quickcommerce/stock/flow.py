"""Stock moves: hold when an order is placed, then release or sell. Each happens once, in the order's transaction.

The counters of a product are one row, and a list of orders touches it once: one hot product in ten thousand orders
is one row update per list. Products are always taken in the order of their ids, and last in the transaction.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from quickcommerce.kit.clock import Clock
from quickcommerce.kit.db import Tx
from quickcommerce.stock import store
from quickcommerce.stock.store import Kind


@dataclass(frozen=True)
class Stock:
    """The stock of store A."""

    clock: Clock

    async def available(self, tx: Tx, product_ids: Sequence[int]) -> dict[int, int]:
        """Units that may still be sold, by product."""
        return await store.available(tx, product_ids)

    async def put_in(self, tx: Tx, units: Mapping[int, int], cause: str) -> None:
        """Add units by product; the same cause and product once."""
        await store.record(tx, Kind.PUT_IN, [(cause, units)], self.clock())
        for product_id, quantity in sorted(units.items()):
            await store.put_in(tx, product_id, quantity)

    async def hold(self, tx: Tx, wanted: Mapping[int, tuple[int, int]]) -> None:
        """Reserve (units, price version) by product, each only if it is still so; else the transaction is undone."""
        await store.hold(tx, wanted)

    async def hold_again(self, tx: Tx, wanted: Sequence[tuple[str, Mapping[int, int]]]) -> set[str]:
        """Reserve what orders that have ended had held: lists of (order id, units by product), for each all or none.

        Returns the orders that have it.
        """
        if not wanted:
            return set()
        there = await store.available(tx, {each for _, units in wanted for each in units}, locked=True)
        held = []
        for order_id, units in wanted:
            if all(there.get(product_id, 0) >= quantity for product_id, quantity in units.items()):
                held.append((order_id, units))
                for product_id, quantity in units.items():
                    there[product_id] -= quantity
        await store.record(tx, Kind.LATE_HOLD, held, self.clock())
        total: Counter[int] = Counter()
        for _, units in held:
            total.update(units)
        for product_id, quantity in sorted(total.items()):
            await store.hold_again(tx, product_id, quantity)
        return {order_id for order_id, _ in held}

    async def take_back(self, tx: Tx, returned: Sequence[tuple[str, Mapping[int, int]]]) -> None:
        """Put units that were sold back on the shelf: lists of (order id, units by product)."""
        await store.record(tx, Kind.RETURN, returned, self.clock())
        back: Counter[int] = Counter()
        for _, units in returned:
            back.update(units)
        for product_id, quantity in sorted(back.items()):
            await store.take_back(tx, product_id, quantity)

    async def give_back_and_sell(
        self, tx: Tx, released: Sequence[tuple[str, Mapping[int, int]]], sold: Sequence[tuple[str, Mapping[int, int]]]
    ) -> None:
        """End holds. Both are lists of (order id, units by product): back to the shelf, or sold."""
        now = self.clock()
        await store.record(tx, Kind.RELEASE, released, now)
        await store.record(tx, Kind.SELL, sold, now)
        back: Counter[int] = Counter()
        gone: Counter[int] = Counter()
        for _, units in released:
            back.update(units)
        for _, units in sold:
            gone.update(units)
        await store.unhold(tx, {product_id: (back[product_id], gone[product_id]) for product_id in {*back, *gone}})
