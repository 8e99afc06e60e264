"""The history keeps up with the orders: repeats and disorder change nothing, poison holds nobody up."""

import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest
from structlog.typing import EventDict

from indices import EVERY, opened_index, order_event
from quickcommerce import events
from quickcommerce.events import Order
from quickcommerce.history.flow import Document, Found, Index, Projection, Query
from quickcommerce.kit.bus import Subscription
from quickcommerce.kit.clock import rfc3339
from quickcommerce.kit.db import Tx
from quickcommerce.kit.ids import EventId, OrderId, PaymentId
from quickcommerce.kit.inbox import DeadLetters
from quickcommerce.kit.outbox import Message, append
from quickcommerce.kit.problem import NotFound, Unavailable
from stores import Clock, Store, drain, metric, opened

pytestmark = pytest.mark.usefixtures("at_once")


def event(number: int, version: int, *, data: bytes | None = None) -> Message:
    told = order_event(number, version)
    kind, subject = type(told).__name__, told.order.order_id
    return Message(
        EventId(f"evt_{number}_{version}"), kind, "shop", subject, 1, "", data or events.encode(told)
    )  # fmt: skip


@dataclass
class Unsteady:
    """An index that is sometimes down, or breaks at some orders."""

    index: Index
    down: bool = False
    down_for_one: bool = False
    """Down from the moment at which a list is tried one by one."""
    broken: str = ""
    tried: list[str] = field(default_factory=list)
    """The orders of every write that was begun."""

    async def write(self, documents: Sequence[Document]) -> None:
        self.tried += [one.order_id for one in documents]
        if self.down or (self.down_for_one and len(documents) == 1):
            raise Unavailable("the index is down")
        if self.broken and any(one.order_id == self.broken for one in documents):
            raise RuntimeError("the index chokes on this one")
        await self.index.write(documents)

    async def search(self, query: Query) -> Found:
        return await self.index.search(query)

    async def count(self) -> int:
        return await self.index.count()


@dataclass
class History:
    shop: Store
    index: Index
    unsteady: Unsteady
    letters: DeadLetters
    projection: Projection

    async def publish(self, messages: Sequence[Message]) -> None:
        await self.shop.db.run(lambda tx: append(tx, messages))

    @property
    def reader(self) -> Subscription:
        """Made anew, as after a restart."""
        return Subscription(self.shop.db, self.projection, 4)

    async def shown(self) -> list[str]:
        """The orders' bodies, oldest first."""
        found = await self.index.search(Query(limit=100))
        return [body.decode() for _, _, body in reversed(found.hits)]

    async def statuses(self) -> list[str]:
        return [text.partition('"status":"')[2].partition('"')[0] for text in await self.shown()]


@pytest.fixture(params=EVERY)
async def history(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[History]:
    kind = "sqlite-inline" if request.param.endswith("inline") else "sqlite"
    async with (
        opened(kind, tmp_path / "shop.db", "events", "cursor") as shop,
        opened(kind, tmp_path / "cursors.db", "cursor") as store,
        opened_index(request.param, tmp_path) as index,
    ):
        unsteady = Unsteady(index)
        letters = DeadLetters(shop.db, Clock())
        projection = Projection("history", store.db, unsteady, letters, random.Random(1))
        yield History(shop, index, unsteady, letters, projection)


ALL = [event(number, version) for number in range(5) for version in (1, 2, 3)]


@pytest.mark.parametrize("seed", range(5))
async def test_in_any_order_and_with_repeats_the_newest_version_is_shown(history: History, seed: int) -> None:
    rng = random.Random(seed)
    messages = rng.choices(ALL, k=10) + rng.sample(ALL, len(ALL))
    await history.publish(messages)
    await drain(history.reader)
    assert await history.statuses() == ["PAID"] * 5
    assert await history.index.count() == 5
    again = [await history.shown()]
    await history.projection.deliver(messages, nothing)
    assert [await history.shown()] == again


async def nothing(_tx: Tx) -> None: ...


async def test_what_is_found_is_the_order_as_the_event_told_it(history: History) -> None:
    await history.publish([event(3, 2)])
    await drain(history.reader)
    told = events.decode("OrderChanged", event(3, 2).data).order
    found = await history.index.search(Query(limit=1, words=("우유", "3호", "milk"), user_id=7, status="PAYING"))
    [(placed_us, order_id, body)] = found.hits
    assert (rfc3339(placed_us), order_id) == (told.placed_at, told.order_id)
    assert msgspec.json.decode(body, type=Order) == told


async def test_a_crash_before_the_cursor_moves_repeats_the_list_and_changes_nothing(history: History) -> None:
    class Crash(BaseException):
        pass

    async def crash(_tx: Tx) -> None:
        raise Crash

    await history.publish(ALL)
    with pytest.raises(Crash):
        await history.projection.deliver(ALL[:4], crash)
    assert await history.index.count() == 2
    await drain(history.reader)
    assert await history.statuses() == ["PAID"] * 5


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b'{"order": ', "truncated"), (b"\xff", "DecodeError"), (b"{}", "missing required field"), (b"[" * 9999, "")],
)
async def test_poison_is_put_aside_in_the_shop_and_the_others_are_shown(
    history: History, data: bytes, reason: str
) -> None:
    await history.publish([event(0, 1), event(1, 1, data=data), event(2, 1)])
    await drain(history.reader)
    assert await history.index.count() == 2
    [letter] = await history.letters.list()
    assert (letter.id, letter.consumer, letter.tries) == ("history.evt_1_1", "history", 5)
    assert reason in letter.reason
    # A later event carries the whole order, so the history heals by itself.
    await history.publish([event(1, 2)])
    await drain(history.reader)
    assert await history.statuses() == ["PLACED", "PAYING", "PLACED"]


