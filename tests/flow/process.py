"""A process that can die: the system on files that outlive it, with a probe in all that it touches.

When its probe has killed it, a new process may be started on the same files.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from applications import give_back
from flow.invariants import always
from flow.probe import Front, Line, Probe, Watched
from quickcommerce.catalog.model import Entry
from quickcommerce.kit import db, folders
from quickcommerce.kit.db import Database
from quickcommerce.kit.life import CRASHES
from quickcommerce.kit.sqlite import Sqlite
from quickcommerce.parts import EMULATOR_PREFIX
from quickcommerce.toss_emulator import AppTransport, Emulator
from world import EPOCH_US, GOODS, Clock, World, built, buyers, started


def day() -> Clock:
    """A clock that says that the virtual day begins now."""
    clock = Clock()
    clock.offset_us = EPOCH_US - round(asyncio.get_running_loop().time() * 1_000_000)
    return clock


async def start(
    folder: Path, probe: Probe, clock: Clock, *, seed: int = 1, loops: bool = True, goods: Sequence[Entry] = GOODS,
    **settings: object,
) -> World:  # fmt: skip
    """A process on the files in `folder`, which it makes where there are none."""

    def connect(url: str, *, rng: random.Random, inline: bool = False, threaded: bool = False) -> Database:
        inner = db.connect(url, rng=rng, inline=inline, threaded=threaded)
        assert isinstance(inner, Sqlite)
        # Processes die here, machines do not: waiting for the disk would only take time.
        for role in ("writer", "reader", "scanner"):
            inner._connection(role).execute("PRAGMA synchronous = OFF")
        return Watched(inner, probe)

    # The probe's connections are opened before the app makes its folder.
    folders.make(folder)
    app = built(folder, clock, connect, seed=seed, **settings)
    for http in (app.flows.toss._paying, app.flows.toss._reading):
        http._transport = Line(http._transport, probe)
    await started(app, loops=loops, goods=goods)
    if app.flows.emulator:
        ledger = app.flows.emulator._store._connection
        assert ledger
        ledger.execute("PRAGMA synchronous = OFF")
    return World(app, clock, buyers(Front(AppTransport(app.asgi), probe)))


def crashes() -> float:
    """How many steps of loops have ended in an exception that nobody expected."""
    samples = [sample for metric in CRASHES.collect() for sample in metric.samples]
    return sum(sample.value for sample in samples if sample.name.endswith("_total"))


async def bury(w: World) -> None:
    """Remove what is left of a process that was killed. It gets no chance to finish anything."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await w.http.aclose()
    await w.app.flows.toss.close()
    if w.app.flows.emulator:
        await w.app.flows.emulator.stop()
    for database in w.app.stores.every().values():
        await database.close()
    give_back(w.app.routes)


class LastingPg(Emulator):
    """A PG that the shop's processes come and go beside. It is made once, which is what takes long."""

    def __init__(self) -> None:
        self.clock: Callable[[], int] = Clock()
        super().__init__(
            data_dir=None, secret_key="test_gsk_local", now_us=self.now, rng=random.Random(1),
            prefix=EMULATOR_PREFIX, inline=True,
        )  # fmt: skip

    def now(self) -> int:
        """By the clock of the process that is beside it."""
        return self.clock()

    def beside(self, *, now_us: Callable[[], int], **_: object) -> Emulator:
        """In place of the emulator's constructor."""
        self.clock = now_us
        return self

    async def stop(self) -> None:
        """Not with the shop."""

    async def end(self) -> None:
        await super().stop()


@asynccontextmanager
async def process(
    folder: Path, probe: Probe | None = None, clock: Clock | None = None, *, seed: int = 1, loops: bool = True,
    goods: Sequence[Entry] = GOODS, sound: bool = True, **settings: object,
) -> AsyncIterator[World]:  # fmt: skip
    """A process that is stopped gracefully at the end, unless its probe killed it before. No loop of it may crash.

    At the end all that always holds must hold, unless the test itself has made its rows unsound.
    """
    probe = probe or Probe()
    crashed = crashes()
    w = await start(folder, probe, clock or day(), seed=seed, loops=loops, goods=goods, **settings)
    try:
        yield w
        assert crashes() == crashed, "a loop ended in an exception that nobody expected"
        if sound and not probe.dead.is_set():
            await always(w)
    finally:
        if probe.dead.is_set():
            await bury(w)
        else:
            probe.armed = False
            probe.down.clear()
            await w.http.aclose()
            for app in reversed(w.apps):
                await app.stop()
                give_back(app.routes)
