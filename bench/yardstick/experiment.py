"""P1: the order route of the shop beside the yardstick's, one process each, on the same MariaDB and Redis, in turn."""

from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial

from bench.bare import Bare, bare
from bench.figures import Count, Figure, Run
from bench.room import Room, in_turn, workload
from bench.saturate import Measured, Workload, measured_alone
from bench.shapes import Goods
from bench.yardstick import same

name = "P1"
what = (
    "POST /v1/orders with everything on, one api process on MariaDB and Redis and nothing beside it, 256 connections"
    " (wrk), in turn with the same route in FastAPI and SQLAlchemy"
)
target = "at least 15 times the yardstick of the same run, and 8,000 orders/s"

LEAST_PER_S, LEAST_RATIO = 8_000, 15
VARIANTS = {"yardstick": "p1-yardstick", "yardstick, 16 connections": "p1-yardstick-16", "ours": "p1-ours"}
"""And the files of their workloads. Over 16 connections none of the yardstick's orders waits for one of its 20 to the
database."""


async def run(room: Room) -> AsyncIterator[Run]:
    """See `targets.table`."""
    loads = {variant: workload(file, Workload) for variant, file in VARIANTS.items()}
    for number in range(1, room.runs + 1):
        room.tell(f"{name} run {number} of {room.runs}: do both give the same answers?")
        alike, differing = await _compared(room)
        this = Run(counts=[alike], faults=differing)
        rates: dict[str, float] = {}
        for variant in in_turn(VARIANTS, number):
            room.tell(f"{name} run {number} of {room.runs}: {variant}")
            async with bare(room) as on:
                seen = await _measured(on, variant, loads[variant])
            rates[variant] = seen.answers.accepted_per_s
            this.figures += _figures(seen, variant)
            this.counts += [replace(each, name=f"{variant}: {each.name}") for each in seen.counts]
            this.faults += [f"{variant}: {each}" for each in seen.faults]
            this.charts += [replace(each, log_y=True) for each in seen.charts(variant)]
            this.notes.append(f"{variant}: {seen.limit()}.")
        ours_per_s = rates.pop("ours")
        this.figures += [
            Figure(f"ours / {variant}", ours_per_s / max(per_s, 1e-9), "x", least=LEAST_RATIO)
            for variant, per_s in rates.items()
        ]
        yield this


async def _compared(room: Room) -> tuple[Count, list[str]]:
    """Both at once: the yardstick's stock is in Redis and ours in the rows, so neither takes from the other."""
    async with bare(room) as on:
        await on.stock(Goods(products=50, stock=same.UNITS))
        async with on.ours() as ours, on.yardstick() as yardstick:
            return await same.alike(ours.url, yardstick.url)


async def _measured(on: Bare, variant: str, load: Workload) -> Measured:
    """One variant under its load."""
    await on.stock(load.goods)
    ours = variant == "ours"
    held = on.units_reserved if ours else partial(on.units_taken, load.goods)
    async with on.ours() if ours else on.yardstick() as process:
        return await measured_alone(on, on.shop(process), load, held)


def _figures(seen: Measured, variant: str) -> list[Figure]:
    figures = [
        Figure("orders", seen.answers.accepted_per_s, "/s", least=LEAST_PER_S if variant == "ours" else None),
        Figure("p50", seen.answers.percentile_ms(50), "ms"),
        Figure("p99", seen.answers.percentile_ms(99), "ms"),
        Figure("CPU of Python per order", seen.api_us_per_order, "us"),
        Figure("memory", seen.rss_mb, "MB"),
        *seen.machine(),
    ]
    return [replace(each, variant=variant) for each in figures]
