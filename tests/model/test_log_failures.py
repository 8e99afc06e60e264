"""A log that cannot be written costs its lines, and nothing that they tell of."""

import asyncio
import io
import random
import sys

import pytest

from quickcommerce.kit.life import Loop, Supervisor
from quickcommerce.kit.problem import Unavailable
from quickcommerce.kit.telemetry import LOST, configure_logs, log


class Full(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(28, f"No space left on device: {len(text)}")


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Full())
    configure_logs("INFO", machine=True)


@pytest.mark.usefixtures("full_disk")
def test_a_line_that_cannot_be_written_is_counted() -> None:
    before = LOST._value.get()
    log.error("order.placed", order_id="ord_1")
    assert LOST._value.get() > before
    configure_logs("ERROR", machine=True)


@pytest.mark.usefixtures("full_disk")
async def test_loops_go_on_while_the_log_cannot_be_written() -> None:
    """Otherwise orders would go on coming, and none would end, be paid or be found until somebody restarts the shop."""
    steps: list[str] = []
    done = asyncio.Event()

    async def step() -> bool:
        steps.append("step")
        if len(steps) == 1:
            raise ValueError("a defect")
        if len(steps) == 2:
            raise Unavailable("down")
        done.set()
        return False

    supervisor = Supervisor([Loop("busy", step, 0.01)], rng=random.Random(0))
    supervisor.start()
    await done.wait()
    await supervisor.stop(drain_s=1)
    configure_logs("ERROR", machine=True)
