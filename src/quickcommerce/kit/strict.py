"""Bodies read strictly: what msgspec's shapes cannot forbid is found here, each with its pointer."""

import json
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any, TypeVar

import msgspec

from quickcommerce.kit.problem import InvalidRequest

T = TypeVar("T")

UNFIT = "the body does not fit"
FAULTS_MAX = 50
"""How many are told at once: an answer is not many times as long as its request."""


def decode(body: bytes, shape: type[T]) -> T:
    """A body as a struct, strictly: no unknown field, no duplicate key, no NUL. Raises InvalidRequest with pointers."""
    try:
        value = msgspec.json.decode(body, type=shape)
        # msgspec keeps the last of two equal keys; a proxy before us may have believed the first. To read it once more
        # for that takes 5 us of CPU for an order.
        _UNIQUE(body.decode())
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from error
    except _RepeatedKey as error:
        raise InvalidRequest(UNFIT, errors=_faults(body)) from error
    except (ValueError, RecursionError) as error:
        raise InvalidRequest("the body is not valid JSON") from error
    if b"\\u0000" in body and (errors := _faults(body)):
        raise InvalidRequest(UNFIT, errors=errors)
    return value


_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_WORDS = {
    "int": "a whole number", "float": "a number", "str": "text", "bool": "true or false", "array": "a list",
    "object": "an object", "null": "null", "any": "anything",
}  # fmt: skip
"""What msgspec names by Python's words, in those of whoever writes JSON."""
_TYPES = re.compile(rf"`((?:{'|'.join(_WORDS)})(?: \| (?:{'|'.join(_WORDS)}))*)`")


class _RepeatedKey(ValueError):
    """A key stands twice in one object."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _RepeatedKey
    return found


_UNIQUE = json.JSONDecoder(object_pairs_hook=_unique).decode


class _Members(list[tuple[str, Any]]):
    """An object's members as they stand, where a dict would keep the last of two equal keys."""


def _faults(body: bytes) -> list[dict[str, str]]:
    """What the shape of a body cannot forbid, each with its pointer: keys that stand twice, and NUL."""
    return list(islice(_faults_of(json.loads(body, object_pairs_hook=_Members), ""), FAULTS_MAX))


def _faults_of(value: Any, pointer: str) -> Iterator[dict[str, str]]:
    match value:
        case str() if "\0" in value:
            yield {"pointer": pointer, "detail": "NUL is not a character of any text here"}
        case _Members():
            seen: set[str] = set()
            for key, each in value:
                at = f"{pointer}/{_escaped(key)}"
                if key in seen:
                    yield {"pointer": at, "detail": "this key stands twice in its object"}
                seen.add(key)
                yield from _faults_of(key, at)
                yield from _faults_of(each, at)
        case list():
            for index, each in enumerate(value):
                yield from _faults_of(each, f"{pointer}/{index}")


def _escaped(key: str) -> str:
    """A key as it stands in a JSON pointer (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")


def _invalid(text: str) -> InvalidRequest:
    """Msgspec says `Expected ... - at `$.lines[0].quantity``; the contract wants a JSON pointer."""
    detail, _, path = text.partition(" - at `")
    pointer = path.rstrip("`").removeprefix("$").replace("[", "/").replace("]", "").replace(".", "/")
    if unknown := _UNKNOWN.fullmatch(detail):
        pointer, detail = f"{pointer}/{_escaped(unknown[1])}", "there is no such field"
    elif " matching regex " in detail:
        detail = "this text is not of the form that is taken here"
    else:
        detail = _TYPES.sub(lambda found: " or ".join(_WORDS[each] for each in found[1].split(" | ")), detail)
    return InvalidRequest(UNFIT, errors=[{"pointer": pointer, "detail": detail}])
