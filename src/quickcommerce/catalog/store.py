"""The catalog's side of the product rows of store A."""

from collections.abc import Sequence

import msgspec

from quickcommerce.catalog.model import ID_MAX, Entry, NewProduct, Offer, Product, Sale
from quickcommerce.kit.db import LOCK, Tx, marks
from quickcommerce.kit.text import fold, forms

_HOLDS = "search_text LIKE ? ESCAPE '!'"
_SHOWN = "product_id, name, name_en, category, price, on_hand - reserved - sold"


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


async def page(tx: Tx, words: Sequence[str], category: str | None, after: int, limit: int) -> list[Product]:
    """Products in the order of their ids, behind `after`, whose search text holds every word; words are folded.

    An English word may stand there in its other number.
    """
    wanted = [sorted(forms(word)) for word in words]
    where = "".join(f" AND ({' OR '.join([_HOLDS] * len(each))})" for each in wanted)
    of_category = [] if category is None else [category]
    rows = await tx.all(
        f"SELECT {_SHOWN} FROM product WHERE product_id > ? {where} {'AND category = ?' * len(of_category)}"
        " ORDER BY product_id LIMIT ?",
        [after, *(_contains(form) for each in wanted for form in each), *of_category, limit],
    )
    return [Product(*row) for row in rows]


async def categories(tx: Tx) -> list[str]:
    """Every category that a product has, in order."""
    rows = await tx.all("SELECT DISTINCT category FROM product WHERE category <> '' ORDER BY category")
    return [category for (category,) in rows]


async def free_id(tx: Tx) -> int:
    """An id that no product has: the one behind the highest that has a free one behind it."""
    row = await tx.one(
        "SELECT product_id + 1 FROM product AS taken WHERE product_id < ?"
        " AND NOT EXISTS (SELECT 1 FROM product AS higher WHERE higher.product_id = taken.product_id + 1)"
        " ORDER BY product_id DESC LIMIT 1",
        (ID_MAX,),
    )
    return row[0] if row else 1


async def added(tx: Tx, product_id: int, name: str, now_us: int) -> bool:
    """Whether a product was added with this name at this moment."""
    row = await tx.one("SELECT name, created_us FROM product WHERE product_id = ?", (product_id,))
    return row == (name, now_us)


async def add(tx: Tx, product_id: int, new: NewProduct, now_us: int) -> None:
    """Store a product with nothing on hand yet. Raises Duplicate where the id is taken."""
    await _insert(tx, [(product_id, new.price, new.name, new.name_en, fold(new.category))], now_us)


async def lock(tx: Tx, product_id: int) -> Product | None:
    """A product, kept as read until the transaction's end; or None."""
    row = await tx.one(f"SELECT {_SHOWN} FROM product WHERE product_id = ? {LOCK}", (product_id,))
    return Product(*row) if row else None


async def change(tx: Tx, product: Product, name: str, price: int) -> None:
    """Give a locked product another name or price."""
    await tx.write(
        "UPDATE product SET name = ?, price = ?, search_text = ?, price_version = price_version + ?"
        " WHERE product_id = ? AND price = ?",
        (
            name, price, search_text(name, product.name_en, product.category), int(price != product.list_price),
            product.product_id, product.list_price,
        ),
        rows=1,
    )  # fmt: skip


async def reprice(tx: Tx, product_id: int) -> None:
    """Say that what is known of a product's price is old: orders that are being decided are decided again."""
    await tx.write("UPDATE product SET price_version = price_version + 1 WHERE product_id = ?", (product_id,))


def _contains(word: str) -> str:
    escaped = word.replace("!", "!!").replace("%", "!%").replace("_", "!_")
    return f"%{escaped}%"


async def fold_old(tx: Tx) -> None:
    """Give products of before there was a search text theirs, and one spelling to those that are of one category."""
    for category in await categories(tx):
        if category != fold(category):
            await tx.write("UPDATE product SET category = ? WHERE category = ?", (fold(category), category))
    for product_id, *texts in await tx.all(
        "SELECT product_id, name, name_en, category FROM product WHERE search_text = ''"
    ):
        await tx.write("UPDATE product SET search_text = ? WHERE product_id = ?", (search_text(*texts), product_id))


def search_text(name: str, name_en: str, category: str) -> str:
    """What keywords are looked for in. A word holds no line end, so none is found across two fields."""
    return fold(f"{name}\n{name_en}\n{category}")


_USE = "UPDATE time_sale SET used = used + ? WHERE time_sale_id = ? AND quota - used >= ?"
_SALE = "time_sale_id, product_id, price, quota, used, starts_us, ends_us"


