"""Which tokens hold. One that should not and does lets a stranger pay with, look at, or cancel another's order."""

import base64
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from quickcommerce.kit.auth import KeySet, Role
from world import EPOCH_US, SECRET, World

from .routes import PEOPLE, PROTECTED, Route
from .shop import refused, shop

NOW_S = EPOCH_US // 1_000_000
GOOD: dict[str, Any] = {"sub": "kim", "id": 7, "role": "ROLE_USER", "exp": NOW_S + 10**6}


def b64(data: object) -> str:
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def signed(claims: dict[str, Any] | None = None, secret: str | bytes = SECRET, algorithm: str = "HS256") -> str:
    kept = {name: value for name, value in (GOOD | (claims or {})).items() if value is not ...}
    return jwt.encode(kept, secret, algorithm)


async def ask(w: World, authorization: str | bytes) -> Any:
    raw = authorization.encode() if isinstance(authorization, str) else authorization
    return await w.http.get("/v1/orders", headers=[(b"Authorization", raw)])


SIGNATURE = signed().rpartition(".")[2]
GARBAGE: dict[str, str | bytes] = {
    "empty": "",
    "no token": "Bearer",
    "blank token": "Bearer ",
    "another scheme": "Basic a2ltOmtpbQ==",
    "the token alone": signed(),
    "a token as scheme": f"{signed()} Bearer",
    "two tokens": f"Bearer {signed()} {signed()}",
    "two parts": "Bearer " + signed().rpartition(".")[0],
    "five parts": "Bearer a.b.c.d.e",
    "not Base64": "Bearer !.!.!",
    "not UTF-8": b"Bearer \xff\xfe\xfd",
    "NUL": b"Bearer \x00",
    "10^5 characters": "Bearer " + "a" * 10**5,
    "10^5 dots": "Bearer " + "." * 10**5,
    "no signature": "Bearer " + signed().rpartition(".")[0] + ".",
    "signature of another": f"Bearer {b64({'alg': 'HS256'})}.{b64(GOOD)}.{SIGNATURE}",
    "signed with another secret": "Bearer " + signed(secret="another-secret-that-is-long-enough-too"),
    "HS512": "Bearer " + signed(secret=SECRET * 2, algorithm="HS512"),
    "header is deep": f"Bearer {b64(b'[' * 20_000)}.{b64(GOOD)}.x",
    "payload is deep": f"Bearer {b64({'alg': 'HS256'})}.{b64(b'[' * 20_000)}.x",
    "header is a number": f"Bearer {b64(5)}.{b64(GOOD)}.x",
    "header is null": f"Bearer {b64(None)}.{b64(GOOD)}.x",
}
GARBAGE |= {
    f"alg {header['alg']}{' signed' if end else ''}": f"Bearer {b64(header)}.{b64(GOOD)}.{end}"
    for header in ({"alg": "none"}, {"alg": "None"}, {"alg": "nOnE", "typ": "JWT"}, {"alg": ""}, {"alg": None},
                   {"alg": ["HS256"]}, {"alg": {"HS256": 1}}, {"alg": "RS256"}, {"alg": "ES256"}, {"alg": "HS1"})
    for end in ("", SIGNATURE)
}  # fmt: skip

CLAIMS: dict[str, dict[str, Any]] = {
    "no exp": {"exp": ...},
    "exp null": {"exp": None},
    "exp as text": {"exp": str(NOW_S + 100)},
    "exp true": {"exp": True},
    "exp NaN": {"exp": float("nan")},
    "exp infinite": {"exp": float("inf")},
    "exp negative": {"exp": -1},
    "exp in the past": {"exp": NOW_S - 1},
    "exp now": {"exp": NOW_S},
    "not yet": {"nbf": NOW_S + 60},
    "nbf as text": {"nbf": "now"},
    "no id": {"id": ...},
    "id as text": {"id": "7"},
    "id true": {"id": True},
    "id 7.0": {"id": 7.0},
    "id 0": {"id": 0},
    "id negative": {"id": -7},
    "id 2^53": {"id": 2**53},
    "id a list": {"id": [7]},
    "no role": {"role": ...},
    "role unknown": {"role": "ROLE_ADMIN"},
    "role in lower case": {"role": "role_master"},
    "role without prefix": {"role": "MASTER"},
    "role null": {"role": None},
    "role a list": {"role": ["ROLE_MASTER"]},
    "role an object": {"role": {}},
    "sub a number": {"sub": 7},
    "no sub": {"sub": ...},
    "sub empty": {"sub": ""},
}


