"""Consumer groups: each reads at its own pace, and an event is kept until the last has taken it."""

import asyncio

import pytest
from structlog.typing import EventDict

from quickcommerce.kit import bus
from quickcommerce.kit.bus import Subscription
from quickcommerce.kit.db import Database, Tx, Work
from quickcommerce.kit.outbox import SHARDS, append
from quickcommerce.kit.problem import Unavailable
from stores import BUSES, READERS, Post, drain, kinds, message, turns

MESSAGES = [message(f"order-{key}", n) for n in range(3) for key in range(8)]


@pytest.mark.parametrize("bus_name", BUSES)
async def test_a_group_that_is_stalled_stalls_no_other(wire: Post, bus_name: str) -> None:
    stalled, lively = wire.group("stalled"), wire.group("lively")
    stalled.down = True
    readers = {group.name: READERS[bus_name](wire.source.db, group.inbox, 5) for group in (stalled, lively)}
    for start in range(0, len(MESSAGES), 6):
        await wire.publish(MESSAGES[start : start + 6])
        with pytest.raises(Unavailable):
            await readers["stalled"].step()
        await drain(readers["lively"])
        await lively.had_each_once_in_order(MESSAGES[: start + 6])
    stalled.down = False
    await drain(readers["stalled"])
    await stalled.had_each_once_in_order(MESSAGES)
    await lively.had_each_once_in_order(MESSAGES)


async def test_only_what_every_group_has_passed_is_pruned(wire: Post) -> None:
    slow, fast = wire.group("slow"), wire.group("fast")
    readers = [Subscription(wire.source.db, group.inbox, 10) for group in (slow, fast)]
    await wire.publish(MESSAGES)
    assert await wire.waiting() == 24
    await drain(readers[1])
    await bus.prune(wire.source.db, readers)
    assert await wire.waiting() == 24
    await readers[0].step()
    await bus.prune(wire.source.db, readers)
    assert await wire.waiting() == 14
    await drain(readers[0])
    await bus.prune(wire.source.db, readers)
    assert await wire.waiting() == 0
    # A number is never given twice: a cursor that stands behind the last row must not hide the next.
    late = message("order-0", 3)
    await wire.publish([late])
    for reader in readers:
        await drain(reader)
    for group in (slow, fast):
        await group.had_each_once_in_order([*MESSAGES, late])


async def test_a_group_that_has_never_read_keeps_everything(wire: Post) -> None:
    groups = [wire.group("old"), wire.group("new")]
    readers = [Subscription(wire.source.db, group.inbox, 100) for group in groups]
    await wire.publish(MESSAGES)
    await drain(readers[0])
    await bus.prune(wire.source.db, readers)
    await drain(readers[1])
    await groups[1].had_each_once_in_order(MESSAGES)


async def test_pruning_says_whether_more_waits(wire: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bus, "PRUNE_MAX", 2)
    reader = Subscription(wire.source.db, wire.group().inbox, 100)
    await wire.publish(MESSAGES)
    await drain(reader)
    rounds = 1
    while await bus.prune(wire.source.db, [reader]):
        rounds += 1
    assert rounds > 1
    assert await wire.waiting() == 0


async def test_the_cursors_of_a_group_are_of_one_outbox(wire: Post) -> None:
    """The order group reads payment's outbox, the payment group the shop's: their numbers have nothing in common."""
    group = wire.group()
    here = Subscription(wire.source.db, group.inbox, 100)
    there = Subscription(wire.target.db, group.inbox, 100)
    await wire.publish(MESSAGES)
    await drain(here)
    other = [message(one.subject, one.time_us + 100) for one in MESSAGES[:5]]
    await wire.target.db.run(lambda tx: append(tx, other))
    await drain(there)
    await group.had_each_once_in_order([*MESSAGES, *other])
    assert await bus.passed(wire.source.db, [here, there]) == await here.cursors() != await there.cursors()


