"""A server that dies, is stopped, stands still or is full: nothing that was acknowledged is lost, and all goes on."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from quickcommerce.kit.db import Limits, connect
from quickcommerce.kit.mariadb import MariaDb
from quickcommerce.kit.problem import Unavailable
from servers.mariadb.acts import put, size
from servers.mariadb.conftest import PAIR
from servers.mariadb.server import Mariadb, server


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[Mariadb]:
    async with server(tmp_path / "mariadb") as found:
        yield found


async def opened(one: Mariadb) -> MariaDb:
    limits = Limits(writers=4, statement_s=0.5, wait_s=0.5)
    shop = connect(f"mariadb://root:@127.0.0.1:{one.port}/shop", rng=random.Random(1), limits=limits)
    assert isinstance(shop, MariaDb)
    await shop.run(lambda tx: tx.run(PAIR.replace("TABLE", "TABLE IF NOT EXISTS")))
    return shop


async def keep_on(shop: MariaDb, told: dict[str, int], until: asyncio.Event) -> None:
    """A buyer who orders again and again, and asks again with the same key where there was no answer."""
    while not until.is_set():
        name = f"order {len(told)}"
        told[name] = 0
        while True:
            try:
                await shop.run(put(name))
            except Unavailable:
                if until.is_set():
                    break
                await asyncio.sleep(0.05)
            else:
                told[name] += 1
                break


async def the_books_are_right(shop: MariaDb, told: dict[str, int]) -> None:
    stored = await shop.run(lambda tx: tx.all("SELECT name FROM pair"))
    names = [name for (name,) in stored]
    for name, times in told.items():
        halves = names.count(f"{name}.left") + names.count(f"{name}.right")
        assert halves in ((2,) if times else (0, 2)), f"{name} was told {times} times, and has {halves} halves"
    assert len(names) <= 2 * len(told)
    assert size(shop) == 4


@pytest.mark.parametrize("how", ["kill", "stop"])
async def test_a_server_that_ends_under_load_and_comes_back_has_lost_nothing(one: Mariadb, how: str) -> None:
    shop = await opened(one)
    told: dict[str, int] = {}
    over = asyncio.Event()
    buyers = [asyncio.create_task(keep_on(shop, told, over)) for _ in range(8)]

    async def some(more: int) -> None:
        before = sum(told.values())
        async with asyncio.timeout(30):
            while sum(told.values()) < before + more:  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0.01)

    for _ in range(2):
        await some(50)
        await (one.kill() if how == "kill" else one.stop())
        with pytest.raises(Unavailable):
            await shop.run(put("while it is down"))
        await one.start()
        await some(50)
    over.set()
    await asyncio.gather(*buyers)
    await the_books_are_right(shop, told | {"while it is down": 0})
    await shop.close()


async def test_a_server_that_stands_still_is_told_in_time_and_goes_on_by_itself(one: Mariadb) -> None:
    shop = await opened(one)
    await asyncio.gather(*(shop.run(put(f"before {n}")) for n in range(8)))
    await one.freeze()
    try:
        answers = await asyncio.gather(*(shop.run(put(f"frozen {n}")) for n in range(20)), return_exceptions=True)
        assert {type(answer) for answer in answers} == {Unavailable}
    finally:
        one.thaw()
    again = await asyncio.gather(*(shop.run(put(f"frozen {n}")) for n in range(20)))
    assert len(again) == 20
    rows = await shop.run(lambda tx: tx.one("SELECT COUNT(*) FROM pair"))
    assert rows == (56,)
    await shop.close()


async def test_a_server_that_is_read_only_says_so_and_takes_orders_again(one: Mariadb) -> None:
    await one.sql("CREATE USER buyer IDENTIFIED BY ''")
    await one.sql("GRANT ALL ON shop.* TO buyer")
    await (await opened(one)).close()
    shop = connect(f"mariadb://buyer@127.0.0.1:{one.port}/shop", rng=random.Random(1))
    await one.sql("SET GLOBAL read_only = 1")
    with pytest.raises(Unavailable, match="read-only"):
        await shop.run(put("order"))
    assert await shop.read(lambda tx: tx.one("SELECT COUNT(*) FROM pair")) == (0,)
    await one.sql("SET GLOBAL read_only = 0")
    assert await shop.run(put("order")) == "order"
    await shop.close()


async def test_a_server_without_a_free_connection_is_told_and_used_when_there_is_one(one: Mariadb) -> None:
    shop = await opened(one)
    await one.sql("SET GLOBAL max_connections = 10")
    async with asyncio.TaskGroup() as group:
        crowd = [connect(f"mariadb://root:@127.0.0.1:{one.port}/shop", rng=random.Random(n)) for n in range(15)]
        tries = [group.create_task(_tried(each)) for each in crowd]
    answers = {each.result() for each in tries}
    assert answers == {"served", "the database shop has no connection left (error 1040)"}
    for each in crowd:
        await each.close()
    assert await shop.run(put("order")) == "order"
    await shop.close()


async def _tried(database: object) -> str:
    assert isinstance(database, MariaDb)
    try:
        await database.run(lambda tx: tx.one("SELECT 1"))
    except Unavailable as refused:
        return refused.detail
    return "served"
