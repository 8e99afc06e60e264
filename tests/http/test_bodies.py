"""Bodies that are not what a route takes: told what is wrong with them, and nothing of them is stored."""

import gzip
import json
from collections.abc import AsyncIterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

from world import World

from .routes import TAKING, Route, Scene, find, scene, send, visited
from .shop import counts, refused, shop

JSON = {"Content-Type": "application/json"}
MAX = 64 * 1024
BASKET = b'{"lines":[{"product_id":1,"quantity":2}]}'

NO_JSON: dict[str, bytes] = {
    "half": b"{",
    "two": b"{}{}",
    "a comma too many": b'{"lines":[],}',
    "a comment": b"{} // nothing",
    "single quotes": b"{'lines': []}",
    "bare words": b"lines",
    "NaN": b"NaN",
    "Infinity": b'{"amount":Infinity}',
    "minus Infinity": b'{"amount":-Infinity}',
    "not UTF-8": b'{"a":"\xff\xfe"}',
    "overlong UTF-8": b'{"a":"\xc0\xaf"}',
    "a surrogate in UTF-8": b'{"a":"\xed\xa0\x80"}',
    "UTF-16": '{"lines":[]}'.encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf{}",
    "NUL before": b"\x00{}",
    "NUL after": b"{}\x00",
    "NUL in text": b'{"a":"\x00"}',
    "a control character in text": b'{"a":"\n"}',
    "a blank": b" ",
    "a form": b"lines=1&quantity=2",
    "XML": b"<lines/>",
    "deep arrays": b"[" * 30_000 + b"]" * 30_000,
    "deep arrays without end": b"[" * 60_000,
    "deep objects": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
}
NO_OBJECT: dict[str, bytes] = {
    "null": b"null",
    "true": b"true",
    "a number": b"1",
    "2^63": b"9223372036854775808",
    "1e309": b"1e309",
    "text": b'"{}"',
    "an array": b"[]",
    "an object in an array": b'[{"lines":[]}]',
    "an unknown member": b'{"unknown":1}',
    "an unknown member that is deep": b'{"unknown":' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    "an unknown member with an escaped NUL": b'{"\\u0000":1}',
    "an unknown member with a lone surrogate": b'{"\\ud800":1}',
    "__proto__": b'{"__proto__":{"admin":true}}',
    "5,000 members": b"{" + b",".join(b'"m%d":1' % n for n in range(5_000)) + b"}",
    "10^4 digits": b'{"amount":' + b"9" * 10_000 + b"}",
}


def line(**more: str) -> bytes:
    """A basket whose one line has these members, as JSON text."""
    members = {"product_id": "1", "quantity": "2"} | more
    return b'{"lines":[{%s}]}' % ",".join(f'"{name}":{text}' for name, text in members.items()).encode()


def lines(count: int, *, product: str = "%d") -> bytes:
    """A basket of so many lines."""
    each = [('{"product_id":' + product.replace("%d", str(at)) + ',"quantity":1}') for at in range(1, count + 1)]
    return b'{"lines":[%s]}' % ",".join(each).encode()


NUMBERS = [
    "0",
    "-1",
    "1.0",
    "1.5",
    "1e0",
    "1e309",
    "-0",
    "9223372036854775808",
    "true",
    "null",
    '"1"',
    "[1]",
    "{}",
    '""',
    '"\\u0000"',
]
BASKETS: dict[str, tuple[bytes, str]] = {
    "empty object": (b"{}", ""),
    "no lines": (b'{"lines":[]}', "/lines"),
    "lines null": (b'{"lines":null}', "/lines"),
    "lines an object": (b'{"lines":{}}', "/lines"),
    "a line null": (b'{"lines":[null]}', "/lines/0"),
    "no quantity": (b'{"lines":[{"product_id":1}]}', "/lines/0"),
    "no product": (b'{"lines":[{"quantity":1}]}', "/lines/0"),
    "the second line is wrong": (b'{"lines":[{"product_id":1,"quantity":1},{"product_id":2}]}', "/lines/1"),
    "51 lines": (lines(51), "/lines"),
    "100 lines": (lines(100), "/lines"),
    "2,000 lines": (lines(2_000), "/lines"),
    "the same product twice": (lines(2, product="1"), "/lines/1/product_id"),
    "the same product fifty times": (lines(50, product="1"), "/lines/1/product_id"),
    "quantity 1000": (line(quantity="1000"), "/lines/0/quantity"),
    "product 2^53": (line(product_id="9007199254740992"), "/lines/0/product_id"),
    "coupon 2^53": (line(coupon_id="9007199254740992"), "/lines/0/coupon_id"),
    "expected_price negative": (line(expected_price="-1"), "/lines/0/expected_price"),
    "expected_price a fraction": (line(expected_price="2900.0"), "/lines/0/expected_price"),
    "expected_price text": (line(expected_price='"2900"'), "/lines/0/expected_price"),
    "an unknown member of a line": (line(price="1"), "/lines/0/price"),
    "a price of the buyer's own": (line(unit_price="1"), "/lines/0/unit_price"),
    "a user of the buyer's own": (b'{"user_id":8,"lines":[{"product_id":1,"quantity":2}]}', "/user_id"),
    "a member twice": (b'{"lines":[{"product_id":1,"quantity":1}],"lines":[{"product_id":1,"quantity":2}]}', "/lines"),
    "a member of a line twice": (line(**{"quantity ": "1"}).replace(b"quantity ", b"quantity"), "/lines/0/quantity"),
    "a member twice, once escaped": (
        line().replace(b'"quantity":2', b'"quantity":2,"\\u0071uantity":3'), "/lines/0/quantity",
    ),
} | {f"quantity {text}": (line(quantity=text), "/lines/0/quantity") for text in NUMBERS} | {
    f"product {text}": (line(product_id=text), "/lines/0/product_id") for text in NUMBERS if text != "null"
}  # fmt: skip

