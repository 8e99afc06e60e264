"""Work on many rows at a time, and on several things at once, as both databases take it."""

from collections.abc import Coroutine, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from quickcommerce.kit.db import Tx

A = TypeVar("A")
B = TypeVar("B")
T = TypeVar("T")


def in_parts(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Cut what is too much for one statement."""
    return (values[at : at + size] for at in range(0, len(values), size))


def each_its_own(column: str, values: Mapping[Any, Any]) -> tuple[str, list[Any]]:
    """The value of each row by its key, for an UPDATE of many rows: the expression, and its parameters."""
    return f"CASE {column}{' WHEN ? THEN ?' * len(values)} END", [each for pair in values.items() for each in pair]


async def both(tx: Tx, one: Coroutine[Any, Any, A], other: Coroutine[Any, Any, B]) -> tuple[A, B]:
    """Two parts of the work side by side, as by `Tx.gather`."""
    parts: list[Coroutine[Any, Any, Any]] = [one, other]
    first, second = await tx.gather(parts)
    return first, second
