"""Mismatches of PG, payments and orders, made on purpose: through the PG's own doors, in its ledger, in our rows."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2

from flow.acts import deliver, paid, refund, to_pay
from quickcommerce.catalog.model import Entry
from quickcommerce.kit.clock import SECOND_US
from quickcommerce.kit.ids import PaymentId
from quickcommerce.payment.reconcile import Looked, Report
from quickcommerce.payment.reconcile_model import SETTLE_S, Kind, Span
from quickcommerce.payment.store import Attempt, start
from world import EPOCH_US, World

GOODS = [Entry(1, "우유 1L", 2_900, 1_000_000, "Milk 1L", "dairy")]
Payment = dict[str, Any]


async def at_pg(w: World, *statements: tuple[str, tuple[object, ...]]) -> None:
    """Change the PG's ledger."""
    emulator = w.app.flows.emulator
    assert emulator
    await emulator._store.run(lambda books: [books._execute(sql, params).fetchall() for sql, params in statements])


async def call_pg(w: World, path: str, **body: object) -> Any:
    """Ask the PG, as somebody with its console might."""
    answer: httpx2.Response = await w.http.post(f"/_toss/v1/payments/{path}", json=body, auth=("test_gsk_local", ""))
    assert answer.status_code == 200, answer.text
    return answer.json()


async def key_of(w: World, payment: Payment) -> str:
    """The key that a payment was captured under."""
    sql = "SELECT payment_key FROM payment WHERE payment_id = ?"
    row = await w.app.stores.payment.read(lambda tx: tx.one(sql, (payment["payment_id"],)))
    assert row
    return str(row[0])


async def captured_not_recorded(w: World) -> str:
    """Our attempt was declined, as we were told; and the PG captured it all the same."""
    _, payment, key = await to_pay(w)
    payment_id = PaymentId(payment["payment_id"])
    now = w.clock()

    async def declined(tx: Any) -> None:
        tried = Attempt(payment_id, 1, key, w.app.flows.ids.token(), None, "NOT_AVAILABLE_BANK", None, now, now)
        await start(tx, [tried])
        await tx.run("UPDATE payment_attempt SET outcome = 'declined' WHERE payment_id = ?", (payment_id,))
        sql = "UPDATE payment SET status = 'DECLINED', attempt = 1, declines = 1, payment_key = ? WHERE payment_id = ?"
        await tx.run(sql, (key, payment_id))

    await w.app.stores.payment.run(declined)
    await call_pg(w, "confirm", paymentKey=key, orderId=payment_id, amount=payment["amount"])
    return payment_id


async def recorded_not_captured(w: World) -> str:
    """The PG has lost a payment."""
    payment = await paid(w)
    key = await key_of(w, payment)
    await at_pg(
        w,
        ("DELETE FROM movement WHERE payment_key = ?", (key,)),
        ("DELETE FROM payment WHERE payment_key = ?", (key,)),
    )
    return str(payment["payment_id"])


async def amount(w: World) -> str:
    """The PG has another sum."""
    payment = await paid(w)
    key = await key_of(w, payment)
    await at_pg(
        w,
        ("UPDATE movement SET amount = amount + 1 WHERE payment_key = ?", (key,)),
        ("UPDATE payment SET amount = amount + 1 WHERE payment_key = ?", (key,)),
    )
    return str(payment["payment_id"])


async def cancel_missing_here(w: World) -> str:
    """Somebody gave a part back at the PG's console."""
    payment = await paid(w)
    await call_pg(w, f"{await key_of(w, payment)}/cancel", cancelReason="by hand", cancelAmount=1_000)
    return str(payment["payment_id"])


async def cancel_missing_there(w: World) -> str:
    """The PG has lost a refund."""
    payment = await paid(w)
    assert (await refund(w, payment, amount=1_000)).json()["status"] == "DONE"
    key = await key_of(w, payment)
    await at_pg(
        w,
        ("DELETE FROM cancel WHERE transaction_key IN (SELECT transaction_key FROM movement WHERE payment_key = ?)", (key,)),  # noqa: E501
        ("DELETE FROM movement WHERE payment_key = ? AND kind = 'cancel'", (key,)),
        ("UPDATE payment SET status = 'DONE' WHERE payment_key = ?", (key,)),
    )  # fmt: skip
    return str(payment["payment_id"])


async def orphan(w: World) -> str:
    """Somebody paid for what no shop of ours has sold."""
    payment_id = f"foreign-{w.app.flows.ids.token()}"
    key = await w.authenticate({"payment_id": payment_id, "amount": 5_800})
    await call_pg(w, "confirm", paymentKey=key, orderId=payment_id, amount=5_800)
    return payment_id


async def order_behind(w: World) -> str:
    """An order never heard that it is paid."""
    payment = await paid(w)
    sql = "DELETE FROM outbox WHERE subject = ?"
    await w.app.stores.payment.run(lambda tx: tx.run(sql, (payment["order_id"],)))
    return str(payment["payment_id"])


INJECT: dict[Kind, Callable[[World], Awaitable[str]]] = {
    Kind.CAPTURED_NOT_RECORDED: captured_not_recorded,
    Kind.RECORDED_NOT_CAPTURED: recorded_not_captured,
    Kind.AMOUNT: amount,
    Kind.CANCEL_MISSING_HERE: cancel_missing_here,
    Kind.CANCEL_MISSING_THERE: cancel_missing_there,
    Kind.ORPHAN: orphan,
    Kind.ORDER_BEHIND: order_behind,
}
"""How each kind comes about. Each returns what the PG calls orderId."""
HEALS = {Kind.CAPTURED_NOT_RECORDED, Kind.CANCEL_MISSING_HERE, Kind.ORDER_BEHIND}


async def inject(w: World, counts: dict[Kind, int]) -> set[tuple[Kind, str]]:
    """So many of each kind; all that is left to the bus was delivered."""
    made: set[tuple[Kind, str]] = set()
    for kind, count in counts.items():
        for begin in range(0, count, 50):
            found = await asyncio.gather(*(INJECT[kind](w) for _ in range(min(50, count - begin))))
            made |= {(kind, payment_id) for payment_id in found}
    await deliver(w)
    return made


async def settle() -> None:
    """Let so much time pass that nothing of now is too young to be compared."""
    await asyncio.sleep(SETTLE_S + 1)


async def reconcile(w: World, *, heal: bool = True) -> Report:
    """Compare everything there is."""
    report = Report()
    for span in w.app.flows.reconciling.spans(EPOCH_US - SECOND_US, w.clock()):
        report += await w.app.flows.reconciling.span(span, heal=heal)
    return report


def told(looked: tuple[Looked, ...]) -> set[tuple[Kind, str]]:
    """What was found: kinds and payments."""
    return {(each.seen.kind, each.seen.payment_id) for each in looked}


def whole(w: World) -> Span:
    """From the beginning up to what is old enough."""
    return Span(EPOCH_US - SECOND_US, w.clock() - SETTLE_S * SECOND_US)
