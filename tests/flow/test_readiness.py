"""Whether a process is ready is steady: whoever routes buyers by it must not send them to and fro."""

import asyncio
import random
from pathlib import Path

import pytest

from flow.acts import EGGS, order
from flow.probe import Probe
from flow.process import process
from quickcommerce.kit.life import Loop, Supervisor
from quickcommerce.kit.problem import Unavailable
from quickcommerce.settings import BadSetting

UP, DOWN, DEFECT = None, Unavailable("the store is down"), ZeroDivisionError()


async def said_after(steps: list[Exception | None]) -> list[list[str]]:
    """What a supervisor says of a loop after each of its steps, which end so."""
    said: list[list[str]] = []
    over = asyncio.Event()

    async def step() -> bool:
        said.append(supervisor.stalled())
        if len(said) > len(steps):
            over.set()
        elif end := steps[len(said) - 1]:
            raise end
        return False

    supervisor = Supervisor([Loop("expire", step, 1.0)], rng=random.Random(1))
    supervisor.start()
    await over.wait()
    await supervisor.stop(drain_s=1)
    return said[1:]


@pytest.mark.parametrize(
    ("steps", "stalled"),
    [
        ([DOWN, UP, DOWN, DOWN, UP], [0, 0, 0, 0, 0]),
        ([DOWN, DOWN, DOWN, DOWN, UP, DOWN], [0, 0, 1, 1, 0, 0]),
        ([DOWN, DOWN, DOWN, DEFECT, DOWN, UP], [0, 0, 1, 1, 1, 0]),
        ([DEFECT, DEFECT, DEFECT, DEFECT], [0, 0, 0, 0]),
    ],
)
async def test_a_loop_is_stalled_from_the_third_step_that_found_its_store_down_until_one_succeeds(
    steps: list[Exception | None], stalled: list[int]
) -> None:
    assert await said_after(steps) == [["expire: the store is down"] if each else [] for each in stalled]


async def test_while_the_payment_store_is_down_the_loop_that_expires_says_so_all_the_time(tmp_path: Path) -> None:
    """What it leases is not due for a while: a look that finds nothing to ask is no sign that it would be answered."""
    probe = Probe()
    async with process(tmp_path, probe, payment_window_s=30) as w:
        left = await order(w, [(EGGS, 1)])
        probe.down["payment"] = "the payment store is down"
        await asyncio.sleep(32)
        for _ in range(600):
            assert "expire: the payment store is down" in w.app.supervisor.stalled()
            await asyncio.sleep(0.1)
        probe.down.clear()
        await w.until_status(left["order_id"], "EXPIRED", within_s=6)
        await asyncio.sleep(6)
        for _ in range(100):
            assert w.app.supervisor.stalled() == []
            await asyncio.sleep(0.1)


async def test_a_process_that_started_before_its_databases_waits_says_so_and_opens_by_itself(tmp_path: Path) -> None:
    """Whoever starts all of a shop at once knows no order; so do those who migrate it beside its processes."""
    probe, behind = Probe(), True

    async def opened() -> None:
        await w.app.open()
        if behind:
            raise BadSetting("run qc migrate")

    async with process(tmp_path, probe, loops=False) as w:
        probe.down["shop"] = "the shop's store is down"
        await w.app.opening.by(opened)
        await w.app.start()
        await asyncio.sleep(60)
        assert "opening: the shop's store is down" in await w.app.operations.unready()
        probe.down.clear()
        await asyncio.sleep(6)
        assert await w.app.operations.unready() == ["opening: run qc migrate"]
        assert not any(loop.running for loop in w.app.supervisor.states())
        behind = False
        await asyncio.sleep(6)
        assert await w.app.operations.unready() == []
        assert all(loop.running for loop in w.app.supervisor.states())
