"""The floor: an order that nothing is done for, a process that is woken, and Python itself."""

import asyncio
import os
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

from bench import closed, processes
from bench.figures import Count, Figure, Run
from bench.room import Room, workload
from bench.saturate import Workload, scaled

name = "floor"
what = (
    "the machine: the requests of P1 to uvicorn with an application that does nothing (wrk), a process that sleeps and"
    " is woken, method calls in Python, alone and with every other core busy, commits to the disk"
)
target = "the figures are there to be used, not to be reached"

WAKES, CALLS, SYNCS = 3_000, 1_000_000, 300
SETTLED_S = 0.3
"""Until the others run."""


async def run(room: Room) -> AsyncIterator[Run]:
    """See `targets.table`."""
    load = workload("saturate", Workload)
    for number in range(1, room.runs + 1):
        room.tell(f"{name} run {number} of {room.runs}")
        request = scaled(room, load.load)
        orders = await asyncio.to_thread(closed.prepare, request, load.goods.ids, room.folder)
        process = await processes.start("floor", (sys.executable, "-m", "bench.floor"), room.folder, settings={})
        try:
            before_s = process.cpu_s
            told = await closed.send(process.url, request, orders)
            spent_s = process.cpu_s - before_s
        finally:
            await processes.stop(process)
        figures = [
            Figure("requests", told.accepted_per_s, "/s"),
            Figure("CPU of Python per request", spent_s * 1e6 / max(told.accepted, 1), "us"),
            Figure("a process woken, and the next", await asyncio.to_thread(woken_us), "us"),
            Figure("a method call", await asyncio.to_thread(call_us), "us"),
            Figure("a method call, the other cores busy", await asyncio.to_thread(call_beside_us), "us"),
            Figure("a commit: 4 KiB and fdatasync", await asyncio.to_thread(synced_us, room.folder), "us"),
        ]
        yield Run(figures, [Count("requests answered", told.sent, told.accepted)], [], [])


def woken_us() -> float:
    """The median time in which a byte goes to a process that sleeps and comes back from it: two wake-ups."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as other:
        assert other.stdin  # noqa: S101 - asked for above
        assert other.stdout  # noqa: S101 - asked for above
        taken_s = []
        for _ in range(WAKES):
            begin_s = time.perf_counter()
            other.stdin.write(b"x")
            other.stdout.read(1)
            taken_s.append(time.perf_counter() - begin_s)
    return statistics.median(taken_s) * 1e6


class _Called:
    def method(self, value: int) -> int:
        """What is called does next to nothing."""
        return value


def call_us() -> float:
    """The time of a method call in Python, with its share of the loop around it."""
    called = _Called()
    begin_s = time.perf_counter()
    for each in range(CALLS):
        called.method(each)
    return (time.perf_counter() - begin_s) * 1e6 / CALLS


def call_beside_us() -> float:
    """The same while the other cores are busy: virtual ones may share their units, and slow each other down."""
    busy = [sys.executable, "-c", "while True: pass"]
    others = [subprocess.Popen(busy) for _ in range((os.cpu_count() or 1) - 1)]
    try:
        time.sleep(SETTLED_S)
        return call_us()
    finally:
        for other in others:
            other.kill()
            other.wait()


def synced_us(folder: Path) -> float:
    """The median time to write a page at the end of a file and to have it on disk."""
    taken_s = []
    with (folder / "synced").open("wb", buffering=0) as file:
        for _ in range(SYNCS):
            begin_s = time.perf_counter()
            file.write(bytes(4096))
            os.fdatasync(file.fileno())
            taken_s.append(time.perf_counter() - begin_s)
    return statistics.median(taken_s) * 1e6
