"""Catalog files: CSV in UTF-8 with a header, read whole or refused with every line that is wrong."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from quickcommerce.catalog.model import Entry
from quickcommerce.kit import limits

COLUMNS = ("product_id", "name", "price", "stock")
OPTIONAL = ("name_en", "category")
NUMBERS = ("product_id", "price", "stock")
_ENDLESS = "a cell has no end; one with a comma, a quote or a line break stands in quotes, and a quote inside it twice"


class BadFile(Exception):
    """A catalog file that cannot be loaded; the lines say which and why."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


def read_file(path: Path) -> list[Entry]:
    """The entries of a CSV file (UTF-8, with a header). Raises BadFile with every bad line, and takes none of it."""
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BadFile([f"line {line}: this is not UTF-8 text; save the file as UTF-8"]) from error
    (_, header), *rows = _rows(text)
    columns = (*COLUMNS, *OPTIONAL)
    if not set(COLUMNS) <= set(header) <= set(columns) or len(set(header)) != len(header):
        raise BadFile(
            [f"line 1: the columns must be {','.join(COLUMNS)} and optionally {','.join(OPTIONAL)}, each once"]
        )
    return _entries(header, [(line, cells) for line, cells in rows if cells])


def _rows(text: str) -> list[tuple[int, list[str]]]:
    """Each row with the line on which it begins, the header first; a blank line is a row without cells."""
    # A cell that is too long is told by its column's own limit, not by the reader's.
    csv.field_size_limit(max(len(text), 1))
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[tuple[int, list[str]]] = []
    line = 1
    try:
        for cells in reader:
            rows.append((line, cells))
            # A quoted cell may go on over several lines, so a row ends further down than it begins.
            line = reader.line_num + 1
    except csv.Error as error:
        raise BadFile([f"line {line}: {_ENDLESS}"]) from error
    return rows or [(line, [])]


def _entries(header: Sequence[str], rows: Sequence[tuple[int, Sequence[str]]]) -> list[Entry]:
    entries: dict[int, Entry] = {}
    bad = []
    for line, cells in rows:
        try:
            entry = _entry(header, cells, entries)
        except ValueError as error:
            bad.append(f"line {line}: {error}")
        else:
            entries[entry.product_id] = entry
    if bad:
        raise BadFile(bad)
    return list(entries.values())


def _entry(header: Sequence[str], cells: Sequence[str], seen: Mapping[int, Entry]) -> Entry:
    """One row. Raises ValueError with the reason."""
    if len(cells) != len(header):
        raise ValueError(f"it has {len(cells)} cells, and the header has {len(header)}")
    row = {name: cell.strip() for name, cell in zip(header, cells, strict=True)}
    for name in NUMBERS:
        # msgspec would take 1.0 and 1e3 too, which is what is left of other numbers when a spreadsheet has had them.
        if not (row[name].isascii() and row[name].isdigit()):
            raise ValueError(f"{name} must be {limits.wanted(Entry, name)}")
    try:
        entry = msgspec.convert(row, Entry, strict=False)
    except msgspec.ValidationError as error:
        name, wanted = limits.broken(error, Entry)
        raise ValueError(f"{name} must be {wanted}") from error
    if entry.product_id in seen:
        raise ValueError(f"product_id {entry.product_id} stands in an earlier line")
    return entry
