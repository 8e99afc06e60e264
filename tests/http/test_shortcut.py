"""The short way to orders and payments answers as the long one does, which is taken where no length is told."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from flow.acts import to_pay
from quickcommerce.kit.auth import Role
from quickcommerce.kit.shortcut import Shortcut
from world import World

from .shop import shop

JSON = {"Content-Type": "application/json"}
BASKET = b'{"lines":[{"product_id":1,"quantity":2}]}'
OWN = ("x-trace-id", "location", "content-length", "date")
"""Headers that are different each time."""
ASKED: dict[str, tuple[dict[str, str], bytes]] = {
    "an order": (JSON, BASKET),
    "no basket": (JSON, b"{}"),
    "no JSON": (JSON, b"{"),
    "nothing": (JSON, b""),
    "a key twice in an object": (JSON, BASKET.replace(b"{", b'{"lines":[],', 1)),
    "more than there is": (JSON, BASKET.replace(b'"quantity":2', b'"quantity":99').replace(b":1,", b":4,")),
    "no such goods": (JSON, BASKET.replace(b":1,", b":404,")),
    "a bad key": (JSON | {"Idempotency-Key": "a b"}, BASKET),
    "text": ({"Content-Type": "text/plain"}, BASKET),
    "a body in code": (JSON | {"Content-Encoding": "gzip"}, BASKET),
    "too much": (JSON, b" " * 70_000 + BASKET),
}


async def piecewise(body: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(body), 10):
        yield body[at : at + 10]


async def both(
    w: World, headers: dict[str, str], body: bytes, path: str = "/v1/orders", method: str = "POST"
) -> tuple[httpx2.Response, httpx2.Response]:
    short = await w.http.request(method, path, headers=headers, content=body or None)
    long = await w.http.request(method, path, headers=headers, content=piecewise(body))
    assert ("transfer-encoding" in short.request.headers, "transfer-encoding" in long.request.headers) == (False, True)
    return short, long


def shown(answer: httpx2.Response) -> tuple[int, dict[str, str], Any]:
    headers = {name: value for name, value in answer.headers.items() if name not in OWN}
    told = msgspec.json.decode(answer.content)
    for each in ("order_id", "placed_at", "expires_at", "updated_at", "checkout_url", "trace_id"):
        told.pop(each, None)
    return answer.status_code, headers, told


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("who", ["a buyer", "nobody", "somebody else"])
async def test_whichever_way_a_request_goes_its_answer_is_the_same(tmp_path: Path, asked: str, who: str) -> None:
    async with shop(tmp_path, loops=False) as w:
        headers, body = ASKED[asked]
        token = {"a buyer": w.auth(), "nobody": {}, "somebody else": {"Authorization": "Bearer x"}}[who]
        short, long = await both(w, headers | token, body)
        assert shown(short) == shown(long)
        assert len(short.headers["x-trace-id"]) == 32


OF_ORDER, CONFIRM = "/v1/orders/{order_id}/payment", "/v1/payments/{payment_id}/confirm"
NOBODYS = {"order_id": "ord_00000000000000000000000000", "payment_id": "pay_00000000000000000000000000"}
ODD = {"order_id": "a b", "payment_id": "%2F"}
CONFIRMED = b'{"payment_key":"%s","amount":5800}'
PAYING: dict[str, tuple[str, str, dict[str, str], bytes]] = {
    "the payment": ("GET", OF_ORDER, {}, b""),
    "a payment of nobody's": ("GET", OF_ORDER, NOBODYS, b""),
    "a payment of no order": ("GET", OF_ORDER, ODD, b""),
    "paid, with another key than it was": ("POST", CONFIRM, {}, CONFIRMED % b"another"),
    "paid, with another amount": ("POST", CONFIRM, {}, CONFIRMED.replace(b"5800", b"1") % b"key"),
    "paid, of nobody's": ("POST", CONFIRM, NOBODYS, CONFIRMED % b"key"),
    "paid, of no payment": ("POST", CONFIRM, ODD, CONFIRMED % b"key"),
    "paid, without a word": ("POST", CONFIRM, {}, b""),
    "another method": ("DELETE", CONFIRM, {}, b""),
}


@pytest.mark.parametrize("asked", PAYING)
@pytest.mark.parametrize("who", ["a buyer", "another", "nobody"])
async def test_whichever_way_a_buyer_pays_the_answer_is_the_same(tmp_path: Path, asked: str, who: str) -> None:
    async with shop(tmp_path, loops=False) as w:
        _, payment, key = await to_pay(w)
        assert (await w.confirm(payment, key)).status_code == 200
        method, path, of, body = PAYING[asked]
        token = {"a buyer": w.auth(), "another": w.auth(8), "nobody": {}}[who]
        short, long = await both(w, JSON | token, body, path.format(**payment | of), method)
        assert shown(short) == shown(long)
        right = who == "a buyer" and asked == "the payment"
        assert (short.status_code == 200) == right


async def test_a_captured_payment_is_told_alike_on_both_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short, gone = Shortcut._answer, list[str]()

    async def going(self: Shortcut, handler: Any, request: Any, given: list[str]) -> Any:
        gone.append(f"{request.method} {request.scope['path']}")
        return await short(self, handler, request, given)

    async with shop(tmp_path, loops=False) as w:
        _, payment, key = await to_pay(w)
        monkeypatch.setattr(Shortcut, "_answer", going)
        body = b'{"payment_key":"%s","amount":%d}' % (key.encode(), payment["amount"])
        path = CONFIRM.format(**payment)
        answers = await both(w, w.auth() | JSON, body, path)
        assert [(each.status_code, each.json()["status"]) for each in answers] == [(200, "CAPTURED")] * 2
        assert answers[0].content == answers[1].content
        assert await w.get(OF_ORDER.format(**payment)) == answers[0].json()
        assert gone == [f"POST {path}", f"GET {OF_ORDER.format(**payment)}"], "one of them went the long way"
        text = (await w.http.get("/metrics")).text
        assert 'method="POST",route="/v1/payments/{payment_id}/confirm",status="200"' in text
        assert payment["payment_id"] not in text, "each payment would be a series of its own"


async def test_both_ways_are_counted_and_keep_the_trace_they_were_given(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        trace = "4bf92f3577b34da6a3ce929d0e0e4736"
        given = w.auth() | JSON | {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}

        async def counted() -> float:
            text = (await w.http.get("/metrics")).text
            line = 'qc_http_seconds_count{method="POST",route="/v1/orders",status="201"} '
            return sum(float(each.removeprefix(line)) for each in text.splitlines() if each.startswith(line))

        before = await counted()
        for answer in await both(w, given, BASKET):
            assert answer.status_code == 201
            assert answer.headers["x-trace-id"] == trace
        assert await counted() == before + 2


async def test_both_ways_know_the_key_of_the_other(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        short, long = await both(w, w.auth(7, Role.SELLER) | JSON | {"Idempotency-Key": "tap"}, BASKET)
        assert short.content == long.content
        assert (short.headers.get("idempotency-replayed"), long.headers.get("idempotency-replayed")) == (None, "true")
