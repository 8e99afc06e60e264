"""Tokens that somebody else signs: their public keys are read over HTTP, and can be used for nothing else."""

import asyncio
import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from quickcommerce.kit.auth import Caller, Role, Verifier
from quickcommerce.kit.clock import SECOND_US
from quickcommerce.kit.problem import Unauthorized, Unavailable
from stores import Clock, turns, until

SECRET = "the-secret-of-a-shop-that-is-long-enough"
CLAIMS = {"id": 7, "role": "ROLE_USER", "exp": Clock().now_us // SECOND_US + 10_000}
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


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> Iterator[Keys]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    found = Keys()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked += 1
            found.answering.wait(60)
            self.send_response(found.status)
            self.send_header("Content-Length", str(len(found.body)))
            self.end_headers()
            self.wfile.write(found.body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        found.url = f"http://127.0.0.1:{server.server_port}/keys"
        found.publish(public("rsa-1"), public("ec-1"))
        found.answering.set()
        yield found
        found.answering.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def verifier(keys: Keys, clock: Clock) -> Verifier:
    return Verifier(clock, SECRET, keys.url)


async def caller(verifier: Verifier, token: str) -> Caller:
    return await verifier.caller("Bearer " + token)


async def test_tokens_of_both_kinds_of_key_hold_and_the_keys_are_asked_for_once(verifier: Verifier, keys: Keys) -> None:
    for kid in ("rsa-1", "ec-1"):
        for user in range(1, 4):
            assert await caller(verifier, signed(kid, id=user)) == Caller(user, Role.USER)
    assert keys.asked == 1


async def test_a_public_key_is_no_secret(verifier: Verifier) -> None:
    """The public key is known to all: a token signed with it as an HMAC secret must name nobody."""

    def encoded(value: bytes) -> bytes:
        return base64.urlsafe_b64encode(value).rstrip(b"=")

    for kid, pair in (("rsa-1", rsa_key("rsa-1")), ("ec-1", ec_key("ec-1"))):
        pem = pair.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        der = pair.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        for secret in (pem, pem.strip(), der, json.dumps(public(kid)).encode(), SECRET.encode()):
            head = encoded(json.dumps({"alg": "HS256", "kid": kid}).encode())
            body = encoded(json.dumps(CLAIMS).encode())
            mac = hmac.new(secret, head + b"." + body, hashlib.sha256).digest()
            with pytest.raises(Unauthorized):
                await caller(verifier, b".".join((head, body, encoded(mac))).decode())


async def test_the_shared_secret_does_not_count_where_keys_are_set_nor_keys_where_a_secret_is(
    verifier: Verifier, clock: Clock
) -> None:
    with pytest.raises(Unauthorized):
        await caller(verifier, jwt.encode(CLAIMS, SECRET, "HS256", headers={"kid": "rsa-1"}))
    for kid in ("rsa-1", "ec-1"):
        with pytest.raises(Unauthorized):
            await caller(Verifier(clock, SECRET), signed(kid))


@pytest.mark.parametrize(
    ("kid", "header"),
    [
        ("rsa-2", None),
        ("rsa-2", {"kid": "rsa-1"}),
        ("rsa-1", {"kid": "ec-1"}),
        ("ec-1", {"kid": "rsa-1"}),
        ("rsa-1", {}),
        ("rsa-1", {"kid": ""}),
        ("rsa-1", {"kid": "../keys"}),
        ("rsa-1", {"kid": "rsa-1' OR '1'='1"}),
    ],
    ids=str,
)
async def test_a_token_of_another_key_or_with_another_keys_name_names_nobody(
    verifier: Verifier, kid: str, header: dict[str, Any] | None
) -> None:
    with pytest.raises(Unauthorized):
        await caller(verifier, signed(kid, header=header))


@pytest.mark.parametrize("claims", [{"exp": 1}, {"exp": None}, {"id": 0}, {"role": "ROLE_ADMIN"}, {"nbf": 2**40}])
async def test_claims_are_held_to_the_same_rules(verifier: Verifier, claims: dict[str, Any]) -> None:
    with pytest.raises(Unauthorized):
        await caller(verifier, signed("rsa-1", **claims))


async def test_a_token_without_a_signature_names_nobody(verifier: Verifier) -> None:
    with pytest.raises(Unauthorized):
        await caller(verifier, jwt.encode(CLAIMS, "", "none", headers={"kid": "rsa-1"}))
    with pytest.raises(Unauthorized):
        await caller(verifier, signed("rsa-1").rpartition(".")[0] + ".")


async def test_a_key_that_was_withdrawn_lets_nobody_in_after_a_minute(
    verifier: Verifier, keys: Keys, clock: Clock
) -> None:
    stolen = signed("rsa-1")
    assert await caller(verifier, stolen) == USER
    keys.publish(public("ec-1"))
    clock.advance(59)
    assert await caller(verifier, signed("rsa-1", id=8)) == Caller(8, Role.USER)
    clock.advance(1)
    with pytest.raises(Unauthorized):
        await caller(verifier, stolen)
    assert await caller(verifier, signed("ec-1")) == USER
    assert keys.asked == 2


async def test_a_token_remembered_under_old_keys_is_forgotten_when_new_ones_come(
    verifier: Verifier, keys: Keys, clock: Clock
) -> None:
    assert await caller(verifier, signed("ec-1")) == USER
    clock.advance(59)
    stolen = signed("rsa-1")
    assert await caller(verifier, stolen) == USER
    clock.advance(1)
    keys.publish(public("ec-1"))
    assert await caller(verifier, signed("ec-1", id=8)) == Caller(8, Role.USER)
    with pytest.raises(Unauthorized):
        await caller(verifier, stolen)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, b"{}"),
        (404, b"not here"),
        (200, b""),
        (200, b"<html>"),
        (200, b"[]"),
        (200, b"null"),
        (200, b"3"),
        (200, b"{}"),
        (200, b'{"keys": []}'),
        (200, b'{"keys": {}}'),
        (200, b'{"keys": [3]}'),
        (200, b'{"keys": [{"kty": "RSA"}]}'),
    ],
)
async def test_keys_that_cannot_be_read_are_our_trouble_and_not_the_callers(
    verifier: Verifier, keys: Keys, clock: Clock, status: int, body: bytes
) -> None:
    keys.status, keys.body = status, body
    for _ in range(2):
        with pytest.raises(Unavailable) as refused:
            await caller(verifier, signed("rsa-1"))
        assert (refused.value.retry_after_s, keys.asked) == (5, 1), "they are asked again and again"
    keys.publish(public("rsa-1"))
    clock.advance(5)
    assert await caller(verifier, signed("rsa-1")) == USER


