"""Bearer tokens for the buyers, signed here so that a run needs nothing from the shop but its address."""

import base64
import binascii

import jwt

from quickcommerce.bench.plan import UsageError

LOCAL_SECRET = "quickcommerce-local-secret-not-for-production"  # noqa: S105  public: the local profile's default


def secret_bytes(text: str) -> bytes:
    """The signing key as the shop reads `QC_JWT_SECRET`: UTF-8, or Base64 after `base64:`. Raises UsageError."""
    if not text.startswith("base64:"):
        return text.encode()
    try:
        return base64.b64decode(text.removeprefix("base64:"), validate=True)
    except binascii.Error as error:
        raise UsageError(f"the JWT secret is not Base64 after `base64:`: {error}") from None


def mint(secret: bytes, *, user_id: int, role: str, now_s: int, ttl_s: int) -> str:
    """An HS256 token with the claims the shop reads, good for `ttl_s` seconds from `now_s` (epoch seconds)."""
    claims = {"sub": f"bench-{user_id}", "id": user_id, "role": role, "iat": now_s, "exp": now_s + ttl_s}
    return jwt.encode(claims, secret, algorithm="HS256")
