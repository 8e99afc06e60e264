"""HEAD tells what GET would, without the body: whoever checks a link or a size asks so."""

import asyncio
from pathlib import Path

import pytest

from .routes import ROUTES, Route, scene, send
from .shop import shop

READ = [route for route in ROUTES if route.method == "GET"]
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
