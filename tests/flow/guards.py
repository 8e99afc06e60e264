"""One scenario for each guard: what a buyer or the shop would lose if it were not there.

A guard is seen only where something goes wrong at the worst moment. SQLite has one writer, so where the worst moment
is between a read and a write of one transaction, the scenario stages it: it hands out the row as it was read before
another actor changed it, as a database with many writers would.
"""

import asyncio
import dataclasses
from pathlib import Path
from unittest.mock import patch

from flow.acts import (
    BEEF,
    MILK,
    calls,
    deliver,
    every,
    kept,
    nothing,
    order,
    paid,
    payment_of,
    pg_client,
    refund,
    set_clock,
    to_pay,
)  # fmt: skip
from flow.invariants import always, check
from flow.probe import Probe
from flow.process import process
from flow.staging import Misinformed, forgetful_orders, stale_order, stale_payment, stale_stock, unchecked
from flow.truth import rest, rows
from quickcommerce.kit.clock import SECOND_US, from_rfc3339
from quickcommerce.kit.db import Row, Tx
from quickcommerce.kit.ids import OrderId
from quickcommerce.order import timeline_store
from quickcommerce.payment.model import Asked, Found, Reading, Reply, Unknown
from quickcommerce.payment.running import Running


async def stock_check(folder: Path) -> None:
    """Two lists of orders saw the same five pieces of beef."""
    async with process(folder, loops=False) as w:
        unchecked(w)
        assert (await w.order([(BEEF, 5)], user=7)).status_code == 201
        with stale_stock({BEEF: 5}):
            second = await w.order([(BEEF, 5)], user=8)
        assert second.status_code == 409, "five pieces of beef are sold to two buyers"
        assert await w.stock(BEEF) == (5, 5, 0)
        await always(w)


async def idempotency_row(folder: Path) -> None:
    """A buyer's first answer was lost on the way, and their phone asks again."""
    async with process(folder) as w:
        first = await w.order([(MILK, 2)], key="tap")
        again = await w.order([(MILK, 2)], key="tap")
        assert again.json()["order_id"] == first.json()["order_id"], "one tap, two orders, two bills"
        assert (again.status_code, again.content) == (first.status_code, first.content)
        assert await w.stock(MILK) == (1_000, 2, 0)
        await rest(w)
        await check(w)


async def inbox(folder: Path) -> None:
    """The news that paying has started comes a second time, after the card was refused."""
    async with process(folder, loops=False) as w:
        placed = await order(w)
        payment = await payment_of(w, placed)
        await w.confirm(payment, await w.authenticate(payment, method="CARD_REFUSED"))
        await deliver(w)
        assert await w.status(placed["order_id"]) == "PLACED"
        _, to_order, _ = w.app.parts.subscriptions
        started = (await every(w, to_order))[:1]
        assert [each.type for each in started] == ["PaymentStarted"]
        # What the order itself remembers, the last line of defence, is taken away: here the first one is looked at.
        with forgetful_orders():
            await to_order.consumer.deliver(started, nothing)
        assert await w.status(placed["order_id"]) == "PLACED", "the order says that it is being paid, and nobody pays"
        await deliver(w)
        await check(w)


async def lease_token(folder: Path) -> None:
    """A worker is frozen while it reads the PG; another takes over; the first one wakes, with old news."""
    probe = Probe()
    async with process(folder, probe, loops=False) as w:
        order_id, payment, key = await to_pay(w)
        await w.faults(confirm=[{"kind": "drop-before"}], get=[{"kind": "drop-before"}])
        assert (await w.confirm(payment, key)).json()["status"] == "UNKNOWN"
        pg = Misinformed()
        captures = w.app.flows.captures
        frozen = dataclasses.replace(captures, pg=pg, running=Running())
        w.clock.jump(5)
        await frozen.due()
        await pg.asked.wait()
        w.clock.jump(100)
        gate = probe.hold("pg confirm")
        await captures.due()
        await gate.reached.wait()
        pg.answer.set()
        await frozen.drain(60)
        told = (await payment_of(w, {"order_id": order_id, "user_id": 7}))["status"]
        assert told != "DECLINED", "another worker is capturing, and the buyer is told to take another card"
        gate.open.set()
        await captures.drain(60)
        assert await w.captures(payment["payment_id"]) == 1
        now = await payment_of(w, {"order_id": order_id, "user_id": 7})
        assert now["status"] == "CAPTURED", f"the buyer is charged, and told that the payment is {now['status']}"
        await deliver(w)
        await check(w)


async def state_in_where(folder: Path) -> None:
    """The buyer comes back in the same moment in which the order's time ends."""
    async with process(folder, loops=False) as w:
        placed = await order(w)
        payment = await payment_of(w, placed)
        key = await w.authenticate(payment)
        as_read = await w.app.flows.payments.get(payment["payment_id"])
        set_clock(w, from_rfc3339(placed["expires_at"]))
        await w.app.flows.orders.expire()
        assert await w.status(placed["order_id"]) == "EXPIRED"
        # A second is left: where the database undoes the work, it is run again a moment later.
        set_clock(w, from_rfc3339(placed["expires_at"]) - SECOND_US)
        with stale_payment(as_read):
            await w.confirm(payment, key)
        assert await calls(w, "confirm") == 0, "the buyer is charged for goods that went back to the shelf"
        await deliver(w)
        await check(w)


async def unwritten(*_: object) -> None:
    """In place of writing to the timeline."""


