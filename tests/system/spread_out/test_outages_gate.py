"""Redis goes wrong in the middle of a flash sale: orders go on, counts are exact, and the gate is soon right again."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import RedisError

from servers.redis import Server, free_port, redis, sentinels
from system.process import until
from system.sale import GOODS, UNITS, Sale
from system.split import Split, split
from system.truth import at_rest, checked
from system.wire import Way

pytestmark = pytest.mark.servers

RIGHT_WITHIN_S = 5
"""What operators may count on, from the moment that Redis answers again."""
SLOW_S = 0.5
BACK = 10
"""Scarce units that come in during the outage, and as many after it."""

Act = Callable[[], Awaitable[object]]
Harm = tuple[str, Act, Act]
"""The gate's address; what goes wrong with it, and what makes it well."""


async def nothing() -> None:
    """It mends itself."""


@asynccontextmanager
async def killed(folder: Path) -> AsyncIterator[Harm]:
    async with redis(folder) as server:

        async def kill() -> None:
            server.kill9()

        yield server.url, kill, server.start


@asynccontextmanager
async def flushed(folder: Path) -> AsyncIterator[Harm]:
    async with redis(folder) as server, server.client() as client:
        yield server.url, client.flushall, nothing


@asynccontextmanager
async def slowed(folder: Path) -> AsyncIterator[Harm]:
    async with redis(folder) as server, Way(server.url) as way:

        async def slow() -> None:
            way.late_s = SLOW_S

        async def quick() -> None:
            way.late_s = 0

        yield way.url, slow, quick


@asynccontextmanager
async def failed_over(folder: Path) -> AsyncIterator[Harm]:
    """The replica that is promoted has not heard of what was written last."""
    async with sentinels(folder) as (url, primary, replica):

        async def lacks() -> bool:
            return bool((await told(primary))["master_repl_offset"] > (await told(replica))["slave_repl_offset"])

        async def promoted() -> bool:
            with suppress(RedisError):  # who is promoted hangs up on everybody
                return bool((await told(replica))["role"] == "master")
            return False

        async def fail() -> None:
            async with replica.client() as client:
                await client.replicaof("127.0.0.1", free_port())
            await until("the replica lacks something", lacks)
            primary.kill9()
            await until("the replica is promoted", promoted)

        yield url, fail, nothing


async def told(server: Server) -> Any:
    async with server.client() as client:
        return await client.info("replication")


@pytest.mark.parametrize(
    ("more", "away_s", "right_within_s"),
    [pytest.param(60, 0, 60, id="small"), pytest.param(1_000, 60, RIGHT_WITHIN_S, id="real", marks=pytest.mark.full)],
)
@pytest.mark.parametrize("harmed", [killed, flushed, slowed, failed_over])
async def test_a_flash_sale_goes_on_exactly_while_redis_is(
    tmp_path: Path,
    harmed: Callable[[Path], AbstractAsyncContextManager[Harm]],
    more: int,
    away_s: int,
    right_within_s: float,
) -> None:
    async with (
        harmed(tmp_path / "redis") as (gate_url, harm, mend),
        split(tmp_path, goods=GOODS, gate_url=gate_url) as shop,
    ):
        sale = Sale(shop)
        async with sale.going_on():
            await gate_refuses(shop)
            assert sale.scarce == UNITS
            await harm()
            await sale.sells_again(BACK, within_s=60)
            await sale.more(more)
            await asyncio.sleep(away_s)
            await mend()
            await sale.sells_again(BACK, within_s=right_within_s)
            await gate_refuses(shop, within_s=right_within_s)
            await sale.more(more)
        await until("all is told", shop.quiet)
        await shop.invariants_hold()
        truth = at_rest(checked(await shop.truth()))
    assert truth.orders.keys() == sale.orders.keys(), "an order is stored twice, or lost"
    assert truth.products[1]["reserved"] == sale.scarce == UNITS + 2 * BACK
    assert truth.products[2]["reserved"] == len(sale.orders)


async def gate_refuses(shop: Split, *, within_s: float = 60) -> None:
    """Wait until the gate turns buyers away, before the database, in every process that sells."""
    before = await refused(shop)

    async def more() -> bool:
        return all(now > then for now, then in zip(await refused(shop), before, strict=True))

    await until("the gate turns buyers away", more, within_s=within_s)


async def refused(shop: Split) -> list[float]:
    return await shop.measured("api", "qc_gate_refused_total")
