"""Putting goods in, and looking at what is there."""

from dataclasses import dataclass

from quickcommerce.kit import idempotency
from quickcommerce.kit.clock import Clock
from quickcommerce.kit.db import Database, Tx
from quickcommerce.kit.idempotency import Claim
from quickcommerce.kit.ids import Ids
from quickcommerce.kit.problem import InvalidState, NotFound
from quickcommerce.stock import store
from quickcommerce.stock.flow import Stock
from quickcommerce.stock.model import PUT_IN_MAX, Restocked, Shelved

ON_HAND_MAX = 1_000 * PUT_IN_MAX
"""So much may ever be put in of one product: no sum of it leaves what a database counts exactly."""


@dataclass(frozen=True)
class Shelves:
    """The stock of store A, for those who fill it."""

    db: Database
    stock: Stock
    clock: Clock
    ids: Ids

    async def of(self, product_id: int) -> Shelved:
        """The stock of a product. Raises NotFound."""
        found = await self.db.read(lambda tx: store.shelved(tx, product_id))
        if found is None:
            raise NotFound("there is no such product")
        return found

    async def restock(self, product_id: int, quantity: int, claim: Claim | None) -> tuple[Restocked, bool]:
        """Put units in, once for a key. Returns what was answered at first, and whether this is a replay.

        Raises NotFound, IdempotencyKeyReused, and InvalidState where nobody can mean so much.
        """
        return await self.db.run(lambda tx: self._restock(tx, product_id, quantity, claim))

    async def _restock(self, tx: Tx, product_id: int, quantity: int, claim: Claim | None) -> tuple[Restocked, bool]:
        kept = (await idempotency.find(tx, [claim])).get(claim.scoped) if claim else None
        if claim and kept:
            if reused := idempotency.reused(claim, kept):
                raise reused
            return Restocked(product_id, quantity, int(kept.resource)), True
        # The cause is new each time: only a key says that two calls are one.
        await self.stock.put_in(tx, {product_id: quantity}, f"restock:{self.ids.token()}")
        shelved = await store.shelved(tx, product_id)
        if shelved is None:
            raise NotFound("there is no such product")
        if shelved.on_hand > ON_HAND_MAX:
            raise InvalidState(f"of one product at most {ON_HAND_MAX} units may be put in")
        if claim:
            await idempotency.keep(tx, [(claim, str(shelved.on_hand))], self.clock())
        return Restocked(product_id, quantity, shelved.on_hand), False
