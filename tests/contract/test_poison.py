"""An event that cannot be handled goes to the dead letters with its reason, and holds nobody up."""

import asyncio
import random
from collections.abc import Callable
from typing import TypeVar

import pytest
from structlog.typing import EventDict

from quickcommerce.kit import life, repeating
from quickcommerce.kit.clock import from_rfc3339, rfc3339
from quickcommerce.kit.db import Duplicate, Repeatable, Tx, Work
from quickcommerce.kit.inbox import Inbox, Poison
from quickcommerce.kit.life import Loop, Supervisor
from quickcommerce.kit.outbox import Message
from quickcommerce.kit.policy import Backoff
from quickcommerce.kit.problem import NotFound, Unavailable
from stores import BUSES, READERS, Group, Post, drain, message, metric, until

T = TypeVar("T")
TRIES = 5
LETTER = "group.evt_order-1_1"
NEIGHBOURS = [message("order-1", 0), message("order-2", 0), message("order-1", 2), message("order-1", 3)]


@pytest.fixture(autouse=True)
def _loops_wait_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(life, "_BACKOFF", Backoff(base_s=0.0001, cap_s=0.0001))


@pytest.fixture
def group(wire: Post) -> Group:
    return wire.group()


def breaks(group: Group) -> Message:
    group.broken.add("evt_order-1_1")
    return message("order-1", 1)


POISON: dict[str, tuple[Callable[[Group], Message], str, int]] = {
    "a defect of ours": (breaks, "RuntimeError('evt_order-1_1 breaks the handler')", TRIES),
    "cut off": (lambda _: message("order-1", 1, data=b'{"half": '), "DecodeError", TRIES),
    "deep": (lambda _: message("order-1", 1, data=b"[" * 100_000), "RecursionError", TRIES),
    "of the wrong type": (lambda _: message("order-1", 1, data=b'"text"'), "ValidationError", TRIES),
    "not JSON": (lambda _: message("order-1", 1, data=b"\xff\xfe"), "DecodeError", TRIES),
    "unknown": (lambda _: message("order-1", 1, kind="OrderEaten"), "unknown event type OrderEaten", 2),
}


@pytest.mark.parametrize("bus", BUSES)
@pytest.mark.parametrize(("poison", "reason", "tries"), POISON.values(), ids=POISON)
async def test_poison_is_put_aside_with_its_reason_and_its_neighbours_go_on(
    wire: Post, group: Group, bus: str, poison: Callable[[Group], Message], reason: str, tries: int
) -> None:
    event = poison(group)
    await wire.publish([*NEIGHBOURS[:2], event, *NEIGHBOURS[2:]])
    reader = READERS[bus](wire.source.db, group.inbox, 256)
    await drain(reader)
    await group.had_each_once_in_order(NEIGHBOURS)
    [letter] = await wire.letters.list()
    assert (letter.id, letter.consumer, letter.event_type) == (LETTER, "group", event.type)
    assert (letter.order_id, letter.failed_at) == ("order-1", rfc3339(wire.clock()))
    assert reason in letter.reason
    # The list, in which nobody knew yet whose fault it was, is the first of them.
    assert letter.tries == tries
    assert group.handled.count(event.id) in (0, tries), "it was not tried as often as the letter says"
    kept = await wire.target.db.read(lambda tx: wire.letters.peek(tx, LETTER))
    assert (kept.id, kept.type, kept.subject, kept.data, kept.trace) == (
        event.id, event.type, event.subject, event.data, event.trace,
    )  # fmt: skip
    # It is behind the group now, and coming again it is a repeat like any other.
    assert not await reader.step()
    await group.inbox.deliver([event], nothing)
    assert [entry.id for entry in await wire.letters.list()] == [LETTER]


async def nothing(_tx: Tx) -> None: ...


@pytest.mark.parametrize("bus", BUSES)
async def test_one_poison_in_a_hundred_keeps_the_other_ninety_nine_in_order(wire: Post, group: Group, bus: str) -> None:
    rng = random.Random(3)
    messages = [message(f"order-{key}", n) for n in range(20) for key in range(10)]
    group.broken = {one.id for one in rng.sample(messages, 2)}
    await wire.publish(messages)
    await drain(READERS[bus](wire.source.db, group.inbox, 256))
    await group.had_each_once_in_order([one for one in messages if one.id not in group.broken])
    assert {letter.id for letter in await wire.letters.list()} == {f"group.{broken}" for broken in group.broken}


