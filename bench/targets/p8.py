"""P8: several api processes."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace

import msgspec

from bench.bare import bare
from bench.figures import Figure, Run, scaling
from bench.front import one_port
from bench.room import Room, in_turn, workload
from bench.saturate import Measured, Workload, measured_alone

name = "P8"
what = (
    "1, 2, 4 and 8 api processes of 0.25 vCPU each behind one port (haproxy), on MariaDB and Redis and with nothing"
    " beside them, 128 connections for each (wrk)"
)
target = "at least 0.8 of linear while the database has CPU left; what ends it is named"

VCPU = 0.25
SIZES = (1, 2, 4, 8)
BOUND = (2, 4)
"""Sizes that leave MariaDB and wrk a core of two; more show what ends it."""


async def run(room: Room) -> AsyncIterator[Run]:
    """See `targets.table`."""
    load = workload("scale-out", Workload)
    for number in range(1, room.runs + 1):
        this = Run()
        seen: dict[int, Measured] = {}
        for size in in_turn(SIZES, number):
            room.tell(f"{name} run {number} of {room.runs}, api processes: {size}")
            # As many connections for each: the lists of each process are as long, however many there are.
            each = msgspec.structs.replace(load.load, connections=size * load.load.connections)
            seen[size] = await _behind_one_port(room, msgspec.structs.replace(load, load=each), size)
        rates = [seen[size].answers.accepted_per_s for size in SIZES]
        for size, rate in zip(SIZES, rates, strict=True):
            this.figures += _figures(seen[size], size, rate / size / max(rates[0], 1e-9))
            this.notes.append(f"{size} api: {seen[size].limit(VCPU * size if room.place else None)}.")
            this.counts += seen[size].counts
            this.faults += seen[size].faults
            this.charts += seen[size].charts(f"{size} api")
        this.charts.append(scaling("orders by api processes", "api processes", "orders/s", SIZES, rates))
        yield this


async def _behind_one_port(room: Room, load: Workload, size: int) -> Measured:
    """So many api processes with nothing beside them: what limits them is theirs, or the database's."""
    async with bare(room) as on, AsyncExitStack() as stack:
        await on.stock(load.goods)
        api = [await stack.enter_async_context(on.ours(VCPU, number)) for number in range(1, size + 1)]
        behind = await stack.enter_async_context(one_port(on.shop(*api), on.folder))
        return await measured_alone(on, behind, load, on.units_reserved)


def _figures(seen: Measured, size: int, of_linear: float) -> list[Figure]:
    figures = [
        Figure("orders", seen.answers.accepted_per_s, "/s"),
        Figure("of linear", of_linear, "", least=0.8 if size in BOUND else None),
        Figure("p99", seen.answers.percentile_ms(99), "ms"),
        Figure("CPU of haproxy", seen.cores("haproxy"), "cores"),
        *seen.machine(),
    ]
    return [replace(each, variant=f"{size} api") for each in figures]