async def test_a_letter_tells_how_often_its_event_was_tried(history: History, logged: list[EventDict]) -> None:
    broken = event(1, 1).subject
    history.unsteady.broken = broken
    dead = metric("qc_events_total", consumer="history", end="dead")
    await history.publish([event(0, 1), event(1, 1), event(2, 1)])
    await drain(history.reader)
    [letter] = await history.letters.list()
    assert letter.tries == history.unsteady.tried.count(broken) == 5
    assert metric("qc_events_total", consumer="history", end="dead") == dead + 1
    # What was put aside is not said to be in the history.
    assert [line["order_id"] for line in logged if line["event"] == "event.dead"] == [broken]
    folded = [line["order_id"] for line in logged if line["event"] == "history.folded"]
    assert folded == [event(0, 1).subject, event(2, 1).subject]


async def test_an_index_that_fails_a_few_times_and_then_works_puts_nothing_aside(history: History) -> None:
    write = history.unsteady.write

    async def flaky(documents: Sequence[Document]) -> None:
        history.unsteady.broken = event(1, 1).subject if len(history.unsteady.tried) < 4 else ""
        await write(documents)

    history.unsteady.write = flaky  # type: ignore[method-assign]
    await history.publish([event(1, 1)])
    await drain(history.reader)
    assert await history.statuses() == ["PLACED"]
    assert await history.letters.list() == []


async def test_an_event_of_an_unknown_type_is_put_aside(history: History) -> None:
    strange = Message(EventId("evt_9_1"), "OrderEaten", "shop", "ord_9", 1, "", b"{}")
    await history.publish([strange, event(0, 1)])
    await drain(history.reader)
    assert [letter.reason for letter in await history.letters.list()] == [
        "ValueError('unknown event type OrderEaten')"
    ]  # fmt: skip
    assert await history.index.count() == 1


async def test_what_is_no_event_at_all_is_kept_with_its_reason_once(history: History) -> None:
    for _ in range(2):
        await history.projection.put_aside(event(1, 1, data=b"\xff"), "it came from elsewhere")
    [letter] = await history.letters.list()
    assert (letter.id, letter.reason, letter.tries) == ("history.evt_1_1", "it came from elsewhere", 1)


async def test_what_is_no_version_of_an_order_is_passed_by(history: History) -> None:
    told = events.encode(events.MoneyUnclaimed(OrderId("ord_9"), PaymentId("pay_9"), 2_900, "the order has expired"))
    await history.publish([Message(EventId("evt_9_1"), "MoneyUnclaimed", "shop", "ord_9", 1, "", told), event(0, 1)])
    await drain(history.reader)
    assert await history.letters.list() == []
    assert await history.index.count() == 1


async def test_an_index_that_is_down_is_waited_for_and_nothing_is_put_aside(history: History) -> None:
    reader = history.reader
    await history.publish(ALL)
    await reader.step()
    history.unsteady.down = True
    for _ in range(20):
        with pytest.raises(Unavailable):
            await reader.step()
    history.unsteady.down = False
    await drain(reader)
    assert await history.statuses() == ["PAID"] * 5
    assert await history.letters.list() == []


async def test_an_index_that_goes_down_among_single_tries_buries_nobody(history: History) -> None:
    history.unsteady.broken = event(1, 1).subject
    history.unsteady.down_for_one = True
    reader = history.reader
    await history.publish([event(0, 1), event(1, 1), event(2, 1)])
    with pytest.raises(Unavailable):
        await reader.step()
    assert await history.letters.list() == []
    history.unsteady.down_for_one = False
    await drain(reader)
    assert await history.index.count() == 2
    assert [letter.id for letter in await history.letters.list()] == ["history.evt_1_1"]


async def test_a_replay_shows_the_order_and_one_that_fails_keeps_the_letter(history: History) -> None:
    history.unsteady.broken = event(1, 1).subject
    await history.publish([event(0, 1), event(1, 1)])
    await drain(history.reader)
    before = await history.letters.list()
    assert [letter.id for letter in before] == ["history.evt_1_1"]
    with pytest.raises(RuntimeError, match="chokes"):
        await history.projection.replay("history.evt_1_1")
    history.unsteady.down = True
    with pytest.raises(Unavailable):
        await history.projection.replay("history.evt_1_1")
    assert await history.letters.list() == before
    history.unsteady.down, history.unsteady.broken = False, ""
    await history.projection.replay("history.evt_1_1")
    assert await history.statuses() == ["PLACED", "PLACED"]
    assert await history.letters.list() == []
    with pytest.raises(NotFound):
        await history.projection.replay("history.evt_1_1")


async def test_a_replay_of_an_old_event_does_not_bring_back_an_old_order(history: History) -> None:
    history.unsteady.broken = event(1, 1).subject
    await history.publish([event(1, 1)])
    await drain(history.reader)
    history.unsteady.broken = ""
    await history.publish([event(1, 3)])
    await drain(history.reader)
    await history.projection.replay("history.evt_1_1")
    assert await history.statuses() == ["PAID"]
