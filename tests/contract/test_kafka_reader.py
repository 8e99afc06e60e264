"""Events on their way out of Kafka: whatever lies in a topic, and whatever a handler does, the group goes on."""

import asyncio
import math
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

import streams
from quickcommerce.kit import kafka_member, life
from quickcommerce.kit.bus import Settle
from quickcommerce.kit.db import Database
from quickcommerce.kit.envelope import Header, headers_of
from quickcommerce.kit.kafka_list import Record
from quickcommerce.kit.kafka_member import Member
from quickcommerce.kit.kafka_reader import Reader
from quickcommerce.kit.life import Loop, Supervisor
from quickcommerce.kit.outbox import Message
from quickcommerce.kit.policy import Backoff
from stores import Post, message, metric, post, turns, until

MESSAGES = [message(f"order-{key}", n) for n in range(1, 5) for key in range(20)]
POLL_MAX_S = 2.0
"""A member that does not poll for so long is put out: far sooner than in a shop, so that tests can wait for it."""
STALL_S = 3 * POLL_MAX_S


@pytest.fixture
async def wire(tmp_path: Path) -> AsyncIterator[Post]:
    async with post("sqlite", tmp_path) as found:
        yield found


@pytest.fixture(autouse=True)
def _loops_wait_for_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(life, "_BACKOFF", Backoff(base_s=0.01, cap_s=0.05))


@dataclass
class Taker:
    """A consumer that keeps what it is given."""

    db: Database
    name: str = "taker"
    taken: list[Message] = field(default_factory=list)
    lists: int = 0
    failing: int = 0
    stall: asyncio.Event | None = None

    async def deliver(self, messages: list[Message], settle: Settle) -> None:
        self.lists += 1
        if self.failing:
            self.failing -= 1
            raise ZeroDivisionError
        if self.stall:
            await self.stall.wait()
        self.taken += messages
        await self.db.run(settle)

    async def put_aside(self, message: Message, reason: str) -> None:
        raise AssertionError(f"{message} was put aside: {reason}")


def as_sent(messages: list[Message]) -> list[Message]:
    return sorted(messages, key=lambda one: one.id)


async def topic_of(messages: list[Message], partitions: int = 3) -> str:
    topic = await streams.made(streams.fresh(), partitions)
    await streams.quick(topic)
    if messages:
        assert await streams.publisher().publish(topic, messages) == len(messages)
    return topic


@asynccontextmanager
async def reading(topic: str, consumer: Taker, **settings: float) -> AsyncIterator[Supervisor]:
    """A member under supervision; its group has the topic's name."""
    reader = Reader(streams.servers(), topic, consumer, group=topic, list_max=20, **settings)
    supervisor = Supervisor([Loop("events-taker", reader.step, 0)], rng=random.Random(1))
    supervisor.start()
    try:
        yield supervisor
    finally:
        await supervisor.stop(drain_s=10)
        await reader.close()


def evictions(topic: str) -> float:
    return metric("qc_bus_evictions_total", group=topic)


# What is no event


def junk() -> dict[str, tuple[list[Header], bytes]]:
    whole = headers_of(message("order-1", 9))
    return {
        "ce_specversion is ''": ([], b"{}"),
        "ce_specversion is '9.9'": ([*whole, ("ce_specversion", "9.9")], b"{}"),
        "ce_type is missing": ([pair for pair in whole if pair[0] != "ce_type"], b"{}"),
        "ce_id is no UTF-8": ([*whole, ("ce_id", b"\xff\xfe")], b"{}"),
        "5000000 bytes": (whole, b"[" * 5_000_000),
        "RecursionError": (headers_of(message("order-1", 10)), b"[" * 500_000),
        "DecodeError": (headers_of(message("order-1", 11)), b"\xff"),
        "unknown event type OrderEaten": (headers_of(message("order-1", 12, kind="OrderEaten")), b"1"),
    }


