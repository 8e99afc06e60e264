"""Webhooks of the emulator in the shop's own process: only where they were asked for, and in virtual time."""

import asyncio
from itertools import pairwise
from pathlib import Path

import httpx2
import msgspec

from flow.acts import to_pay
from flow.process import process

URL = "http://shop.test/webhooks/toss"
MINUTES = (1, 4, 16, 64, 256, 1024, 4096)


class Deaf(httpx2.AsyncBaseTransport):
    """A shop that does not take its webhooks."""

    def __init__(self) -> None:
        self.came: list[tuple[str, float]] = []
        """The status that each tells of, and when it came."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        body = msgspec.json.decode(await request.aread())
        self.came.append((body["data"]["status"], asyncio.get_running_loop().time()))
        return httpx2.Response(503, request=request)


async def test_without_an_address_a_shop_gets_no_webhooks(tmp_path: Path) -> None:
    async with process(tmp_path, loops=False) as w:
        _, payment, key = await to_pay(w)
        assert (await w.confirm(payment, key)).status_code == 200
        await asyncio.sleep(3_600)
        assert (await w.http.get("/_toss/emulator/webhook")).json() == {"url": None, "webhooks": []}
        assert "webhook" not in {each["kind"] for each in (await w.ledger())["calls"]}


async def test_with_one_the_ladder_takes_its_three_days_of_virtual_time(tmp_path: Path) -> None:
    async with process(tmp_path, loops=False, pg_webhook_url=URL) as w:
        emulator, shop = w.app.flows.emulator, Deaf()
        assert emulator is not None
        await emulator.deliver_over(shop)
        _, payment, key = await to_pay(w)
        assert (await w.confirm(payment, key)).status_code == 200
        await asyncio.sleep(4 * 86_400)
        statuses, times = zip(*shop.came, strict=True)
        assert statuses == ("DONE",) * 8
        waited = [later - earlier for earlier, later in pairwise(times)]
        assert [round(each / 60) for each in waited] == list(MINUTES)
        [webhook] = (await w.http.get("/_toss/emulator/webhook")).json()["webhooks"]
        assert (webhook["state"], webhook["tries"]) == ("failed", 8)


async def test_a_virtual_account_that_nobody_pays_into_ends_in_virtual_time(tmp_path: Path) -> None:
    async with process(tmp_path, loops=False, pg_webhook_url=URL) as w:
        emulator, shop = w.app.flows.emulator, Deaf()
        assert emulator is not None
        await emulator.deliver_over(shop)
        body = {"orderId": "order-0001", "amount": 7_300, "method": "VIRTUAL_ACCOUNT", "validHours": 2}
        key = (await w.http.post("/_toss/emulator/authenticate", json=body)).json()["paymentKey"]
        asked = {"paymentKey": key, "orderId": "order-0001", "amount": 7_300}
        answer = await w.http.post("/_toss/v1/payments/confirm", json=asked, auth=("test_gsk_local", ""))
        assert answer.json()["status"] == "WAITING_FOR_DEPOSIT"
        began = asyncio.get_running_loop().time()
        await asyncio.sleep(7_205)
        assert [(status, round(at - began)) for status, at in shop.came] == [("EXPIRED", 7_200)]
