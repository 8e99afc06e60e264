"""Events: delivered at least once, with one effect, and in order for each order; whatever dies when."""

import random
from pathlib import Path

import pytest

from quickcommerce.kit import outbox
from quickcommerce.kit.bus import Settle
from quickcommerce.kit.db import Tx
from quickcommerce.kit.inbox import Inbox
from quickcommerce.kit.outbox import Message
from stores import BUSES, READERS, Group, Post, drain, kinds, message, post

KINDS = kinds("sqlite", "sqlite-inline", "mariadb")


class Crash(BaseException):
    """The process ends here."""


pytestmark = pytest.mark.usefixtures("at_once")


async def acknowledged(_tx: Tx) -> None:
    """A bus that keeps its own place: nothing to write here."""


def mixed(rng: random.Random, *, keys: int = 6, each: int = 5) -> list[Message]:
    """Events of several keys and two types, the keys shuffled, each key's own events in order."""
    order = [f"order-{key}" for key in range(keys) for _ in range(each)]
    rng.shuffle(order)
    seen: dict[str, int] = {}
    messages = []
    for key in order:
        seen[key] = seen.get(key, -1) + 1
        messages.append(message(key, seen[key], kind=rng.choice(("Counted", "Added"))))
    return messages


@pytest.mark.parametrize("bus", BUSES)
@pytest.mark.parametrize("list_max", [1, 7, 256])
async def test_every_event_arrives_once_and_in_order_for_its_key(wire: Post, bus: str, list_max: int) -> None:
    messages = mixed(random.Random(list_max))
    for start in range(0, len(messages), 4):
        await wire.publish(messages[start : start + 4])
    group = wire.group()
    reader = READERS[bus](wire.source.db, group.inbox, list_max)
    await drain(reader)
    await group.had_each_once_in_order(messages)
    late = [message("order-0", 5), message("order-9", 0)]
    await wire.publish(late)
    await drain(reader)
    await group.had_each_once_in_order([*messages, *late])
    assert not await reader.step()


@pytest.mark.parametrize("bus", BUSES)
async def test_a_backlog_of_one_order_is_read_to_its_end_and_none_of_it_waits_for_news(wire: Post, bus: str) -> None:
    messages = [message("order-1", n) for n in range(70)]
    await wire.publish(messages)
    group = wire.group()
    reader = READERS[bus](wire.source.db, group.inbox, 256)
    while await reader.step():
        pass
    await group.had_each_once_in_order(messages)


@pytest.mark.parametrize("bus", BUSES)
async def test_an_event_of_a_transaction_that_was_undone_never_arrives(wire: Post, bus: str) -> None:
    async def undone(tx: Tx) -> None:
        await outbox.append(tx, [message("order-1", 0)])
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await wire.source.db.run(undone)
    await wire.publish([message("order-1", 1)])
    group = wire.group()
    await drain(READERS[bus](wire.source.db, group.inbox, 256))
    assert await group.effects() == [("order-1", 1)]


# Duplicates


async def duplicates_have_one_effect(group: Group) -> None:
    messages = mixed(random.Random(5))
    await group.inbox.deliver(messages, acknowledged)
    await group.inbox.deliver(messages, acknowledged)
    await group.inbox.deliver([*messages[7:], *messages[:7]], acknowledged)
    for one in messages:
        await group.inbox.deliver([one], acknowledged)
    more = message("order-0", 5)
    await group.inbox.deliver([more, messages[0], more], acknowledged)
    await group.had_each_once_in_order([*messages, more])


async def test_duplicates_have_one_effect(wire: Post) -> None:
    await duplicates_have_one_effect(wire.group())


async def test_a_repeat_in_one_list_is_no_failure_of_the_list(wire: Post) -> None:
    group = wire.group()
    once = message("order-1", 0)
    await group.inbox.deliver([once, message("order-2", 0), once], acknowledged)
    assert sorted(group.handled) == ["evt_order-1_0", "evt_order-2_0"]


