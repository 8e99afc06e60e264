"""HEAD tells what GET would, without the body: whoever checks a link or a size asks so."""

import asyncio
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from quickcommerce.kit import web

from .browser import is_page, success
from .routes import ROUTES, Route, scene, send
from .shop import shop

PAYS = "/pay/success"
"""GET of this one captures, so that HEAD can only tell what is so before."""
READ = [route for route in ROUTES if route.method == "GET" and route.path != PAYS]
OWN = {"x-trace-id", "date", "content-length"}
"""Headers that may differ: a list of metrics is another length at another moment."""


@pytest.mark.parametrize("route", READ, ids=str)
async def test_head_is_answered_as_get_without_a_body(tmp_path: Path, route: Route) -> None:
    async with shop(tmp_path, loops=False) as w:
        at = await scene(w)
        who = "owner" if route.owned else "master"
        # A stream of events has no end, and HEAD must have one.
        async with asyncio.timeout(60):
            told = await send(w, Route("HEAD", route.path, query=route.query), at, who)
        assert (told.status_code, told.content) == (route.status, b"")
        if not route.path.endswith("/events"):
            whole = await send(w, route, at, who)
            assert whole.content
            assert {n: v for n, v in told.headers.items() if n not in OWN} == {
                n: v for n, v in whole.headers.items() if n not in OWN
            }
            assert int(told.headers["content-length"]) > 0
        assert (await send(w, Route("HEAD", route.path), at, "nobody", url="/v1/nowhere")).status_code == 404


async def checked(folder: Path) -> None:
    async with shop(folder, loops=False) as w:
        order = (await w.order()).json()
        payment = await w.get(f"/v1/orders/{order['order_id']}/payment")

        async def head(key: str, **more: Any) -> tuple[int, bytes]:
            query = {"paymentKey": key, "orderId": payment["payment_id"], "amount": payment["amount"]}
            answer = await w.http.head(f"{PAYS}?{urlencode(query | more)}")
            return answer.status_code, answer.content

        refused, key = await w.authenticate(payment, method="CARD_REFUSED"), await w.authenticate(payment)
        for each in (refused, key, key):
            assert await head(each) == (202, b"")
        calls = (await w.ledger())["calls"]
        assert calls == [], "whoever checked the link has paid for the buyer"
        assert (await w.get(f"/v1/orders/{order['order_id']}/payment"))["attempts"] == []
        assert await head(key, amount=payment["amount"] + 1) == (409, b"")
        assert await head(key, orderId="pay_" + "0" * 26) == (404, b"")
        assert (await success(w, payment, refused)).status_code == 402
        assert await head(refused) == (402, b"")
        assert await head(key) == (202, b""), "another card may be taken"
        is_page(await success(w, payment, key))
        assert await head(key) == (200, b"")
        assert await head(refused) == (402, b"")
        assert await head(await w.authenticate(payment)) == (409, b""), "it is paid, with another key"
        assert await w.captures(payment["payment_id"]) == 1


async def test_whoever_checks_the_link_that_the_pg_sends_a_buyer_to_takes_no_money(tmp_path: Path) -> None:
    await checked(tmp_path)


async def test_control_checks_the_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "is_head", lambda _: False)
    with pytest.raises(AssertionError):
        await checked(tmp_path)


async def test_head_of_what_only_takes_is_refused(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        answer = await w.http.head("/v1/orders/ord_x/cancel", headers=w.auth())
        assert (answer.status_code, answer.content) == (405, b"")
        assert set(answer.headers["allow"].split(", ")) == {"POST", "OPTIONS"}


async def test_a_head_is_counted_by_its_route(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        await w.http.head("/v1/products/1")

        async def counted() -> bool:
            text = (await w.http.get("/metrics")).text
            return 'qc_http_seconds_count{method="HEAD",route="/v1/products/{product_id}",status="200"}' in text

        await w.until("it is counted", counted, within_s=5)
