"""Events on their way into Kafka: confirmed, in order for their keys whatever fails; no loop waits for a broker."""

import asyncio
import random
import socket
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from structlog.typing import EventDict

import streams
from quickcommerce.kit import kafka
from quickcommerce.kit.clock import system_clock
from quickcommerce.kit.envelope import message_of
from quickcommerce.kit.ids import Ids
from quickcommerce.kit.kafka import Publisher, Topics, _Line
from quickcommerce.kit.outbox import Message, Relay
from quickcommerce.kit.problem import Unavailable
from stores import Post, message, until

MESSAGES = [message(f"order-{key}", n) for n in range(1, 5) for key in range(50)]
SMALL_MAX = 2_000


@pytest.fixture
def nobody() -> str:
    """An address at which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


@pytest.fixture
async def lost(nobody: str) -> AsyncIterator[Publisher]:
    publisher = Publisher(nobody, delivery_s=0.3)
    yield publisher
    await publisher.close()


@pytest.mark.servers
async def test_what_is_confirmed_is_in_the_topic_as_it_was_sent_under_the_key_of_its_order() -> None:
    topic = await streams.made(streams.fresh())
    assert await streams.publisher().publish(topic, MESSAGES) == len(MESSAGES)
    found = streams.records(topic)
    assert {(record.key() or b"").decode() for record in found} == {one.subject for one in MESSAGES}
    read = [message_of(record.headers(), record.value()) for record in found]
    assert sorted(read, key=lambda one: one.id) == sorted(MESSAGES, key=lambda one: one.id)
    by_key = defaultdict(list)
    for record, one in zip(found, read, strict=True):
        by_key[one.subject].append((record.partition(), one.time_us))
    for places in by_key.values():
        assert places == [(places[0][0], n) for n in range(1, 5)]


# In the middle of a list


async def narrow() -> str:
    """A topic whose broker refuses what is larger than SMALL_MAX."""
    topic = streams.fresh("narrow")
    config = {"max.message.bytes": str(SMALL_MAX)}
    admin = AdminClient({"bootstrap.servers": streams.servers()})
    [future] = admin.create_topics([NewTopic(topic, 1, config=config)]).values()
    await asyncio.to_thread(future.result)
    return topic


async def a_failure_in_the_middle_lets_nothing_of_its_key_pass(publisher: Publisher) -> None:
    topic = await narrow()
    large = message("order-1", 2, data=b"x" * 2 * SMALL_MAX)
    messages = [message("order-1", 1), message("order-2", 1), large, message("order-1", 3), message("order-2", 2)]
    assert await publisher.publish(topic, messages) == 2
    arrived = [message_of(record.headers(), record.value()) for record in streams.records(topic)]
    assert [one.time_us for one in arrived if one.subject == "order-1"] == [1], "a later event overtook the failed one"


@pytest.mark.servers
async def test_a_failure_in_the_middle_lets_nothing_of_its_key_pass() -> None:
    await a_failure_in_the_middle_lets_nothing_of_its_key_pass(streams.publisher())


class AllAtOnce(Publisher):
    """Sends the whole list before it looks at what became of any."""

    async def publish(self, topic: str, messages: list[Message]) -> int:
        # Each in a batch of its own: a broker refuses a batch as a whole.
        self._line = self._line or _Line(self._config | {"batch.num.messages": 1})
        failed = await self._line.send(topic, dict(enumerate(messages)))
        return min(failed, default=len(messages))


@pytest.mark.servers
async def test_control_sent_all_at_once_a_later_event_overtakes_the_one_that_failed() -> None:
    publisher = AllAtOnce(streams.servers())
    with pytest.raises(AssertionError, match="overtook"):
        await a_failure_in_the_middle_lets_nothing_of_its_key_pass(publisher)
    await publisher.close()


@pytest.mark.servers
async def test_a_list_is_far_fewer_requests_than_events_and_each_event_is_sent_once() -> None:
    told: list[dict[str, Any]] = []
    publisher = Publisher(streams.servers())
    publisher._config |= {"statistics.interval.ms": 50, "stats_cb": lambda text: told.append(msgspec.json.decode(text))}
    topic = await streams.made(streams.fresh())
    events = [message(f"order-{key}", 1) for key in range(300)]
    assert await publisher.publish(topic, events) == len(events)
    seen = len(told)
    await until(lambda: len(told) > seen + 1)
    await publisher.close()
    assert told[-1]["txmsgs"] == len(events)
    requests = sum(broker["req"]["Produce"] for broker in told[-1]["brokers"].values())
    assert requests < len(events) / 5, f"{requests} requests for {len(events)} events"


# A producer that cannot go on


async def test_lists_side_by_side_replace_a_broken_producer_by_one_and_wait_for_none_that_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One more would be nobody's: its threads and connections would stay for as long as the process lives."""
    lines: list[Any] = []

    class Line:
        def __init__(self, _config: object) -> None:
            lines.append(self)
            self.broken, self.closed = len(lines) == 1, False

        async def send(self, _topic: str, _wave: object) -> dict[int, str]:
            assert not self.closed
            await asyncio.sleep(0.001)
            return {}

        def close(self) -> None:
            time.sleep(0.05)
            self.closed = True

    monkeypatch.setattr(kafka, "_Line", Line)
    publisher = Publisher("nowhere:9092")
    await publisher.publish("orders", MESSAGES[:1])
    lists = [MESSAGES[at::8] for at in range(8)]
    assert await asyncio.gather(*(publisher.publish("orders", each) for each in lists)) == [len(each) for each in lists]
    assert [line.closed for line in lines] == [True, False]
    await publisher.close()
    assert [line.closed for line in lines] == [True, True]


