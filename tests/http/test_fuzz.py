"""Bytes that nobody thought of: an order is placed or refused, and the shop says which, whatever comes."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx2
from hypothesis import given, settings
from hypothesis import strategies as st

from world import VirtualLoop, World

from .shop import shop

GOOD = b'{"lines":[{"product_id":1,"quantity":2,"coupon_id":null,"expected_price":2900},{"product_id":2,"quantity":1}]}'
ODD = [
    b"",
    b"\x00",
    b"\xff",
    b"\xef\xbb\xbf",
    b'"',
    b"\\u0000",
    b"\\ud800",
    b"[",
    b"}",
    b",",
    b"-",
    b"1e309",
    b"NaN",
    b"9" * 400,
]

numbers = st.integers(-(2**70), 2**70) | st.floats() | st.sampled_from([0, 1, 2, 999, 1000, 2**53, 2**63])
anything = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)
members = st.sampled_from(
    ["product_id", "quantity", "coupon_id", "expected_price", "price", "Quantity", "quantity\x00"]
)
small = st.integers(0, 5)
line = st.dictionaries(members, small | anything, max_size=5) | st.fixed_dictionaries(
    {"product_id": small, "quantity": small}, optional={"coupon_id": anything, "expected_price": anything}
)
basket = st.fixed_dictionaries({"lines": st.lists(line, max_size=6) | anything}, optional={"user_id": anything})


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A good basket with some bytes replaced, inserted, taken away or repeated."""
    body = GOOD
    for _ in range(draw(st.integers(1, 3))):
        at, length = draw(st.integers(0, len(body))), draw(st.integers(0, 12))
        body = body[:at] + draw(st.binary(max_size=6) | st.sampled_from(ODD)) + body[at + length :]
    return body


bodies = (
    st.binary(max_size=200)
    | damaged()
    | (anything | basket).map(lambda value: json.dumps(value).encode())
    | basket.map(lambda value: json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"))
)
headers = st.fixed_dictionaries(
    {},
    optional={
        "idempotency-key": st.binary(max_size=40),
        "content-type": st.sampled_from([b"application/json", b"application/json;charset=utf-16", b"text/plain"])
        | st.binary(max_size=20),
        "content-encoding": st.sampled_from([b"gzip", b"br", b"identity"]),
        "traceparent": st.binary(max_size=60),
        "accept": st.binary(max_size=20),
        "x-userid": st.binary(max_size=10),
    },
)


def test_any_bytes_at_all_are_an_order_or_a_problem(tmp_path: Path) -> None:
    """Each answer is also held to the description by `shop`; here: what was refused left nothing behind."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        entered = shop(tmp_path, loops=False)
        w = runner.run(entered.__aenter__())
        held = 0

        @settings(derandomize=True, max_examples=400, deadline=None, database=None)
        @given(bodies, headers)
        def each(body: bytes, more: dict[str, bytes]) -> None:
            nonlocal held
            answer = runner.run(send(w, body, more))
            assert answer.status_code == 201 or 400 <= answer.status_code < 500
            if answer.status_code == 201 and "idempotency-replayed" not in answer.headers:
                held += sum(line["quantity"] for line in answer.json()["lines"])
            assert runner.run(reserved(w)) == held

        each()
        assert held, "no basket was good: the strategies have lost their way"
        runner.run(entered.__aexit__(None, None, None))


async def send(w: World, body: bytes, more: dict[str, bytes]) -> httpx2.Response:
    fields: dict[str, Any] = {"authorization": w.auth()["Authorization"].encode(), "content-type": b"application/json"}
    return await w.http.post(
        "/v1/orders", content=body, headers=[(name.encode(), value) for name, value in (fields | more).items()]
    )


async def reserved(w: World) -> int:
    stock = [await w.stock(product) for product in (1, 2, 3, 4)]
    return sum(units for _, units, _ in stock)
