"""The process dies between every two steps of reconciliation, as by kill -9, and another one takes over."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest

from flow.invariants import check
from flow.lives import run
from flow.mismatches import GOODS, HEALS, inject
from flow.probe import Probe
from flow.process import bury, process, start
from flow.truth import rest, rows
from quickcommerce import roles
from quickcommerce.kit.clock import SECOND_US
from world import EPOCH_US, Clock, World

EVERY_S = 300
HEALED_S = 3 * EVERY_S
"""What is told again is looked at once more in the run after; one run may be lost with the process."""
LOST = 4
"""Events that were lost on purpose: that two payments had started, and that they were captured."""
SETTINGS: dict[str, Any] = {"payment_window_s": 36_000, "reconcile_every_s": EVERY_S}


def later() -> Clock:
    """A clock that is past all that was staged, for a loop that begins now."""
    clock = Clock()
    clock.offset_us = EPOCH_US + 1_000 * SECOND_US
    return clock


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a shop and of its PG that disagree in all that heals."""
    folder = tmp_path_factory.mktemp("staged")

    async def stage() -> None:
        async with process(folder, loops=False, goods=GOODS, sound=False, **SETTINGS) as w:
            while await w.app.flows.continuous.step():
                pass
            await inject(w, dict.fromkeys(sorted(HEALS), 2))

    run(stage())
    return folder


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many processes, one after the other."""
    # What happens wakes the loops at once; their looking by themselves only takes time here.
    monkeypatch.setattr(roles, "POLL_S", 10.0)


async def healed(w: World) -> bool:
    """Whether PG, payments and orders agree, and nothing is kept of it. Touches nothing that a probe counts."""
    stores = w.app.stores
    payments = await rows(stores.payment, "order_id captured refunded", "payment")
    orders = await rows(stores.shop, "order_id status refunded", "orders")
    known = {each["order_id"]: (each["status"], each["refunded"]) for each in orders}
    agree = all(each["captured"] and known[each["order_id"]] == ("PAID", each["refunded"]) for each in payments)
    back = sum(each["refunded"] for each in payments)
    [mark] = await rows(stores.payment, "done_us token", "reconcile_mark")
    ended = mark["done_us"] > 0 and not mark["token"]
    return agree and back == 2_000 and ended and not await rows(stores.payment, "mismatch_id", "mismatch")


async def life(folder: Path, probe: Probe, clock: Clock, *, number: int = 1) -> World:
    """Run until all is healed, or until the probe ends the process."""
    w = await start(folder, probe, clock, seed=number, goods=GOODS, **SETTINGS)
    w.look_every_s = 5
    probe.armed = True
    healing = asyncio.create_task(w.until("all is healed", lambda: healed(w), within_s=HEALED_S))
    dead = asyncio.create_task(probe.dead.wait())
    await asyncio.wait([healing, dead], return_when=asyncio.FIRST_COMPLETED)
    probe.armed = False
    if not probe.dead.is_set():
        await healing
    for task in (healing, dead):
        task.cancel()
    await asyncio.gather(healing, dead, return_exceptions=True)
    return w


async def one_truth(w: World) -> None:
    """What must hold in the end."""
    await rest(w)
    await check(w, foreign=-LOST)
    refunds = await rows(w.app.stores.payment, "payment_id amount status", "refund")
    assert [(each["amount"], each["status"]) for each in refunds] == [(1_000, "DONE")] * 2, "money went back twice"
    assert all(len(each["captures"]) == 1 for each in (await w.ledger())["payments"])


async def whole(folder: Path) -> Probe:
    """Every step, in order, from a run in which nothing dies."""
    probe = Probe()
    w = await life(folder, probe, later())
    await one_truth(w)
    await bury(w)
    return probe


async def crash(folder: Path, at: int) -> str:
    """Die at a step, come back, and see. Returns the step."""
    probe, clock = Probe(kill_at=at), later()
    w = await life(folder, probe, clock)
    assert probe.dead.is_set(), "it was never reached"
    await bury(w)
    again = await life(folder, Probe(), clock, number=2)
    await one_truth(again)
    await bury(again)
    return probe.steps[-1]


@pytest.mark.usefixtures("soon")
def test_a_crash_between_any_two_steps_of_reconciliation_leaves_one_truth(staged: Path, tmp_path: Path) -> None:
    probe = run(whole(shutil.copytree(staged, tmp_path / "whole")))
    steps, hit = probe.steps, []
    for wanted in (
        "after pg read",
        "COMMIT of claim",
        "COMMIT of finish",
        "COMMIT of Reconciling._keep",
        "COMMIT of Mending",
    ):
        assert any(wanted in step for step in steps), f"no step is {wanted}: {steps}"
    for at, step in enumerate(steps):
        folder = shutil.copytree(staged, tmp_path / str(at))
        try:
            hit.append(run(crash(folder, at)))
        except Exception as failure:
            raise AssertionError(f"after a crash at step {at} of {len(steps)}, {step}: {failure}") from failure
        shutil.rmtree(folder)
    print(f"reconcile: died at each of {len(steps)} points, between {probe.seen} steps")  # noqa: T201 - the proof
    assert hit == steps
