"""A buyer who closes the app cancels a request. Whatever it was waiting for, the next one must not notice."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from quickcommerce.kit.db import Tx
from stores import EVERY, WAITING, CancelledAt, Store, opened, turns

COUNT = "SELECT COUNT(*) FROM pair"


@pytest.fixture(params=EVERY)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    async with opened(request.param, tmp_path / "store.db") as found:
        await found.db.run(lambda tx: tx.run("CREATE TABLE pair (name VARCHAR(40) PRIMARY KEY)"))
        yield found


only_those_that_wait = pytest.mark.parametrize("store", WAITING, indirect=True)


async def put(tx: Tx, name: str) -> str:
    await tx.insert("pair", "name", [(f"{name}.left",)])
    await tx.insert("pair", "name", [(f"{name}.right",)])
    return name


async def look(tx: Tx, name: str) -> str:
    return f"{name}: {await tx.one(COUNT)}"


async def rows(store: Store, name: str) -> int:
    found = await store.db.read(lambda tx: tx.all("SELECT name FROM pair WHERE name LIKE ?", (f"{name}.%",)))
    return len(found)


async def the_next_ones_are_served(store: Store, name: str) -> None:
    """Each gets its own answer, and nothing stays locked: not for us, nor for another process."""
    served = await asyncio.gather(
        store.db.run(lambda tx: put(tx, f"{name}, next")),
        store.db.scan(lambda tx: look(tx, "scan")),
        store.db.read(lambda tx: look(tx, "read")),
        store.db.run(lambda tx: look(tx, "run")),
    )
    assert [answer.partition(":")[0] for answer in served] == [f"{name}, next", "scan", "read", "run"]
    assert await rows(store, f"{name}, next") == 2
    store.elsewhere("INSERT INTO pair (name) VALUES (?)", (f"{name}, elsewhere",))


@pytest.mark.parametrize("again_after", [0, 1, 2])
async def test_cancelled_at_any_await_of_its_commit_work_is_whole_or_absent(store: Store, again_after: int) -> None:
    for at in itertools.count():
        name = f"order {at}"
        running = CancelledAt(store.db.run(lambda tx, name=name: put(tx, name)), at, at + again_after)  # type: ignore[misc]
        try:
            assert await awaited(running) == name
            ended = True
        except asyncio.CancelledError:
            ended = False
        assert await rows(store, name) in ((2,) if ended else (0, 2))
        await the_next_ones_are_served(store, name)
        if running.awaits <= at:
            break


@pytest.mark.parametrize("again_after", [0, 1, 2])
async def test_cancelled_at_any_await_of_a_scan_or_a_read_nothing_is_held(store: Store, again_after: int) -> None:
    for kind, ask in (("scan", store.db.scan), ("read", store.db.read)):
        for at in itertools.count():
            running = CancelledAt(ask(lambda tx: look(tx, "mine")), at, at + again_after)
            with suppress(asyncio.CancelledError):
                assert (await awaited(running)).startswith("mine")
            await the_next_ones_are_served(store, f"{kind} {at}")
            if running.awaits <= at:
                break


async def awaited(running: CancelledAt[str]) -> str:
    """In a task of its own, so that the test is not the one that is cancelled."""

    async def whole() -> str:
        return await running

    return await asyncio.create_task(whole())


@only_those_that_wait
@pytest.mark.parametrize("times", [1, 2, 3])
async def test_cancelled_while_its_commit_is_in_flight_it_is_committed_before_anyone_else_starts(
    store: Store, times: int
) -> None:
    with store.stalled("commit"):
        mine = asyncio.create_task(store.db.run(lambda tx: put(tx, "mine")))
        await turns()
        for _ in range(times):
            mine.cancel()
            await turns()
        following = asyncio.create_task(store.db.run(lambda tx: put(tx, "next")))
        await turns()
        # Whoever is told that it is over could ask what became of it, and would be told wrong.
        assert not mine.done()
        assert not following.done()
    assert await following == "next"
    with pytest.raises(asyncio.CancelledError):
        await mine
    assert (await rows(store, "mine"), await rows(store, "next")) == (2, 2)
    await the_next_ones_are_served(store, "after")


@only_those_that_wait
async def test_cancelled_while_its_commit_is_in_flight_its_listeners_hear_of_it(store: Store) -> None:
    """Otherwise a reader of what was committed would learn of it only when it looks by itself."""
    heard: list[str] = []
    store.db.listen(lambda: heard.append("listener"))

    async def work(tx: Tx) -> None:
        tx.announce()
        tx.after_commit(lambda: heard.append("told"))
        await put(tx, "mine")

    with store.stalled("commit"):
        mine = asyncio.create_task(store.db.run(work))
        await turns()
        mine.cancel()
        await turns()
        assert heard == []
    with pytest.raises(asyncio.CancelledError):
        await mine
    assert (heard, await rows(store, "mine")) == (["listener", "told"], 2)


@only_those_that_wait
async def test_cancelled_while_waiting_for_its_turn_it_has_no_effect(store: Store) -> None:
    with store.stalled("commit"):
        first = asyncio.create_task(store.db.run(lambda tx: put(tx, "first")))
        await turns()
        mine = asyncio.create_task(store.db.run(lambda tx: put(tx, "mine")))
        last = asyncio.create_task(store.db.run(lambda tx: put(tx, "last")))
        await turns()
        mine.cancel()
        with pytest.raises(asyncio.CancelledError):
            await mine
    assert (await first, await last) == ("first", "last")
    assert [await rows(store, name) for name in ("first", "mine", "last")] == [2, 0, 2]
    await the_next_ones_are_served(store, "after")


@only_those_that_wait
@pytest.mark.parametrize("times", [1, 2])
async def test_cancelled_while_its_scan_is_in_flight_it_keeps_nobody_waiting_but_scans(
    store: Store, times: int
) -> None:
    with store.stalled("scan"):
        mine = asyncio.create_task(store.db.scan(lambda tx: look(tx, "mine")))
        await turns()
        for _ in range(times):
            mine.cancel()
            await turns()
        assert await store.db.run(lambda tx: put(tx, "order")) == "order"
        assert await store.db.read(lambda tx: look(tx, "read")) == "read: (2,)"
        following = asyncio.create_task(store.db.scan(lambda tx: look(tx, "next")))
        await turns()
        assert not following.done()
    assert await following == "next: (2,)"
    with pytest.raises(asyncio.CancelledError):
        await mine


@only_those_that_wait
async def test_a_deadline_around_work_in_flight_ends_as_a_timeout_after_the_commit(store: Store) -> None:
    async def within(seconds: float) -> Any:
        async with asyncio.timeout(seconds):
            return await store.db.run(lambda tx: put(tx, "mine"))

    with store.stalled("commit"):
        mine = asyncio.create_task(within(0))
        await turns()
    with pytest.raises(TimeoutError):
        await mine
    assert await rows(store, "mine") in (0, 2)
    await the_next_ones_are_served(store, "after")


@only_those_that_wait
async def test_a_commit_in_flight_shows_nothing_yet_and_everything_once_it_is_answered(store: Store) -> None:
    with store.stalled("commit"):
        writing = asyncio.create_task(store.db.run(lambda tx: put(tx, "milk")))
        await turns()
        assert not writing.done()
        assert await store.db.read(lambda tx: tx.one(COUNT)) == (0,)
        assert await store.db.scan(lambda tx: tx.one(COUNT)) == (0,)
    assert await writing == "milk"
    assert await rows(store, "milk") == 2


@only_those_that_wait
async def test_close_finishes_what_is_in_flight(store: Store) -> None:
    with store.stalled("commit"):
        writing = asyncio.create_task(store.db.run(lambda tx: put(tx, "milk")))
        await turns()
        closing = asyncio.create_task(store.db.close())
        await turns()
        assert not closing.done()
    assert await writing == "milk"
    await closing
    with pytest.raises(Exception, match=r"UNIQUE|Duplicate"):
        store.elsewhere("INSERT INTO pair (name) VALUES ('milk.right')")
