"""An order's page that follows it: it hears of every change, and costs next to nothing however many are open."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from quickcommerce.kit.ids import OrderId
from quickcommerce.kit.problem import Unavailable
from quickcommerce.shop import live
from quickcommerce.shop.live import HEARTBEAT_S, LIFE_S
from world import World

from .routes import auth
from .shop import pay, shop


async def follow(w: World, order: Any) -> AsyncIterator[bytes]:
    rows = await w.app.flows.book.rows([OrderId(order["order_id"])])
    return w.app.flows.live.follow(rows[OrderId(order["order_id"])])


def told(stream: bytes) -> list[dict[str, Any]]:
    lines = stream.decode().splitlines()
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith('data: {"v')]


async def test_every_change_is_told_and_the_end_is_the_end(tmp_path: Path) -> None:
    async with shop(tmp_path) as w:
        order = (await w.order()).json()
        url = f"/orders/{order['order_id']}/events"
        watching = asyncio.create_task(w.http.get(url, headers=auth(w, "owner")))
        await asyncio.sleep(5)
        assert not watching.done()
        await w.http.post(f"/v1/orders/{order['order_id']}/cancel", headers=w.auth())
        answer = await watching
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        assert [(each["version"], each["status"]) for each in told(answer.content)] == [(1, "PLACED"), (2, "CANCELLED")]
        assert answer.text.endswith("event: end\ndata: {}\n\n")
        again = await w.http.get(url, headers=auth(w, "owner"))
        assert [each["status"] for each in told(again.content)] == ["CANCELLED"]


async def test_a_buyer_sees_it_become_paid(tmp_path: Path) -> None:
    async with shop(tmp_path) as w:
        order = (await w.order()).json()
        watching = asyncio.create_task(w.http.get(f"/orders/{order['order_id']}/events", headers=auth(w, "owner")))
        await asyncio.sleep(1)
        await pay(w, order)
        assert [each["status"] for each in told((await watching).content)][-1] == "PAID"


async def test_a_stream_beats_and_does_not_last_for_ever(tmp_path: Path) -> None:
    """A proxy cuts what is silent; a session that has ended must not be followed for ever."""
    async with shop(tmp_path, loops=False) as w:
        began = asyncio.get_running_loop().time()
        parts = [part async for part in await follow(w, (await w.order()).json())]
        assert asyncio.get_running_loop().time() - began == pytest.approx(LIFE_S)
        assert parts[1:] == [b": \n\n"] * int(LIFE_S / HEARTBEAT_S), "and no end: the browser asks again"


async def test_a_shop_that_stops_ends_every_stream(tmp_path: Path) -> None:
    async with shop(tmp_path) as w:
        order = (await w.order()).json()
        watching = asyncio.create_task(w.http.get(f"/orders/{order['order_id']}/events", headers=auth(w, "owner")))
        await asyncio.sleep(1)
        began = asyncio.get_running_loop().time()
        w.app.drain()
        answer = await watching
        assert asyncio.get_running_loop().time() == began
        assert "event: end" not in answer.text, "another process goes on"


async def test_a_thousand_watchers_cost_a_few_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with shop(tmp_path, loops=False) as w:
        orders = [(await w.order([(1, 1)], user=n)).json() for n in range(1, 11)]
        streams = [await follow(w, orders[n % 10]) for n in range(1_000)]
        for stream in streams:
            await anext(stream)
        reads = 0
        scan = w.app.flows.book.db.scan

        async def counting(work: Any) -> Any:
            nonlocal reads
            reads += 1
            return await scan(work)

        monkeypatch.setattr(w.app.flows.book.db, "scan", counting)
        cancelled = await w.http.post(f"/v1/orders/{orders[3]['order_id']}/cancel", headers=w.auth(4))
        assert cancelled.status_code == 200
        before = reads
        await w.app.flows.live.step()
        assert reads == before + 1
        heard = [await anext(stream) for stream in streams[3::10]]
        assert {told(each)[0]["status"] for each in heard} == {"CANCELLED"}
        for stream in streams:
            await stream.aclose()  # type: ignore[attr-defined]
        await w.app.flows.live.step()
        assert reads == before + 1, "nobody watches, nothing is read"


async def test_more_watchers_than_there_is_room_for_are_told_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with shop(tmp_path, loops=False) as w:
        monkeypatch.setattr(live, "WATCHERS_MAX", 1)
        order = (await w.order()).json()
        stream = await follow(w, order)
        await anext(stream)
        with pytest.raises(Unavailable):
            await follow(w, order)
        await stream.aclose()  # type: ignore[attr-defined]
        await anext(await follow(w, order))
