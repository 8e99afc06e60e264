"""Statements as MariaDB is sent them: in its dialect, their values written into their text.

The driver can do that too, value by value: of an order's rows that took 45 us, a quarter of the api process's CPU, most
of it spent on looking at each byte of its JSON. This takes 8 us.
"""

from collections.abc import Callable, Generator, Iterable
from functools import lru_cache
from typing import Any

from quickcommerce.kit.db import LOCK, Params

INSERT_MAX_CHARS, INSERT_MAX_ROWS = 1 << 20, 1000
"""Bounds of one INSERT: the server takes 16 MiB in one statement as it comes, and may be told to take less."""


def statement(sql: str, params: Params) -> str:
    """SQL with its values in the places of its question marks.

    Raises TypeError for a value of a type that has no literal, and where there are more values than marks, or fewer.
    """
    return _with_places(sql) % tuple([_LITERALS[type(value)](value) for value in params])


def inserts(table: str, columns: str, rows: Iterable[Params]) -> Generator[str]:
    """INSERTs of many rows, each within the bounds."""
    head = f"INSERT INTO {table} ({columns}) VALUES "
    written: list[str] = []
    size = 0
    for row in rows:
        values = f"({', '.join([_LITERALS[type(value)](value) for value in row])})"
        if written and (size + len(values) > INSERT_MAX_CHARS or len(written) == INSERT_MAX_ROWS):
            yield head + ", ".join(written)
            written, size = [], 0
        written.append(values)
        size += len(values)
    if written:
        yield head + ", ".join(written)


def matched(rows: int) -> str:
    """Behind a change: fails with error 1644 where it did not match so many rows."""
    return f"IF ROW_COUNT() <> {rows} THEN SIGNAL SQLSTATE '45000'; END IF"


@lru_cache(maxsize=512)
def _with_places(sql: str) -> str:
    """In the server's dialect, with places for Python's formatting instead of question marks outside of quotes."""
    parts = sql.replace("%", "%%").replace(LOCK, "FOR UPDATE").split("'")
    return "'".join(part if at % 2 else part.replace("?", "%s") for at, part in enumerate(parts))


def _text(value: str) -> str:
    """The two characters that mean something in a quoted text are doubled.

    Source: the server's manual on string literals. It holds in UTF-8, where no other character has their bytes, and
    with a `sql_mode` in which a backslash escapes; our sessions have both, whatever the server's configuration says
    (`mariadb_line._SESSION`).
    """
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


class _Literals(dict[type, Callable[[Any], str]]):
    """How a value of each type is written."""

    def __missing__(self, kind: type) -> Callable[[Any], str]:
        """Of a type like a known one, as an enumeration of texts is; it is known from then on."""
        for known, write in self.items():
            if issubclass(kind, known):
                self[kind] = write
                return write
        raise TypeError(f"a {kind.__name__} cannot be written into a statement")


_LITERALS = _Literals(
    {
        int: int.__repr__,
        float: float.__repr__,
        str: _text,
        bytes: lambda value: f"x'{value.hex()}'",
        type(None): lambda _: "NULL",
    }
)