async def test_an_event_that_fails_a_few_times_and_then_works_is_no_poison(wire: Post, group: Group) -> None:
    failures = iter([True] * (TRIES - 1))
    whole = group.inbox.handlers["Counted"]

    async def flaky(tx: Tx, messages: list[Message]) -> None:
        await whole(tx, messages)
        if next(failures, False):
            raise TimeoutError

    shaky = Inbox("group", wire.target.db, {"Counted": flaky}, wire.letters, wire.clock, random.Random(1))
    await shaky.deliver([message("order-1", 0)], nothing)
    assert await wire.letters.list() == []
    assert await group.effects() == [("order-1", 0)]


async def test_an_event_whose_transaction_the_database_undoes_again_and_again_is_no_poison(
    wire: Post, group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under many writers of the same rows deadlocks outlast the repeats; no paid order may end among letters."""
    monkeypatch.setattr(repeating, "_BACKOFF", Backoff(base_s=0.0001, cap_s=0.0001))
    whole = group.inbox.handlers["Counted"]
    undone = iter([True] * 2 * (1 + repeating.REPEATS_MAX))  # as a list, and alone

    async def disturbed(tx: Tx, messages: list[Message]) -> None:
        await whole(tx, messages)
        if next(undone, False):
            raise Repeatable("error 1213")

    inbox = Inbox("group", wire.target.db, {"Counted": disturbed}, wire.letters, wire.clock, random.Random(1))
    with pytest.raises(Unavailable):
        await inbox.deliver([message("order-1", 0)], nothing)
    await inbox.deliver([message("order-1", 0)], nothing)
    assert await wire.letters.list() == []
    assert await group.effects() == [("order-1", 0)]


async def test_events_that_are_undone_as_a_list_again_and_again_are_taken_one_by_one(
    wire: Post, group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repeating, "_BACKOFF", Backoff(base_s=0.0001, cap_s=0.0001))
    whole, lists = group.inbox.handlers["Counted"], list[int]()

    async def disturbed(tx: Tx, messages: list[Message]) -> None:
        await whole(tx, messages)
        lists.append(len(messages))
        if len(messages) > 1:
            raise Repeatable("error 1213")

    inbox = Inbox("group", wire.target.db, {"Counted": disturbed}, wire.letters, wire.clock, random.Random(1))
    await inbox.deliver([message("order-1", 0), message("order-2", 0)], nothing)
    assert lists == [2] * (1 + repeating.REPEATS_MAX) + [1, 1]
    assert await wire.letters.list() == []
    assert await group.effects() == [("order-1", 0), ("order-2", 0)]


async def test_what_is_undone_and_run_again_is_counted_and_logged_once(
    wire: Post, group: Group, logged: list[EventDict], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A parallel transaction makes every first run of a unit of work a run for nothing."""
    event = breaks(group)
    run = wire.target.db.run

    async def run_twice(work: Work[T]) -> T:
        runs = 0

        async def undone_at_first(tx: Tx) -> T:
            nonlocal runs
            runs += 1
            result = await work(tx)
            if runs == 1:
                raise Duplicate("a parallel transaction was faster")
            return result

        return await run(undone_at_first)

    monkeypatch.setattr(wire.target.db, "run", run_twice)
    ends = ("handled", "repeated", "dead")
    before = [metric("qc_events_total", consumer="group", end=end) for end in ends]
    await group.inbox.deliver([*NEIGHBOURS, event], nothing)
    await group.inbox.deliver(NEIGHBOURS, nothing)
    counted = [metric("qc_events_total", consumer="group", end=end) for end in ends]
    assert [now - then for now, then in zip(counted, before, strict=True)] == [len(NEIGHBOURS), len(NEIGHBOURS), 1]
    dead = [line for line in logged if line["event"] == "event.dead"]
    assert [(line["order_id"], line["trace.id"]) for line in dead] == [("order-1", event.trace)]


async def test_a_handler_that_knows_better_is_believed_at_once(wire: Post) -> None:
    runs = 0

    async def refusing(_tx: Tx, _messages: list[Message]) -> None:
        nonlocal runs
        runs += 1
        raise Poison("no order has this id, and none ever will" + "!" * 2000)

    knowing = Inbox("group", wire.target.db, {"Counted": refusing}, wire.letters, wire.clock, random.Random(1))
    await knowing.deliver([message("order-1", 1)], nothing)
    [letter] = await wire.letters.list()
    assert (letter.reason[:40], len(letter.reason)) == ("no order has this id, and none ever will", 1000)
    assert letter.tries == runs == 2


@pytest.mark.parametrize("bus", BUSES)
async def test_a_dependency_that_is_down_is_waited_for_without_limit_and_is_no_poison(
    wire: Post, group: Group, bus: str
) -> None:
    await wire.publish(NEIGHBOURS)
    group.down = True
    reader = READERS[bus](wire.source.db, group.inbox, 256)
    for _ in range(3 * TRIES):
        with pytest.raises(Unavailable):
            await reader.step()
    assert await wire.letters.list() == []
    assert await group.effects() == []
    group.down = False
    await drain(reader)
    await group.had_each_once_in_order(NEIGHBOURS)


async def test_a_dependency_that_goes_down_among_single_tries_buries_nobody(wire: Post, group: Group) -> None:
    event = breaks(group)
    whole = group.inbox

    async def down_after_three(tx: Tx, messages: list[Message]) -> None:
        group.down = group.handled.count(event.id) >= 3
        await whole.handlers["Counted"](tx, messages)

    falling = Inbox("group", whole.db, {"Counted": down_after_three}, wire.letters, wire.clock, random.Random(1))
    with pytest.raises(Unavailable):
        await falling.deliver([event, *NEIGHBOURS[2:]], nothing)
    assert group.handled == [event.id] * 3
    assert await wire.letters.list() == []
    group.down = False
    await whole.deliver([event, *NEIGHBOURS[2:]], nothing)
    await group.had_each_once_in_order(NEIGHBOURS[2:])
    assert [letter.id for letter in await wire.letters.list()] == [LETTER]


@pytest.mark.parametrize("bus", BUSES)
async def test_the_loop_names_what_it_waits_for_and_goes_on_by_itself(wire: Post, group: Group, bus: str) -> None:
    await wire.publish(NEIGHBOURS)
    group.down = True
    reader = READERS[bus](wire.source.db, group.inbox, 256)
    supervisor = Supervisor([Loop("events-group", reader.step, 0.001)], rng=random.Random(1))
    supervisor.start()
    await until(lambda: supervisor.stalled() == ["events-group: a dependency is down"])
    group.down = False
    await until(lambda: not supervisor.stalled())
    await supervisor.stop(drain_s=30)
    await group.had_each_once_in_order(NEIGHBOURS)


# Replay


async def test_a_replay_after_what_failed_was_mended_has_its_effect_and_removes_the_letter(
    wire: Post, group: Group
) -> None:
    await group.inbox.deliver([breaks(group), message("order-2", 0)], nothing)
    group.broken.clear()
    await group.inbox.replay(LETTER)
    assert await wire.letters.list() == []
    assert await group.effects() == [("order-2", 0), ("order-1", 1)]
    with pytest.raises(NotFound):
        await group.inbox.replay(LETTER)
    # The event may still come again from the bus.
    await group.inbox.deliver([message("order-1", 1)], nothing)
    assert await group.effects() == [("order-2", 0), ("order-1", 1)]


async def test_a_replay_that_fails_keeps_the_letter_and_leaves_no_effect(wire: Post, group: Group) -> None:
    await group.inbox.deliver([breaks(group)], nothing)
    before = await wire.letters.list()
    with pytest.raises(RuntimeError, match="breaks the handler"):
        await group.inbox.replay(LETTER)
    group.broken.clear()
    group.down = True
    with pytest.raises(Unavailable):
        await group.inbox.replay(LETTER)
    assert await wire.letters.list() == before
    assert await group.effects() == []
    group.down = False
    await group.inbox.replay(LETTER)
    assert await group.effects() == [("order-1", 1)]


async def test_two_operators_who_replay_the_same_letter_cause_one_effect(group: Group) -> None:
    await group.inbox.deliver([breaks(group)], nothing)
    group.broken.clear()
    answers = await asyncio.gather(*(group.inbox.replay(LETTER) for _ in range(3)), return_exceptions=True)
    assert sorted(type(answer).__name__ for answer in answers) == ["NoneType", "NotFound", "NotFound"]
    assert await group.effects() == [("order-1", 1)]


async def test_letters_are_listed_oldest_first_and_those_of_two_groups_are_two(wire: Post) -> None:
    for name, n in (("a later group", 1), ("first", 1), ("first", 2)):
        group = wire.group(name)
        group.broken = {message("order-1", n).id}
        hours = 2 if name == "a later group" else n - 1
        wire.clock.advance(hours * 3600)
        await group.inbox.deliver([message("order-1", n)], nothing)
        wire.clock.advance(-hours * 3600)
    expected = ["first.evt_order-1_1", "first.evt_order-1_2", "a later group.evt_order-1_1"]
    assert [letter.id for letter in await wire.letters.list()] == expected
    assert [letter.id for letter in await wire.letters.list(limit=2)] == expected[:2]
    last = (await wire.letters.list(limit=2))[-1]
    assert [letter.id for letter in await wire.letters.list((from_rfc3339(last.failed_at), last.id))] == expected[2:]
