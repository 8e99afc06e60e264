"""A pool of connections: bounded in size and in wait, and of the same size whatever happens to those who use it."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import pytest

from quickcommerce.kit import pool as pools
from quickcommerce.kit.pool import Pool
from quickcommerce.kit.problem import Unavailable
from stores import CancelledAt, metric, turns


@dataclass
class Server:
    """Counts its connections; opening one takes a turn of the event loop."""

    down: bool = False
    opened: int = 0
    closed: list[int] = field(default_factory=list)

    async def open(self) -> int:
        await asyncio.sleep(0)
        if self.down:
            raise Unavailable("the server is down")
        self.opened += 1
        return self.opened

    def pool(self, size: int = 2, wait_s: float = 30.0) -> Pool[int]:
        return Pool("test", "writer", self.open, self.closed.append, size=size, wait_s=wait_s)


@asynccontextmanager
async def turn(pool: Pool[int], *, broken: bool = False) -> AsyncIterator[int]:
    """A turn and its connection, which may break meanwhile."""
    await pool.enter()
    connection: int | None = None
    try:
        connection = await pool.connection()
        yield connection
    finally:
        pool.leave(None if broken else connection)


async def has_room(pool: Pool[int], size: int) -> bool:
    """Whether so many can have a turn at once, and no more."""
    for _ in range(size):
        await asyncio.wait_for(pool.enter(), 1)
    full = pool._turns.locked()
    for _ in range(size):
        pool.leave(None)
    return full


async def test_one_after_the_other_use_the_same_connection_and_the_one_used_last_comes_first() -> None:
    server = Server()
    pool = server.pool()
    for _ in range(3):
        async with turn(pool) as connection:
            assert connection == 1
    async with turn(pool) as first, turn(pool) as second:
        assert {first, second} == {1, 2}
    async with turn(pool) as again:
        # The inner turn ended first, so the outer one's connection was given back last.
        assert again == first
    assert server.opened == 2


async def test_no_more_than_its_size_are_in_use_at_once() -> None:
    server = Server()
    pool = server.pool(size=3)
    used: list[int] = []

    async def work() -> None:
        async with turn(pool):
            used.append(int(metric("qc_db_pool_in_use", db="test", pool="writer")))
            await turns(3)

    await asyncio.gather(*(work() for _ in range(50)))
    assert max(used) == 3
    assert server.opened == 3
    assert metric("qc_db_pool_size", db="test", pool="writer") == 3
    assert metric("qc_db_pool_in_use", db="test", pool="writer") == 0


async def test_who_waits_too_long_or_behind_too_many_is_refused_and_the_next_is_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pools, "WAITING_MAX", 5)
    pool = Server().pool(size=1, wait_s=0.01)
    before = metric("qc_db_pool_refused_total", db="test", pool="writer")
    async with turn(pool):
        crowd = [asyncio.create_task(pool.enter()) for _ in range(9)]
        await turns()
        # Four come when five wait already, and hear of it at once.
        assert [each.done() for each in crowd] == [False] * 5 + [True] * 4
        answers = await asyncio.gather(*crowd, return_exceptions=True)
    assert all(isinstance(each, Unavailable) and "in use" in each.detail for each in answers)
    assert metric("qc_db_pool_refused_total", db="test", pool="writer") - before == 9
    async with turn(pool):
        pass
    assert await has_room(pool, 1)


async def test_a_connection_that_broke_is_replaced_and_one_that_cannot_be_opened_costs_no_turn() -> None:
    server = Server()
    pool = server.pool()
    async with turn(pool, broken=True) as first:
        assert first == 1
    async with turn(pool) as second:
        assert second == 2
    pool.forget()
    assert server.closed == [2]
    server.down = True
    for _ in range(5):
        with pytest.raises(Unavailable, match="down"):
            async with turn(pool):
                pass
    server.down = False
    assert await has_room(pool, 2)


async def test_cancelled_at_any_await_of_a_turn_the_pool_keeps_its_size() -> None:
    async def whole(pool: Pool[int]) -> None:
        async with turn(pool):
            await asyncio.sleep(0)

    for at in itertools.count():
        pool = Server().pool(size=1)
        running = CancelledAt(whole(pool), at)

        async def awaited(running: CancelledAt[None] = running) -> None:
            await running

        other = asyncio.create_task(whole(pool))
        mine = asyncio.create_task(awaited())
        with suppress(asyncio.CancelledError):
            await mine
        await other
        assert await has_room(pool, 1)
        if running.awaits <= at:
            break


async def test_close_waits_for_who_has_a_turn_and_refuses_who_comes() -> None:
    server = Server()
    pool = server.pool()
    async with turn(pool):
        closing = asyncio.create_task(pool.close())
        await turns()
        assert not closing.done()
        with pytest.raises(Unavailable, match="closed"):
            await pool.enter()
    await closing
    assert server.closed == [1]
    with pytest.raises(Unavailable, match="closed"):
        await pool.enter()
    await pool.close()
