import asyncio
import time
from typing import Self, cast

import pytest
from asyncmy.connection import Connection

from bench.pool import designs, experiment
from bench.pool.designs import Elsewhere, Lists
from bench.pool.pools import Nested, Plain, lent


class Silent:
    """A connection that takes every statement and remembers when it was committed."""

    def __init__(self) -> None:
        self.statements: list[str] = []
        self.commits = 0

    async def begin(self) -> None:
        await asyncio.sleep(0)

    async def commit(self) -> None:
        self.commits += 1

    def cursor(self) -> "Silent":
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def execute(self, sql: str, values: list[object]) -> None:
        assert sql.count("%s") == len(values)
        self.statements.append(sql)

    async def ensure_closed(self) -> None:
        pass


class Nowhere(Elsewhere):
    async def visit(self, order_id: int) -> None:
        del order_id
        await asyncio.sleep(0)


def elsewhere() -> Elsewhere:
    return Nowhere.__new__(Nowhere)


def plain(size: int) -> Plain:
    pool = Plain(size)
    for _ in range(size):
        pool.give(cast("Connection", Silent()))
    return pool


async def test_whoever_asks_a_nested_pool_for_more_than_the_inner_one_has_is_never_answered() -> None:
    pool = Nested(3, plain(2))
    first, second = await pool.take(), await pool.take()
    third = asyncio.create_task(pool.take())
    await asyncio.sleep(0)
    pool.give(first)
    pool.give(second)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(third), 0.05)
    # Those who ask later are served all the same.
    assert await pool.take() is first
    third.cancel()


async def test_a_pool_tells_of_each_how_long_it_waited(monkeypatch: pytest.MonkeyPatch) -> None:
    pool, now_s = plain(1), 0.0
    monkeypatch.setattr(time, "perf_counter", lambda: now_s)

    async def use() -> None:
        nonlocal now_s
        async with lent(pool):
            await asyncio.sleep(0)
            now_s += 1

    await asyncio.gather(*(use() for _ in range(5)))
    # The first had the connection at once.
    assert pool.waits.waited_us == [0, 1_000_000, 2_000_000, 3_000_000, 4_000_000]


async def test_a_list_is_answered_when_it_is_committed_and_needs_one_commit() -> None:
    pool = plain(1)
    lists = Lists(pool, elsewhere())
    runner = asyncio.create_task(lists.run())
    await asyncio.gather(*(lists.place(order_id) for order_id in range(designs.LIST_MAX + 1)))
    connection = cast("Silent", await pool.take())
    assert connection.commits == 2
    assert len(connection.statements) == 4
    runner.cancel()


async def test_orders_that_are_never_answered_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiment, "AT_ONCE", 4)
    monkeypatch.setattr(experiment, "HUNG_S", 0.05)

    async def place(order_id: int) -> None:
        await (asyncio.Event().wait() if order_id in (1, 3) else asyncio.sleep(0.001))

    latencies_us, span_s, hung = await experiment._crowd(place, 0.05)
    assert hung == 2
    assert len(latencies_us) > 4
    assert span_s < 1


async def test_an_order_that_fails_fails_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiment, "AT_ONCE", 2)

    async def place(order_id: int) -> None:
        raise OSError(f"no {order_id}")

    with pytest.raises(OSError, match=r"no [12]"):
        await experiment._crowd(place, 0.05)
