"""Events that are late, repeated, shuffled or foreign. Buyers notice nothing, and the end is the same."""

import asyncio
import random
import shutil
from pathlib import Path

import pytest

from flow.acts import EGGS, MILK, calls, cancel, deliver, every, kept, nothing, order, payment_of, set_clock, to_pay
from flow.invariants import check
from flow.probe import Probe
from flow.process import process
from flow.truth import rest, state
from quickcommerce import events
from quickcommerce.kit import outbox
from quickcommerce.kit.clock import SECOND_US
from quickcommerce.kit.db import Tx
from quickcommerce.kit.ids import EventId, OrderId, PaymentId
from quickcommerce.kit.outbox import Message
from world import EPOCH_US, World

NOBODY = OrderId("ord_0123456789ABCDEFGHJKMNPQRS")


async def test_while_no_event_moves_a_buyer_can_pay_and_later_it_all_fits(tmp_path: Path) -> None:
    async with process(tmp_path, loops=False) as w:
        order_id, payment, key = await to_pay(w)
        assert (await w.confirm(payment, key)).status_code == 200
        assert (await cancel(w, order_id)).status_code == 409, "it is paid, whatever the order knows"
        assert await w.status(order_id) == "PLACED"
        w.app.supervisor.start()
        await w.until_status(order_id, "PAID", within_s=5)
        await rest(w)
        await check(w)


async def test_an_order_placed_that_arrives_after_the_cancel_opens_nothing(tmp_path: Path) -> None:
    async with process(tmp_path, loops=False) as w:
        placed = await order(w)
        assert (await cancel(w, placed["order_id"])).status_code == 200
        await deliver(w)
        payment = await payment_of(w, placed)
        assert payment["status"] == "CLOSED"
        late = await w.confirm(payment, await w.authenticate(payment))
        assert late.status_code == 409
        assert await calls(w, "confirm") == 0, "a cancelled order is charged"
        await check(w)


STALLED = {"history": "SqlIndex.write", "payment": "payment Inbox.deliver", "order": "shop Inbox.deliver"}


@pytest.mark.parametrize("group", STALLED)
async def test_a_group_that_stalls_stalls_no_other_and_loses_nothing(group: str, tmp_path: Path) -> None:
    """It stalls for longer than orders live and events are kept for those who do not stall."""
    probe = Probe()
    async with process(tmp_path, probe, payment_window_s=60) as w:
        gate = probe.hold(STALLED[group])
        order_id, payment, key = await to_pay(w)
        async with kept(w, MILK, 2):
            assert (await w.confirm(payment, key)).status_code == 200
            if group != "order":
                await w.until_status(order_id, "PAID", within_s=5)
            if group != "history":
                known = "PLACED" if group == "order" else "PAID"
                await w.until("the history", lambda: found(w, known), within_s=5)
            await asyncio.sleep(100)
            assert await w.status(order_id) != "EXPIRED", "an order that is paid for expired, because the bus was late"
            gate.open.set()
            await w.until_status(order_id, "PAID", within_s=5)
        await rest(w)
        await check(w)


async def found(w: World, status: str) -> object:
    return (await w.get(f"/v1/history/orders?status={status}"))["items"]


async def test_results_that_nobody_can_use_go_to_the_dead_letters_and_their_neighbours_go_on(tmp_path: Path) -> None:
    settled = events.encode(events.PaymentSettled(PaymentId("pay_0"), NOBODY, 2, 5_800))
    bad = [("PaymentSettled", settled), ("PaymentSettled", b'{"torn'), ("PaymentForgiven", settled)]
    async with process(tmp_path) as w:
        order_id, payment, key = await to_pay(w)

        async def tell(tx: Tx) -> None:
            await outbox.append(
                tx,
                [
                    Message(EventId(f"evt_{at}"), kind, "payment", NOBODY, w.clock(), "", data)
                    for at, (kind, data) in enumerate(bad)
                ],
            )

        await w.app.stores.payment.run(tell)
        assert (await w.confirm(payment, key)).status_code == 200
        await w.until_status(order_id, "PAID", within_s=2)
        await rest(w)
        truth = await check(w, dead=3, foreign=3)
        reasons = {letter["letter_id"]: letter["reason"] for letter in truth.letters}
        assert reasons["order.evt_0"] == "there is no such order"
        assert "unexpected end" in reasons["order.evt_1"].lower() or "truncated" in reasons["order.evt_1"].lower()
        assert reasons["order.evt_2"] == "unknown event type PaymentForgiven"


async def fates(w: World) -> None:
    """A dozen orders that end in every way, while no event moves."""
    for declines in (0, 0, 0, 1, 3):
        _, payment, _ = await to_pay(w, [(MILK, 1), (EGGS, 1 + declines)])
        for _ in range(declines):
            await w.confirm(payment, await w.authenticate(payment, method="CARD_REFUSED"))
        await w.confirm(payment, await w.authenticate(payment))
    for declines in (2, 10):
        _, payment, _ = await to_pay(w)
        for _ in range(declines):
            await w.confirm(payment, await w.authenticate(payment, method="CARD_REFUSED"))
    for _ in range(2):
        await cancel(w, (await order(w))["order_id"])
    for _ in range(3):
        await order(w)


def deal(messages: list[Message], rng: random.Random, *, order_of_keys: bool) -> list[list[Message]]:
    """Each message ten times, in hands of random size: shuffled, though a key's first copies keep their order."""
    waiting: dict[str, list[Message]] = {}
    for message in messages:
        waiting.setdefault(message.subject if order_of_keys else message.id, []).append(message)
    deck: list[Message] = []
    while any(waiting.values()):
        deck.append(waiting[rng.choice([key for key, left in waiting.items() if left])].pop(0))
    for message in list(deck):
        for _ in range(9):
            deck.insert(rng.randint(deck.index(message) + 1, len(deck)), message)
    hands = []
    while deck:
        size = rng.randint(1, 30)
        hands.append(deck[:size])
        deck = deck[size:]
    return hands


async def shuffled(w: World, rng: random.Random) -> None:
    """Give every group every event ten times, until no group makes new ones."""

    given: set[tuple[str, str]] = set()
    while True:
        before = len(given)
        for subscription in w.app.parts.subscriptions:
            name = subscription.consumer.name
            new = [each for each in await every(w, subscription) if (name, each.id) not in given]
            given |= {(name, each.id) for each in new}
            for hand in deal(new, rng, order_of_keys=name != "history"):
                await subscription.consumer.deliver(hand, nothing)
        if len(given) == before:
            return


@pytest.mark.parametrize("seed", range(5))
async def test_ten_copies_of_every_event_in_any_order_end_as_one_copy_in_order(seed: int, tmp_path: Path) -> None:
    noon_us = EPOCH_US + 60 * SECOND_US
    async with process(tmp_path / "orders", loops=False) as w:
        await fates(w)
    shutil.copytree(tmp_path / "orders", tmp_path / "shuffled")
    async with process(tmp_path / "orders", loops=False) as w:
        set_clock(w, noon_us)
        await deliver(w)
        expected = await state(w)
    async with process(tmp_path / "shuffled", loops=False) as w:
        set_clock(w, noon_us)
        await shuffled(w, random.Random(seed))
        assert await state(w) == expected
        set_clock(w, noon_us + 86_400 * SECOND_US)
        await shuffled(w, random.Random(seed + 1))
        assert await state(w) == expected, "a day later, the same events changed something"
        await deliver(w)
        w.app.supervisor.start()
        await asyncio.sleep(10)
        await rest(w)
        await check(w)
