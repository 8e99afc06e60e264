"""The stock counters and entries of store A as rows."""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

from quickcommerce.kit.db import LOCK, Tx, marks
from quickcommerce.kit.sql import each_its_own, in_parts
from quickcommerce.stock.model import Shelved

TOGETHER = 32
"""Products of one UPDATE. A server looks through as many values for each row: twice as many cost four times as much."""


class Kind(StrEnum):
    """What a move of stock is. A HOLD has no row of its own: it is an order's line."""

    PUT_IN = "PUT_IN"
    RELEASE = "RELEASE"
    SELL = "SELL"
    LATE_HOLD = "LATE_HOLD"
    """Held again for an order that had ended, whose money came late."""
    RETURN = "RETURN"
    """Back on the shelf after its money went back."""


async def available(tx: Tx, product_ids: Iterable[int], *, locked: bool = False) -> dict[int, int]:
    """Units that may still be sold, by product; `locked` keeps them so until the transaction's end."""
    ids = sorted(set(product_ids))
    return dict(
        await tx.all(
            f"SELECT product_id, on_hand - reserved - sold FROM product WHERE product_id IN ({marks(ids)})"
            f" ORDER BY product_id {LOCK if locked else ''}",
            ids,
        )
    )


async def shelved(tx: Tx, product_id: int) -> Shelved | None:
    """The counters of a product, or None."""
    row = await tx.one(
        "SELECT product_id, on_hand, reserved, sold, on_hand - reserved - sold FROM product WHERE product_id = ?",
        (product_id,),
    )
    return Shelved(*row) if row else None


async def put_in(tx: Tx, product_id: int, quantity: int) -> None:
    """Add units to what is on hand."""
    await tx.run("UPDATE product SET on_hand = on_hand + ? WHERE product_id = ?", (quantity, product_id))


async def entered(tx: Tx, cause: str) -> bool:
    """Whether anything was moved for this cause."""
    return await tx.one("SELECT 1 FROM stock_entry WHERE cause = ? LIMIT 1", (cause,)) is not None


async def hold(tx: Tx, wanted: Mapping[int, tuple[int, int]]) -> bool:
    """Reserve (units, price version) by product, where so much is there and the price is still the one used.

    Returns whether all of them are. At most `TOGETHER` products are one statement.
    """

    async def held(part: Sequence[tuple[int, tuple[int, int]]]) -> bool:
        ids = [product_id for product_id, _ in part]
        units, units_of = each_its_own("product_id", {each: quantity for each, (quantity, _) in part})
        version, versions_of = each_its_own("product_id", {each: used for each, (_, used) in part})
        changed = await tx.run(
            f"UPDATE product SET reserved = reserved + {units} WHERE product_id IN ({marks(ids)})"
            f" AND price_version = {version} AND on_hand - reserved - sold >= {units}",
            [*units_of, *ids, *versions_of, *units_of],
        )
        return changed == len(ids)

    return all(await tx.gather([held(part) for part in in_parts(sorted(wanted.items()), TOGETHER)]))


async def unhold(tx: Tx, moved: Mapping[int, tuple[int, int]]) -> None:
    """Take units out of the reserve, (back to the shelf, sold) by product."""

    async def gone_from(part: Sequence[tuple[int, tuple[int, int]]]) -> None:
        ids = [product_id for product_id, _ in part]
        units, units_of = each_its_own("product_id", {each: released + sold for each, (released, sold) in part})
        gone, gone_of = each_its_own("product_id", {each: sold for each, (_, sold) in part})
        changed = await tx.run(
            f"UPDATE product SET reserved = reserved - {units}, sold = sold + {gone}"
            f" WHERE product_id IN ({marks(ids)}) AND reserved >= {units}",
            [*units_of, *gone_of, *ids, *units_of],
        )
        if changed != len(ids):
            raise AssertionError(f"a product holds less than is to be moved: {dict(part)}")

    await tx.gather([gone_from(part) for part in in_parts(sorted(moved.items()), TOGETHER)])


async def hold_again(tx: Tx, product_id: int, quantity: int) -> None:
    """Reserve units that were seen to be there, whatever they cost by now."""
    changed = await tx.run(
        "UPDATE product SET reserved = reserved + ? WHERE product_id = ? AND on_hand - reserved - sold >= ?",
        (quantity, product_id, quantity),
    )
    if changed != 1:
        raise AssertionError(f"product {product_id} was locked with {quantity} and has less")


async def take_back(tx: Tx, product_id: int, quantity: int) -> None:
    """Put sold units back on the shelf."""
    changed = await tx.run(
        "UPDATE product SET sold = sold - ? WHERE product_id = ? AND sold >= ?", (quantity, product_id, quantity)
    )
    if changed != 1:
        raise AssertionError(f"of product {product_id} fewer than {quantity} were sold")


async def record(tx: Tx, kind: Kind, moves: Iterable[tuple[str, Mapping[int, int]]], at_us: int) -> None:
    """Write stock entries; a second one of the same (cause, product, kind) is refused by the primary key."""
    await tx.insert(
        "stock_entry",
        "cause, product_id, kind, quantity, at_us",
        [(cause, product_id, kind, units, at_us) for cause, lines in moves for product_id, units in lines.items()],
    )


async def counts(tx: Tx) -> Mapping[str, int]:
    """The sums over all products."""
    row = await tx.one(
        "SELECT COALESCE(SUM(on_hand), 0), COALESCE(SUM(reserved), 0), COALESCE(SUM(sold), 0) FROM product"
    )
    return dict(zip(("on_hand", "reserved", "sold"), row or (0, 0, 0), strict=True))