async def test_control_without_the_inbox_duplicates_have_effects(wire: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    switch_the_inbox_off(monkeypatch)
    with pytest.raises(AssertionError, match="123 effects of 31 events"):
        await duplicates_have_one_effect(wire.group())


def switch_the_inbox_off(monkeypatch: pytest.MonkeyPatch) -> None:
    async def everything(_self: Inbox, _tx: Tx, messages: list[Message]) -> list[Message]:
        return messages

    async def nothing(_self: Inbox, _tx: Tx, _messages: list[Message]) -> None: ...

    monkeypatch.setattr(Inbox, "_fresh", everything)
    monkeypatch.setattr(Inbox, "_remember", nothing)


async def test_the_inbox_key_refuses_a_repeat_that_the_look_missed(wire: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes may look at the same moment; the second insert must fail, and its effect with it."""
    group = wire.group()
    messages = mixed(random.Random(6))
    look = Inbox._fresh
    looks = 0

    async def blind_at_first(self: Inbox, tx: Tx, messages: list[Message]) -> list[Message]:
        nonlocal looks
        looks += 1
        return messages if looks == 1 else await look(self, tx, messages)

    await group.inbox.deliver(messages, acknowledged)
    monkeypatch.setattr(Inbox, "_fresh", blind_at_first)
    await group.inbox.deliver(messages, acknowledged)
    assert looks > 1
    await group.had_each_once_in_order(messages)


@pytest.mark.parametrize("seed", range(12))
async def test_shuffled_across_keys_with_repeats_the_end_is_the_same(wire: Post, seed: int) -> None:
    """As a broker with partitions delivers: keys in any order, lists of any size, and again from any point."""
    rng = random.Random(seed)
    messages = mixed(rng)
    group = wire.group()
    group.broken = {messages[rng.randrange(len(messages))].id for _ in range(seed % 3)}
    delivered = 0
    while delivered < len(messages):
        start = max(0, delivered - rng.randrange(6))
        end = min(len(messages), delivered + rng.randrange(1, 9))
        await group.inbox.deliver(messages[start:end], acknowledged)
        delivered = end
    await group.had_each_once_in_order([one for one in messages if one.id not in group.broken])
    assert {letter.id for letter in await wire.letters.list()} == {f"group.{event_id}" for event_id in group.broken}


# Crashes


async def crash_and_restart(folder: Path, kind: str, bus: str, *, broken: bool, after_commit: bool) -> None:
    """The process ends around the moment at which the cursor moves; another one starts on the same files."""
    messages = mixed(random.Random(8))
    spoiled: set[str] = {messages[3].id} if broken else set()

    class Crashing(Inbox):
        async def deliver(self, messages: list[Message], settle: Settle) -> None:
            async def crash(tx: Tx) -> None:
                await settle(tx)
                raise Crash

            await super().deliver(messages, settle if after_commit else crash)
            raise Crash

    async with post(kind, folder) as wire:
        await wire.publish(messages)
        group = wire.group()
        group.broken = spoiled
        whole = group.inbox
        dying = Crashing(whole.name, whole.db, whole.handlers, whole.letters, whole.clock, whole.rng)
        with pytest.raises(Crash):
            await READERS[bus](wire.source.db, dying, 10).step()
    async with post(kind, folder) as wire:
        group = wire.group()
        group.broken = spoiled
        await drain(READERS[bus](wire.source.db, group.inbox, 10))
        await group.had_each_once_in_order([one for one in messages if one.id not in spoiled])
        assert len(await wire.letters.list()) == len(spoiled)


@pytest.mark.parametrize("bus", BUSES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("broken", [False, True], ids=["a list", "one by one"])
@pytest.mark.parametrize("after_commit", [False, True], ids=["before the cursor moves", "after it"])
async def test_a_crash_around_the_cursor_loses_nothing_and_repeats_nothing(
    tmp_path: Path, kind: str, bus: str, broken: bool, after_commit: bool
) -> None:
    await crash_and_restart(tmp_path, kind, bus, broken=broken, after_commit=after_commit)


async def test_control_without_the_inbox_a_crash_repeats_what_was_done_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    switch_the_inbox_off(monkeypatch)
    with pytest.raises(AssertionError, match="38 effects of 29 events"):
        await crash_and_restart(tmp_path, "sqlite-inline", "memory:", broken=True, after_commit=False)
