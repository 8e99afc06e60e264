"""The catalog: prices for orders, pages for shoppers, files for those who fill it."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec

from quickcommerce.catalog import store
from quickcommerce.catalog.model import Entry, Offer, Product
from quickcommerce.kit.clock import Clock
from quickcommerce.kit.db import Database, Tx
from quickcommerce.kit.problem import NotFound
from quickcommerce.kit.text import fold

COLUMNS = ("product_id", "name", "price", "stock")
CHUNK = 500
OPTIONAL = ("name_en", "category")


class BadFile(Exception):
    """A catalog file that cannot be loaded; the lines say which and why."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


class Shelf(Protocol):
    """What stock does for the catalog."""

    async def put_in(self, tx: Tx, units: Mapping[int, int], cause: str) -> None:
        """Add units by product; the same cause and product once."""
        ...


@dataclass(frozen=True)
class Catalog:
    """The catalog of store A."""

    db: Database
    shelf: Shelf
    clock: Clock

    async def offers(self, tx: Tx, product_ids: Sequence[int], *, locked: bool) -> Mapping[int, Offer]:
        """Names and prices now, of those that exist."""
        return await store.offers(tx, product_ids, locked=locked)

    async def get(self, product_id: int) -> Product:
        """A product. Raises NotFound."""
        product = await self.db.read(lambda tx: store.get(tx, product_id))
        if product is None:
            raise NotFound("there is no such product")
        return product

    async def page(self, keyword: str, after: int, limit: int) -> list[Product]:
        """Products in the order of their ids, whose names or category hold every word of `keyword`, in any case."""
        return await self.db.scan(lambda tx: store.page(tx, fold(keyword).split(), after, limit))

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


def read_file(path: Path) -> list[Entry]:
    """The entries of a CSV file (UTF-8, with a header). Raises BadFile with every bad line, and takes none of it."""
    data = path.read_bytes()
    try:
        reader = csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BadFile([f"line {line}: this is not UTF-8 text; save the file as UTF-8"]) from error
    try:
        header = list(reader.fieldnames or [])
        unknown = [name for name in header if name not in (*COLUMNS, *OPTIONAL)]
        missing = [name for name in COLUMNS if name not in header]
        if unknown or missing or len(set(header)) != len(header):
            raise BadFile(
                [f"line 1: the columns must be {','.join(COLUMNS)} and optionally {','.join(OPTIONAL)}, each once"]
            )
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise BadFile([f"line {reader.line_num + 1}: {error}"]) from error
    return _entries(rows)


def _entries(rows: list[tuple[int, dict[str, str]]]) -> list[Entry]:
    entries: dict[int, Entry] = {}
    bad = []
    for line, row in rows:
        try:
            entry = _entry(row, entries)
        except ValueError as error:
            bad.append(f"line {line}: {error}")
        else:
            entries[entry.product_id] = entry
    if bad:
        raise BadFile(bad)
    return list(entries.values())


def _entry(row: dict[str, str], seen: Mapping[int, Entry]) -> Entry:
    """One row. Raises ValueError with the reason, of which msgspec's ValidationError is a kind."""
    # The csv module files surplus cells under None and fills missing ones with None.
    if None in row or None in row.values():
        raise ValueError("it has more or fewer cells than the header")
    entry = msgspec.convert({name: value.strip() for name, value in row.items()}, Entry, strict=False)
    if entry.product_id in seen:
        raise ValueError(f"product_id {entry.product_id} stands in an earlier line")
    return entry