@pytest.mark.servers
async def test_whatever_lies_in_a_topic_goes_to_the_dead_letters_and_the_rest_goes_on(wire: Post) -> None:
    topic = streams.fresh()
    admin = AdminClient({"bootstrap.servers": streams.servers()})
    [future] = admin.create_topics([NewTopic(topic, 1, config={"max.message.bytes": "10000000"})]).values()
    await asyncio.to_thread(future.result)
    group = wire.group()
    good = [message("order-1", n) for n in range(1, 9)]
    values = []
    for one, (headers, value) in zip(good, junk().values(), strict=True):
        values += [(b"order-1", headers, value), (b"order-1", headers_of(one), one.data)]
    await asyncio.to_thread(streams.write, topic, values)
    for _ in range(2):  # the second time from the beginning, as after a loss of the group's offsets
        reader = Reader(streams.servers(), topic, group.inbox, group=streams.fresh("group"), list_max=5)
        while not await reader.step():
            pass
        while await reader.step():
            pass
        await reader.close()
        await group.had_each_once_in_order(good)
        letters = await wire.letters.list()
        assert len(letters) == len(junk())
        for why in junk():
            assert [letter for letter in letters if why in letter.reason], why
        where = [letter.reason for letter in letters if letter.event_type == "no event"]
        assert all(reason.startswith(f"{topic}, partition 0, offset ") for reason in where)
        assert len(where) == 5


# Handlers that crash


@pytest.mark.servers
async def test_a_handler_that_crashes_ends_no_stream(wire: Post) -> None:
    taker = Taker(wire.target.db, failing=3)
    topic = await topic_of(MESSAGES)
    before = metric("qc_loop_crashes_total", loop="events-taker")
    async with reading(topic, taker):
        await until(lambda: len(taker.taken) >= len(MESSAGES))
        later = [message("order-1", 9)]
        await streams.publisher().publish(topic, later)
        await until(lambda: len(taker.taken) > len(MESSAGES))
    assert as_sent(taker.taken) == as_sent([*MESSAGES, *later])
    assert metric("qc_loop_crashes_total", loop="events-taker") == before + 3
    assert streams.behind(topic, topic) == 0


@pytest.mark.servers
async def test_control_a_handler_that_may_end_the_stream_loses_what_comes_after(wire: Post) -> None:
    """As the original did: the stream is a task, and an exception ends it."""
    taker = Taker(wire.target.db, failing=1)
    topic = await topic_of(MESSAGES)
    reader = Reader(streams.servers(), topic, taker, group=topic, list_max=20)

    async def stream() -> None:
        while True:
            await reader.step()

    task = asyncio.create_task(stream())
    await until(task.done)
    assert isinstance(task.exception(), ZeroDivisionError)
    await streams.publisher().publish(topic, [message("order-1", 9)])
    await reader.close()
    assert taker.taken == []
    assert await asyncio.to_thread(streams.behind, topic, topic) == len(MESSAGES) + 1


# Stalls


async def a_list_that_takes_long(wire: Post, *, pause_after_s: float) -> None:
    topic = await topic_of(MESSAGES)
    taker = Taker(wire.target.db, stall=asyncio.Event())
    async with reading(topic, taker, poll_max_s=POLL_MAX_S, pause_after_s=pause_after_s):
        await until(lambda: taker.lists == 1)
        joined = metric("qc_bus_rebalances_total", group=topic)
        await asyncio.sleep(STALL_S)
        assert taker.lists == 1, "a second list was in hand"
        assert taker.stall
        taker.stall.set()
        await until(lambda: len(taker.taken) >= len(MESSAGES))
        assert evictions(topic) == 0, "it was put out of its group"
        assert metric("qc_bus_rebalances_total", group=topic) == joined
    # Nothing was read twice: what came while fetching paused was neither lost nor delivered early.
    assert as_sent(taker.taken) == as_sent(MESSAGES)
    by_key = {key: [one.time_us for one in taker.taken if one.subject == key] for key in ("order-1", "order-19")}
    assert set(map(tuple, by_key.values())) == {(1, 2, 3, 4)}