CONFIRMS: dict[str, bytes] = {
    "empty object": b"{}",
    "no amount": b'{"payment_key":"tgen_1"}',
    "no key": b'{"amount":5800}',
    "key empty": b'{"payment_key":"","amount":5800}',
    "key too long": b'{"payment_key":"%s","amount":5800}' % (b"a" * 201),
    "key null": b'{"payment_key":null,"amount":5800}',
    "key a number": b'{"payment_key":5,"amount":5800}',
    "a member twice": b'{"payment_key":"tgen_1","amount":5800,"amount":5800}',
    "an order of the buyer's own": b'{"payment_key":"tgen_1","amount":5800,"orderId":"pay_1"}',
} | {
    f"key with {name}": b'{"payment_key":"%s","amount":5800}' % text
    for name, text in {
        "NUL": b"a\\u0000", "a line end": b"a\\n", "a line break": b"a\\r\\nX: 1", "a blank": b"a b", "a tab": b"\\ta",
        "a lone surrogate": b"a\\ud800", "a letter of no ASCII": "키".encode(), "DEL": b"a\x7f",
    }.items()
} | {f"amount {text}": b'{"payment_key":"tgen_1","amount":%s}' % text.encode() for text in NUMBERS}  # fmt: skip


async def told(w: World, route: Route, at: Scene, who: str, bodies: Mapping[str, bytes]) -> dict[str, str]:
    """What each body is told."""
    return {name: refused(await send(w, route, at, who, content=body, headers=JSON)) for name, body in bodies.items()}


async def everything(w: World, at: Scene) -> tuple[Any, ...]:
    """What must be as before."""
    payment = await w.get(f"/v1/orders/{at.order['order_id']}/payment")
    return await counts(w), payment, (await w.ledger())["calls"], await w.get(f"/v1/orders/{at.order['order_id']}")


@visited(TAKING)
async def test_what_is_no_json_object_is_refused_and_leaves_no_trace(
    tmp_path: Path, route: Route, people: tuple[str, ...]
) -> None:
    async with shop(tmp_path, loops=False) as w:
        at = await scene(w)
        before = await everything(w, at)
        bodies = NO_JSON | NO_OBJECT
        for who in people:
            assert await told(w, route, at, who, bodies) == dict.fromkeys(bodies, "invalid-request"), who
        assert await everything(w, at) == before


