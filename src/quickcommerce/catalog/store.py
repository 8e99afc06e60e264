"""The catalog's side of the product rows of store A."""

from collections.abc import Sequence

from quickcommerce.catalog.model import Entry, Offer, Product
from quickcommerce.kit.db import LOCK, Tx, marks
from quickcommerce.kit.text import fold

_SHOWN = "product_id, name, price, on_hand - reserved - sold, name_en, category"


async def offers(tx: Tx, product_ids: Sequence[int], *, locked: bool) -> dict[int, Offer]:
    """Names and prices of those that exist; `locked` keeps the rows as read until the transaction's end."""
    ids = sorted(set(product_ids))
    rows = await tx.all(
        "SELECT product_id, name, name_en, price, price_version FROM product"
        f" WHERE product_id IN ({marks(ids)}) ORDER BY product_id {LOCK if locked else ''}",
        ids,
    )
    return {row[0]: Offer(*row[1:]) for row in rows}


async def get(tx: Tx, product_id: int) -> Product | None:
    """A product, or None."""
    row = await tx.one(f"SELECT {_SHOWN} FROM product WHERE product_id = ?", (product_id,))
    return Product(*row) if row else None


async def categories(tx: Tx) -> list[str]:
    """Every category that has products, in the order in which they came."""
    rows = await tx.all("SELECT category FROM product WHERE category <> '' GROUP BY category ORDER BY MIN(product_id)")
    return [category for (category,) in rows]


async def page(tx: Tx, words: Sequence[str], after: int, limit: int, category: str | None = None) -> list[Product]:
    """Products in the order of their ids, behind `after`, whose search text holds every word; words are folded."""
    where = " AND search_text LIKE ? ESCAPE '!'" * len(words) + (" AND category = ?" if category else "")
    rows = await tx.all(
        f"SELECT {_SHOWN} FROM product WHERE product_id > ? {where} ORDER BY product_id LIMIT ?",
        [after, *map(_contains, words), *([category] if category else []), limit],
    )
    return [Product(*row) for row in rows]


def _contains(word: str) -> str:
    escaped = word.replace("!", "!!").replace("%", "!%").replace("_", "!_")
    return f"%{escaped}%"


async def fold_old(tx: Tx) -> None:
    """Give products of before there was a search text theirs."""
    for product_id, *texts in await tx.all(
        "SELECT product_id, name, name_en, category FROM product WHERE search_text = ''"
    ):
        await tx.run("UPDATE product SET search_text = ? WHERE product_id = ?", (search_text(*texts), product_id))


def search_text(name: str, name_en: str, category: str) -> str:
    """What keywords are looked for in. A word holds no line end, so none is found across two fields."""
    return fold(f"{name}\n{name_en}\n{category}")


async def put(tx: Tx, entries: Sequence[Entry], now_us: int) -> list[Entry]:
    """Add new products, with nothing on hand yet; of known ones change names, category, price. Returns the new ones."""
    known = await _known(tx, sorted(entry.product_id for entry in entries))
    new = [entry for entry in entries if entry.product_id not in known]
    await tx.insert(
        "product",
        f"product_id, price, price_version, {_TEXTS}, on_hand, reserved, sold, created_us",
        [(one.product_id, one.price, 1, *_texts(one, "", ""), 0, 0, 0, now_us) for one in new],
    )
    for one in entries:
        if one.product_id in known:
            price, *texts = known[one.product_id]
            await tx.run(
                "UPDATE product SET price = ?, price_version = price_version + ?, name = ?, name_en = ?, category = ?,"
                " search_text = ? WHERE product_id = ?",
                (one.price, int(one.price != price), *_texts(one, *texts), one.product_id),
            )
    return new


_TEXTS = "name, name_en, category, search_text"


def _texts(entry: Entry, name_en: str, category: str) -> tuple[str, str, str, str]:
    """What `_TEXTS` names, for an entry of which the last two arguments are what is known already."""
    name_en = name_en if entry.name_en is None else entry.name_en
    category = category if entry.category is None else entry.category
    return entry.name, name_en, category, search_text(entry.name, name_en, category)


async def _known(tx: Tx, ids: Sequence[int]) -> dict[int, tuple[int, str, str]]:
    """Price, English name and category of those that exist, locked."""
    rows = await tx.all(
        "SELECT product_id, price, name_en, category FROM product"
        f" WHERE product_id IN ({marks(ids)}) ORDER BY product_id {LOCK}",
        ids,
    )
    return {product_id: (price, name_en, category) for product_id, price, name_en, category in rows}
