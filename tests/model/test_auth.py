"""Who is asking: only a token that holds in every part names somebody."""

import base64
import json
from typing import Any

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quickcommerce.kit import auth
from quickcommerce.kit.auth import Caller, Role, Verifier, mint, secret_bytes
from quickcommerce.kit.clock import SECOND_US
from quickcommerce.kit.problem import Forbidden, Unauthorized
from stores import Clock

SECRET = "the-secret-of-a-shop-that-is-long-enough"
NOW_S = Clock().now_us // SECOND_US
CLAIMS: dict[str, Any] = {"sub": "kim", "id": 7, "role": "ROLE_USER", "exp": NOW_S + 600}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def verifier(clock: Clock) -> Verifier:
    return Verifier(clock, SECRET)


def token(secret: str | bytes = SECRET, algorithm: str = "HS256", **claims: Any) -> str:
    return jwt.encode(CLAIMS | claims, secret, algorithm)


def handmade(header: object, claims: object, signature: bytes = b"") -> str:
    def part(value: object) -> str:
        raw = value if isinstance(value, bytes) else json.dumps(value).encode()
        return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

    return f"{part(header)}.{part(claims)}.{part(signature)}"


async def caller(verifier: Verifier, text: str) -> Caller:
    return await verifier.caller("Bearer " + text)


async def refused(verifier: Verifier, text: str) -> None:
    with pytest.raises(Unauthorized) as error:
        await caller(verifier, text)
    assert text not in error.value.detail
    assert error.value.headers() == {"WWW-Authenticate": "Bearer"}


async def test_a_token_names_its_user_and_role(verifier: Verifier) -> None:
    for role in Role:
        assert await caller(verifier, token(role=role)) == Caller(7, role)
    assert await caller(verifier, token(id=2**53 - 1)) == Caller(2**53 - 1, Role.USER)
    assert await verifier.caller("bearer " + token()) == Caller(7, Role.USER)


async def test_a_token_of_our_own_is_taken_until_its_end(verifier: Verifier, clock: Clock) -> None:
    text = mint(SECRET, 9, Role.SELLER, now_us=clock(), ttl_s=60)
    assert await caller(verifier, text) == Caller(9, Role.SELLER)
    clock.advance(60)
    await refused(verifier, text)


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic dXNlcjpw", "Token " + "x" * 20, "Bearer  x"])
async def test_without_a_bearer_token_nobody_is_let_in(verifier: Verifier, header: str | None) -> None:
    with pytest.raises(Unauthorized):
        await verifier.caller(header)
    with pytest.raises(Unauthorized):
        await verifier.caller((header or "") + ", Bearer " + token())


@pytest.mark.parametrize(
    "text",
    [
        "x", "a.b.c", "..", "a" * 100_000, "é.é.é", "a.b.c.d",
        handmade({"alg": "none", "typ": "JWT"}, CLAIMS),
        handmade({"alg": "none"}, CLAIMS).rstrip("."),
        handmade({"alg": "None"}, CLAIMS),
        handmade({"alg": ""}, CLAIMS),
        handmade({"typ": "JWT"}, CLAIMS),
        handmade({"alg": "HS256"}, CLAIMS),
        handmade({"alg": "HS256"}, CLAIMS, b"\0" * 32),
        handmade({"alg": ["HS256"]}, CLAIMS),
        handmade({"alg": "HS256", "crit": ["exp"]}, CLAIMS),
        handmade([], CLAIMS),
        handmade(b"[" * 50_000, CLAIMS),
        token(secret="another-secret-that-is-long-enough-too"),
        token(secret=SECRET + " "),
        token(algorithm="HS384", secret=SECRET + "x" * 20),
        token(algorithm="HS512", secret=SECRET + "x" * 40),
    ],
)  # fmt: skip
async def test_a_token_that_is_not_signed_with_our_secret_names_nobody(verifier: Verifier, text: str) -> None:
    await refused(verifier, text)


async def test_a_token_that_was_changed_after_it_was_signed_names_nobody(verifier: Verifier) -> None:
    head, _, signature = token().split(".")
    body = handmade({}, CLAIMS | {"role": "ROLE_MASTER"}).split(".")[1]
    await refused(verifier, f"{head}.{body}.{signature}")
    await refused(verifier, token()[:-4] + "AAAA")


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": NOW_S},
        {"exp": NOW_S - 1},
        {"exp": 0},
        {"exp": -1},
        {"exp": None},
        {"exp": str(NOW_S + 600)},
        {"exp": True},
        {"exp": float("nan")},
        {"exp": float("inf")},
        {"exp": 1e300},
        {"exp": 2**53},
        {"exp": [NOW_S + 600]},
        {"nbf": NOW_S + 1},
        {"nbf": "tomorrow"},
        {"nbf": True},
        {"nbf": None},
        {"id": None},
        {"id": 0},
        {"id": -7},
        {"id": 2**53},
        {"id": True},
        {"id": 7.0},
        {"id": "7"},
        {"id": [7]},
        {"role": None},
        {"role": ""},
        {"role": "MASTER"},
        {"role": "role_master"},
        {"role": "ROLE_ADMIN"},
        {"role": ["ROLE_MASTER"]},
        {"role": {"ROLE_MASTER": 1}},
        {"role": 1},
    ],
)
async def test_a_claim_that_is_missing_or_of_another_kind_names_nobody(
    verifier: Verifier, claims: dict[str, Any]
) -> None:
    await refused(verifier, token(**claims))