@visited(TAKING)
async def test_a_body_beyond_64_kib_is_refused_unread(tmp_path: Path, route: Route, people: tuple[str, ...]) -> None:
    bodies = {
        "65,537 bytes": b" " * (MAX + 1),
        "2 MB": b" " * 2_000_000,
        "10^5 levels": b"[" * 100_000,
        "a good body behind blanks": b" " * MAX + b"{}",
    }

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b" " * (MAX // 4)

    async with shop(tmp_path, loops=False) as w:
        at = await scene(w)
        before = await everything(w, at)
        for who in people:
            assert await told(w, route, at, who, bodies) == dict.fromkeys(bodies, "payload-too-large"), who
            chunked = await send(w, route, at, who, content=parts(), headers=JSON)
            assert refused(chunked) == "payload-too-large", "no length was declared"
            lying = await send(w, route, at, who, content=b"{}", headers=JSON | {"Content-Length": "65537"})
            assert refused(lying) == "payload-too-large", "what is declared is believed at once"
        assert await everything(w, at) == before


NO_JSON_TYPES = [
    "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonp",
    "application/problem+json", "text/json", "application/json, text/plain", "json", "", " ", ";", "*/*",
    "application/ json", "application/json\x00", "é",
]  # fmt: skip


@visited(TAKING)
async def test_a_body_that_is_not_json_by_its_type_is_refused(
    tmp_path: Path, route: Route, people: tuple[str, ...]
) -> None:
    """A form of another site can send text/plain with the buyer's session, but not application/json."""
    async with shop(tmp_path, loops=False) as w:
        at = await scene(w)
        before = await everything(w, at)
        for who, kind in product(people, NO_JSON_TYPES):
            answer = await send(w, route, at, who, content=BASKET, headers={"Content-Type": kind.encode("latin-1")})
            assert refused(answer) == "unsupported-media-type", f"{kind!r} by {who}"
        assert refused(await send(w, route, at, people[0], content=BASKET)) == "unsupported-media-type", "none at all"
        assert await everything(w, at) == before


@visited(TAKING)
async def test_a_body_that_is_encoded_is_refused_and_not_read_as_if_it_were_not(
    tmp_path: Path, route: Route, people: tuple[str, ...]
) -> None:
    """Whoever decodes it in front of us would see another body than we do."""
    async with shop(tmp_path, loops=False) as w:
        at = await scene(w)
        before = await everything(w, at)
        good = json.dumps(at.body(route)).encode()
        for who in people:
            for encoding in ("gzip", "GZIP", "br", "x", "identity, gzip"):
                headers = JSON | {"Content-Encoding": encoding}
                answer = await send(w, route, at, who, content=gzip.compress(good), headers=headers)
                assert refused(answer) == "unsupported-media-type", f"{encoding} by {who}"
                assert "Content-Encoding" in answer.json()["detail"]
                answer = await send(w, route, at, who, content=b" " * (MAX + 1), headers=headers)
                assert refused(answer) == "payload-too-large", "the size is told first"
        assert await everything(w, at) == before
        for encoding in ("identity", "Identity", ""):
            headers = JSON | {"Content-Encoding": encoding}
            answer = await send(w, route, at, people[-1], content=b"{", headers=headers)
            assert refused(answer) == "invalid-request", "it is read"


async def test_json_may_say_its_charset_and_be_as_long_as_the_limit(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        at = await scene(w)
        orders = find("POST /v1/orders")
        for kind in (
            "application/json",
            "Application/JSON",
            "application/json; charset=utf-8",
            "application/json ;x=y",
            'application/json; Charset="UTF-8"',
        ):
            answer = await send(w, orders, at, "user", content=BASKET, headers={"Content-Type": kind})
            assert answer.status_code == 201, kind
        assert (await send(w, orders, at, "user", content=BASKET.ljust(MAX), headers=JSON)).status_code == 201
        for other in ("utf-16", "latin1", "euc-kr", '"utf-32"', ""):
            headers = {"Content-Type": f"application/json; charset={other}"}
            answer = await send(w, orders, at, "user", content=BASKET, headers=headers)
            assert refused(answer) == "unsupported-media-type", other


async def test_a_basket_that_is_not_right_is_told_where(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        at = await scene(w)
        before = await counts(w)
        pointers = {}
        for name, (body, _) in BASKETS.items():
            answer = await send(w, find("POST /v1/orders"), at, "user", content=body, headers=JSON)
            assert refused(answer) == "invalid-request", name
            pointers[name] = answer.json()["errors"][0]["pointer"]
        assert pointers == {name: pointer for name, (_, pointer) in BASKETS.items()}
        assert await counts(w) == before


async def test_a_body_is_needed_where_there_is_something_to_say(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        at = await scene(w)
        for path in ("POST /v1/orders", "POST /v1/payments/{payment_id}/confirm"):
            for headers in ({}, JSON):
                answer = await send(w, find(path), at, "owner", content=b"", headers=headers)
                assert refused(answer) == "invalid-request"


async def test_a_confirm_that_is_not_right_never_reaches_the_pg(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        at = await scene(w)
        before = await everything(w, at)
        route = find("POST /v1/payments/{payment_id}/confirm")
        assert await told(w, route, at, "owner", CONFIRMS) == dict.fromkeys(CONFIRMS, "invalid-request")
        assert await everything(w, at) == before