# Nobody there


async def test_a_broker_that_is_down_confirms_nothing_and_the_loop_goes_on(lost: Publisher) -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.001)
            turns += 1

    counting = asyncio.create_task(count())
    with pytest.raises(Unavailable, match=r"Kafka does not confirm events of qc\.orders"):
        await lost.publish("qc.orders", MESSAGES)
    counting.cancel()
    assert turns > 20, "the loop stood still while the broker was waited for"


async def lines_about_a_broker_that_is_down(nobody: str, caplog: pytest.LogCaptureFixture) -> int:
    publisher = Publisher(nobody, delivery_s=2)
    with pytest.raises(Unavailable):
        await publisher.publish("orders", MESSAGES[:1])
    await publisher.close()
    return sum(nobody in record.getMessage() for record in caplog.records if record.name == "kafka")


async def test_a_broker_that_is_down_does_not_fill_the_log(nobody: str, caplog: pytest.LogCaptureFixture) -> None:
    assert await lines_about_a_broker_that_is_down(nobody, caplog) == 1


async def test_that_nothing_was_confirmed_is_told_by_whoever_waits_and_not_with_every_try(
    lost: Publisher, logged: list[EventDict]
) -> None:
    for _ in range(3):
        with pytest.raises(Unavailable, match="Kafka does not confirm events of orders"):
            await lost.publish("orders", MESSAGES)
    assert not logged


async def test_control_every_word_of_the_client_is_a_line(
    nobody: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka, "AGAIN_S", 0.0)
    assert await lines_about_a_broker_that_is_down(nobody, caplog) > 2


async def test_a_relay_whose_broker_is_down_keeps_its_events_and_no_leases(wire: Post, lost: Publisher) -> None:
    await wire.publish(MESSAGES)
    ids = Ids(system_clock, random.SystemRandom())
    with pytest.raises(Unavailable):
        await Relay(wire.source.db, lost.to("qc.orders"), wire.clock, ids, 30, 50).step()
    assert await wire.waiting() == len(MESSAGES)

    async def confirm(messages: list[Message]) -> int:
        return len(messages)

    # Another relay, or this one a moment later, need not wait until a lease has ended.
    other = Relay(wire.source.db, confirm, wire.clock, ids, 30, len(MESSAGES))
    while await other.step():
        pass
    assert await wire.waiting() == 0


async def test_one_shard_that_is_refused_holds_up_no_other(wire: Post) -> None:
    await wire.publish(MESSAGES)
    stuck = MESSAGES[0].shard

    async def publish(messages: list[Message]) -> int:
        if messages[0].shard == stuck:
            raise Unavailable("the leader of a partition is gone")
        return len(messages)

    relay = Relay(wire.source.db, publish, wire.clock, Ids(system_clock, random.SystemRandom()), 30, 256)
    behind = sum(one.shard == stuck for one in MESSAGES)
    async with asyncio.timeout(30):
        while await wire.waiting() > behind:
            with suppress(Unavailable):
                await relay.step()
    with pytest.raises(Unavailable, match="leader"):
        await relay.step()
    assert await wire.waiting() == behind


async def test_topics_of_a_broker_that_is_down_are_unavailable(nobody: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quickcommerce.kit.kafka.ASK_S", 0.2)
    with pytest.raises(Unavailable, match=f"Kafka at {nobody} does not answer"):
        await Topics(nobody, ("qc.orders",)).found()


@pytest.mark.servers
async def test_a_topic_that_is_missing_is_waited_for_and_named() -> None:
    topic = streams.fresh()
    publisher = Publisher(streams.servers(), delivery_s=1)
    with pytest.raises(Unavailable, match=topic):
        await publisher.publish(topic, MESSAGES)
    await streams.made(topic)
    assert await publisher.publish(topic, MESSAGES) == len(MESSAGES)
    await publisher.close()


@pytest.mark.servers
async def test_missing_topics_are_made_once_and_those_that_are_there_stay_as_they_are() -> None:
    first, second = streams.fresh(), streams.fresh()
    assert await Topics(streams.servers(), (first,)).make(5, 86_400) == [first]
    both = Topics(streams.servers(), (first, second))
    made = await asyncio.gather(both.make(7, 86_400), both.make(7, 86_400))
    assert sorted(name for names in made for name in names) == [second]
    assert await both.found() == {first: 5, second: 7}


@pytest.mark.servers
async def test_a_producer_that_can_go_on_no_more_is_followed_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    topic = await streams.made(streams.fresh())
    publisher = Publisher(streams.servers())
    assert await publisher.publish(topic, MESSAGES[:1]) == 1
    assert publisher._line
    broken = publisher._line
    monkeypatch.setattr(broken, "broken", True)
    assert await publisher.publish(topic, MESSAGES[1:3]) == 2
    assert publisher._line is not broken
    await publisher.close()
