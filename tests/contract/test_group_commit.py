"""Group commit: many requests, one transaction, an answer of its own for each."""

import asyncio
import gc
import weakref
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from structlog.typing import EventDict

from quickcommerce.kit import batch
from quickcommerce.kit.batch import GroupCommit
from quickcommerce.kit.problem import Unavailable
from quickcommerce.kit.repeating import Undone
from quickcommerce.kit.telemetry import current_trace, tracing
from stores import metric, turns


@dataclass
class Till:
    """Handles lists, one at a time when `open` is cleared; remembers each list and the trace it was handled under."""

    lists: list[list[int]] = field(default_factory=list)
    traces: list[str] = field(default_factory=list)
    effects: list[int] = field(default_factory=list)
    poison: set[int] = field(default_factory=set)
    refused: set[int] = field(default_factory=set)
    down: bool = False
    undone_from: int = 1_000
    """Lists of so many are undone again and again."""
    in_flight: int = 0
    at_once: int = 0
    open: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, requests: list[int]) -> Sequence[str | Exception]:
        self.lists.append(requests)
        self.traces.append(current_trace())
        self.in_flight += 1
        self.at_once = max(self.at_once, self.in_flight)
        try:
            await self.open.wait()
            if self.down:
                raise Unavailable("the database is down")
            if len(requests) >= self.undone_from:
                raise Undone("error 1213, 9 times in a row")
            if self.poison & set(requests):
                raise ZeroDivisionError(f"in a list of {len(requests)}")
        finally:
            self.in_flight -= 1
        self.effects += requests
        return [ValueError(f"refused {each}") if each in self.refused else f"answer {each}" for each in requests]


@pytest.fixture
def till() -> Till:
    return Till()


def commits(till: Till, **options: Any) -> GroupCommit[int, str]:
    return GroupCommit(
        options.pop("name", "test"), till.handle, **{"list_max": 100, "queue_max": 1000, "within_s": 30.0, **options}
    )


def submitted(group: GroupCommit[int, str], requests: Sequence[int]) -> list[asyncio.Task[str]]:
    return [asyncio.create_task(group.submit(request)) for request in requests]


def first_has_waited(group: GroupCommit[int, str], seconds: float) -> None:
    """Whoever is first in the queue came so much earlier."""
    request, future, came_s = group._queue[0]
    group._queue[0] = (request, future, came_s - seconds)


async def test_an_idle_shop_commits_a_request_at_once_and_alone(till: Till) -> None:
    till.open.set()
    group = commits(till)
    assert [await group.submit(n) for n in range(3)] == ["answer 0", "answer 1", "answer 2"]
    assert till.lists == [[0], [1], [2]]


async def test_while_one_list_is_in_flight_the_next_fills_up_to_its_bound(till: Till) -> None:
    group = commits(till, list_max=4)
    waiting = submitted(group, range(11))
    await turns()
    assert till.lists == [[0, 1, 2, 3]]
    waiting += submitted(group, [11])
    await turns()
    till.open.set()
    assert await asyncio.gather(*waiting) == [f"answer {n}" for n in range(12)]
    assert till.lists == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert till.at_once == 1


async def test_as_many_lists_are_in_flight_as_there_are_runners(till: Till) -> None:
    group = commits(till, list_max=2, runners=3)
    waiting = submitted(group, range(10))
    await turns()
    assert till.lists == [[0, 1], [2, 3], [4, 5]]
    till.open.set()
    assert await asyncio.gather(*waiting) == [f"answer {n}" for n in range(10)]
    assert till.at_once == 3
    assert sorted(till.effects) == list(range(10))