async def test_garbage_is_nobodys_token(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        codes = {name: refused(await ask(w, header)) for name, header in GARBAGE.items()}
        assert codes == dict.fromkeys(GARBAGE, "unauthorized")


async def test_a_signed_token_that_names_nobody_or_has_no_end_is_refused(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        codes = {name: refused(await ask(w, "Bearer " + signed(claims))) for name, claims in CLAIMS.items()}
        assert codes == dict.fromkeys(CLAIMS, "unauthorized")
        assert (await ask(w, "Bearer " + signed())).status_code == 200


async def test_the_tokens_of_the_original_work(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        for role in Role:
            for scheme in ("Bearer", "bearer", "BEARER"):
                assert (await ask(w, f"{scheme} {signed({'role': role, 'iat': NOW_S - 5})}")).status_code == 200


async def test_a_token_ends_at_its_end_without_leeway_even_if_it_was_seen_before(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        token = "Bearer " + signed({"exp": NOW_S + 30})
        assert (await ask(w, token)).status_code == 200
        w.clock.jump(29.999_999)
        assert (await ask(w, token)).status_code == 200
        w.clock.jump(0.000_001)
        assert refused(await ask(w, token)) == "unauthorized"


@pytest.mark.parametrize(
    "raw", ["plain text of thirty-two bytes ...", "base64:" + base64.b64encode(bytes(range(64))).decode()]
)
async def test_the_shared_secret_is_text_or_base64(tmp_path: Path, raw: str) -> None:
    async with shop(tmp_path, loops=False, jwt_secret=raw) as w:
        key = bytes(range(64)) if raw.startswith("base64:") else raw.encode()
        assert (await ask(w, "Bearer " + signed(secret=key))).status_code == 200
        assert refused(await ask(w, "Bearer " + signed(secret=raw[7:] * 2))) == "unauthorized"


RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> tuple[bytes, bytes]:
    """(private, public)"""
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private, public


@asynccontextmanager
async def with_keys(folder: Path, patch: pytest.MonkeyPatch, keys: dict[str, Any] | None) -> AsyncIterator[World]:
    """A shop that reads its keys from an address; None: the address does not answer."""

    async def fetch(_keys: KeySet) -> dict[str, jwt.PyJWK]:
        if keys is None:
            raise httpx2.ConnectError("nobody is there")
        return {kid: jwt.PyJWK(key) for kid, key in keys.items()}

    patch.setattr(KeySet, "_fetch", fetch)
    async with shop(folder, loops=False, jwks_url="https://login.test/jwks.json") as w:
        yield w


def keyset() -> dict[str, Any]:
    rsa_key = jwt.algorithms.RSAAlgorithm.to_jwk(RSA.public_key(), as_dict=True)
    ec_key = jwt.algorithms.ECAlgorithm.to_jwk(EC.public_key(), as_dict=True)
    return {"r": rsa_key | {"alg": "RS256"}, "e": ec_key | {"alg": "ES256"}}


async def test_public_keys_verify_rs256_and_es256(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with with_keys(tmp_path, monkeypatch, keyset()) as w:
        for kid, key, algorithm in (("r", RSA, "RS256"), ("e", EC, "ES256")):
            token = jwt.encode(GOOD, pem(key)[0], algorithm, headers={"kid": kid})
            assert (await ask(w, "Bearer " + token)).status_code == 200, algorithm


async def test_algorithms_cannot_be_confused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The classic: a token signed by HMAC with the public key, which everybody has."""
    async with with_keys(tmp_path, monkeypatch, keyset()) as w:
        for kid in ("r", "e", "../../dev/null", "", "x' OR 1=1 --", 5, None, ["r"]):
            head = {"alg": "HS256", "kid": kid}
            public = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(
                f"{b64(head)}.{b64(GOOD)}".encode(), pem(RSA)[1]
            )
            assert refused(await ask(w, f"Bearer {b64(head)}.{b64(GOOD)}.{b64(public)}")) == "unauthorized"
        assert refused(await ask(w, "Bearer " + signed())) == "unauthorized"
        crossed = jwt.encode(GOOD, pem(EC)[0], "ES256", headers={"kid": "r"})
        assert refused(await ask(w, "Bearer " + crossed)) == "unauthorized"


@pytest.mark.parametrize("people", [tuple(PEOPLE)[1:]], ids=["everybody"])
@pytest.mark.parametrize("routes", [PROTECTED], ids=["every protected route"])
async def test_a_key_server_that_is_down_is_no_reason_to_let_anybody_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, routes: list[Route], people: tuple[str, ...]
) -> None:
    async with with_keys(tmp_path, monkeypatch, None) as w:
        private = pem(RSA)[0]
        for user, role in filter(None, map(PEOPLE.get, people)):
            token = jwt.encode(GOOD | {"id": user, "role": role}, private, "RS256", headers={"kid": "r"})
            for route in routes:
                url = re.sub(r"\{\w+\}", "x", route.path)
                answer = await w.http.request(route.method, url, headers={"Authorization": f"Bearer {token}"})
                assert refused(answer) == "unavailable"
        assert (await w.http.get("/v1/products")).status_code == 200
