"""Time sales: for a while, and for so many units, a product costs less. The window is judged when an order commits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from quickcommerce.catalog import store
from quickcommerce.catalog.model import NewSale, Sale, discounted
from quickcommerce.kit.clock import LAST_US, Clock, from_rfc3339
from quickcommerce.kit.db import Database, Tx
from quickcommerce.kit.ids import Ids
from quickcommerce.kit.problem import InvalidRequest, InvalidState, NotFound


@dataclass(frozen=True)
class TimeSales:
    """The time sales of store A."""

    db: Database
    clock: Clock
    ids: Ids

    async def at(self, tx: Tx, product_ids: Sequence[int], at_us: int, *, locked: bool = False) -> Mapping[int, Sale]:
        """The sales in force at this time, by product; `locked` keeps what is left until the transaction's end."""
        return await store.sales_at(tx, product_ids, at_us, locked=locked) if product_ids else {}

    async def page(self, after: tuple[int, str], limit: int) -> list[Sale]:
        """Sales in force and to come, the next to end first, behind `after` (its end and its id)."""
        return await self.db.scan(lambda tx: store.sales_from(tx, self.clock(), after, limit))

    async def create(self, new: NewSale) -> Sale:
        """Announce a sale. Raises InvalidRequest, NotFound, and InvalidState where it would overlap another."""
        starts_us, ends_us = _moment(new.starts_at, "starts_at"), _moment(new.ends_at, "ends_at")
        if ends_us <= starts_us:
            raise _wrong("ends_at", "must be after starts_at")
        if (new.price is None) == (new.discount_rate is None):
            raise _wrong("price", "give either price or discount_rate")
        # Made before any effect: a commit whose reply was lost is found by it.
        time_sale_id = self.ids.time_sale()
        return await self.db.run(lambda tx: self._create(tx, time_sale_id, new, starts_us, ends_us))

    async def _create(self, tx: Tx, time_sale_id: str, new: NewSale, starts_us: int, ends_us: int) -> Sale:
        # Its row is locked first, so that of two sales that overlap one sees the other.
        product = await store.lock(tx, new.product_id)
        if product is None:
            raise NotFound("there is no such product")
        if created := await store.sale(tx, time_sale_id):
            return created
        now = self.clock()
        if ends_us <= now:
            raise _wrong("ends_at", "must be in the future")
        # A price that is given is 1 won or more; a rate may leave nothing of it.
        price = new.price or discounted(product.list_price, new.discount_rate or 0)
        if price >= product.list_price:
            name = "price" if new.price else "discount_rate"
            raise _wrong(name, f"{price} won is no sale price for what costs {product.list_price}")
        if await store.overlaps(tx, new.product_id, starts_us, ends_us):
            raise InvalidState("the product has another time sale in this window")
        sale = Sale(time_sale_id, new.product_id, price, new.quota, 0, starts_us, ends_us)
        await store.add_sale(tx, sale, now)
        await store.reprice(tx, new.product_id)
        return sale

    async def take(self, tx: Tx, units: Mapping[str, int]) -> None:
        """Use up quota, by sale, only if so much is left; else the transaction is undone."""
        for time_sale_id, quantity in sorted(units.items()):
            await store.use_quota(tx, time_sale_id, quantity)

    async def take_again(self, tx: Tx, time_sale_id: str, units: int) -> bool:
        """Use up quota of a sale for an order that has ended; False where so much is not left."""
        return await store.use_quota_if_left(tx, time_sale_id, units)

    async def give_back(self, tx: Tx, units: Mapping[str, int]) -> None:
        """Let others have quota again, by sale."""
        for time_sale_id, quantity in sorted(units.items()):
            await store.free_quota(tx, time_sale_id, quantity)


def _moment(text: str, name: str) -> int:
    wrong = _wrong(name, "must be an RFC 3339 time from 1970 to 9999, such as 2026-01-31T09:00:00+09:00")
    try:
        at_us = from_rfc3339(text)
    except ValueError as error:
        raise wrong from error
    if not 0 <= at_us <= LAST_US:
        # What cannot be told again would break every list that it is in.
        raise wrong
    return at_us


def _wrong(name: str, detail: str) -> InvalidRequest:
    return InvalidRequest(f"{name}: {detail}", errors=[{"pointer": f"/{name}", "detail": detail}])
