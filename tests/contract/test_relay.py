"""The outbox on its way to a broker: everything is sent, in order, by however many relays, some of them frozen."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from quickcommerce.kit.db import Params, Row, Tx
from quickcommerce.kit.ids import Ids
from quickcommerce.kit.outbox import SHARDS, Message, Relay
from stores import Post, message

LEASE_S = 30.0
MESSAGES = [message(f"order-{key}", n) for n in range(4) for key in range(6)]


@dataclass
class Broker:
    """A broker that keeps what it was sent, and confirms what it likes."""

    rng: random.Random = field(default_factory=lambda: random.Random(1))
    received: list[Message] = field(default_factory=list)
    failing: float = 0.0

    async def publish(self, messages: list[Message]) -> int:
        for confirmed, one in enumerate(messages):
            await asyncio.sleep(0)
            if self.rng.random() < self.failing:
                return confirmed
            self.received.append(one)
            if self.rng.random() < self.failing:
                # It has arrived, and nobody was told.
                return confirmed
        return len(messages)

    def firsts(self) -> list[tuple[str, int]]:
        """(key, n) in the order in which a consumer that knows repeats sees them."""
        return list(dict.fromkeys((one.subject, one.time_us) for one in self.received))

    def got_each_in_order(self, messages: list[Message]) -> None:
        """Asserts that all arrived, and those of one key in their order."""
        firsts = self.firsts()
        assert sorted(firsts) == sorted((one.subject, one.time_us) for one in messages)
        for key in {one.subject for one in messages}:
            of_key = [n for subject, n in firsts if subject == key]
            assert of_key == sorted(of_key), f"the events of {key} arrived as {of_key}"


def relay(
    wire: Post, publish: Callable[[list[Message]], Awaitable[int]], *, seed: int = 1, list_max: int = 50
) -> Relay:
    return Relay(wire.source.db, publish, wire.clock, Ids(wire.clock, random.Random(seed)), LEASE_S, list_max)


async def test_what_the_broker_confirmed_is_sent_once_and_gone_from_the_outbox(wire: Post) -> None:
    await wire.publish(MESSAGES)
    broker = Broker()
    sending = relay(wire, broker.publish, list_max=5)
    while await sending.step():
        pass
    assert len(broker.received) == len(MESSAGES)
    broker.got_each_in_order(MESSAGES)
    assert await wire.waiting() == 0
    assert not await sending.step()
    assert len(broker.received) == len(MESSAGES)


async def test_a_backlog_is_sent_to_its_end_and_none_of_it_waits_for_news(wire: Post) -> None:
    """A relay takes some shards at a time, and little of each: what it left is why it comes again at once."""
    messages = [message("order-1", n) for n in range(70)] + [message(f"order-{key}", 0) for key in range(2, 60)]
    await wire.publish(messages)
    broker = Broker()
    sending = relay(wire, broker.publish, list_max=256)
    while await sending.step():
        pass
    broker.got_each_in_order(messages)


async def test_two_relays_share_what_waits(wire: Post) -> None:
    """While one sends, the other sends as well: a second relay is more than a spare."""
    messages = [message(f"order-{key}", 0) for key in range(200)]
    assert len({one.shard for one in messages}) == SHARDS
    await wire.publish(messages)
    one, other = Broker(), Broker()

    async def slowly(messages: list[Message]) -> int:
        while await relay(wire, other.publish, seed=2).step():
            pass
        return await one.publish(messages)

    await relay(wire, slowly, list_max=256).step()
    of_one, of_other = ({each.shard for each in broker.received} for broker in (one, other))
    assert (len(of_one), len(of_other)) == (SHARDS // 2, SHARDS // 2)
    assert not of_one & of_other
    assert await wire.waiting() == 0


async def test_a_failed_send_stops_its_shard_and_no_other_and_is_sent_again(wire: Post) -> None:
    await wire.publish(MESSAGES)
    broker = Broker()
    stuck = MESSAGES[7]

    async def publish(messages: list[Message]) -> int:
        bad = next((at for at, one in enumerate(messages) if one.id == stuck.id), len(messages))
        return await broker.publish(messages[:bad])

    sending = relay(wire, publish)
    await sending.step()
    behind = [one for one in MESSAGES if one.shard == stuck.shard and MESSAGES.index(one) >= 7]
    assert await wire.waiting() == len(behind) > 1
    broker.got_each_in_order([one for one in MESSAGES if one not in behind])
    await relay(wire, broker.publish, seed=2).step()
    broker.got_each_in_order(MESSAGES)
    assert await wire.waiting() == 0


@pytest.mark.parametrize("seed", range(6))
async def test_relays_side_by_side_send_everything_and_keep_the_order_of_each_key(wire: Post, seed: int) -> None:
    rng = random.Random(seed)
    broker = Broker(rng, failing=0.2)
    relays = [relay(wire, broker.publish, seed=100 * seed + n, list_max=rng.randrange(1, 12)) for n in range(3)]
    published: list[Message] = []

    async def run(one: Relay) -> None:
        while len(published) < len(MESSAGES) or await wire.waiting():
            await one.step()
            await asyncio.sleep(0)

    async def write() -> None:
        for start in range(0, len(MESSAGES), 3):
            await wire.publish(MESSAGES[start : start + 3])
            published.extend(MESSAGES[start : start + 3])
            await asyncio.sleep(0)

    async with asyncio.timeout(60):
        await asyncio.gather(write(), *(run(one) for one in relays))
    broker.got_each_in_order(MESSAGES)
    assert await wire.waiting() == 0


@asynccontextmanager
async def died(wire: Post) -> AsyncIterator[None]:
    """A relay has leased what waits, and is heard of no more."""
    leased = asyncio.Event()

    async def die(_messages: list[Message]) -> int:
        leased.set()
        await asyncio.Event().wait()
        return 0

    relaying = asyncio.create_task(relay(wire, die).step())
    await leased.wait()
    yield
    relaying.cancel()
    await asyncio.gather(relaying, return_exceptions=True)


async def test_a_relay_that_died_is_followed_by_another_once_its_lease_has_ended(wire: Post) -> None:
    await wire.publish(MESSAGES)
    async with died(wire):
        broker = Broker()
        following = relay(wire, broker.publish, seed=2)
        assert not await following.step()
        assert broker.received == []
        wire.clock.advance(LEASE_S - 1)
        await following.step()
        assert broker.received == []
        wire.clock.advance(1)
        await following.step()
        broker.got_each_in_order(MESSAGES)


async def test_a_relay_that_died_is_followed_by_another_though_the_clock_was_set_back(wire: Post) -> None:
    """Its lease ends later than any that could be taken now: events would wait for as long as the clock went back."""
    await wire.publish(MESSAGES)
    async with died(wire):
        broker = Broker()
        following = relay(wire, broker.publish, seed=2)
        wire.clock.advance(-LEASE_S)
        assert not await following.step(), "it took a lease of one whose clock is a little ahead"
        wire.clock.advance(-3_600)
        await following.step()
        broker.got_each_in_order(MESSAGES)


@pytest.mark.parametrize("stopped", [True, False], ids=["stopped", "failed"])
async def test_a_relay_whose_step_is_broken_off_keeps_no_leases_and_forgets_nothing_that_arrived(
    wire: Post, *, stopped: bool
) -> None:
    """A stop waits only so long for a broker. Whoever follows need not wait until the leases end."""
    await wire.publish(MESSAGES)
    stuck, broker, other = MESSAGES[7].shard, Broker(), Broker()
    arrived, sending = asyncio.Event(), asyncio.Event()

    async def publish(messages: list[Message]) -> int:
        if messages[0].shard != stuck:
            confirmed = await broker.publish(messages)
            if len(broker.received) == len(MESSAGES) - behind:
                arrived.set()
            return confirmed
        await arrived.wait()
        sending.set()
        if stopped:
            await asyncio.Event().wait()
        raise ConnectionError

    behind = sum(one.shard == stuck for one in MESSAGES)
    relaying = asyncio.create_task(relay(wire, publish).step())
    await sending.wait()
    relaying.cancel()
    assert isinstance((await asyncio.gather(relaying, return_exceptions=True))[0], BaseException)
    await relay(wire, other.publish, seed=2).step()
    assert await wire.waiting() == 0
    assert {one.shard for one in other.received} == {stuck}, "what had arrived was sent again"


async def test_while_one_relay_sends_another_takes_none_of_its_shards(wire: Post) -> None:
    await wire.publish(MESSAGES)
    broker, other = Broker(), Broker()

    async def slowly(messages: list[Message]) -> int:
        assert not await relay(wire, other.publish, seed=2).step()
        return await broker.publish(messages)

    await relay(wire, slowly).step()
    assert other.received == []
    broker.got_each_in_order(MESSAGES)
    # What it has done with is free at once.
    await wire.publish([message("order-1", 4)])
    await relay(wire, other.publish, seed=3).step()
    assert other.firsts() == [("order-1", 4)]


# Frozen past its lease


async def a_relay_that_was_frozen_past_its_lease_changes_nothing(wire: Post) -> None:
    """It sent its list, froze, and wakes while another one is in the middle of sending the same list again."""
    messages = [message("order-1", n) for n in range(5)]
    await wire.publish(messages)
    broker = Broker()
    asleep, awake, sending, resume = (asyncio.Event() for _ in range(4))

    async def freeze(messages: list[Message]) -> int:
        confirmed = await broker.publish(messages)
        asleep.set()
        await awake.wait()
        return confirmed

    async def pause(messages: list[Message]) -> int:
        first = await broker.publish(messages[:2])
        sending.set()
        await resume.wait()
        return first + await broker.publish(messages[2:])

    frozen = asyncio.create_task(relay(wire, freeze).step())
    await asleep.wait()
    wire.clock.advance(LEASE_S)
    following = asyncio.create_task(relay(wire, pause, seed=2).step())
    await sending.wait()
    awake.set()
    await frozen
    # The rows are the other's now, and so is the lease: a third relay must not begin beside it.
    try:
        assert await wire.waiting() == 5, "it deleted what another one is sending"
        third = Broker()
        await relay(wire, third.publish, seed=3).step()
        assert third.received == [], "it gave away another one's lease"
    finally:
        resume.set()
        await following
    assert await wire.waiting() == 0
    broker.got_each_in_order(messages)
    assert len(broker.received) == 10
    group = wire.group()
    for one in broker.received:
        await group.inbox.deliver([one], nothing)
    await group.had_each_once_in_order(messages)


async def nothing(_tx: Tx) -> None: ...


async def test_a_relay_that_was_frozen_past_its_lease_changes_nothing(wire: Post) -> None:
    await a_relay_that_was_frozen_past_its_lease_changes_nothing(wire)


class Forgetful:
    """A transaction whose statements do not look at the lease's token."""

    def __init__(self, tx: Tx) -> None:
        self._tx = tx

    async def all(self, sql: str, params: Params = ()) -> list[Row]:
        return await self._tx.all(self._without_token(sql), params)

    async def write(self, sql: str, params: Params = ()) -> None:
        await self._tx.write(self._without_token(sql), params)

    def _without_token(self, sql: str) -> str:
        return sql.replace("WHERE token = ?", "WHERE ? <> ''")


@pytest.mark.parametrize("forgotten", ["the rows", "the lease"])
async def test_control_without_the_token_a_frozen_relay_deletes_what_is_not_its_own(
    wire: Post, monkeypatch: pytest.MonkeyPatch, forgotten: str
) -> None:
    settle = Relay._settle

    async def settle_without_token(self: Relay, tx: Tx, token: str, confirmed: list[int]) -> None:
        blind: Any = Forgetful(tx)
        await settle(self, blind, token, confirmed if forgotten == "the rows" else [])

    monkeypatch.setattr(Relay, "_settle", settle_without_token)
    reason = "it deleted" if forgotten == "the rows" else "it gave away"
    with pytest.raises(AssertionError, match=reason):
        await a_relay_that_was_frozen_past_its_lease_changes_nothing(wire)
