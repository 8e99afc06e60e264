"""Who is asking: a JSON Web Token, verified in the service itself.

HS256 with a shared secret, or RS256 and ES256 with the keys of a JWKS address; never both, so that a public key can
not be passed off as a secret. `alg` none is refused, `exp` is required, there is no leeway. Identity headers from
outside are never read.
"""

import base64
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import httpx2
import jwt
import msgspec

from quickcommerce.kit.clock import SECOND_US, Clock
from quickcommerce.kit.problem import Forbidden, Unauthorized, Unavailable

CACHE_MAX = 10_000
CACHE_US = 60 * SECOND_US
ID_MAX = 2**53


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


@dataclass
class Verifier:
    """Verifies tokens. Those that hold are remembered for at most a minute, and never past their own end."""

    clock: Clock
    secret: str
    jwks_url: str | None = None
    _cache: dict[str, tuple[int, Caller]] = field(default_factory=dict)
    _keys: dict[str, jwt.PyJWK] = field(default_factory=dict)
    _keys_until_us: int = 0

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
            self._cache.clear()
        self._cache[token] = (min(expires_us, now + CACHE_US), caller)
        return caller

    async def _verify(self, token: str, now_us: int) -> tuple[int, Caller]:
        options: Any = {"verify_exp": False, "verify_iat": False, "verify_nbf": False, "verify_aud": False}
        try:
            if self.jwks_url is None:
                claims = jwt.decode(token, secret_bytes(self.secret), ["HS256"], options=options)
            else:
                key = await self._key(str(jwt.get_unverified_header(token).get("kid", "")))
                claims = jwt.decode(token, key, ["RS256", "ES256"], options=options)
        except jwt.InvalidTokenError as error:
            raise Unauthorized("the token is not valid") from error
        return self._read(claims, now_us)

    @staticmethod
    def _read(claims: dict[str, Any], now_us: int) -> tuple[int, Caller]:
        # The clock is ours, not PyJWT's, so that a simulated day passes for tokens too.
        now_s = now_us / SECOND_US
        expires_s, not_before_s = _number(claims.get("exp")), _number(claims.get("nbf", 0))
        if expires_s is None or expires_s <= now_s:
            raise Unauthorized("the token has expired")
        if not_before_s is None or not_before_s > now_s:
            raise Unauthorized("the token is not valid yet")
        user_id, role = claims.get("id"), claims.get("role")
        if type(user_id) is not int or not 0 < user_id < ID_MAX or role not in tuple(Role):
            raise Unauthorized("the token names no user")
        return int(expires_s * SECOND_US), Caller(user_id, Role(role))

    async def _key(self, kid: str) -> jwt.PyJWK:
        """The public key with this id. Keys are fetched at most once a minute; the remembered tokens go with them."""
        if self._keys_until_us <= self.clock():
            self._keys = await self._fetch()
            self._keys_until_us = self.clock() + CACHE_US
            self._cache.clear()
        if kid not in self._keys:
            raise jwt.InvalidTokenError("unknown key id")
        return self._keys[kid]

    async def _fetch(self) -> dict[str, jwt.PyJWK]:
        try:
            async with httpx2.AsyncClient(timeout=5) as client:
                answer = await client.get(str(self.jwks_url))
                answer.raise_for_status()
            found = jwt.PyJWKSet.from_dict(msgspec.json.decode(answer.content, type=dict[str, Any]))
        except (httpx2.HTTPError, ValueError, jwt.PyJWTError) as error:
            raise Unavailable("the keys that verify tokens cannot be read") from error
        return {key.key_id: key for key in found.keys if key.key_id and key.key_type in ("RSA", "EC")}


def _number(value: object) -> float | None:
    """A finite number of seconds that a claim may hold, or None for anything else."""
    return value if type(value) in (int, float) and 0 <= value < ID_MAX else None  # type: ignore[operator,return-value]
