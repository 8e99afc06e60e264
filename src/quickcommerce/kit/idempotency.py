"""Idempotency-Key: the same key has one effect and, once that succeeded, one answer.

The row is written in the transaction of the effect itself, so there is no moment at which one exists without the
other. Refusals store nothing. The scope of a key is the user; the fingerprint is method, path and body.
"""

import hashlib
import re
from collections.abc import Iterable

import msgspec

from quickcommerce.kit.db import Tx, marks
from quickcommerce.kit.problem import IdempotencyKeyReused, InvalidRequest

KEY_MAX = 255
_KEY = re.compile(f"[!-~]{{1,{KEY_MAX}}}")


class Claim(msgspec.Struct, frozen=True):
    """What a request that carries a key asks for: the key, whose it is, and which request it is."""

    user_id: int
    key: str
    fingerprint: str

    @property
    def scoped(self) -> str:
        """The key with its scope: the row's primary key."""
        return f"{self.user_id}:{self.key}"


class Kept(msgspec.Struct, frozen=True):
    """What a key led to: the resource that was made."""

    fingerprint: str
    resource: str


def check_key(values: list[str]) -> str | None:
    """The key of a request, given every Idempotency-Key header it carries. Raises InvalidRequest."""
    if not values:
        return None
    if len(values) > 1:
        raise InvalidRequest("Idempotency-Key is given more than once")
    key = values[0]
    if not _KEY.fullmatch(key):
        raise InvalidRequest(f"Idempotency-Key must be 1 to {KEY_MAX} visible ASCII characters")
    return key


def fingerprint(method: str, path: str, body: bytes) -> str:
    """Which request this is: SHA-256 over method, path and the raw bytes of the body."""
    return hashlib.sha256(f"{method} {path}\n".encode() + body).hexdigest()


async def find(tx: Tx, claims: Iterable[Claim]) -> dict[str, Kept]:
    """What earlier requests with these keys led to, by scoped key."""
    keys = [claim.scoped for claim in claims]
    if not keys:
        return {}
    rows = await tx.all(
        f"SELECT scoped_key, fingerprint, resource FROM idempotency WHERE scoped_key IN ({marks(keys)})", keys
    )
    return {row[0]: Kept(row[1], row[2]) for row in rows}


async def keep(tx: Tx, kept: Iterable[tuple[Claim, str]], now_us: int) -> None:
    """Remember what each claim led to, in the transaction that makes it so; keys ascending, as every lock is taken."""
    by_key = sorted(kept, key=lambda one: one[0].scoped)
    await tx.insert(
        "idempotency",
        "scoped_key, fingerprint, resource, at_us",
        [(claim.scoped, claim.fingerprint, resource, now_us) for claim, resource in by_key],
    )


async def forget(tx: Tx, claims: Iterable[Claim]) -> None:
    """Free keys again: what they led to was refused after all."""
    keys = sorted(claim.scoped for claim in claims)
    if keys:
        await tx.write(f"DELETE FROM idempotency WHERE scoped_key IN ({marks(keys)})", keys)


def reused(claim: Claim, kept: Kept) -> IdempotencyKeyReused | None:
    """The refusal if the key was used for another request."""
    if claim.fingerprint == kept.fingerprint:
        return None
    return IdempotencyKeyReused("this Idempotency-Key was used for another request")


async def prune(tx: Tx, older_than_us: int, limit: int) -> int:
    """Delete rows older than the time keys are kept; at most `limit`. Returns how many."""
    rows = await tx.all(
        "SELECT scoped_key FROM idempotency WHERE at_us < ? ORDER BY at_us LIMIT ?", (older_than_us, limit)
    )
    keys = [key for (key,) in rows]
    return await tx.run(f"DELETE FROM idempotency WHERE scoped_key IN ({marks(keys)})", keys) if keys else 0
