"""Somebody else's keys: pairs of them, tokens signed with them, and the address that gives the public halves."""

import json
import threading
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from quickcommerce.kit.auth import Caller, Role, Verifier
from quickcommerce.kit.clock import SECOND_US
from stores import Clock

SECRET = "the-secret-of-a-shop-that-is-long-enough"
CLAIMS = {"sub": "kim", "id": 7, "role": "ROLE_USER", "exp": Clock().now_us // SECOND_US + 10_000}
USER = Caller(7, Role.USER)


@lru_cache
def rsa_key(name: str) -> rsa.RSAPrivateKey:
    """A key pair; the name tells one from another."""
    assert name
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@lru_cache
def ec_key(name: str) -> ec.EllipticCurvePrivateKey:
    assert name
    return ec.generate_private_key(ec.SECP256R1())


def public(kid: str, **more: Any) -> dict[str, Any]:
    """The public half of a key as a JWK: RSA where its id begins so, else EC."""
    jwk: dict[str, Any] = (
        RSAAlgorithm.to_jwk(rsa_key(kid).public_key(), as_dict=True)
        if kid.startswith("rsa")
        else ECAlgorithm.to_jwk(ec_key(kid).public_key(), as_dict=True)
    )
    return jwk | {"kid": kid, "use": "sig"} | more


def signed(kid: str, *, header: dict[str, Any] | None = None, **claims: Any) -> str:
    key, algorithm = (rsa_key(kid), "RS256") if kid.startswith("rsa") else (ec_key(kid), "ES256")
    return jwt.encode(CLAIMS | claims, key, algorithm, headers={"kid": kid} if header is None else header)


@dataclass
class Keys:
    """An HTTP server that gives a key set."""

    body: bytes = b"{}"
    status: int = 200
    asked: int = 0
    answering: threading.Event = field(default_factory=threading.Event)
    """Cleared: those who ask wait."""
    url: str = field(default="", init=False)

    def publish(self, *keys: dict[str, Any]) -> None:
        self.status, self.body = 200, json.dumps({"keys": keys}).encode()


async def caller(verifier: Verifier, token: str) -> Caller:
    return await verifier.caller("Bearer " + token)