@pytest.mark.parametrize("absent", ["exp", "id", "role"])
async def test_a_token_without_a_claim_names_nobody(verifier: Verifier, absent: str) -> None:
    await refused(verifier, jwt.encode({name: CLAIMS[name] for name in CLAIMS if name != absent}, SECRET, "HS256"))


@pytest.mark.parametrize("claims", [[], "x", 3, None, [CLAIMS]])
async def test_a_payload_that_is_no_object_names_nobody(verifier: Verifier, claims: object) -> None:
    await refused(verifier, jwt.PyJWS().encode(json.dumps(claims).encode(), SECRET, "HS256"))


@settings(deadline=None)
@given(st.text(st.characters(max_codepoint=0xFF), max_size=200))
async def test_no_header_whatever_lets_anyone_in_or_breaks_us(text: str) -> None:
    verifier = Verifier(Clock(), SECRET)
    for header in (text, "Bearer " + text, "Bearer " + handmade({"alg": "HS256"}, text.encode(), text.encode())):
        with pytest.raises(Unauthorized):
            await verifier.caller(header)


# Secrets


async def test_a_secret_may_be_given_in_base64(clock: Clock) -> None:
    raw = bytes(range(256))
    encoded = "base64:" + base64.b64encode(raw).decode()
    assert secret_bytes(encoded) == raw
    assert secret_bytes("비밀") == "비밀".encode()
    assert await caller(Verifier(clock, encoded), token(secret=raw)) == Caller(7, Role.USER)
    await refused(Verifier(clock, encoded), token(secret=encoded))


@pytest.mark.parametrize("secret", ["base64:", "base64:!!!!", "base64:abcde", "base64:YWJj ZGVm", "base64:비밀입니다"])
def test_a_secret_that_is_no_base64_or_empty_is_refused_and_not_shortened(secret: str) -> None:
    with pytest.raises(ValueError, match=r".") as refusal:
        secret_bytes(secret)
    assert secret == "base64:" or secret.removeprefix("base64:") not in str(refusal.value)


# What is remembered


async def test_a_verified_token_is_remembered_for_a_minute_and_never_past_its_end(
    verifier: Verifier, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = 0
    decode = auth._JWS.decode

    def counting(*args: Any, **options: Any) -> Any:
        nonlocal decoded
        decoded += 1
        return decode(*args, **options)

    monkeypatch.setattr(auth._JWS, "decode", counting)
    long, short = token(), token(exp=NOW_S + 20, id=8)
    for _ in range(3):
        assert (await caller(verifier, long)).user_id == 7
        assert (await caller(verifier, short)).user_id == 8
    assert decoded == 2
    clock.advance(19.999999)
    assert (await caller(verifier, short)).user_id == 8
    assert decoded == 2
    clock.advance(0.000001)
    await refused(verifier, short)
    clock.advance(40)
    assert (await caller(verifier, long)).user_id == 7
    assert decoded == 4
    clock.advance(540)
    await refused(verifier, long)


async def test_what_is_remembered_is_bounded_and_only_what_held(
    verifier: Verifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "CACHE_MAX", 5)
    for user in range(1, 50):
        assert (await caller(verifier, token(id=user))).user_id == user
        await refused(verifier, token(id=-user))
        assert 0 < len(verifier._cache) <= 5


# Roles


def test_a_user_may_see_their_own_and_a_master_everything() -> None:
    assert Caller(7, Role.USER).may_see(7)
    assert not Caller(7, Role.USER).may_see(8)
    assert not Caller(7, Role.SELLER).may_see(8)
    assert Caller(7, Role.MASTER).may_see(8)


def test_a_role_that_is_not_enough_is_told_which_would_be() -> None:
    Caller(7, Role.MASTER).need(Role.MASTER)
    Caller(7, Role.SELLER).need(Role.MASTER, Role.SELLER)
    with pytest.raises(Forbidden, match="ROLE_MASTER or ROLE_SELLER"):
        Caller(7, Role.USER).need(Role.MASTER, Role.SELLER)


def _segment(jws: type[jwt.PyJWS], text: bytes) -> bytes | None:
    try:
        return jws._decode_base64url_segment(text, "any")
    except jwt.DecodeError:
        return None


@given(st.binary(max_size=40).map(base64.urlsafe_b64encode).map(lambda text: text.rstrip(b"=")), st.data())
def test_a_segment_of_a_token_is_what_the_library_says_it_is(good: bytes, data: st.DataObject) -> None:
    """A spelling that only we took would be a token that only we believe."""
    assert _segment(auth._Jws, good) == _segment(jwt.PyJWS, good) is not None
    at = data.draw(st.integers(0, len(good)))
    odd = good[:at] + data.draw(st.binary(max_size=2)) + good[at + data.draw(st.integers(0, 2)) :]
    for text in (odd, odd + b"=", odd + b"==", odd + b"==="):
        assert _segment(auth._Jws, text) == _segment(jwt.PyJWS, text)