async def test_few_who_came_while_a_list_was_in_flight_are_one_list_with_those_who_come_right_after(
    till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    gathered = asyncio.Event()
    monkeypatch.setattr(GroupCommit, "_gathered", lambda *_: gathered.wait())
    monkeypatch.setattr(batch, "STUCK_S", 3_600.0)
    group = commits(till, runners=2)
    waiting = submitted(group, [0])
    await turns()
    waiting += submitted(group, [1, 2])
    await turns()
    # Few do not set out beside it.
    assert till.lists == [[0]]
    till.open.set()
    await waiting[0]
    waiting += submitted(group, [3])
    await turns()
    assert till.lists == [[0]]
    gathered.set()
    await asyncio.gather(*waiting)
    assert till.lists == [[0], [1, 2, 3]]


async def test_whoever_has_waited_long_enough_does_not_wait_for_others_too(
    till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "GATHER_LISTS", 10**12)
    monkeypatch.setattr(batch, "GATHER_MAX_S", 3_600.0)
    group = commits(till)
    waiting = submitted(group, [0])
    await turns()
    waiting += submitted(group, [1])
    await turns()
    first_has_waited(group, 3_600)
    till.open.set()
    await asyncio.gather(*waiting)
    assert till.lists == [[0], [1]]


@pytest.mark.parametrize(("runners", "sizes"), [(2, [1, 100, 64]), (1, [1, 200])])
async def test_a_list_leaves_half_of_many_that_wait_to_another_that_may_be_in_flight_beside_it(
    till: Till, runners: int, sizes: list[int]
) -> None:
    group = commits(till, runners=runners, list_max=256)
    waiting = submitted(group, [0])
    await turns()
    waiting += submitted(group, range(1, 201))
    await turns()
    till.open.set()
    await asyncio.gather(*waiting)
    assert [len(each) for each in till.lists][: len(sizes)] == sizes
    assert sorted(till.effects) == list(range(201))


@pytest.mark.parametrize(("lists", "waited"), [(0, 0.0), (10**12, batch.GATHER_MAX_S)])
async def test_few_are_gathered_for_as_long_as_lists_take_and_not_for_longer(
    till: Till, monkeypatch: pytest.MonkeyPatch, lists: int, waited: float
) -> None:
    told: list[float] = []

    async def gathered(_: object, for_s: float) -> None:
        told.append(for_s)

    monkeypatch.setattr(batch, "GATHER_LISTS", lists)
    monkeypatch.setattr(GroupCommit, "_gathered", gathered)
    group = commits(till)
    waiting = submitted(group, [0])
    await turns()
    waiting += submitted(group, [1])
    await turns()
    till.open.set()
    await asyncio.gather(*waiting)
    assert told == [waited]


async def test_control_without_gathering_each_is_a_list_of_its_own(till: Till, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "ENOUGH", 1)
    group = commits(till, runners=2)
    waiting = submitted(group, [0])
    await turns()
    waiting += submitted(group, [1])
    await turns()
    assert till.lists == [[0], [1]]
    till.open.set()
    await asyncio.gather(*waiting)


async def beside_a_list_that_is_stuck(till: Till) -> None:
    group = commits(till, runners=2)
    waiting = submitted(group, [0])
    await turns()
    waiting += submitted(group, [1])
    await turns()
    first_has_waited(group, 60)
    waiting += submitted(group, [2])
    await turns()
    seen = list(till.lists)
    till.open.set()
    await asyncio.gather(*waiting)
    assert seen == [[0], [1, 2]], "one buyer's row keeps all others waiting"


async def test_a_list_that_is_stuck_does_not_keep_few_others_waiting(till: Till) -> None:
    await beside_a_list_that_is_stuck(till)


async def test_control_without_an_end_of_patience(till: Till, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "STUCK_S", 3_600.0)
    with pytest.raises(AssertionError, match="keeps all others waiting"):
        await beside_a_list_that_is_stuck(till)


async def alone_behind_a_list_that_is_stuck(till: Till, monkeypatch: pytest.MonkeyPatch) -> None:
    looked = asyncio.Event()
    look = GroupCommit._look

    def looking(group: GroupCommit[int, str]) -> None:
        if group._queue:
            first_has_waited(group, 60)
        look(group)
        looked.set()

    monkeypatch.setattr(batch, "STUCK_S", 0.001)
    monkeypatch.setattr(GroupCommit, "_look", looking)
    group = commits(till, runners=2)
    waiting = submitted(group, [0])
    await turns()
    waiting += submitted(group, [1])
    async with asyncio.timeout(30):
        await looked.wait()
    await turns()
    seen = list(till.lists)
    till.open.set()
    await asyncio.gather(*waiting)
    assert seen == [[0], [1]], "who comes alone waits for the row of another"


async def test_who_comes_alone_behind_a_list_that_is_stuck_does_not_wait_for_another_to_come(
    till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    await alone_behind_a_list_that_is_stuck(till, monkeypatch)


async def test_control_without_a_look_at_those_who_wait(till: Till, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GroupCommit, "_look", lambda _: None)
    with pytest.raises(AssertionError, match="the row of another"):
        await alone_behind_a_list_that_is_stuck(till, monkeypatch)


async def test_those_who_wait_are_counted_while_nobody_takes_them(till: Till) -> None:
    group = commits(till, name="counted", list_max=1)
    waiting = submitted(group, range(4))
    await turns()
    assert metric("qc_batch_waiting", batch="counted") == 3
    till.open.set()
    await asyncio.gather(*waiting)
    assert metric("qc_batch_waiting", batch="counted") == 0


async def test_enough_set_out_beside_a_list_in_flight_and_fewer_are_left_to_the_other(till: Till) -> None:
    group = commits(till, runners=2)
    waiting = submitted(group, [0])
    await turns()
    many = range(1, 1 + batch.ENOUGH)
    waiting += submitted(group, many)
    await turns()
    assert till.lists == [[0], [*many]]
    waiting += submitted(group, [100, 101])
    till.open.set()
    await asyncio.gather(*waiting)
    assert till.lists == [[0], [*many], [100, 101]]


async def test_a_queue_that_is_full_refuses_at_once_and_takes_again_when_it_has_emptied(till: Till) -> None:
    group = commits(till, name="full", list_max=1, queue_max=2)
    waiting = submitted(group, [0])
    await turns()
    waiting += submitted(group, [1, 2])
    await turns()
    for _ in range(2):
        with pytest.raises(Unavailable, match="too many"):
            await group.submit(3)
    assert metric("qc_batch_refused_total", batch="full") == 2
    till.open.set()
    await asyncio.gather(*waiting)
    assert await group.submit(4) == "answer 4"
    assert till.effects == [0, 1, 2, 4]


async def test_a_buyer_who_leaves_before_the_list_is_taken_has_no_effect(till: Till) -> None:
    group = commits(till, list_max=1)
    waiting = submitted(group, range(3))
    await turns()
    assert waiting[1].cancel()
    await turns()
    till.open.set()
    assert [await waiting[0], await waiting[2]] == ["answer 0", "answer 2"]
    assert till.lists == [[0], [2]]


async def test_a_buyer_who_leaves_after_the_list_was_taken_has_a_whole_effect_and_harms_no_neighbour(
    till: Till,
) -> None:
    group = commits(till)
    waiting = submitted(group, range(3))
    await turns()
    assert till.lists == [[0, 1, 2]]
    assert waiting[1].cancel()
    await turns()
    assert waiting[1].cancelled()
    till.open.set()
    assert [await waiting[0], await waiting[2]] == ["answer 0", "answer 2"]
    assert till.effects == [0, 1, 2]


async def test_when_everyone_left_the_next_request_is_still_served(till: Till) -> None:
    group = commits(till, list_max=2)
    leaving = submitted(group, range(5))
    await turns()
    for each in leaving:
        each.cancel()
    await turns()
    till.open.set()
    assert await group.submit(5) == "answer 5"
    assert till.effects == [0, 1, 5]


async def test_a_request_that_breaks_its_list_fails_alone(till: Till) -> None:
    till.open.set()
    till.poison = {2}
    group = commits(till)
    answers = await asyncio.gather(*submitted(group, range(5)), return_exceptions=True)
    assert till.effects == [0, 1, 3, 4]
    assert isinstance(answers[2], ZeroDivisionError)
    assert str(answers[2]) == "in a list of 1"
    del answers[2]
    assert answers == ["answer 0", "answer 1", "answer 3", "answer 4"]
    assert await group.submit(6) == "answer 6"


@pytest.mark.parametrize("missing", [1, -1, 3])
async def test_a_list_with_more_or_fewer_answers_than_requests_fails_each_at_once_and_is_not_run_again(
    missing: int, logged: list[EventDict]
) -> None:
    lists: list[list[int]] = []

    async def miscount(requests: list[int]) -> Sequence[str | Exception]:
        lists.append(requests)
        return ["answer"] * (len(requests) - missing)

    group: GroupCommit[int, str] = GroupCommit("test", miscount, list_max=9, queue_max=9, within_s=3600.0)
    answers = await asyncio.gather(*submitted(group, range(3)), return_exceptions=True)
    assert [str(answer) for answer in answers] == [f"{3 - missing} answers to 3 requests"] * 3
    assert all(isinstance(answer, AssertionError) for answer in answers)
    assert lists == [[0, 1, 2]]
    assert [(line["event"], line["log_level"]) for line in logged] == [("batch.miscounted", "error")]
    # The runner has not died of it.
    with pytest.raises(AssertionError, match="to 1 requests"):
        await group.submit(3)
    await group.drain()


async def test_a_request_that_is_refused_is_not_run_again_and_neither_are_its_neighbours(till: Till) -> None:
    till.open.set()
    till.refused = {1}
    answers = await asyncio.gather(*submitted(commits(till), range(3)), return_exceptions=True)
    assert [str(answer) for answer in answers] == ["answer 0", "refused 1", "answer 2"]
    assert till.lists == [[0, 1, 2]]


async def test_a_database_that_is_down_is_told_to_all_and_not_asked_once_for_each(till: Till) -> None:
    till.open.set()
    till.down = True
    group = commits(till)
    answers = await asyncio.gather(*submitted(group, range(50)), return_exceptions=True)
    assert all(isinstance(answer, Unavailable) for answer in answers)
    assert till.lists == [list(range(50))]
    till.down = False
    assert await group.submit(50) == "answer 50"


async def test_a_list_that_is_undone_again_and_again_is_done_one_by_one_and_nobody_is_told(till: Till) -> None:
    """Of sixty statements one is undone nearly always, where of four it seldom is."""
    till.open.set()
    till.undone_from = 2
    group = commits(till)
    assert await asyncio.gather(*submitted(group, range(3))) == ["answer 0", "answer 1", "answer 2"]
    assert till.lists == [[0, 1, 2], [0], [1], [2]]
    till.undone_from, till.lists = 1, []
    with pytest.raises(Unavailable, match="9 times"):
        await group.submit(3)
    assert till.lists == [[3]], "alone it is no less the second time"


async def test_of_a_list_that_was_undone_nothing_is_done_for_who_has_left_or_was_told_to_ask_again(till: Till) -> None:
    """Somebody holds a row: the others would be waited for one after another, and ordered for when nobody is there."""
    till.undone_from = 2
    group = commits(till)
    asked = submitted(group, range(3))
    await asyncio.sleep(0)  # they have asked
    await asyncio.sleep(0)  # and are a list, which waits
    assert till.lists == [[0, 1, 2]]
    asked[1].cancel()
    till.open.set()
    assert [str(each) for each in await asyncio.gather(*asked, return_exceptions=True)] == ["answer 0", "", "answer 2"]
    assert till.lists == [[0, 1, 2], [0], [2]]


async def test_a_database_that_goes_down_while_a_list_is_retried_one_by_one_is_told_to_the_rest(till: Till) -> None:
    handled = till.handle

    async def handle(requests: list[int]) -> Sequence[str | Exception]:
        till.down = len(till.lists) > 2
        return await handled(requests)

    till.open.set()
    till.poison = {0}
    group: GroupCommit[int, str] = GroupCommit("test", handle, list_max=9, queue_max=9, within_s=30.0)
    answers = await asyncio.gather(*submitted(group, range(4)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [ZeroDivisionError, str, Unavailable, Unavailable]
    assert till.effects == [1]


async def test_no_answer_in_time_is_said_and_what_still_waits_never_happens(till: Till) -> None:
    slow = commits(till, list_max=1, within_s=0.01)
    waiting = submitted(slow, [1, 2])
    async with asyncio.timeout(30):
        for each in waiting:
            with pytest.raises(Unavailable, match="no answer yet"):
                await each
    till.open.set()
    await slow.drain()
    # The first was taken already, which is why the answer says "ask again with the same key" and not "it failed".
    assert till.effects == [1]


async def test_drain_waits_for_every_answer(till: Till) -> None:
    group = commits(till, list_max=2)
    waiting = submitted(group, range(5))
    await turns()
    draining = asyncio.create_task(group.drain())
    await turns()
    assert not draining.done()
    till.open.set()
    await draining
    await turns()
    assert all(each.done() for each in waiting)
    await group.drain()


async def test_a_hundred_buyers_get_their_own_answers_and_keep_their_own_trace(till: Till) -> None:
    group = commits(till, list_max=7)

    async def buyer(n: int) -> str:
        with tracing(f"trace {n}"):
            await asyncio.sleep(0)
            answer = await group.submit(n)
            return f"{answer} under {current_trace()}"

    waiting = [asyncio.create_task(buyer(n)) for n in range(100)]
    await turns()
    till.open.set()
    assert await asyncio.gather(*waiting) == [f"answer {n} under trace {n}" for n in range(100)]
    # A list belongs to nobody: what it logs must not look like the first buyer's doing.
    assert set(till.traces) == {""}
    assert sorted(till.effects) == list(range(100))


async def test_a_refusal_keeps_nothing_of_its_request_until_garbage_is_looked_for() -> None:
    class Request:
        """What a refusal would keep alive."""

    async def refused(requests: list[Request]) -> list[Exception]:
        return [ValueError("refused") for _ in requests]

    group: GroupCommit[Request, str] = GroupCommit("refusing", refused, list_max=8, queue_max=8, within_s=5)
    gc.disable()
    try:
        request = Request()
        kept = weakref.ref(request)
        with suppress(ValueError):
            await group.submit(request)
        del request
        await turns()
        assert kept() is None, "in a sale, memory grows with whoever is told that it is sold out"
    finally:
        gc.enable()
