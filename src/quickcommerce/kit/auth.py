"""Who is asking: a JSON Web Token, verified in the service itself.

HS256 with a shared secret, or RS256 and ES256 with the keys of a JWKS address; never both, so that a public key can
not be passed off as a secret. `alg` none is refused, `exp` is required, there is no leeway. Identity headers from
outside are never read.
"""

import asyncio
import base64
import contextvars
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any

import httpx2
import jwt
import msgspec
from jwt.algorithms import HMACAlgorithm
from jwt.types import HashlibHash

from quickcommerce.kit.clock import SECOND_US, Clock
from quickcommerce.kit.problem import Forbidden, Unauthorized, Unavailable
from quickcommerce.kit.telemetry import log

CACHE_MAX = 10_000
"""Tokens remembered, at about 600 bytes each: as many as the buyers of a flash sale, who come back to pay. One that is
known costs 0.7 us, and not 14. Beyond it the one goes that came first.
"""
CACHE_US = 60 * SECOND_US
ID_MAX = 2**53

KEYS_FRESH_US = 60 * SECOND_US
"""How old keys may be before they are asked for again: so long a key that was withdrawn may still be believed."""
KEYS_KEPT_US = 10 * 60 * SECOND_US
"""How old keys may be while those who give them do not answer. Then nobody is let in until they do."""
ASK_EVERY_US = 5 * SECOND_US
"""Keys are asked for at most so often, whatever came of it and however many unknown keys are named meanwhile."""
ASK_WITHIN_S = 5.0


class Role(StrEnum):
    """What a person is. Every role may order."""

    USER = "ROLE_USER"
    SELLER = "ROLE_SELLER"
    MASTER = "ROLE_MASTER"


class Caller(msgspec.Struct, frozen=True):
    """The person behind a request, as the token says."""

    user_id: int
    role: Role

    def may_see(self, user_id: int) -> bool:
        """Their own, or everything for a MASTER."""
        return self.user_id == user_id or self.role is Role.MASTER

    def need(self, *roles: Role) -> None:
        """Raises Forbidden unless the caller has one of these roles."""
        if self.role not in roles:
            raise Forbidden("this needs " + " or ".join(roles))


def secret_bytes(secret: str) -> bytes:
    """A shared secret as it is configured: UTF-8 text, or Base64 after `base64:`. Raises ValueError."""
    if not secret.startswith("base64:"):
        return secret.encode()
    decoded = base64.b64decode(secret.removeprefix("base64:"), validate=True)
    if not decoded:
        raise ValueError("a secret is empty")
    return decoded


def mint(secret: str, user_id: int, role: Role, *, now_us: int, ttl_s: int) -> str:
    """A token of our own, for the local and test profiles."""
    now_s = now_us // SECOND_US
    claims = {"sub": f"user{user_id}", "id": user_id, "role": role, "iat": now_s, "exp": now_s + ttl_s}
    return jwt.encode(claims, secret_bytes(secret), "HS256")


Seconds = Annotated[float, msgspec.Meta(ge=0, lt=2**53)]


class Claims(msgspec.Struct, frozen=True):
    """What a token must say; it may say more."""

    exp: Seconds
    id: Annotated[int, msgspec.Meta(ge=1, lt=ID_MAX)]
    role: Role
    sub: Annotated[str, msgspec.Meta(min_length=1)]
    nbf: Seconds = 0


class _Hmac(HMACAlgorithm):
    """HMAC whose secret is examined once. PyJWT does it for every token, at twice the cost of verifying one."""

    def __init__(self, hash_alg: HashlibHash) -> None:
        super().__init__(hash_alg)
        self._prepared: dict[str | bytes, bytes] = {}

    def prepare_key(self, key: str | bytes) -> bytes:
        """The secret as bytes. Raises InvalidKeyError for what is a public key."""
        if key not in self._prepared:
            self._prepared[key] = super().prepare_key(key)
        return self._prepared[key]


class _Jws(jwt.PyJWS):
    """PyJWT, which looks at each character of a token by itself: a new token takes 21 us so, and 14 here.

    In a flash sale nearly every token is new.
    """

    @staticmethod
    def _decode_base64url_segment(segment: bytes, name: str) -> bytes:
        """A segment that is spelled as it must be, at once; whatever else it may be is left to the library."""
        with suppress(ValueError):
            decoded = base64.urlsafe_b64decode(segment + b"=" * (-len(segment) % 4))
            # Characters that are none are skipped by that, and bits that are none may be set: both show here.
            if base64.urlsafe_b64encode(decoded).rstrip(b"=") == segment:
                return decoded
        return jwt.PyJWS._decode_base64url_segment(segment, name)  # noqa: SLF001 - what this stands before


_JWS = _Jws()
_JWS.unregister_algorithm("HS256")
_JWS.register_algorithm("HS256", _Hmac(HMACAlgorithm.SHA256))
_claims = msgspec.json.Decoder(Claims)


