"""What buyers do in scenarios, and what a scenario keeps an eye on."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from typing import Any
from unittest.mock import patch

import httpx2

from flow.invariants import always
from flow.truth import untaken
from quickcommerce.kit import outbox
from quickcommerce.kit.bus import Subscription
from quickcommerce.kit.db import Tx
from quickcommerce.kit.outbox import Message
from world import World

MILK, EGGS, BANANAS, BEEF = 1, 2, 3, 4


async def order(w: World, lines: Sequence[tuple[int, int]] = ((MILK, 2),), *, user: int = 7) -> dict[str, Any]:
    """Place an order."""
    answer = await w.order(lines, user=user)
    assert answer.status_code == 201, answer.text
    placed: dict[str, Any] = answer.json()
    return placed


async def payment_of(w: World, placed: dict[str, Any]) -> dict[str, Any]:
    """The payment of an order, as its buyer sees it."""
    found: dict[str, Any] = await w.get(f"/v1/orders/{placed['order_id']}/payment", user=placed["user_id"])
    return found


async def to_pay(w: World, lines: Sequence[tuple[int, int]] = ((MILK, 2),)) -> tuple[str, dict[str, Any], str]:
    """An order whose buyer has authenticated: its id, its payment, and the payment key."""
    placed = await order(w, lines)
    payment = await payment_of(w, placed)
    return placed["order_id"], payment, await w.authenticate(payment)


async def paid(w: World) -> dict[str, Any]:
    """A payment of 5,800 won that is captured."""
    _, payment, key = await to_pay(w)
    assert (await w.confirm(payment, key)).status_code == 200
    return payment


async def taken(w: World, product_id: int, units: int, *, user: int = 8) -> str:
    """Somebody else buys what was let go, and keeps it. Returns their order's id."""
    placed = await order(w, [(product_id, units)], user=user)
    payment = await payment_of(w, placed)
    body = {"payment_key": await w.authenticate(payment), "amount": payment["amount"]}
    url = f"/v1/payments/{payment['payment_id']}/confirm"
    assert (await w.http.post(url, json=body, headers=w.auth(user))).status_code == 200
    await w.until_status(placed["order_id"], "PAID")
    return str(placed["order_id"])


async def refund(w: World, payment: dict[str, Any], *, key: str | None = None, **body: Any) -> httpx2.Response:
    """Ask for money back: all that is left, or `amount` won."""
    headers = w.auth() | ({"Idempotency-Key": key} if key else {})
    url = f"/v1/payments/{payment['payment_id']}/refunds"
    return await w.http.post(url, json={"reason": "changed my mind"} | body, headers=headers)


async def cancel(w: World, order_id: str, *, user: int = 7) -> httpx2.Response:
    """Ask for an order to be cancelled."""
    return await w.http.post(f"/v1/orders/{order_id}/cancel", headers=w.auth(user))


@contextmanager
def pg_client(w: World, **calls: Any) -> Iterator[None]:
    """Meanwhile these calls stand in for those of the PG's client, in every process."""
    with ExitStack() as stack:
        for app in w.apps:
            for name, call in calls.items():
                stack.enter_context(patch.object(app.flows.toss, name, call))
        yield


async def deliver(w: World) -> None:
    """Take every event that there is, where no loop does it."""
    while [each for subscription in w.app.parts.subscriptions for each in await untaken(subscription)]:
        for subscription in w.app.parts.subscriptions:
            await subscription.step()


async def every(w: World, subscription: Subscription) -> list[Message]:
    """Everything that a group could ever be given, in order: what has left the outbox, and what is there."""
    everything = dict.fromkeys(range(outbox.SHARDS), 0)
    waiting = await subscription.source.read(lambda tx: outbox.after(tx, everything, 10_000))
    left = w.log.get(subscription.source.name, {})
    return [*left.values(), *(each for each in waiting if each.id not in left)]


async def nothing(_: Tx) -> None:
    """In place of moving a cursor: it stays where it is."""


def set_clock(w: World, at_us: int) -> None:
    """Make it exactly this time."""
    w.clock.offset_us += at_us - w.clock()


async def calls(w: World, kind: str) -> int:
    """How many calls of a kind have arrived at the PG."""
    return sum(each["kind"] == kind for each in (await w.ledger())["calls"])


@asynccontextmanager
async def kept(w: World, product_id: int, units: int, *, every_s: float = 0.5) -> AsyncIterator[None]:
    """While this lasts, these units are held or sold at every look, and all that always holds does hold."""

    async def watch() -> None:
        while True:
            _, reserved, sold = await w.stock(product_id)
            assert reserved + sold == units, f"{units} were bought, and {reserved} are held, {sold} sold"
            await always(w)
            await asyncio.sleep(every_s)

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
