"""A shop that is told by its PG, and by others who say that they are the PG."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import httpx2

from flow.acts import pg_client, to_pay
from flow.probe import Probe
from flow.process import process
from flow.truth import Row, rows
from quickcommerce.payment.model import Asked, Reading, Reply, Unknown, Unreadable
from world import Clock, World

URL = "http://shop.test/webhooks/toss"
ID = "tosspayments-webhook-transmission-id"
_numbers = count()
_COLUMNS = "transmission_id payment_id attempt event_type status state tries due_us lease_token"


class Beside(httpx2.AsyncBaseTransport):
    """The way of others, left open when one who goes it is done."""

    def __init__(self, way: httpx2.AsyncBaseTransport) -> None:
        self._way = way

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        return await self._way.handle_async_request(request)


@asynccontextmanager
async def told(
    folder: Path, probe: Probe | None = None, clock: Clock | None = None, **settings: Any
) -> AsyncIterator[World]:
    """A shop whose PG tells it of every payment."""
    async with process(folder, probe, clock, pg_webhook_url=URL, **settings) as w:
        await listen(w)
        yield w


async def listen(w: World) -> None:
    """What the PG tells reaches this shop from now on."""
    emulator = w.app.flows.emulator
    assert emulator
    await emulator.deliver_over(Beside(w.http._transport))


async def say(
    w: World, body: Any, transmission_id: str | None = None, headers: dict[str, str] | None = None
) -> httpx2.Response:
    """Tell the shop something; under an id of its own where none is given."""
    sent = {ID: transmission_id or f"made-up-{next(_numbers)}"} | (headers or {})
    return await w.http.post("/webhooks/toss", json=body, headers=sent)


def changed(payment: dict[str, Any], **facts: Any) -> dict[str, Any]:
    """The body of a PAYMENT_STATUS_CHANGED about this payment of the PG, with other facts."""
    return {
        "eventType": "PAYMENT_STATUS_CHANGED",
        "createdAt": "2026-01-01T09:00:00.000000",
        "data": payment | facts,
    }


async def at_pg(w: World, key: str) -> dict[str, Any]:
    """A payment as the PG tells it to whoever has the shop's secret key."""
    answer = await w.http.get(f"/_toss/v1/payments/{key}", auth=("test_gsk_local", ""))
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def kept(w: World) -> list[Row]:
    """The webhooks that are kept."""
    return await rows(w.app.stores.payment, _COLUMNS, "webhook")


async def states(w: World) -> list[str]:
    """What became of each."""
    return [each["state"] for each in await kept(w)]


async def read(w: World) -> None:
    """Look into every webhook that is due, where no loop does it."""
    while await w.app.flows.webhook_reading.step():
        pass


async def reads(w: World) -> int:
    """How often the PG was asked about a payment."""
    return sum(each["kind"] == "get" for each in (await w.ledger())["calls"])


async def unknown(w: World, *, captured: bool) -> tuple[str, dict[str, Any], str]:
    """An order whose capture has no outcome yet, and cannot be read at first; whether the PG captured it."""
    order_id, payment, key = await to_pay(w)
    confirm = w.app.flows.toss.confirm

    async def lost(asked: Asked) -> Reply:
        if captured:
            await confirm(asked)
        return Unknown("NO_ANSWER", "cut")

    async def unread(_: Asked) -> Reading:
        return Unreadable("cut")

    with pg_client(w, confirm=lost, read=unread):
        assert (await w.confirm(payment, key)).status_code == 202
    return order_id, payment, key
