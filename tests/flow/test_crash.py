"""The process dies between every two steps of every journey, as by kill -9, and another one takes over.

Two buyers walk at the same time, so that lists hold more than one. After the crash one comes back and repeats whatever
was not answered, in the same words; the other never does. Nobody helps the shop.
"""

import asyncio
import random
import shutil
from pathlib import Path

import pytest

from flow.heard import listen
from flow.invariants import check
from flow.journeys import FINAL, JOURNEYS, Buyer, Journey
from flow.lives import live, orders_of, run
from flow.probe import Probe
from flow.process import bury, day, process
from world import World

RESOLVED_S = 90
"""A capture is known this long after the process is back, whatever it died of."""
LONG = {
    "declined then paid": 2, "reply lost, then paid": 2, "provider error, then paid": 2, "reply lost, then told": 3,
    "paid into an account": 4, "an account that nobody pays into": 6,
    "refunded in two parts": 5, "refunded though replies are lost": 5,
}  # fmt: skip
"""Journeys of so many steps that only every so many are died at where time is short."""


async def whole(journey: Journey, folder: Path) -> Probe:
    """Every step of the journey, in order, from a run in which nothing dies."""
    probe = Probe()
    w = await live(journey, folder, probe, day(), [Buyer(7), Buyer(8)])
    await check(w)
    await bury(w)
    return probe


async def crash(journey: Journey, folder: Path, at: int) -> str:
    """Die at a step, come back, and see. Returns the step."""
    probe, clock, buyers = Probe(kill_at=at), day(), [Buyer(7), Buyer(8)]
    w = await live(journey, folder, probe, clock, buyers)
    assert probe.dead.is_set(), "it was never reached"
    await bury(w)
    async with process(folder, clock=clock, seed=2, **journey.settings) as again:
        if journey.told:
            await listen(again)
        await come_back(journey, again, *buyers)
    return probe.steps[-1]


async def come_back(journey: Journey, w: World, back: Buyer, gone: Buyer) -> None:
    """What must hold after the crash, without anybody's help."""
    born = w.clock()
    await journey.walk(w, back)
    await asyncio.sleep(RESOLVED_S - (w.clock() - born) / 1_000_000)
    captured = {each["orderId"] for each in (await w.ledger())["payments"] if each["captures"]}
    for order in await orders_of(w, back) + await orders_of(w, gone):
        payment = await w.get(f"/v1/orders/{order['order_id']}/payment", user=order["user_id"])
        paid = order["status"] in ("PAID", "REFUNDED")
        assert (payment["payment_id"] in captured) == paid, f"not resolved in time: {order}"
    await asyncio.sleep(10 + journey.account_s)
    await check(w)
    for buyer in (back, gone):
        orders = await orders_of(w, buyer)
        assert len(orders) == 1 or (buyer is gone and not buyer.order and not orders), f"ordered twice: {orders}"
        for order in orders:
            assert order["status"] in FINAL, f"nobody will ever end this order: {order}"
            promised = {name: buyer.order[name] for name in ("order_id", "lines", "payable")} if buyer.order else {}
            assert promised.items() <= order.items(), f"what was acknowledged is not there: {buyer.order}"
            if 200 in (buyer.told.get("first"), buyer.told.get("second")):
                assert order["status"] in ("PAID", "REFUNDED"), "the buyer was told that it is paid"
            if buyer.told.get("all") == 201:
                payment = await w.get(f"/v1/orders/{order['order_id']}/payment", user=buyer.user)
                assert payment["status"] == order["status"] == "REFUNDED", "the buyer was promised their money"
            if buyer.told.get("cancel") == 200:
                assert order["status"] == "CANCELLED", "the buyer was told that it is cancelled"


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("name", "every"),
    [pytest.param(name, LONG.get(name, 1), id=name) for name in JOURNEYS]
    + [pytest.param(name, 1, id=f"{name}, every step", marks=pytest.mark.full) for name in LONG],
)
def test_a_crash_between_any_two_steps_costs_nobody_anything(
    name: str, every: int, files: Path, tmp_path: Path
) -> None:
    journey = JOURNEYS[name]
    probe = run(whole(journey, shutil.copytree(files, tmp_path / "whole")))
    steps, hit = probe.steps, []
    for at, step in list(enumerate(steps))[::every]:
        folder = shutil.copytree(files, tmp_path / str(at))
        try:
            hit.append(run(crash(journey, folder, at)))
        except Exception as failure:
            raise AssertionError(f"after a crash at step {at} of {len(steps)}, {step}: {failure}") from failure
    print(f"{name}: died at {len(hit)} of {len(steps)} points, between {probe.seen} steps")  # noqa: T201 - the proof
    assert hit == steps[::every]


DEATHS = 6


async def dies_often(journey: Journey, folder: Path, rng: random.Random) -> int:
    """Let processes die at random steps, then one live; buyers do not give up. Returns how many died."""
    clock, buyers = day(), [Buyer(7), Buyer(8)]
    for number in range(1, DEATHS + 2):
        probe = Probe(kill_at=rng.randint(1, 40) if number <= DEATHS else None)
        w = await live(journey, folder, probe, clock, buyers, number=number)
        if not probe.dead.is_set():
            break
        await bury(w)
    await check(w)
    for buyer in buyers:
        orders = await orders_of(w, buyer)
        assert [order["order_id"] for order in orders] == [buyer.order["order_id"]], f"ordered twice: {orders}"
    await bury(w)
    return number - 1


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("name", ["paid", "cancelled", "reply lost, then paid"])
def test_a_process_that_dies_again_and_again_costs_nobody_anything(name: str, files: Path, tmp_path: Path) -> None:
    died = 0
    for seed in range(15):
        folder = shutil.copytree(files, tmp_path / str(seed))
        try:
            died += run(dies_often(JOURNEYS[name], folder, random.Random(seed)))
        except Exception as failure:
            raise AssertionError(f"seed {seed}: {failure}") from failure
    assert died > 15, "they hardly died"
