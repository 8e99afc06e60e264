"""The work that orders cost, counted: statements to the stores, calls to the gate, sends to the broker. How many
statements travel together is counted on the real server (`servers/mariadb/test_work.py`).

Time is measured by the bench, on a machine that is known. What makes a shop slow on every machine is one more round
trip for each order, and that is seen here. A figure that falls is good news, and is written down here.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping
from pathlib import Path

import httpx2
import pytest

from flow.acts import deliver, order, paid, payment_of, refund, set_clock
from flow.probe import Probe
from flow.process import process
from quickcommerce.catalog.model import Entry
from quickcommerce.kit.clock import from_rfc3339
from quickcommerce.kit.idempotency import Claim
from quickcommerce.kit.outbox import LEASED_MAX, SHARDS, Message, Relay
from quickcommerce.order.crowd import Crowd
from quickcommerce.order.model import Basket, Want
from quickcommerce.order.placing import Placed, Placing
from quickcommerce.payment import store as payment_store
from quickcommerce.payment.attempts import Begun, Confirming
from quickcommerce.payment.model import Captured
from quickcommerce.payment.outcomes import Result
from world import World

UNREADABLE = {"kind": "http", "status": 503, "forever": True}
LISTS = [1, 2, 64]
"""Orders of one list. It costs the same whatever their number."""
GOODS = [Entry(product_id, f"goods {product_id}", 1_000, 1_000_000) for product_id in range(1, 201)]

READS = ["idempotency", "product", "time_sale", "product"]
INSERTS = ["idempotency", "orders", "order_line", "order_change", "outbox"]
PLACED = len(READS) + len(INSERTS)
"""Statements of a list, beside one UPDATE for every `TOGETHER` of its products, and its COMMIT."""
LOCKED = 2
"""What a list costs more that is decided with its rows locked."""
RELAYED = 7
"""Statements of a step of the relay, whatever the number of events."""
TAKEN, TAKINGS = 18, 6
"""Statements and transactions by which all groups take the events of a list of orders, whatever their number."""
SETTLED, PAID = 37, 2
"""Statements by which all groups take the events of payments, and those of each order: it moves to PAYING, and PAID."""
BEGUN, TAKEN_MONEY = 4, 4
"""Statements by which a list of payments is begun, beside one for each; those by which each capture is settled: the
payment, its attempt, the ledger and the outbox."""
ASKED = {
    "order": PLACED + 1,
    "order again": len(READS) + 1,
    "payment": 1,
    "confirm": BEGUN + 1 + TAKEN_MONEY,
    "confirm again": 4,
    "refund": 28,
}
"""Statements of a buyer's requests, from HTTP to the answer."""
EXPIRED, KEPT, ENDED = 11, 6, 3
"""Statements by which a list of orders expires, or is kept while its captures are not known; those of each order."""


def orders(
    w: World, count: int, products: Callable[[int], Collection[int]] = lambda _: (1, 2, 3), *, first: int = 1
) -> list[Placing]:
    """Orders of different buyers, with keys."""
    return [
        Placing(
            w.app.flows.ids.order(), user, Basket([Want(each, 1) for each in products(user)]),
            Claim(user, "key", "print"), "0" * 32,
        )
        for user in range(first, first + count)
    ]  # fmt: skip


async def work(probe: Probe, what: Callable[[], Awaitable[object]]) -> tuple[int, list[str]]:
    """How many statements and which transactions that write something it takes."""
    probe.sql, probe.commits, probe.armed = [], [], True
    await what()
    statements, probe.sql, probe.armed = len(probe.sql), None, False
    return statements, probe.commits


@pytest.mark.parametrize("count", LISTS)
async def test_a_list_of_orders_is_one_transaction_of_so_many_statements(tmp_path: Path, count: int) -> None:
    probe = Probe()
    async with process(tmp_path, probe, loops=False, goods=GOODS) as w:
        requests = orders(w, count)
        place = w.app.flows.place.place
        assert await work(probe, lambda: place(requests)) == (PLACED + 1, ["shop: Place._transact.work"])
        again = await place(requests)
        assert all(isinstance(each, Placed) for each in again)


async def test_the_more_goods_a_list_is_of_the_fewer_statements_each_costs(tmp_path: Path) -> None:
    probe = Probe()
    async with process(tmp_path, probe, loops=False, goods=GOODS) as w:
        requests = orders(w, 64, lambda user: {1 + (user * 3 + line) % 200 for line in range(3)})
        goods = {want.product_id for each in requests for want in each.basket.lines}
        assert len(goods) == 192
        assert await work(probe, lambda: w.app.flows.place.place(requests)) == (
            PLACED + 6,
            ["shop: Place._transact.work"],
        )