@pytest.mark.servers
async def test_a_list_that_takes_long_costs_no_membership(wire: Post) -> None:
    await a_list_that_takes_long(wire, pause_after_s=0.2)


@pytest.mark.servers
async def test_control_without_polling_while_a_list_is_in_hand_the_member_is_put_out(wire: Post) -> None:
    with pytest.raises(AssertionError, match="put out"):
        await a_list_that_takes_long(wire, pause_after_s=1_000)


@pytest.mark.servers
async def test_a_loop_that_stands_still_costs_no_membership(wire: Post) -> None:
    topic = await topic_of(MESSAGES[:20])
    taker = Taker(wire.target.db)
    async with reading(topic, taker, poll_max_s=POLL_MAX_S, pause_after_s=0.2):
        await until(lambda: len(taker.taken) == 20)
        await streams.publisher().publish(topic, MESSAGES[20:])
        joined = metric("qc_bus_rebalances_total", group=topic)
        time.sleep(STALL_S)  # noqa: ASYNC251 - this is the stall
        await until(lambda: len(taker.taken) >= len(MESSAGES))
        assert (metric("qc_bus_rebalances_total", group=topic), evictions(topic)) == (joined, 0)
    assert as_sent(taker.taken) == as_sent(MESSAGES)


@pytest.mark.servers
async def test_control_polled_on_a_loop_that_stands_still_a_member_is_put_out() -> None:
    topic = await topic_of(MESSAGES)
    member = Member(streams.servers(), topic, topic, consumer="taker", poll_max_s=POLL_MAX_S, classic=False)
    try:
        while not member.records(20):
            await turns(1)
        time.sleep(STALL_S)  # noqa: ASYNC251 - this is the stall
        give_up = time.monotonic() + 30
        while not evictions(topic) and time.monotonic() < give_up:
            member.records(20)
            await turns(1)
        assert evictions(topic) == 1
    finally:
        member.leave()


# Partitions that move


