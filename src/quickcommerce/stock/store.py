"""The stock counters and entries of store A as rows."""

from collections.abc import Iterable, Mapping
from enum import StrEnum

from quickcommerce.kit.db import LOCK, Tx, marks
from quickcommerce.stock.model import Shelved


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


async def hold(tx: Tx, product_id: int, quantity: int, price_version: int) -> bool:
    """Reserve units, if they are there and the price is still the one used. One row, however many orders."""
    return (
        await tx.run(
            "UPDATE product SET reserved = reserved + ?"
            " WHERE product_id = ? AND price_version = ? AND on_hand - reserved - sold >= ?",
            (quantity, product_id, price_version, quantity),
        )
        == 1
    )


async def unhold(tx: Tx, product_id: int, released: int, sold: int) -> None:
    """Take units out of the reserve: back to the shelf, or sold."""
    changed = await tx.run(
        "UPDATE product SET reserved = reserved - ?, sold = sold + ? WHERE product_id = ? AND reserved >= ?",
        (released + sold, sold, product_id, released + sold),
    )
    if changed != 1:
        raise AssertionError(f"product {product_id} holds less than {released + sold}")


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
