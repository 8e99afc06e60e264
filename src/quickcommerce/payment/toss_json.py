"""JSON as a PG may write it: one odd character or number must not hide all that stands beside it."""

import json
from typing import Any, Final

import msgspec

WON_MAX: Final = 2**53 - 1
"""The greatest sum that is believed, in won: more is exact neither in every JSON nor in our databases."""
_SPOILT: Final = "\ufffd"
"""What stands in place of a character that is none."""


def decoded(content: bytes) -> Any:
    """What an answer says. Raises ValueError where it is no JSON.

    Bytes that are no UTF-8 and halves of surrogate pairs are replaced by a character that no key has.
    """
    try:
        return msgspec.json.decode(content)
    except (ValueError, RecursionError):
        return _patiently(content)


def _patiently(content: bytes) -> Any:
    try:
        # Numbers become floats, since an int of thousands of digits is an error; up to `WON_MAX` they are exact.
        found = json.loads(content.decode(errors="replace"), parse_int=float, strict=False)
        text = json.dumps(found, ensure_ascii=False).encode("utf-16-le", "surrogatepass")
        return json.loads(text.decode("utf-16-le", "replace"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def whole(told: Any) -> int | None:
    """A number of won, however it is written (`1000`, `1000.0`); None where it is none that is believed."""
    # bool is an int to Python, and `true` is no amount; `nan` and `inf` are equal to nothing whole.
    if isinstance(told, bool) or not isinstance(told, int | float) or told != told // 1 or abs(told) > WON_MAX:
        return None
    return int(told)


def sound(text: Any) -> str:
    """A key as the PG wrote it; empty where it is no text, or a character of it is lost or none that is seen."""
    return text if isinstance(text, str) and text.isprintable() and _SPOILT not in text else ""
