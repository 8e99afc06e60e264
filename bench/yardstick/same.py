"""Whether the yardstick answers as the shop does: the same requests to both, right ones and wrong ones."""

import re
import secrets
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from bench.figures import Count
from quickcommerce.bench import tokens
from quickcommerce.bench.tokens import LOCAL_SECRET
from quickcommerce.bench.wire import Wire

UNITS = 5
"""Of each product; both shops have so many."""
_OWN = re.compile(r"ord_\w{26}|token=[\w-]+|\d{4}-\d\d-\d\dT[\d:.]+Z|\"user_id\":\d+")
"""What differs from order to order."""


class Case(NamedTuple):
    """A request, and the name by which a difference is told."""

    name: str
    body: bytes
    headers: Mapping[str, str] = {}
    signed: bool = True


def _lines(*lines: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode({"lines": lines})


TWO = _lines({"product_id": 2, "quantity": 2}, {"product_id": 1, "quantity": 1})
CASES = (
    Case("a basket", TWO, {"Idempotency-Key": "same-1"}),
    Case("the same again", TWO, {"Idempotency-Key": "same-1"}),
    Case("its key with another basket", _lines({"product_id": 1, "quantity": 1}), {"Idempotency-Key": "same-1"}),
    Case("no key", _lines({"product_id": 3, "quantity": 1})),
    Case("an empty key", TWO, {"Idempotency-Key": ""}),
    Case("a key that is too long", TWO, {"Idempotency-Key": "k" * 256}),
    Case("a price as expected", _lines({"product_id": 3, "quantity": 1, "expected_price": 1_030})),
    Case("another price", _lines({"product_id": 3, "quantity": 1, "expected_price": 1})),
    Case("a product that is not there", _lines({"product_id": 3, "quantity": 1}, {"product_id": 999, "quantity": 1})),
    Case("more than there is", _lines({"product_id": 3, "quantity": 1}, {"product_id": 4, "quantity": UNITS + 1})),
    Case("a coupon that is not there", _lines({"product_id": 3, "quantity": 1, "coupon_id": 7})),
    Case("a product twice", _lines({"product_id": 3, "quantity": 1}, {"product_id": 3, "quantity": 1})),
    Case("nothing of a product", _lines({"product_id": 3, "quantity": 0})),
    Case("a thousand of a product", _lines({"product_id": 3, "quantity": 1_000})),
    Case("a number as text", _lines({"product_id": "3", "quantity": 1})),
    Case("a field that nobody knows", _lines({"product_id": 3, "quantity": 1, "price": 1})),
    Case("no lines", _lines()),
    Case("fifty-one lines", _lines(*({"product_id": 100 + each, "quantity": 1} for each in range(51)))),
    Case("no JSON", b'{"lines": ['),
    Case("no body", b""),
    Case("another type", TWO, {"Content-Type": "text/plain"}),
    Case("too large", b" " * 70_000 + TWO),
    Case("no token", TWO, signed=False),
    Case("a token of others", TWO, {"Authorization": "Bearer a.b.c"}, signed=False),
)


async def alike(one: str, other: str) -> tuple[Count, list[str]]:
    """How many requests two shops answer alike, and where they do not, in words."""
    answers = [await _answers(url) for url in (one, other)]
    differing = [
        f"{case.name}: {first} and {second}"
        for case, first, second in zip(CASES, *answers, strict=True)
        if first != second
    ]
    return Count("requests answered alike", len(CASES), len(CASES) - len(differing)), differing


async def _answers(url: str) -> list[str]:
    """What a shop says to each case, without what belongs to one order alone."""
    secret, now_s = tokens.secret_bytes(LOCAL_SECRET), int(time.time())
    token = tokens.mint(secret, user_id=1 + secrets.randbelow(2**52), role="ROLE_USER", now_s=now_s, ttl_s=600)
    told = []
    async with Wire(1) as wire:
        for case in CASES:
            login = {"Authorization": f"Bearer {token}"} if case.signed else {}
            headers = {"Content-Type": "application/json", **login, **case.headers}
            answer = await wire.ask("POST", f"{url}/v1/orders", headers, case.body, retry_waits_s=())
            told.append(f"{answer.status} {_own(answer.body)}")
    return told


def _own(body: bytes) -> str:
    """An order without its ids and times; of a refusal its code and what it points at."""
    found = msgspec.json.decode(body)
    if "code" not in found:
        return _OWN.sub("-", body.decode())
    errors = [{name: value for name, value in error.items() if name != "detail"} for error in found.get("errors", [])]
    return f"{found['code']} {errors}"
