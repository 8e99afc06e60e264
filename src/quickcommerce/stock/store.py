"""The stock counters and entries of store A as rows."""

from collections.abc import Iterable, Mapping
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
    await tx.write("UPDATE product SET on_hand = on_hand + ? WHERE product_id = ?", (quantity, product_id))


async def entered(tx: Tx, cause: str) -> bool:
    """Whether anything was moved for this cause."""
    return await tx.one("SELECT 1 FROM stock_entry WHERE cause = ? LIMIT 1", (cause,)) is not None


async def hold(tx: Tx, wanted: Mapping[int, tuple[int, int]]) -> None:
    """Reserve (units, price version) by product. So much must be there of each, and its price still be the one used.

    At most `TOGETHER` products are one statement.
    """
    for part in in_parts(sorted(wanted.items()), TOGETHER):
        ids = [product_id for product_id, _ in part]
        units, units_of = each_its_own("product_id", {each: quantity for each, (quantity, _) in part})
        version, versions_of = each_its_own("product_id", {each: used for each, (_, used) in part})
        await tx.write(
            f"UPDATE product SET reserved = reserved + {units} WHERE product_id IN ({marks(ids)})"
            f" AND price_version = {version} AND on_hand - reserved - sold >= {units}",
            [*units_of, *ids, *versions_of, *units_of],
            rows=len(ids),
        )


async def unhold(tx: Tx, moved: Mapping[int, tuple[int, int]]) -> None:
    """Take units out of the reserve, (back to the shelf, sold) by product. So many must be in it."""
    for part in in_parts(sorted(moved.items()), TOGETHER):
        ids = [product_id for product_id, _ in part]
        units, units_of = each_its_own("product_id", {each: released + sold for each, (released, sold) in part})
        gone, gone_of = each_its_own("product_id", {each: sold for each, (_, sold) in part})
        await tx.write(
            f"UPDATE product SET reserved = reserved - {units}, sold = sold + {gone}"
            f" WHERE product_id IN ({marks(ids)}) AND reserved >= {units}",
            [*units_of, *gone_of, *ids, *units_of],
            rows=len(ids),
        )


async def hold_again(tx: Tx, product_id: int, quantity: int) -> None:
    """Reserve units that were seen to be there, and must be, whatever they cost by now."""
    await tx.write(
        "UPDATE product SET reserved = reserved + ? WHERE product_id = ? AND on_hand - reserved - sold >= ?",
        (quantity, product_id, quantity),
        rows=1,
    )


async def take_back(tx: Tx, product_id: int, quantity: int) -> None:
    """Put sold units back on the shelf. So many must have been sold."""
    await tx.write(
        "UPDATE product SET sold = sold - ? WHERE product_id = ? AND sold >= ?",
        (quantity, product_id, quantity),
        rows=1,
    )


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