async def test_keys_in_an_answer_that_is_an_error_are_not_believed(verifier: Verifier, keys: Keys) -> None:
    keys.status = 503
    with pytest.raises(Unavailable):
        await caller(verifier, signed("rsa-1"))


async def test_an_address_that_does_not_answer_is_our_trouble(clock: Clock, keys: Keys) -> None:
    nowhere = Verifier(clock, SECRET, keys.url.replace("http:", "https:"))
    with pytest.raises(Unavailable):
        await caller(nowhere, signed("rsa-1"))
    assert keys.asked == 0


async def test_keys_for_other_uses_in_the_set_are_left_alone(verifier: Verifier, keys: Keys) -> None:
    shared = {"kty": "oct", "kid": "oct-1", "k": base64.urlsafe_b64encode(SECRET.encode()).decode(), "alg": "HS256"}
    nameless = {name: value for name, value in public("rsa-2").items() if name != "kid"}
    keys.publish(shared, nameless, {"kty": "made-up", "kid": "x"}, public("ec-1"))
    assert await caller(verifier, signed("ec-1")) == USER
    with pytest.raises(Unauthorized):
        await caller(verifier, jwt.encode(CLAIMS, SECRET, "HS256", headers={"kid": "oct-1"}))
    with pytest.raises(Unauthorized):
        await caller(verifier, signed("rsa-2", header={}))


# Renewing


async def test_a_crowd_that_comes_when_the_keys_are_old_asks_for_them_once(
    verifier: Verifier, keys: Keys, clock: Clock
) -> None:
    assert await caller(verifier, signed("rsa-1")) == USER
    clock.advance(60)
    keys.answering.clear()
    waiting = [asyncio.create_task(caller(verifier, signed("rsa-1", id=n))) for n in range(1, 101)]
    await until(lambda: keys.asked == 2)
    # The first to come is the one on whose behalf they are asked for; it leaves.
    waiting.pop(0).cancel()
    await turns()
    keys.answering.set()
    assert await asyncio.gather(*waiting) == [Caller(n, Role.USER) for n in range(2, 101)]
    assert keys.asked == 2


async def test_good_keys_outlive_an_address_that_fails_for_ten_minutes_and_no_longer(
    verifier: Verifier, keys: Keys, clock: Clock
) -> None:
    assert await caller(verifier, signed("rsa-1")) == USER
    keys.status = 503
    for minute in range(1, 10):
        clock.advance(60)
        assert await caller(verifier, signed("rsa-1", id=minute)) == Caller(minute, Role.USER)
    clock.advance(59)
    assert await caller(verifier, signed("rsa-1")) == USER
    clock.advance(1)
    with pytest.raises(Unavailable):
        await caller(verifier, signed("rsa-1", id=8))
    keys.publish(public("rsa-1"))
    clock.advance(5)
    assert await caller(verifier, signed("rsa-1", id=8)) == Caller(8, Role.USER)


async def test_nobody_with_a_good_key_waits_for_an_address_that_failed_before(
    verifier: Verifier, keys: Keys, clock: Clock
) -> None:
    assert await caller(verifier, signed("rsa-1")) == USER
    keys.status = 503
    clock.advance(60)
    assert await caller(verifier, signed("rsa-1", id=8)) == Caller(8, Role.USER)
    clock.advance(5)
    keys.answering.clear()
    assert await caller(verifier, signed("rsa-1", id=9)) == Caller(9, Role.USER)
    await until(lambda: keys.asked == 3)
    # Meanwhile it works again, and what it says counts.
    keys.publish(public("ec-1"))
    keys.answering.set()
    await until(lambda: verifier._keys is not None and verifier._keys._asking is None)
    with pytest.raises(Unauthorized):
        await caller(verifier, signed("rsa-1", id=10))


async def test_a_new_key_is_known_at_once_and_made_up_ones_are_not_asked_for_again_and_again(
    verifier: Verifier, keys: Keys, clock: Clock
) -> None:
    assert await caller(verifier, signed("rsa-1")) == USER
    keys.publish(public("rsa-1"), public("rsa-3"))
    clock.advance(5)
    assert await caller(verifier, signed("rsa-3")) == USER
    assert keys.asked == 2
    for n in range(20):
        with pytest.raises(Unauthorized):
            await caller(verifier, signed("rsa-2", header={"kid": f"made up {n}"}))
    assert keys.asked == 2
    clock.advance(5)
    for n in range(20):
        with pytest.raises(Unauthorized):
            await caller(verifier, signed("rsa-2", header={"kid": f"made up {n}"}))
    assert keys.asked == 3
