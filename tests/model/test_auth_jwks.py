"""Tokens that somebody else signs: their public keys are read over HTTP, and can be used for nothing else."""

import base64
import hashlib
import hmac
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from model.jwks import CLAIMS, SECRET, USER, Keys, caller, ec_key, public, rsa_key, signed
from quickcommerce.kit.auth import Caller, Role, Verifier
from quickcommerce.kit.problem import Unauthorized, Unavailable
from stores import Clock


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