async def sales_at(tx: Tx, product_ids: Sequence[int], now_us: int, *, locked: bool = False) -> dict[int, Sale]:
    """The time sales in force, by product; their windows do not overlap. `locked` keeps them as read."""
    ids = sorted(set(product_ids))
    rows = await tx.all(
        f"SELECT {_SALE} FROM time_sale WHERE product_id IN ({marks(ids)}) AND starts_us <= ? AND ends_us > ?",
        [*ids, now_us, now_us],
    )
    if locked and rows:
        # Rows are locked in the order in which they are found: by their ids, as by whoever uses up their quota.
        found = sorted(row[0] for row in rows)
        rows = await tx.all(
            f"SELECT {_SALE} FROM time_sale WHERE time_sale_id IN ({marks(found)}) ORDER BY time_sale_id {LOCK}", found
        )
    return {sale.product_id: sale for sale in (Sale(*row) for row in rows)}


async def sales_from(tx: Tx, now_us: int, after: tuple[int, str], limit: int) -> list[Sale]:
    """Time sales that have not ended, by their end and id, behind `after`."""
    ends_us, time_sale_id = after
    rows = await tx.all(
        f"SELECT {_SALE} FROM time_sale WHERE ends_us > ? AND (ends_us > ? OR (ends_us = ? AND time_sale_id > ?))"
        " ORDER BY ends_us, time_sale_id LIMIT ?",
        (now_us, ends_us, ends_us, time_sale_id, limit),
    )
    return [Sale(*row) for row in rows]


async def sale(tx: Tx, time_sale_id: str) -> Sale | None:
    """A time sale, or None."""
    row = await tx.one(f"SELECT {_SALE} FROM time_sale WHERE time_sale_id = ?", (time_sale_id,))
    return Sale(*row) if row else None


async def overlaps(tx: Tx, product_id: int, starts_us: int, ends_us: int) -> bool:
    """Whether a product has a time sale within this window."""
    row = await tx.one(
        "SELECT 1 FROM time_sale WHERE product_id = ? AND starts_us < ? AND ends_us > ? LIMIT 1",
        (product_id, ends_us, starts_us),
    )
    return row is not None


async def add_sale(tx: Tx, sale: Sale, now_us: int) -> None:
    """Store a time sale."""
    await tx.insert("time_sale", f"{_SALE}, created_us", [(*msgspec.structs.astuple(sale), now_us)])


async def use_quota(tx: Tx, time_sale_id: str, units: int) -> None:
    """Take units out of a sale's quota. So many must be left."""
    await tx.write(_USE, (units, time_sale_id, units), rows=1)


async def use_quota_if_left(tx: Tx, time_sale_id: str, units: int) -> bool:
    """As `use_quota`; returns whether so many were left."""
    return await tx.run(_USE, (units, time_sale_id, units)) == 1


async def free_quota(tx: Tx, time_sale_id: str, units: int) -> None:
    """Put units back into a sale's quota. So many must have been used."""
    await tx.write(
        "UPDATE time_sale SET used = used - ? WHERE time_sale_id = ? AND used >= ?",
        (units, time_sale_id, units),
        rows=1,
    )


async def put(tx: Tx, entries: Sequence[Entry], now_us: int) -> list[Entry]:
    """Add new products, with nothing on hand yet; of known ones change names, category, price. Returns the new ones."""
    known = await _known(tx, sorted(entry.product_id for entry in entries))
    new = [entry for entry in entries if entry.product_id not in known]
    await _insert(
        tx, [(one.product_id, one.price, one.name, one.name_en or "", fold(one.category or "")) for one in new], now_us
    )
    for one in entries:
        if one.product_id in known:
            price, *texts = known[one.product_id]
            await tx.write(
                "UPDATE product SET price = ?, price_version = price_version + ?, name = ?, name_en = ?, category = ?,"
                " search_text = ? WHERE product_id = ?",
                (one.price, int(one.price != price), *_texts(one, *texts), one.product_id),
            )
    return new


async def _insert(tx: Tx, products: Sequence[tuple[int, int, str, str, str]], now_us: int) -> None:
    """Store new products: id, price, name, English name, category."""
    await tx.insert(
        "product",
        "product_id, price, price_version, name, name_en, category, search_text, on_hand, reserved, sold, created_us",
        [(one, price, 1, *texts, search_text(*texts), 0, 0, 0, now_us) for one, price, *texts in products],
    )


def _texts(entry: Entry, name_en: str, category: str) -> tuple[str, str, str, str]:
    """Name, English name, category and search text of an entry, where the last two arguments are known already."""
    name_en = name_en if entry.name_en is None else entry.name_en
    category = category if entry.category is None else fold(entry.category)
    return entry.name, name_en, category, search_text(entry.name, name_en, category)


async def _known(tx: Tx, ids: Sequence[int]) -> dict[int, tuple[int, str, str]]:
    """Price, English name and category of those that exist, locked."""
    rows = await tx.all(
        "SELECT product_id, price, name_en, category FROM product"
        f" WHERE product_id IN ({marks(ids)}) ORDER BY product_id {LOCK}",
        ids,
    )
    return {product_id: (price, name_en, category) for product_id, price, name_en, category in rows}
