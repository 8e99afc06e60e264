"""Runs of one journey in a virtual world of its own, whole or until the process dies."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from flow.heard import URL, listen
from flow.journeys import Buyer, Journey
from flow.probe import Killed, Probe
from flow.process import process, start
from flow.truth import rest
from world import Clock, VirtualLoop, World

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run it in a virtual world whose time begins at zero, so that it is the same each time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.get_loop().set_exception_handler(_unless_killed)
        return runner.run(work)


def _unless_killed(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A task that died with its process is no news."""
    if not isinstance(context.get("exception"), Killed):
        loop.default_exception_handler(context)


def shop_files(folder: Path) -> Path:
    """The files of a shop with goods that has sold nothing yet."""

    async def fill() -> None:
        async with process(folder):
            pass

    run(fill())
    return folder


async def live(
    journey: Journey, folder: Path, probe: Probe, clock: Clock, buyers: list[Buyer], *, number: int = 1
) -> World:
    """Walk a journey until it is over, history and all, or until the probe ends this life of the process."""
    w = await start(folder, probe, clock, seed=number, **journey.settings)
    await asyncio.sleep(0.5)
    if number == 1:
        await w.http.post("/_toss/emulator/reset", json={})
        await w.faults(**journey.faults)
        if journey.told:
            await w.http.put("/_toss/emulator/webhook", json={"url": URL})
    if journey.told:
        await listen(w)
    probe.armed = True

    async def walk() -> None:
        await asyncio.gather(*(journey.walk(w, buyer) for buyer in buyers))
        await rest(w)

    walking, dead = asyncio.create_task(walk()), asyncio.create_task(probe.dead.wait())
    await asyncio.wait([walking, dead], return_when=asyncio.FIRST_COMPLETED)
    probe.armed = False
    if not probe.dead.is_set():
        await walking
    for task in (walking, dead):
        task.cancel()
    await asyncio.gather(walking, dead, return_exceptions=True)
    return w


async def orders_of(w: World, buyer: Buyer) -> list[dict[str, Any]]:
    """What a buyer finds under their name."""
    found: list[dict[str, Any]] = (await w.get("/v1/orders", user=buyer.user))["items"]
    return found