@dataclass
class Verifier:
    """Verifies tokens. Those that hold are remembered for at most a minute, and never past their own end."""

    clock: Clock
    secret: str
    jwks_url: str | None = None
    _cache: OrderedDict[str, tuple[int, Caller]] = field(default_factory=OrderedDict)
    """A dict would look for the one that came first past all that have gone: 8 us an order where it is full."""
    _shared: bytes = field(init=False)
    _keys: "KeySet | None" = field(init=False)

    def __post_init__(self) -> None:
        self._shared = secret_bytes(self.secret)
        self._keys = KeySet(self.jwks_url, self.clock, on_read=self._cache.clear) if self.jwks_url else None

    async def caller(self, authorization: str | None) -> Caller:
        """The caller behind an Authorization header. Raises Unauthorized."""
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthorized("send Authorization: Bearer and a token")
        now = self.clock()
        known = self._cache.get(token)
        if known and known[0] > now:
            return known[1]
        expires_us, caller = await self._verify(token, now)
        if len(self._cache) >= CACHE_MAX:
            self._cache.popitem(last=False)
        self._cache[token] = (min(expires_us, now + CACHE_US), caller)
        return caller

    async def _verify(self, token: str, now_us: int) -> tuple[int, Caller]:
        try:
            if self._keys is None:
                signed = _JWS.decode(token, self._shared, ["HS256"])
            else:
                key = await self._keys.key(str(jwt.get_unverified_header(token).get("kid", "")))
                signed = _JWS.decode(token, key, ["RS256", "ES256"])
            claims = _claims.decode(signed)
        except (jwt.InvalidTokenError, msgspec.DecodeError) as error:
            raise Unauthorized("the token is not valid") from error
        # The clock is ours, not PyJWT's, so that a simulated day passes for tokens too.
        now_s = now_us / SECOND_US
        if claims.exp <= now_s:
            raise Unauthorized("the token has expired")
        if claims.nbf > now_s:
            raise Unauthorized("the token is not valid yet")
        return int(claims.exp * SECOND_US), Caller(claims.id, claims.role)


@dataclass
class KeySet:
    """The public keys behind a JWKS address, by their ids.

    They are asked for when they are a minute old or lack a key that a token names, as they do just after a rotation.
    One task asks for all who wait, so that the address sees one request, and a caller who leaves spoils nobody's.
    Keys that cannot be renewed are good for ten minutes; nobody waits for a second try while they are.
    """

    url: str
    clock: Clock
    on_read: Callable[[], None]
    _keys: dict[str, jwt.PyJWK] = field(default_factory=dict)
    _read_us: int = 0
    _ask_from_us: int = 0
    _failing: bool = False
    _asking: asyncio.Task[None] | None = None

    async def key(self, kid: str) -> jwt.PyJWK:
        """The key with this id. Raises PyJWT's InvalidTokenError where there is none, and Unavailable."""
        known = kid in self._keys
        if not known or self._age_us() >= KEYS_FRESH_US:
            asking = self._ask()
            if asking and not (known and self._failing and self._age_us() < KEYS_KEPT_US):
                await asyncio.shield(asking)
        if self._age_us() >= KEYS_KEPT_US:
            raise Unavailable("the keys that verify tokens cannot be read", retry_after_s=ASK_EVERY_US // SECOND_US)
        if kid not in self._keys:
            raise jwt.InvalidTokenError("unknown key id")
        return self._keys[kid]

    async def count(self) -> int:
        """How many keys there are now. Raises Unavailable where they cannot be read."""
        with suppress(jwt.InvalidTokenError):
            await self.key("")
        return len(self._keys)

    def _age_us(self) -> int:
        return self.clock() - self._read_us

    def _ask(self) -> asyncio.Task[None] | None:
        """The task that asks for the keys, or None where they were asked for a moment ago."""
        if self._asking is None and self.clock() >= self._ask_from_us:
            self._ask_from_us = self.clock() + ASK_EVERY_US
            # A context of its own: it works for many, and must not log under the trace of the first.
            self._asking = asyncio.create_task(self._renew(), name="jwks", context=contextvars.Context())
        return self._asking

    async def _renew(self) -> None:
        try:
            self._keys = await self._fetch()
        except (httpx2.HTTPError, TimeoutError, ValueError, jwt.PyJWTError) as error:
            self._failing = True
            log.warning("auth.keys_unread", error=repr(error), age_s=self._age_us() // SECOND_US)
        else:
            self._failing, self._read_us = False, self.clock()
            self.on_read()
        finally:
            self._asking = None

    async def _fetch(self) -> dict[str, jwt.PyJWK]:
        async with asyncio.timeout(ASK_WITHIN_S), httpx2.AsyncClient(timeout=ASK_WITHIN_S) as client:
            answer = await client.get(self.url)
            answer.raise_for_status()
        found = jwt.PyJWKSet.from_dict(msgspec.json.decode(answer.content, type=dict[str, Any]))
        return {key.key_id: key for key in found.keys if key.key_id and key.key_type in ("RSA", "EC")}
