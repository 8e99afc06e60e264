"""Ids in the shop's shape: a prefix, then 48 bits of milliseconds and 80 random ones in Crockford's base 32."""

import secrets
import time

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def make(prefix: str) -> str:
    """A new id, such as `ord_01...`."""
    number = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    return f"{prefix}_" + "".join(_ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))
