"""SQL of many rows at a time, as both databases take it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


def in_parts(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Cut what is too much for one statement."""
    return (values[at : at + size] for at in range(0, len(values), size))


def each_its_own(column: str, values: Mapping[Any, Any]) -> tuple[str, list[Any]]:
    """The value of each row by its key, for an UPDATE of many rows: the expression, and its parameters."""
    return f"CASE {column}{' WHEN ? THEN ?' * len(values)} END", [each for pair in values.items() for each in pair]