@pytest.mark.parametrize("count", LISTS)
async def test_a_list_that_lost_a_race_costs_so_many_more_whatever_the_number_of_its_orders(
    tmp_path: Path, count: int
) -> None:
    probe = Probe()
    async with process(tmp_path, probe, loops=False, goods=GOODS) as w:
        requests = orders(w, count)
        transact = w.app.flows.place._transact
        assert (await work(probe, lambda: transact(requests, locked=True)))[0] == PLACED + 1 + LOCKED


@pytest.mark.parametrize("count", LISTS)
async def test_answering_again_only_reads_what_placing_reads_and_the_first_answers(tmp_path: Path, count: int) -> None:
    probe = Probe()
    async with process(tmp_path, probe, loops=False, goods=GOODS) as w:
        requests = orders(w, count)
        await w.app.flows.place.place(requests)
        repeats = [Placing(w.app.flows.ids.order(), one.user_id, one.basket, one.claim, one.trace) for one in requests]
        assert await work(probe, lambda: w.app.flows.place.place(repeats)) == (len(READS) + 1, [])


class Counting:
    """A gate that knows of one product that none is left, and counts its calls."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    async def figures(self, product_ids: Collection[int]) -> Mapping[int, int]:
        self.calls["figures"] += 1
        return dict.fromkeys(product_ids, 0) if 200 in product_ids else {}

    async def tell(self, _: Mapping[int, int]) -> None:
        self.calls["tell"] += 1

    async def forget(self, _: Collection[int]) -> None:
        self.calls["forget"] += 1


@pytest.mark.parametrize("count", LISTS)
async def test_a_list_asks_the_gate_once_and_whom_it_refuses_costs_one_read_of_their_keys(
    tmp_path: Path, count: int
) -> None:
    probe, gate = Probe(), Counting()
    async with process(tmp_path, probe, loops=False, goods=GOODS) as w:
        crowd = Crowd(gate, w.app.flows.place.place, w.app.stores.shop)
        # Once a second the database decides whatever the gate says.
        await crowd.place(orders(w, 1, lambda _: [200], first=100))
        gate.calls.clear()
        await crowd.place(orders(w, count))
        assert gate.calls == {"figures": 1}
        gate.calls.clear()
        requests = orders(w, count, lambda _: [200], first=1_000)
        assert await work(probe, lambda: crowd.place(requests)) == (1, [])
        assert gate.calls == {"figures": 1}


@pytest.mark.parametrize("count", LISTS)
async def test_a_list_that_the_database_refuses_tells_the_gate_once(tmp_path: Path, count: int) -> None:
    gate = Counting()
    async with process(tmp_path, loops=False, goods=[*GOODS, Entry(201, "sold out", 1_000, 0)]) as w:
        crowd = Crowd(gate, w.app.flows.place.place, w.app.stores.shop)
        await crowd.place(orders(w, count, lambda user: [201, user % 150 + 1]))
        assert gate.calls == {"figures": 1, "tell": 1}


@pytest.mark.parametrize("count", LISTS)
async def test_the_relay_sends_each_event_once_by_two_transactions_for_half_of_all(tmp_path: Path, count: int) -> None:
    probe = Probe()
    sent: list[list[Message]] = []

    async def publish(messages: list[Message]) -> int:
        sent.append(messages)
        return len(messages)

    async with process(tmp_path, probe, loops=False, goods=GOODS, sound=False) as w:
        await w.app.flows.place.place(orders(w, count))
        relay = Relay(w.app.stores.shop, publish, w.clock, w.app.flows.ids, lease_s=10, list_max=100)
        steps = 1 if count < LEASED_MAX else 2
        for _ in range(steps):
            statements, commits = await work(probe, relay.step)
            assert [each.rpartition(".")[2] for each in commits] == ["<lambda>", "<lambda>"], "lease and settle"
            assert statements == RELAYED
        assert sum(map(len, sent)) == count
        shards = [{message.shard for message in each} for each in sent]
        assert len(sent) == len(set().union(*shards)) <= SHARDS, "a shard is sent in pieces"


async def delivered(folder: Path, count: int) -> tuple[int, list[str]]:
    probe = Probe()
    async with process(folder, probe, loops=False, goods=GOODS) as w:
        await w.app.flows.place.place(orders(w, count))
        return await work(probe, lambda: deliver(w))


async def test_events_of_a_list_are_taken_as_a_list(tmp_path: Path) -> None:
    few, many = await delivered(tmp_path / "few", 2), await delivered(tmp_path / "many", 64)
    assert Counter(many[1]) == Counter(few[1]), "more orders are more transactions"
    assert [(statements, len(commits)) for statements, commits in (few, many)] == [(TAKEN, TAKINGS)] * 2


async def test_control_an_order_that_is_placed_alone_costs_a_transaction_of_its_own(tmp_path: Path) -> None:
    probe = Probe()
    async with process(tmp_path, probe, loops=False, goods=GOODS) as w:

        async def one_after_another() -> None:
            for user in range(1, 5):
                await order(w, user=user)

        statements, commits = await work(probe, one_after_another)
        assert (len(commits), statements) == (4, 4 * (PLACED + 1 - 2)), "two are of the key, which is not given here"


async def test_a_buyers_requests_cost_what_their_lists_of_one_cost_and_nothing_beside_it(tmp_path: Path) -> None:
    probe = Probe()
    async with process(tmp_path, probe, loops=False, goods=GOODS) as w:
        answers: list[httpx2.Response] = []

        async def asks(what: Awaitable[httpx2.Response]) -> int:
            async def ask() -> None:
                answers.append(await what)

            return (await work(probe, ask))[0]

        cost = {"order": await asks(w.order([(1, 1), (2, 1), (3, 1)], key="key"))}
        cost["order again"] = await asks(w.order([(1, 1), (2, 1), (3, 1)], key="key"))
        placed = answers[0].json()
        await deliver(w)
        url = f"/v1/orders/{placed['order_id']}/payment"
        cost["payment"] = await asks(w.http.get(url, headers=w.auth()))
        payment = answers[-1].json()
        key = await w.authenticate(payment)
        cost["confirm"] = await asks(w.confirm(payment, key))
        cost["confirm again"] = await asks(w.confirm(payment, key))
        await deliver(w)
        cost["refund"] = await asks(refund(w, payment, key="key"))
        assert [each.status_code for each in answers] == [201, 201, 200, 200, 200, 201]
        assert cost == ASKED


async def confirmed(folder: Path, count: int) -> tuple[int, int]:
    """Statements by which payments are begun as a list, and by which a list of captures is settled."""
    probe = Probe()
    async with process(folder, probe, loops=False, goods=GOODS) as w:
        requests = orders(w, count)
        await w.app.flows.place.place(requests)
        await deliver(w)
        ids = [each.order_id for each in requests]
        payments = (await w.app.stores.payment.read(lambda tx: payment_store.of_orders(tx, ids))).values()
        captures = w.app.flows.captures
        confirms = [
            Confirming(each.payment_id, each.payment_id, each.amount, None, "0" * 32, w.app.flows.ids.token())
            for each in payments
        ]
        begun: list[Result] = []

        async def begin() -> None:
            answers = await captures.attempts.begin(confirms)
            begun.extend(
                Result(each.payment, Captured(each.attempt.payment_key)) for each in answers if isinstance(each, Begun)
            )

        beginning, _ = await work(probe, begin)
        assert len(begun) == count
        settling, _ = await work(probe, lambda: captures.settling._handle(begun))
        return beginning, settling


async def test_a_payment_costs_so_many_statements_beside_those_of_its_lists(tmp_path: Path) -> None:
    for count in (1, 16):
        assert await confirmed(tmp_path / str(count), count) == (BEGUN + count, TAKEN_MONEY * count)


async def expired(folder: Path, count: int, *, kept: bool) -> int:
    """Statements by which orders expire as a list, or by which they are kept while their capture is not known."""
    probe = Probe()
    async with process(folder, probe, loops=False, goods=GOODS, payment_window_s=30) as w:
        await w.faults(confirm=[{"kind": "drop-after", "forever": True}], get=[UNREADABLE])
        for _ in range(count):
            placed = await order(w)
            payment = await payment_of(w, placed)
            if kept:
                await w.confirm(payment, await w.authenticate(payment))
        set_clock(w, from_rfc3339(placed["expires_at"]))
        statements, _ = await work(probe, w.app.flows.orders.expire)
        assert await w.status(placed["order_id"]) == ("PLACED" if kept else "EXPIRED")
        await w.faults(confirm=[], get=[])
        return statements


@pytest.mark.parametrize("kept", [False, True])
async def test_orders_whose_time_has_ended_cost_so_many_statements_beside_those_of_their_list(
    tmp_path: Path, kept: bool
) -> None:
    for count in (1, 2, 16):
        expected = (KEPT if kept else EXPIRED) + ENDED * count
        assert await expired(tmp_path / str(count), count, kept=kept) == expected, f"{count} orders"


async def settling(folder: Path, count: int) -> int:
    probe = Probe()
    async with process(folder, probe, loops=False, goods=GOODS) as w:
        for _ in range(count):
            await paid(w)
        statements, _ = await work(probe, lambda: deliver(w))
        return statements


async def test_an_order_that_is_paid_costs_two_statements_beside_those_of_its_list(tmp_path: Path) -> None:
    for count in (1, 16):
        assert await settling(tmp_path / str(count), count) == SETTLED + count * PAID, f"{count} orders"
