"""A commit happens, and its reply is lost: nobody may believe that it did not happen, and nothing may happen twice."""

import asyncio
import shutil
from pathlib import Path
from typing import Literal

import pytest
from structlog.typing import EventDict

from flow.acts import BEEF
from flow.invariants import check
from flow.journeys import JOURNEYS, Buyer, Journey
from flow.lives import live, orders_of, run
from flow.probe import Probe
from flow.process import bury, day, process
from flow.truth import rest
from quickcommerce.kit.db import Duplicate, Tx
from quickcommerce.kit.ids import OrderId
from quickcommerce.order import store
from quickcommerce.order.changes import Move
from quickcommerce.order.model import Status

WALKS = ["paid", "declined then paid", "cancelled", "expired", "reply lost, then paid"]
Lost = Literal["twice", "lost"]


async def walk(journey: Journey, folder: Path, probe: Probe) -> list[str]:
    """Walk it with one commit's reply lost; the buyers get the answers they must. Returns every commit."""
    buyers = [Buyer(7), Buyer(8)]
    w = await live(journey, folder, probe, day(), buyers)
    await check(w)
    for buyer in buyers:
        orders = await orders_of(w, buyer)
        assert [order["order_id"] for order in orders] == [buyer.order["order_id"]], f"ordered twice: {orders}"
    await bury(w)
    return probe.commits


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("reply", ["twice", "lost"])
@pytest.mark.parametrize("name", WALKS)
def test_a_commit_whose_reply_is_lost_has_one_effect(name: str, reply: Lost, files: Path, tmp_path: Path) -> None:
    """`twice`: the unit of work is run again, as after a repeatable error. `lost`: the database is said to be down."""
    journey = JOURNEYS[name]
    commits = run(walk(journey, shutil.copytree(files, tmp_path / "whole"), Probe()))
    for at, commit in enumerate(commits):
        folder = shutil.copytree(files, tmp_path / str(at))
        probe = Probe(twice_at=at) if reply == "twice" else Probe(lost_at=at)
        try:
            seen = run(walk(journey, folder, probe))
        except Exception as failure:
            raise AssertionError(f"the reply to commit {at} of {len(commits)}, {commit}: {failure}") from failure
        assert seen[: at + 1] == commits[: at + 1]


@pytest.mark.parametrize("key", [None, "tap"])
async def test_a_buyer_whose_order_is_committed_twice_over_gets_the_one_that_is_there(
    key: str | None, tmp_path: Path
) -> None:
    """Without a key, only the order's own id, made before any effect, tells that it is there already."""
    probe = Probe(twice_at=0)
    async with process(tmp_path, probe) as w:
        await asyncio.sleep(0.5)
        probe.armed = True
        answers = await asyncio.gather(*(w.order([(BEEF, 2)], user=user, key=key) for user in (7, 8, 9)))
        probe.armed = False
        assert [answer.status_code for answer in answers] == [201, 201, 409]
        assert await w.stock(BEEF) == (5, 4, 0)
        for user, answer in zip((7, 8), answers, strict=False):
            orders = await orders_of(w, Buyer(user))
            assert [each["order_id"] for each in orders] == [answer.json()["order_id"]], "ordered twice"
        await rest(w)
        await check(w)


async def test_a_change_whose_transaction_is_undone_and_run_again_is_logged_once(
    tmp_path: Path, logged: list[EventDict]
) -> None:
    runs = 0
    async with process(tmp_path, loops=False) as w:
        order_id = OrderId((await w.order()).json()["order_id"])
        move = Move(order_id, Status.CANCELLED, "cancelled", "buyer", "f" * 32)

        async def cancel(tx: Tx) -> None:
            nonlocal runs
            runs += 1
            await w.app.flows.orders.changes.apply(tx, [move], (await store.load(tx, [order_id], locked=True)).values())
            if runs == 1:
                raise Duplicate("a parallel transaction was faster")

        await w.app.stores.shop.run(cancel)
    changes = [line for line in logged if line["event"] == "order.changed"]
    assert [(line["order_id"], line["status"], line["trace.id"]) for line in changes] == [
        (order_id, "CANCELLED", "f" * 32)
    ]
    assert runs == 2
