"""Round trips to a real MariaDB, counted: each costs both sides more than most statements do. And what travels
together is run in its order: nothing is read before its lock is held, no sale before the price that it is under.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import pytest
from msgspec.structs import replace
from prometheus_client import REGISTRY

from quickcommerce.app import App
from quickcommerce.catalog import flow as catalog_flow
from quickcommerce.catalog.model import Entry
from quickcommerce.kit import outbox
from quickcommerce.kit.auth import Caller, Role
from quickcommerce.kit.clock import system_clock
from quickcommerce.kit.db import Database, T, Tx
from quickcommerce.kit.idempotency import Claim
from quickcommerce.kit.ids import OrderId
from quickcommerce.kit.mariadb import MariaDb
from quickcommerce.kit.outbox import Message, Relay
from quickcommerce.kit.problem import InvalidState
from quickcommerce.kit.sql import both
from quickcommerce.order import place
from quickcommerce.order.model import Basket, Want
from quickcommerce.order.placing import Placed, Placing
from quickcommerce.payment import store as payment_store
from quickcommerce.payment.attempts import Begun, Confirming, Joined
from quickcommerce.payment.capture import Captures
from quickcommerce.payment.model import Captured, Declined, Status
from quickcommerce.payment.opening import Opening
from quickcommerce.payment.outcomes import Outcomes, Result, Settled
from quickcommerce.payment.store import Payment
from quickcommerce.toss_emulator import AppTransport
from relays import settled
from servers.mariadb.shop import built

GOODS = [Entry(product_id, f"goods {product_id}", 1_000, 1_000_000) for product_id in range(1, 201)]
LIST, LOCKED_LIST = 2, 6
"""What is read before the decision; what is written, with the COMMIT. With the rows locked these are taken one after
another."""
EXPIRY = 5
"""Those that are due; their lease, and its COMMIT; the leased rows; all that is written."""
SHELF = ["idempotency", "product", "time_sale", "product"]
"""The tables that a list of orders looks at first, in this order."""
A = TypeVar("A")
B = TypeVar("B")


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    app = built(tmp_path, 0)
    await app.migrate()
    await app.flows.catalog.put(GOODS)
    await app.flows.place.place(orders(app, 1, {1}, first=999))  # opens a connection
    yield app
    await app.stores.shop.close()
    await app.stores.payment.close()


def orders(app: App, count: int, products: Collection[int], *, first: int = 1) -> list[Placing]:
    """Orders of different buyers, with keys, of so many goods in all."""
    return [
        Placing(
            app.flows.ids.order(), user,
            Basket([Want(each, 1) for each in products if each % count == user % count]), Claim(user, "key", "print"),
            "0" * 32,
        )
        for user in range(first, first + count)
    ]  # fmt: skip


async def trips(db: Database, work: Callable[[], Awaitable[T]]) -> tuple[int, T]:
    """How many round trips something takes, and what it gives."""

    def told() -> float:
        return REGISTRY.get_sample_value("qc_db_round_trips_total", {"db": db.name}) or 0.0

    before = told()
    given = await work()
    return int(told() - before), given


async def round_trips(app: App, requests: list[Placing]) -> tuple[int, int]:
    """How many a list took, and how many of its orders were placed."""
    taken, answers = await trips(app.stores.shop, lambda: app.flows.place.place(requests))
    return taken, sum(isinstance(answer, Placed) for answer in answers)


@contextmanager
def listening(db: Database) -> Iterator[list[list[str]]]:
    """What is sent meanwhile: a list of statements for each flight."""
    assert isinstance(db, MariaDb)
    ask, sent = db._ask, list[list[str]]()

    async def heard(role: str, connection: Any, flight: Sequence[str]) -> Any:
        sent.append(list(flight))
        return await ask(role, connection, flight)

    db._ask = heard  # type: ignore[method-assign]
    yield sent
    db._ask = ask  # type: ignore[method-assign]


def tables(flight: Sequence[str]) -> list[str]:
    """Which table each statement of a flight looks at first."""
    return [found[1] for sql in flight if (found := re.search(r"FROM (\w+)", sql))]


@pytest.mark.parametrize("count", [1, 2, 64])
async def test_a_list_of_orders_takes_as_many_whatever_their_number_and_that_of_their_goods(
    app: App, count: int
) -> None:
    for goods in (range(1, count + 1), range(1, 201)):
        requests = orders(app, count, goods, first=len(goods) * 1_000)
        assert await round_trips(app, requests) == (LIST, count)
        repeats = [Placing(app.flows.ids.order(), one.user_id, one.basket, one.claim, one.trace) for one in requests]
        assert await round_trips(app, repeats) == (3, count), "the keys and the goods, the answers of then, COMMIT"


@pytest.mark.parametrize("count", [1, 2, 64])
async def test_a_list_that_lost_a_race_takes_as_many_with_its_rows_locked_whatever_the_number_of_its_orders(
    app: App, count: int
) -> None:
    requests = orders(app, count, range(1, 201), first=1_000)
    taken, answers = await trips(app.stores.shop, lambda: app.flows.place._transact(requests, locked=True))
    assert (taken, len(answers)) == (LOCKED_LIST, count)


async def looked_at(app: App, *, locked: bool) -> list[list[str]]:
    """The tables at which a list of orders looks, flight by flight."""
    requests = orders(app, 4, range(1, 4))
    with listening(app.stores.shop) as sent:
        await app.flows.place._transact(requests, locked=locked)
    return [found for flight in sent if (found := tables(flight))]


async def in_their_order(app: App) -> None:
    """A sale is looked for behind the price that it changes: one that is announced in between makes that an old one."""
    assert (await looked_at(app, locked=False))[0] == SHELF


async def behind_the_lock(app: App) -> None:
    """What is there is looked at when its row is locked already, in another flight: side by side it would not be."""
    flights = await looked_at(app, locked=True)
    assert ["product"] in flights, f"what is there is looked at beside the lock: {flights}"


async def test_a_sale_is_looked_for_behind_the_price_that_it_changes(app: App) -> None:
    await in_their_order(app)


async def swapped(tx: Tx, one: Coroutine[Any, Any, A], other: Coroutine[Any, Any, B]) -> tuple[A, B]:
    """In place of `both`: the other one first."""
    second, first = await both(tx, other, one)
    return first, second


async def test_control_the_order_of_price_and_sale(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog_flow, "both", swapped)
    with pytest.raises(AssertionError):
        await in_their_order(app)


async def test_what_is_there_is_looked_at_when_its_rows_are_locked(app: App) -> None:
    await behind_the_lock(app)


async def test_control_stock_behind_the_lock(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    async def side_by_side(self: place.Place, tx: Tx, requests: Any, now: int, *, locked: bool) -> Any:
        products = sorted({want.product_id for request in requests for want in request.basket.lines})
        offers = self.prices.offers(tx, products, now, locked=locked)
        return await both(tx, offers, self.reservations.available(tx, products))

    monkeypatch.setattr(place.Place, "_shelf", side_by_side)
    with pytest.raises(AssertionError, match="looked at beside the lock"):
        await behind_the_lock(app)


async def unpaid(app: App, count: int, first: int) -> list[Confirming]:
    """Confirms of so many payments that were just made."""
    placed = orders(app, count, range(1, 201), first=first)
    await app.flows.place.place(placed)
    rows = await app.flows.book.rows([each.order_id for each in placed])
    return confirms_of(app, await app.flows.payments.openings.open([Opening(*row) for row in rows.items()]))


def confirms_of(app: App, payments: Iterable[Payment]) -> list[Confirming]:
    """A confirm of each of these payments."""
    return [
        Confirming(each.payment_id, f"key {each.payment_id}", each.amount, None, "0" * 32, app.flows.ids.token())
        for each in payments
    ]


@pytest.mark.parametrize("count", [1, 2, 40])
async def test_captures_of_a_list_take_as_many_whatever_their_number(app: App, count: int) -> None:
    db = app.stores.payment
    await unpaid(app, 1, first=1)
    confirms = await unpaid(app, count, first=100)
    took, begun = await trips(db, lambda: app.flows.captures.attempts.begin(confirms))
    attempts = [each for each in begun if isinstance(each, Begun)]
    assert (took, len(attempts)) == (2, count), "the locked payments with their attempts, all that is written"
    results = [Result(each.payment, Captured(each.attempt.payment_key)) for each in attempts]
    took, ended = await trips(db, lambda: outcomes(app.flows.captures).settle(results))
    assert (took, len(ended)) == (1, count), "all that is written"
    assert all(each.mine for each in ended)


def outcomes(captures: Captures) -> Outcomes:
    """Those that commit what came of captures."""
    found = captures.settling._handle.__self__  # type: ignore[attr-defined]
    assert isinstance(found, Outcomes)
    return found


def changed(flight: Sequence[str]) -> list[str]:
    """The payments that a flight changes, in its order."""
    ours = [sql for sql in flight if sql.startswith("UPDATE payment SET")]
    return [found[1] for sql in ours if (found := re.search(r"WHERE payment_id = '(\w+)'", sql))]


async def waiting(db: Database) -> list[Message]:
    """What is in an outbox."""
    return await db.read(lambda tx: outbox.after(tx, dict.fromkeys(range(outbox.SHARDS), 0), 10_000))


async def taken(app: App, group: str, messages: list[Message]) -> int:
    """How many round trips it takes a group to take events as a list."""
    consumer = app.parts.consumers[group]
    return (await trips(consumer.db, lambda: consumer.deliver(messages, settled)))[0]


@pytest.mark.parametrize("count", [1, 2, 40])
async def test_the_events_of_a_list_take_as_many_to_the_payments_and_back_whatever_their_number(
    app: App, count: int
) -> None:
    shop, payment = app.stores.shop, app.stores.payment
    await taken(app, "payment", await waiting(shop))  # opens a connection
    await shop.run(lambda tx: tx.run("DELETE FROM outbox"))
    await app.flows.place.place(orders(app, count, range(1, 201), first=100))
    placed = await waiting(shop)
    assert (await taken(app, "payment", placed), len(placed)) == (3, count), "the inbox, the payments, the rest"
    paying = await payment.read(lambda tx: payment_store.of_orders(tx, [OrderId(each.subject) for each in placed]))
    begun = await app.flows.captures.attempts.begin(confirms_of(app, paying.values()))
    attempts = [each for each in begun if isinstance(each, Begun)]
    results = [Result(each.payment, Captured(each.attempt.payment_key)) for each in attempts]
    await outcomes(app.flows.captures).settle(results)
    paid = await waiting(payment)
    assert (await taken(app, "order", paid), len(paid)) == (4, 2 * count), (
        "the inbox, the orders that are begun, those that are paid, all that is written last"
    )


@pytest.mark.parametrize("count", [1, 40])
async def test_a_step_of_the_relay_takes_as_many_whatever_the_number_of_events(app: App, count: int) -> None:
    await app.flows.place.place(orders(app, count, range(1, 201), first=100))
    sent: list[Message] = []

    async def publish(messages: list[Message]) -> int:
        sent.extend(messages)
        return len(messages)

    relay = Relay(app.stores.shop, publish, system_clock, app.flows.ids, lease_s=10, list_max=100)
    assert (await trips(app.stores.shop, relay.step))[0] == 6
    assert sent


async def test_a_second_outcome_of_a_payment_in_a_list_finds_what_the_first_made_of_it(app: App) -> None:
    confirms = await unpaid(app, 2, first=100)
    begun = [each for each in await app.flows.captures.attempts.begin(confirms) if isinstance(each, Begun)]
    captured = [Result(each.payment, Captured(each.attempt.payment_key)) for each in begun]
    declined = Result(begun[1].payment, Declined("REJECT_CARD_PAYMENT", "no"))
    ended: list[Settled] = await outcomes(app.flows.captures).settle([captured[0], declined, *captured])
    assert [each.mine for each in ended] == [True, True, False, True]
    found = [(await app.flows.payments.get(each.payment.payment_id)).status for each in begun]
    assert found == [Status.CAPTURED, Status.CAPTURED], "the PG has the money, whatever was said before"


async def test_a_second_confirm_in_a_list_finds_what_the_first_made_of_its_payment(app: App) -> None:
    (confirm,) = await unpaid(app, 1, first=100)
    others = [replace(confirm, token="another"), replace(confirm, token="third", payment_key="another key")]
    answers = await app.flows.captures.attempts.begin([confirm, *others])
    assert [type(each) for each in answers] == [Begun, Joined, InvalidState]
    rows = await app.stores.payment.read(lambda tx: tx.all("SELECT payment_key FROM payment_attempt"))
    assert rows == [(confirm.payment_key,)]


async def attempts_behind_the_lock(app: App) -> None:
    """Attempts that were read before the lock was held may have ended since: a declined key would begin anew."""
    confirms = await unpaid(app, 2, first=100)
    with listening(app.stores.payment) as sent:
        await app.flows.captures.attempts.begin(confirms)
    assert tables(sent[0]) == ["payment", "payment_attempt"]
    assert sent[0][0].endswith("FOR UPDATE")


async def test_attempts_are_read_behind_the_lock(app: App) -> None:
    await attempts_behind_the_lock(app)


async def test_control_attempts_behind_the_lock(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(payment_store, "both", swapped)
    with pytest.raises(AssertionError):
        await attempts_behind_the_lock(app)


async def test_outcomes_take_payments_in_the_order_of_their_ids_also_where_they_lock_them_first(app: App) -> None:
    confirms = await unpaid(app, 3, first=100)
    begun = [each for each in await app.flows.captures.attempts.begin(confirms) if isinstance(each, Begun)]
    results = [Result(each.payment, Captured(each.attempt.payment_key)) for each in reversed(begun)]
    with listening(app.stores.payment) as sent:
        await outcomes(app.flows.captures).settle(results)
        assert changed(sent[0]) == sorted(each.payment.payment_id for each in begun)
        await outcomes(app.flows.captures).settle(results)
    lock, *changes = next(flight for flight in sent if "ORDER BY payment_id FOR UPDATE" in flight[0])
    assert changed(changes) == changed(sent[0]), f"one is changed before all are locked: {lock}"


async def test_whoever_asks_for_one_thing_waits_for_one_round_trip(app: App) -> None:
    (confirm,) = await unpaid(app, 1, first=100)
    payment = await app.flows.payments.get(confirm.payment_id)
    caller = Caller(payment.user_id, Role.USER)
    judging = Confirming(confirm.payment_id, "key", confirm.amount, caller, "", "")
    looks: list[tuple[Database, Callable[[], Awaitable[object]]]] = [
        (app.stores.payment, lambda: app.flows.payments.get(confirm.payment_id)),
        (app.stores.payment, lambda: app.flows.payments.of_order(payment.order_id, caller)),
        (app.stores.payment, lambda: app.flows.captures.attempts.judge(judging)),
        (app.stores.shop, lambda: app.flows.book.get(payment.order_id, caller)),
    ]
    assert [(await trips(db, look))[0] for db, look in looks] == [1, 1, 1, 1]


async def test_a_buyer_whose_payment_is_captured_waits_for_three_round_trips(app: App) -> None:
    (confirm,) = await unpaid(app, 1, first=100)
    emulator = app.flows.emulator
    assert emulator
    await emulator.start()
    key = await authenticated(app, confirm)
    payments, pays = app.flows.payments, (confirm.payment_id, key, confirm.amount, None, "")
    taken, told = await trips(app.stores.payment, lambda: payments.confirm(*pays))
    assert (taken, told[0].status) == (3, Status.CAPTURED), "it is begun by two, and what came of it is one"
    assert await payments.confirm(*pays) == told, "whoever looks sees something else"
    await emulator.stop()


async def authenticated(app: App, confirm: Confirming) -> str:
    """What the PG's page gives a buyer."""
    body = {"orderId": confirm.payment_id, "amount": confirm.amount}
    async with httpx2.AsyncClient(transport=AppTransport(app.asgi), base_url="http://shop") as client:
        answer = await client.post("/_toss/emulator/authenticate", json=body)
    return str(answer.json()["paymentKey"])


