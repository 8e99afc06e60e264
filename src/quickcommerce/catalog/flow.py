"""The catalog: what is for sale, at what price, and who changes it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from quickcommerce.catalog import store
from quickcommerce.catalog.model import Change, Entry, NewProduct, Offer, Product, Sale
from quickcommerce.kit.clock import Clock
from quickcommerce.kit.db import Database, Tx
from quickcommerce.kit.problem import InvalidState, NotFound
from quickcommerce.kit.sql import both
from quickcommerce.kit.text import fold

CHUNK = 500


class Shelf(Protocol):
    """What stock does for the catalog."""

    async def put_in(self, tx: Tx, units: Mapping[int, int], cause: str) -> None:
        """Add units by product; the same cause and product once."""
        ...


class InForce(Protocol):
    """What time sales tell the catalog."""

    async def at(self, tx: Tx, product_ids: Sequence[int], at_us: int, *, locked: bool = False) -> Mapping[int, Sale]:
        """The sales in force at this time, by product; `locked` keeps what is left until the transaction's end."""
        ...


@dataclass(frozen=True)
class Catalog:
    """The catalog of store A."""

    db: Database
    shelf: Shelf
    sales: InForce
    clock: Clock

    async def offers(self, tx: Tx, product_ids: Sequence[int], at_us: int, *, locked: bool) -> Mapping[int, Offer]:
        """Names and prices of those that exist; under the time sale in force at this time, where there is one."""
        if locked:
            # Sales are locked before products, as by whoever uses up their quota.
            await self.sales.at(tx, product_ids, at_us, locked=True)
        # Sales after the price version: one that is announced in between makes that version an old one.
        offers, sales = await both(
            tx, store.offers(tx, product_ids, locked=locked), self.sales.at(tx, product_ids, at_us, locked=locked)
        )
        return offers | {product_id: offers[product_id].under(sale) for product_id, sale in sales.items()}

    async def get(self, product_id: int) -> Product:
        """A product. Raises NotFound."""

        async def work(tx: Tx) -> list[Product]:
            product = await store.get(tx, product_id)
            return await self._shown(tx, [product] if product else [])

        for product in await self.db.read(work):
            return product
        raise NotFound("there is no such product")

    async def page(self, keyword: str, after: int, limit: int, category: str | None = None) -> list[Product]:
        """Products in the order of their ids, whose names or category hold every word of `keyword`, in any case."""

        async def work(tx: Tx) -> list[Product]:
            return await self._shown(
                tx, await store.page(tx, fold(keyword).split(), category and fold(category), after, limit)
            )

        return await self.db.scan(work)

    async def categories(self) -> list[str]:
        """Every category that a product has, in order."""
        return await self.db.scan(store.categories)

    async def _shown(self, tx: Tx, products: list[Product]) -> list[Product]:
        sales = await self.sales.at(tx, [product.product_id for product in products], self.clock())
        return [msgspec.structs.replace(product, sale=sales.get(product.product_id)) for product in products]

    async def add(self, new: NewProduct) -> Product:
        """Put a product up for sale. Raises InvalidState where its id is taken."""
        now, product_id = self.clock(), 0

        async def work(tx: Tx) -> None:
            nonlocal product_id
            if product_id and await store.added(tx, product_id, new.name, now):
                # An earlier run was committed, and its reply was lost.
                return
            product_id = new.product_id or await store.free_id(tx)
            if await store.get(tx, product_id):
                raise InvalidState(f"there is a product {product_id} already")
            await store.add(tx, product_id, new, now)
            if new.stock:
                await self.shelf.put_in(tx, {product_id: new.stock}, "created")

        await self.db.run(work)
        return Product(product_id, new.name, new.name_en, fold(new.category), new.price, new.stock)

    async def change(self, product_id: int, change: Change) -> Product:
        """Give a product another name or price; orders keep theirs. Raises NotFound."""

        async def work(tx: Tx) -> None:
            old = await store.lock(tx, product_id)
            if old is None:
                raise NotFound("there is no such product")
            name = old.name if change.name is msgspec.UNSET else change.name
            price = old.list_price if change.price is msgspec.UNSET else change.price
            await store.change(tx, old, name, price)

        await self.db.run(work)
        return await self.get(product_id)

    async def fold(self) -> None:
        """Make products searchable that were stored before there was a search text."""
        await self.db.run(store.fold_old)

    async def put(self, entries: Sequence[Entry], progress: Callable[[int], None] = lambda _: None) -> int:
        """Load entries in one transaction, all or none; known products keep their stock. Returns how many are new.

        `progress` is told how many entries are written so far.
        """

        async def work(tx: Tx) -> int:
            added = 0
            for start in range(0, len(entries), CHUNK):
                new = await store.put(tx, entries[start : start + CHUNK], self.clock())
                await self.shelf.put_in(tx, {one.product_id: one.stock for one in new if one.stock}, "first import")
                added += len(new)
                progress(min(start + CHUNK, len(entries)))
            return added

        return await self.db.run(work)
