"""Ways to keep two buyers from having the same unit, behind one Protocol.

The first two are the original's: its first version took a lock for each product, its last one runs a script for each
line. The third is how this shop does it, without its lists: a conditional UPDATE, last before the commit.
"""

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Protocol

from redis.asyncio import Redis
from redis.commands.core import AsyncScript
from redis.exceptions import LockError
from sqlalchemy import update
from sqlalchemy.engine import CursorResult
from sqlalchemy.ext.asyncio import AsyncSession

from bench.yardstick.model import Problem, Want
from bench.yardstick.tables import ProductRow

PREFIX = "yardstick:stock:"
LOCK_WAIT_S, LOCK_LEASE_S = 5.0, 4.0
"""The original's."""
LOCK_LOOK_S = 0.01
"""The original's lock is told when it is free; this one looks. So often it hardly waits longer, and pays with calls."""

TAKE = """
local left = tonumber(redis.call('GET', KEYS[1]) or '0')
local wanted = tonumber(ARGV[1])
if left < wanted then return left end
redis.call('DECRBY', KEYS[1], wanted)
return -1
"""
"""Takes units of one product, or tells how many there are."""

Short = tuple[int, int]
"""The position of a line, and the units there are."""


class Guard(Protocol):
    """Stock for a basket: all of it, or nothing."""

    async def take(self, wants: Sequence[Want], products: Mapping[int, ProductRow]) -> list[Short]:
        """Take the units before the order's rows are written; or nothing, where lines are short."""
        ...

    async def keep(self, session: AsyncSession, wants: Sequence[Want]) -> bool:
        """Called last before the commit. Whether the order still may be committed."""
        ...

    async def give_back(self, wants: Sequence[Want]) -> None:
        """The order was not committed after all."""
        ...


@dataclass(frozen=True)
class Script:
    """A call of a Lua script for each line; what a later line lacks is given back by hand."""

    redis: Redis
    script: AsyncScript

    async def take(self, wants: Sequence[Want], products: Mapping[int, ProductRow]) -> list[Short]:
        """See `Guard.take`."""
        del products
        taken, short = [], []
        for at, want in enumerate(wants):
            left = await self.script(keys=[f"{PREFIX}{want.product_id}"], args=[want.quantity])
            if left == -1:
                taken.append(want)
            else:
                short.append((at, int(left)))
        if short:
            await self.give_back(taken)
        return short

    async def keep(self, session: AsyncSession, wants: Sequence[Want]) -> bool:
        """See `Guard.keep`. Redis has decided."""
        del session, wants
        return True

    async def give_back(self, wants: Sequence[Want]) -> None:
        """See `Guard.give_back`."""
        for want in wants:
            await self.redis.incrby(f"{PREFIX}{want.product_id}", want.quantity)


@dataclass(frozen=True)
class Lock:
    """A Redis lock for each product, taken in the order of ids; in between the units are read, compared and written."""

    redis: Redis

    async def take(self, wants: Sequence[Want], products: Mapping[int, ProductRow]) -> list[Short]:
        """See `Guard.take`. Raises Problem where a lock is not had in time, or was lost meanwhile."""
        del products
        short: list[Short] | None = None
        try:
            async with AsyncExitStack() as held:
                for product_id in sorted(want.product_id for want in wants):
                    lock = self.redis.lock(
                        f"yardstick:lock:{product_id}",
                        timeout=LOCK_LEASE_S,
                        blocking_timeout=LOCK_WAIT_S,
                        sleep=LOCK_LOOK_S,
                    )
                    await held.enter_async_context(lock)
                short = await self._decrease(wants)
        except LockError as error:
            if short == []:
                await self.give_back(wants)
            raise Problem("unavailable", "a product is locked by others") from error
        return short

    async def _decrease(self, wants: Sequence[Want]) -> list[Short]:
        left = [int(await self.redis.get(f"{PREFIX}{want.product_id}") or 0) for want in wants]
        short = [(at, left[at]) for at, want in enumerate(wants) if left[at] < want.quantity]
        if not short:
            for want, units in zip(wants, left, strict=True):
                await self.redis.set(f"{PREFIX}{want.product_id}", units - want.quantity)
        return short

    async def keep(self, session: AsyncSession, wants: Sequence[Want]) -> bool:
        """See `Guard.keep`. Redis has decided."""
        del session, wants
        return True

    async def give_back(self, wants: Sequence[Want]) -> None:
        """See `Guard.give_back`. Each change is atomic, so it needs no lock."""
        for want in wants:
            await self.redis.incrby(f"{PREFIX}{want.product_id}", want.quantity)


@dataclass(frozen=True)
class Conditional:
    """The rows as read refuse most; the order's own transaction takes the units, if they are still there."""

    async def take(self, wants: Sequence[Want], products: Mapping[int, ProductRow]) -> list[Short]:
        """See `Guard.take`. Takes nothing yet."""
        left = [products[want.product_id].available for want in wants]
        return [(at, left[at]) for at, want in enumerate(wants) if left[at] < want.quantity]

    async def keep(self, session: AsyncSession, wants: Sequence[Want]) -> bool:
        """See `Guard.keep`. The hot rows are locked last, and in the order of their ids."""
        for want in sorted(wants, key=lambda each: each.product_id):
            found: CursorResult[Any] = await session.execute(  # type: ignore[assignment]
                update(ProductRow)
                .where(
                    ProductRow.product_id == want.product_id,
                    ProductRow.on_hand - ProductRow.reserved - ProductRow.sold >= want.quantity,
                )
                .values(reserved=ProductRow.reserved + want.quantity)
                .execution_options(synchronize_session=False)
            )
            if found.rowcount != 1:
                return False
        return True

    async def give_back(self, wants: Sequence[Want]) -> None:
        """See `Guard.give_back`. The rollback has done it."""


def guard(name: str, redis: Redis) -> Guard:
    """The guard with this name: `script`, `lock` or `conditional`."""
    match name:
        case "script":
            return Script(redis, redis.register_script(TAKE))
        case "lock":
            return Lock(redis)
        case "conditional":
            return Conditional()
    raise ValueError(f"there is no guard {name}")