async def test_whoever_looks_at_the_same_moment_shares_the_round_trip_and_gets_their_own(app: App) -> None:
    confirms = await unpaid(app, 60, first=100)
    payments, db = app.flows.payments, app.stores.payment
    ids = [each.payment_id for each in confirms]
    orders_of = [(await payments.get(payment_id)).order_id for payment_id in ids]
    taken, found = await trips(db, lambda: asyncio.gather(*(payments.of_order(each, None) for each in orders_of)))
    assert (taken, [each.payment_id for each in found]) == (1, ids)
    taken, seen = await trips(db, lambda: asyncio.gather(*(payments.looking.submit(each) for each in ids)))
    assert (taken, [payment.payment_id for payment, _ in seen]) == (1, ids)


async def test_a_look_that_asks_twice_is_an_error(app: App) -> None:
    async def twice(tx: Tx) -> None:
        await tx.one("SELECT 1")
        await tx.one("SELECT 2")

    with pytest.raises(AssertionError, match="all that it wants at once"):
        await app.stores.shop.look(twice)


@pytest.mark.parametrize("kept", [False, True])
async def test_orders_whose_time_has_ended_take_as_many_whatever_their_number(app: App, *, kept: bool) -> None:
    shop = app.stores.shop
    took = []
    await shop.run(lambda tx: tx.run("DELETE FROM orders"))
    for count in (1, 40):
        confirms = await unpaid(app, count, first=100 * count)
        if kept:
            await app.flows.captures.attempts.begin(confirms)
        await shop.run(lambda tx: tx.run("UPDATE orders SET due_us = 1 WHERE due_us > 1"))
        took.append(await trips(shop, app.flows.orders.expire))
    # What is noted already of an order that is kept is looked at too.
    assert took == [(EXPIRY + kept, False)] * 2