async def order_state_in_where(folder: Path) -> None:
    """The news that paying has started is handled on a reading of the order from before it was paid."""
    async with process(folder, loops=False) as w:
        order_id, payment, key = await to_pay(w)
        before = (await w.app.flows.book.rows([OrderId(order_id)]))[OrderId(order_id)]
        _, to_order, _ = w.app.parts.subscriptions
        assert (await w.confirm(payment, key)).status_code == 200
        await deliver(w)
        started = [each for each in await every(w, to_order) if each.type == "PaymentStarted"]
        late = dataclasses.replace(to_order.consumer, name="late")  # type: ignore[type-var]
        told = await w.app.stores.shop.read(outbox_rows)
        # The timeline's own key, the last line of defence, is taken away: here the first one is looked at.
        with stale_order(before), patch.object(timeline_store, "record", unwritten):
            await late.deliver(started, nothing)
        status = await w.status(order_id)
        assert status == "PAID", f"the order is paid, and its buyer is told that it is {status}"
        assert await w.app.stores.shop.read(outbox_rows) == told, "a change is told that did not happen"
        await deliver(w)


async def outbox_rows(tx: Tx) -> Row | None:
    return await tx.one("SELECT COUNT(*) FROM outbox")


async def amount_check(folder: Path) -> None:
    """A buyer authenticates 100 won, and changes the amount in the address that leads back to the shop."""
    async with process(folder) as w:
        placed = await order(w)
        payment = await payment_of(w, placed)
        key = await w.authenticate(payment | {"amount": 100})
        answer = await w.confirm(payment, key, amount=100)
        assert await calls(w, "confirm") == 0, "the PG is asked for a sum that nobody asked the buyer for"
        assert (answer.status_code, answer.json()["code"]) == (409, "amount-mismatch")
        await rest(w)
        await check(w)


async def amount_read_back(folder: Path) -> None:
    """The PG says that it has captured, but another sum than was asked."""
    async with process(folder) as w:
        order_id, payment, key = await to_pay(w)

        async def confirm(_: Asked) -> Reply:
            return Unknown("NO_ANSWER", "")

        async def read(asked: Asked) -> Reading:
            return Found(asked.payment_key, asked.payment_id, 100, "KRW", "DONE", "", "")

        with pg_client(w, confirm=confirm, read=read):
            await w.confirm(payment, key)
            await asyncio.sleep(30)
            assert await w.status(order_id) == "PAYING", "goods for 5,800 won go out for 100"
        assert (await rows(w.app.stores.payment, "status captured", "payment")) == [
            {"status": "UNKNOWN", "captured": 0}
        ]


async def read_back(folder: Path) -> None:
    """The capture happened, and neither its reply nor the first reading came through."""
    async with process(folder) as w:
        order_id, payment, key = await to_pay(w)
        await w.faults(confirm=[{"kind": "drop-after"}], get=[{"kind": "drop-before"}])
        await w.confirm(payment, key)
        await w.until_status(order_id, "PAID", within_s=90)
        assert await calls(w, "confirm") == 1, "a PG that has forgotten the key would charge the card again"
        await rest(w)
        await check(w)


async def close_before_release(folder: Path) -> None:
    """The order's time ends while the PG takes its time to capture."""
    async with process(folder, payment_window_s=30) as w:
        order_id, payment, key = await to_pay(w)
        await w.faults(confirm=[{"kind": "slow", "ms": 45_000}])
        async with kept(w, MILK, 2):
            await w.confirm(payment, key)
            await asyncio.sleep(60)
        assert await w.captures(payment["payment_id"]) == 1
        assert await w.status(order_id) == "PAID"
        await rest(w)
        await check(w)


async def refund_sum(folder: Path) -> None:
    """Two requests for all of the money saw the payment before either was written."""
    async with process(folder, loops=False) as w:
        payment = await paid(w)
        # The last line of defence, the PG's own, is looked at elsewhere: it is slow here, and comes too late.
        await w.faults(cancel=[{"kind": "slow", "ms": 10_000}])
        as_read = await w.app.flows.payments.get(payment["payment_id"])
        with stale_payment(as_read):
            answers = [await refund(w, payment, amount=5_800) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [201, 409], "the buyer is promised their money twice"
        await always(w)


async def refund_lease(folder: Path) -> None:
    """A worker is frozen while it reads the PG; another takes over; the first one wakes, with old news."""
    probe = Probe()
    async with process(folder, probe, loops=False) as w:
        payment = await paid(w)
        await w.faults(cancel=[{"kind": "drop-before"}], get=[{"kind": "drop-before"}])
        assert (await refund(w, payment, amount=5_000)).json()["status"] == "PENDING"
        pg = Misinformed()
        refunding = w.app.flows.refunding
        frozen = dataclasses.replace(refunding, pg=pg, running=Running())
        w.clock.jump(5)
        await frozen.due()
        await pg.asked.wait()
        w.clock.jump(100)
        gate = probe.hold("pg cancel")
        await refunding.due()
        await gate.reached.wait()
        pg.answer.set()
        await frozen.drain(60)
        gate.open.set()
        await refunding.drain(60)
        found = await rows(w.app.stores.payment, "status amount", "refund")
        assert found == [{"status": "DONE", "amount": 5_000}], f"the shop believes what is not so any more: {found}"
        await deliver(w)
        await check(w)


async def refund_read_back(folder: Path) -> None:
    """The money went back, and neither the reply nor the first reading came through."""
    async with process(folder) as w:
        payment = await paid(w)
        await w.faults(cancel=[{"kind": "drop-after"}], get=[{"kind": "drop-before"}])
        await refund(w, payment, amount=1_000)
        await asyncio.sleep(60)
        assert await calls(w, "cancel") == 1, "a PG that has forgotten the key would give the money back again"
        await rest(w)
        await check(w)