async def test_a_reader_that_was_overtaken_looks_again_and_changes_nothing(wire: Post, logged: list[EventDict]) -> None:
    group = wire.group()
    frozen, other = (Subscription(wire.source.db, group.inbox, 10) for _ in range(2))
    await drain(frozen)
    await wire.publish(MESSAGES)
    await drain(other)
    ahead = await other.cursors()
    handled = len(group.handled)
    for _ in range(2):
        # It does not know yet that its list was read; what it took from its own cursors is undone.
        assert await frozen_step(frozen), "it does not look again"
        assert await other.cursors() == ahead
    # Nobody is told of a failure: there was none, and nothing is tried one by one.
    assert [line["event"] for line in logged] == ["bus.overtaken"] * 2
    assert len(group.handled) == handled
    await group.had_each_once_in_order(MESSAGES)
    late = [message("order-0", 3), message("order-1", 3)]
    await wire.publish(late)
    await drain(frozen)
    await group.had_each_once_in_order([*MESSAGES, *late])
    assert max((await frozen.cursors()).values()) == 26


async def frozen_step(reader: Subscription) -> bool:
    """A step with the cursors that the reader had before anything was published."""
    reader._cursors.update(dict.fromkeys(range(SHARDS), 0))
    return await reader.step()


async def test_a_commit_that_happened_though_its_reply_was_lost_is_read_past(
    wire: Post, logged: list[EventDict], monkeypatch: pytest.MonkeyPatch
) -> None:
    group = wire.group()
    reader = Subscription(wire.source.db, group.inbox, 10)
    await reader.step()
    await wire.publish(MESSAGES)
    run = wire.target.db.run

    async def lose_the_reply(work: Work[None]) -> None:
        await run(work)
        raise Unavailable("the connection was lost while it committed")

    with monkeypatch.context() as patch:
        patch.setattr(wire.target.db, "run", lose_the_reply)
        with pytest.raises(Unavailable):
            await reader.step()
    await drain(reader)
    assert [line["event"] for line in logged] == ["bus.overtaken"]
    assert len(group.handled) == len(MESSAGES)
    await group.had_each_once_in_order(MESSAGES)


async def test_two_readers_of_one_group_at_once_cause_each_effect_once(wire: Post, logged: list[EventDict]) -> None:
    group = wire.group()

    async def read(reader: Subscription) -> None:
        while await reader.step():
            await turns(1)

    await wire.publish(MESSAGES)
    await asyncio.gather(*(read(Subscription(wire.source.db, group.inbox, 4)) for _ in range(3)))
    await group.had_each_once_in_order(MESSAGES)
    assert {line["event"] for line in logged} == {"bus.overtaken"}


async def test_listeners_of_the_outbox_are_woken_by_events_and_by_nothing_else(wire: Post) -> None:
    woken: list[int] = []
    wire.source.db.listen(lambda: woken.append(1))

    async def quiet(tx: Tx) -> None:
        await append(tx, [])

    await wire.source.db.run(quiet)
    assert woken == []
    await wire.publish(MESSAGES[:3])
    assert woken == [1]


@pytest.mark.parametrize("wire", kinds("sqlite", "sqlite-inline"), indirect=True)
async def test_a_group_waits_for_a_store_that_is_down_and_loses_nothing(wire: Post) -> None:
    group = wire.group()
    reader = Subscription(wire.source.db, group.inbox, 100)
    await wire.publish(MESSAGES)

    async def allow(pages: int, database: Database) -> None:
        await database.run(lambda tx: tx.one(f"PRAGMA max_page_count = {pages}"))

    await allow(1, wire.target.db)
    wide = [message(f"order-{n}" + "x" * 50, 0) for n in range(2000)]
    await wire.publish(wide)
    with pytest.raises(Unavailable):
        await drain(reader)
    await allow(1 << 30, wire.target.db)
    await drain(reader)
    await group.had_each_once_in_order([*MESSAGES, *wide])
    assert await wire.letters.list() == []