async def partitions_move_while_a_list_is_in_hand(wire: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    topic = await topic_of(MESSAGES, partitions=4)
    slow, other = Taker(wire.target.db, "slow", stall=asyncio.Event()), Taker(wire.target.db)
    some = Member.records

    def of_every_partition(member: Member, most: int) -> list[Record]:
        """The first list has something of each partition: whichever of them move, they are in hand."""
        found = some(member, most)
        while found and member._consumer == "slow" and not slow.lists and len({one.partition() for one in found}) < 4:
            found += some(member, most)
        return found

    monkeypatch.setattr(Member, "records", of_every_partition)
    async with reading(topic, slow, pause_after_s=0.1):
        await until(lambda: slow.lists == 1)
        async with reading(topic, other):
            # The other one is given its share when this one has settled its list, or no longer waits for that.
            await until(lambda: metric("qc_bus_rebalances_total", group=topic) >= 2)
            assert slow.stall
            asyncio.get_running_loop().call_later(2, slow.stall.set)
            await until(lambda: metric("qc_bus_rebalances_total", group=topic) >= 3)
            later = [message(f"order-{key}", 9) for key in range(20)]
            await streams.publisher().publish(topic, later)
            everything = len(MESSAGES) + len(later)
            await until(lambda: len({one.id for one in slow.taken + other.taken}) == everything)
            await until(slow.stall.is_set)
    twice = len(slow.taken + other.taken) - everything
    assert twice == 0, f"{twice} events were delivered twice"
    assert other.taken


@pytest.mark.servers
async def test_partitions_that_move_wait_for_the_list_in_hand_and_nothing_is_done_twice(
    wire: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    await partitions_move_while_a_list_is_in_hand(wire, monkeypatch)


@pytest.mark.servers
async def test_control_partitions_that_do_not_wait_for_the_list_in_hand_do_it_twice(
    wire: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_member, "REVOKE_S", 0)
    with pytest.raises(AssertionError, match="delivered twice"):
        await partitions_move_while_a_list_is_in_hand(wire, monkeypatch)


@pytest.mark.servers
@pytest.mark.parametrize("classic", [False, True], ids=["KIP-848", "classic"])
async def test_while_members_come_and_go_every_two_seconds_each_event_has_its_effect_once(
    wire: Post, *, classic: bool
) -> None:
    topic = await topic_of([], partitions=6)
    group = wire.group()
    messages = [message(f"order-{key}", n) for n in range(1, 31) for key in range(20)]
    running = True

    async def moved(times: int) -> None:
        await until(lambda: metric("qc_bus_rebalances_total", group=topic) >= times)

    def member() -> Reader:
        reader = Reader(streams.servers(), topic, group.inbox, group=topic, list_max=7)
        reader._classic = classic
        return reader

    async def be_there(for_s: float) -> None:
        while running:
            reader, leave = member(), time.monotonic() + for_s
            while running and time.monotonic() < leave:
                await reader.step()
            await reader.close()

    async def write() -> None:
        nonlocal running
        for start in range(0, len(messages), 10):
            # However slow the machine is, they come and go while there is something to lose.
            await moved(start // 80)
            await streams.publisher().publish(topic, messages[start : start + 10])
            await asyncio.sleep(0.05)
        await streams.caught_up(topic, topic)
        running = False

    async with asyncio.timeout(120):
        await asyncio.gather(be_there(math.inf), be_there(2), write())
    await group.had_each_once_in_order(messages)
    assert await wire.letters.list() == []


# Coming and going


@pytest.mark.servers
async def test_a_member_that_stops_has_committed_and_left_within_seconds(wire: Post) -> None:
    topic = await topic_of(MESSAGES)
    taker, next_one = Taker(wire.target.db), Taker(wire.target.db)
    async with reading(topic, taker) as supervisor:
        await until(lambda: len(taker.taken) == len(MESSAGES))
        started = time.monotonic()
        await supervisor.stop(drain_s=10)
    assert time.monotonic() - started < 10
    assert await asyncio.to_thread(streams.behind, topic, topic) == 0
    # Its partitions are free: the next one need not wait for a session to end.
    async with reading(topic, next_one):
        await streams.publisher().publish(topic, [message("order-1", 9)])
        await until(lambda: len(next_one.taken) == 1)


async def test_a_group_without_a_broker_says_so_and_stops_within_seconds(wire: Post) -> None:
    reader = Reader("127.0.0.1:1", "qc.orders", Taker(wire.target.db), group="g", list_max=20)
    supervisor = Supervisor([Loop("events-taker", reader.step, 0)], rng=random.Random(1))
    supervisor.start()
    await until(lambda: any(reason.startswith("events-taker: Kafka: ") for reason in supervisor.stalled()))
    async with asyncio.timeout(10):
        await supervisor.stop(drain_s=5)
        await reader.close()


@pytest.mark.servers
async def test_a_topic_that_is_missing_is_named_and_read_once_it_is_there(wire: Post) -> None:
    topic, taker = streams.fresh(), Taker(wire.target.db)
    await streams.quick(topic)
    async with reading(topic, taker) as supervisor:
        await until(lambda: any(topic in reason for reason in supervisor.stalled()))
        await streams.made(topic)
        await until(lambda: not supervisor.stalled())
        await streams.publisher().publish(topic, MESSAGES)
        await until(lambda: len(taker.taken) == len(MESSAGES))


@pytest.mark.servers
async def test_lag_is_what_the_group_has_not_taken(wire: Post) -> None:
    topic = await topic_of(MESSAGES)
    taker = Taker(wire.target.db, name="lagging", stall=asyncio.Event())
    async with reading(topic, taker, pause_after_s=0.1):
        await until(lambda: metric("qc_bus_lag_events", group="lagging") == len(MESSAGES))
        assert taker.stall
        taker.stall.set()
        await until(lambda: len(taker.taken) == len(MESSAGES) and metric("qc_bus_lag_events", group="lagging") == 0)
