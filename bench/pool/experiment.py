"""Pools of 1 to 100 connections: held across other I/O, as the original holds them, inside a pool of ten, and ours."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis

from bench.bare import Bare, bare
from bench.figures import Chart, Count, Curve, Figure, Run
from bench.pool import designs
from bench.pool.designs import Elsewhere, Lists, Order
from bench.pool.pools import Nested, Plain, Pool
from bench.room import Room, in_turn
from quickcommerce.bench.stats import Latency, summary

name = "pool"
what = "orders through pools of 1 to 100 connections, held across other I/O, for the rows alone, and for lists"
target = "a connection for the rows alone takes as many orders with ten as held, or more; the pool in a pool explained"

NESTED = "inside a pool of 10"
DESIGNS = ("held", NESTED, "rows alone", "lists")
SIZES = (1, 2, 3, 5, 8, 10, 15, 25, 50, 100)
INNER = 10
AT_ONCE = 128
SECONDS = 3.0
CALL_S = 0.008
"""What an order waits for others over a network: the original's asks its coupons and waits for a broker's answer. An
assumption: two calls within a data centre, one of which is written to a disk."""
HUNG_S = 3.0
"""Who is not answered so long after the others were, never will be."""


@dataclass(frozen=True)
class Point:
    """What a pool of one size gave. `hung` orders were never answered."""

    size: int
    per_s: float
    latency: Latency
    waited: Latency
    hung: int


async def run(room: Room) -> AsyncIterator[Run]:
    """See `targets.table`."""
    for number in range(1, room.runs + 1):
        points: dict[str, list[Point]] = {design: [] for design in DESIGNS}
        counts: list[Count] = []
        async with bare(room) as on:
            for table in designs.TABLES:
                await on.rows(table)
            for size in SIZES:
                for design in in_turn(DESIGNS, number):
                    room.tell(f"{name} run {number} of {room.runs}: {size} connections, {design}")
                    point, count = await _measure(on, design, size, SECONDS * room.scale)
                    points[design].append(point)
                    counts.append(count)
        yield Run(_figures(points), counts, _faults(points), _charts(points))


async def _measure(on: Bare, design: str, size: int, seconds: float) -> tuple[Point, Count]:
    """One size of one design, on empty tables."""
    for table in ("pool_order", "pool_line"):
        await on.rows(f"TRUNCATE TABLE {table}")
    async with AsyncExitStack() as stack:
        connections = BlockingConnectionPool.from_url(on.redis_url, max_connections=AT_ONCE, timeout=60)
        elsewhere = Elsewhere(await stack.enter_async_context(Redis.from_pool(connections)), CALL_S)
        # The connections to Redis are opened before anything is measured.
        await asyncio.gather(*(elsewhere.visit(each) for each in range(AT_ONCE)))
        pool = await _pool(design, size, on.database)
        stack.push_async_callback(pool.close)
        place = await _placing(design, size, pool, elsewhere, stack)
        latencies_us, span_s, hung = await _crowd(place, seconds)
    latency, waited = summary(latencies_us), summary(pool.waits.waited_us)
    point = Point(size, len(latencies_us) / max(span_s, 1e-9), latency, waited, hung)
    stored = await on.number("SELECT COUNT(*) FROM pool_order")
    return point, Count(f"{design}, {size}: orders stored", len(latencies_us), stored)


async def _pool(design: str, size: int, database: Mapping[str, Any]) -> Pool:
    if design == NESTED:
        return Nested(size, await Plain(INNER).fill(database))
    return await Plain(size).fill(database)


async def _placing(design: str, size: int, pool: Pool, elsewhere: Elsewhere, stack: AsyncExitStack) -> Order:
    if design != "lists":
        return designs.short(pool, elsewhere) if design == "rows alone" else designs.held(pool, elsewhere)
    lists = Lists(pool, elsewhere)
    runners = [asyncio.create_task(lists.run()) for _ in range(size)]
    stack.push_async_callback(_end, runners)
    return lists.place


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel tasks. Raises what one of them had raised before."""
    for task in tasks:
        task.cancel()
    for ended in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(ended, Exception):
            raise ended


async def _crowd(place: Order, seconds: float) -> tuple[list[int], float, int]:
    """Buyers order, each one after another, for so many seconds.

    Gives latencies in microseconds, the seconds until the last answer, and how many were never answered.
    """
    latencies_us: list[int] = []
    begun = last = time.perf_counter()
    next_id = iter(range(1, 1_000_000_000))

    async def buyer() -> None:
        nonlocal last
        while time.perf_counter() < begun + seconds:
            asked = time.perf_counter()
            await place(next(next_id))
            last = time.perf_counter()
            latencies_us.append(round((last - asked) * 1_000_000))

    buyers = [asyncio.create_task(buyer()) for _ in range(AT_ONCE)]
    left = set(buyers)
    await asyncio.wait(left, timeout=seconds)
    while left and time.perf_counter() < last + HUNG_S:
        _, left = await asyncio.wait(left, timeout=0.1)
    await _end(list(left))
    failed = [task.exception() for task in set(buyers) - left]
    for failure in filter(None, failed):
        raise failure
    return latencies_us, last - begun, len(left)


def _faults(points: Mapping[str, Sequence[Point]]) -> list[str]:
    """Only the pool inside a pool may keep somebody waiting for ever: that is what it is measured for."""
    return [
        f"{design}, {point.size} connections: {point.hung} orders were never answered"
        for design, found in points.items()
        if design != NESTED
        for point in found
        if point.hung
    ]


def _figures(points: Mapping[str, Sequence[Point]]) -> list[Figure]:
    figures = []
    for design, found in points.items():
        best = max(found, key=lambda point: point.per_s)
        figures += [
            Figure("most orders", best.per_s, "/s", variant=design),
            Figure("with so many connections", best.size, variant=design),
            Figure("p99 there", best.latency.p99_ms, "ms", variant=design),
            Figure("orders never answered, all sizes", sum(point.hung for point in found), variant=design),
        ]
    by_size = [
        alone.per_s / max(held.per_s, 1e-9) for held, alone in zip(points["held"], points["rows alone"], strict=True)
    ]
    at_ten = SIZES.index(INNER)
    figures.append(Figure("rows alone / held, with 10 connections", by_size[at_ten], "x", least=1))
    figures.append(Figure("rows alone / held, the worst size", min(by_size), "x"))
    return figures


def _charts(points: Mapping[str, Sequence[Point]]) -> list[Chart]:
    def curves(read: Callable[[Point], float]) -> list[Curve]:
        return [
            Curve(design, [float(point.size) for point in found], [read(point) for point in found])
            for design, found in points.items()
        ]

    size = "connections in the pool"
    return [
        Chart("throughput", size, "orders/s", curves(lambda point: point.per_s)),
        Chart("p50", size, "ms", curves(lambda point: point.latency.p50_ms), log_y=True),
        Chart("p99", size, "ms", curves(lambda point: point.latency.p99_ms), log_y=True),
        Chart("waiting for a connection, p99", size, "ms", curves(lambda point: point.waited.p99_ms), log_y=True),
        Chart("orders never answered", size, "orders", curves(lambda point: point.hung)),
    ]
