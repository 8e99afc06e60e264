"""Reconciliation that goes on by itself: nothing is missed, it is done once, and nobody waits for it."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flow.acts import calls, deliver, paid, refund
from flow.invariants import check
from flow.mismatches import (
    GOODS,
    INJECT,
    at_pg,
    call_pg,
    cancel_missing_here,
    captured_not_recorded,
    inject,
    key_of,
    order_behind,
    orphan,
    reconcile,
    recorded_not_captured,
    settle,
)  # fmt: skip
from flow.process import process
from flow.truth import rest, rows
from quickcommerce.kit.auth import Role
from quickcommerce.kit.clock import SECOND_US
from quickcommerce.payment import reconcile_loop, reconcile_store
from quickcommerce.payment.attention import LONG_S
from quickcommerce.payment.mending import End
from quickcommerce.payment.reconcile import SPAN_S
from quickcommerce.payment.reconcile_loop import AGAIN_S, FIRST_S, LEFT_AGAIN_S, OVERLAP_S, Continuous
from quickcommerce.payment.reconcile_model import SETTLE_S, Kind
from quickcommerce.payment.reconcile_store import Mark
from world import World, world

EVERY_S = 300
WINDOW_S = 36_000


async def kept(w: World) -> dict[str, str]:
    """What is kept as a mismatch: kinds with their states."""
    return {each["kind"]: each["state"] for each in await rows(w.app.stores.payment, "kind state", "mismatch")}


async def marked(w: World) -> Mark:
    """How far it is."""
    return await w.app.stores.payment.read(reconcile_store.mark)


async def human(w: World) -> Any:
    """What a human must see."""
    return (await w.get("/v1/ops/attention", user=1, role=Role.MASTER))["items"]


def continuous(w: World, **changes: object) -> Continuous:
    """It, as if it were time for it every five minutes."""
    return replace(w.app.flows.continuous, every_s=EVERY_S, **changes)  # type: ignore[arg-type]


async def test_what_is_safe_heals_by_itself_within_minutes(tmp_path: Path) -> None:
    async with process(tmp_path, goods=GOODS, payment_window_s=WINDOW_S, reconcile_every_s=EVERY_S) as w:
        payment_id = await captured_not_recorded(w)
        [order_id] = [each["order_id"] for each in await rows(w.app.stores.payment, "order_id", "payment")]
        await w.until_status(order_id, "PAID", within_s=EVERY_S + SETTLE_S + 30)
        await cancel_missing_here(w)
        await asyncio.sleep(2 * EVERY_S)
        states = {
            each["payment_id"]: each for each in await rows(w.app.stores.payment, "payment_id refunded", "payment")
        }
        assert sorted(each["refunded"] for each in states.values()) == [0, 1_000]
        assert await w.captures(payment_id) == 1
        assert await kept(w) == {}
        assert await human(w) == []
        await rest(w)
        await check(w)


async def test_what_happened_while_nobody_looked_is_found_at_the_next_start(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"goods": GOODS, "payment_window_s": WINDOW_S, "reconcile_every_s": EVERY_S}
    clock = None
    async with process(tmp_path, **settings) as w:
        await w.until("a first run", lambda: _upto(w), within_s=60)
        clock = w.clock
    async with process(tmp_path, clock=clock, loops=False, **settings) as w:
        # Somebody was at work at the PG, and no shop of ours ran for longer than a run ever begins behind.
        await inject(w, {Kind.ORPHAN: 1, Kind.RECORDED_NOT_CAPTURED: 1})
        await asyncio.sleep(2 * FIRST_S)
    async with process(tmp_path, clock=clock, **settings) as w:
        await w.until("both are found", lambda: _has(w, 2), within_s=60)
        assert await kept(w) == {"orphan": "left", "recorded-not-captured": "left"}


async def _upto(w: World) -> int:
    return (await marked(w)).upto_us


async def _has(w: World, count: int) -> bool:
    return len(await kept(w)) == count


async def test_a_long_stop_is_made_up_for_in_parts_each_remembered(tmp_path: Path) -> None:
    # Without a pace, whose turns take time: the parts are exact.
    async with world(tmp_path, loops=False, goods=GOODS, pg_calls_per_s=0) as w:
        mine = continuous(w)
        while await mine.step():
            pass
        before = await marked(w)
        await asyncio.sleep(4 * SPAN_S)
        steps = 1
        while await mine.step():
            steps += 1
            assert (await marked(w)).done_us == before.done_us, "it is not said to be done before it is"
        assert steps == 4
        assert (await marked(w)).upto_us == w.clock() - SETTLE_S * SECOND_US
        assert not await mine.step(), "it is not time"


async def test_two_processes_do_it_once(tmp_path: Path) -> None:
    async with world(tmp_path, loops=False, goods=GOODS) as w:
        one = continuous(w)
        await asyncio.gather(*(one.step() for _ in range(2)))
        while await one.step():
            pass
        listed = await calls(w, "transactions")
        await asyncio.sleep(EVERY_S)
        await asyncio.gather(*(one.step() for _ in range(5)))
        assert await calls(w, "transactions") == listed + 1, "an empty list is one page, and one of five asks for it"


async def test_without_the_lease_each_of_them_does_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control."""

    async def always(*_: object, **__: object) -> bool:
        return True

    async with world(tmp_path, loops=False, goods=GOODS) as w:
        one = continuous(w)
        while await one.step():
            pass
        listed = await calls(w, "transactions")
        await asyncio.sleep(EVERY_S)
        for guard in ("claim", "hold", "finish"):
            monkeypatch.setattr(reconcile_store, guard, always)
        await asyncio.gather(*(one.step() for _ in range(5)))
        assert await calls(w, "transactions") == listed + 5


async def test_whoever_was_frozen_past_its_lease_changes_no_mark(tmp_path: Path) -> None:
    async with world(tmp_path, loops=False, goods=GOODS) as w:
        one = continuous(w)
        while await one.step():
            pass
        await asyncio.sleep(EVERY_S)
        await w.faults(transactions=[{"kind": "slow", "ms": 50_000}])
        frozen = asyncio.create_task(replace(one, lease_s=10).step())
        await asyncio.sleep(20)
        assert not await one.step()
        after = await marked(w)
        await asyncio.sleep(60)
        assert not await frozen
        assert await marked(w) == after


async def test_a_pg_that_is_down_stops_no_shop_and_is_asked_again_after_a_while(tmp_path: Path) -> None:
    async with process(tmp_path, goods=GOODS, reconcile_every_s=EVERY_S) as w:
        await w.until("a first run", lambda: _done(w), within_s=60)
        await w.faults(transactions=[{"kind": "http", "status": 503, "forever": True}])
        before, asked = await marked(w), await calls(w, "transactions")
        await asyncio.sleep(EVERY_S + 5 * AGAIN_S)
        assert (await w.http.get("/readyz")).status_code == 200
        assert (await marked(w)).upto_us == before.upto_us
        assert await calls(w, "transactions") - asked <= 6, "a PG that is down is not asked all the time"
        payment_id = await orphan(w)
        await w.faults(transactions=[])
        await asyncio.sleep(AGAIN_S + EVERY_S)
        assert [each["payment_id"] for each in await human(w)] == [payment_id]


async def _done(w: World) -> int:
    return (await marked(w)).done_us


async def test_a_clock_that_is_set_back_passes_nothing_over(tmp_path: Path) -> None:
    async with world(tmp_path, loops=False, goods=GOODS, payment_window_s=WINDOW_S) as w:
        mine = continuous(w)
        while await mine.step():
            pass
        w.clock.jump(-3_600)
        payment_id = await orphan(w)
        await settle()
        while await mine.step():
            pass
        assert [each["payment_id"] for each in await human(w)] == [payment_id]
        assert (await marked(w)).upto_us <= w.clock()


async def edges(folder: Path, ahead_s: int) -> tuple[set[str], list[Any]]:
    """Runs one after the other, while payments fit and others do not, and the PG's clock is not ours. Returns what the
    PG calls those that do not, and what is told to a human.
    """
    async with world(folder, loops=False, goods=GOODS, payment_window_s=WINDOW_S) as w:
        mine, made = continuous(w), set()
        emulator = w.app.flows.emulator
        assert emulator
        emulator._clock.ahead_us = ahead_s * SECOND_US
        while await mine.step():
            pass  # the day before the shop began
        for _ in range(12):
            await paid(w)
            await deliver(w)
            made.add(await orphan(w))
            await asyncio.sleep(EVERY_S / 3)
            await mine.step()
        for _ in range(4):
            await asyncio.sleep(EVERY_S)
            await mine.step()
        return made, await human(w)


@pytest.mark.parametrize("ahead_s", [-OVERLAP_S + SETTLE_S, -60, 60, 600])
async def test_at_the_edges_of_runs_a_pg_with_another_clock_is_compared_once_and_whole(
    tmp_path: Path, ahead_s: int
) -> None:
    made, found = await edges(tmp_path, ahead_s)
    assert {each["payment_id"] for each in found} == made
    assert {each["code"] for each in found} == {"orphan"}, "what only happened at another time is a mismatch"
    assert len(found) == len(made), "something was told twice"


async def test_without_an_overlap_what_a_late_clock_books_is_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control."""
    monkeypatch.setattr(reconcile_loop, "OVERLAP_S", 0)
    made, found = await edges(tmp_path, -OVERLAP_S + SETTLE_S)
    assert {each["payment_id"] for each in found} < made


async def test_what_is_young_is_no_mismatch_yet_and_one_later(tmp_path: Path) -> None:
    async with world(tmp_path, loops=False, goods=GOODS, payment_window_s=WINDOW_S) as w:
        await inject(w, dict.fromkeys(INJECT, 1))
        assert (await reconcile(w)).looked == ()
        await settle()
        assert len((await reconcile(w)).looked) == 7


async def test_what_a_human_mended_leaves_the_list(tmp_path: Path) -> None:
    async with process(tmp_path, goods=GOODS, payment_window_s=WINDOW_S, reconcile_every_s=EVERY_S) as w:
        payment_id = await orphan(w)
        await asyncio.sleep(2 * EVERY_S)
        assert [(each["why"], each["code"], each["amount"]) for each in await human(w)] == [
            ("mismatch", "orphan", 5_800)
        ]
        ledger = await w.ledger()
        [key] = [each["paymentKey"] for each in ledger["payments"] if each["orderId"] == payment_id]
        await call_pg(w, f"{key}/cancel", cancelReason="nobody's")
        await asyncio.sleep(LEFT_AGAIN_S + 2 * EVERY_S)
        assert await human(w) == []
        assert await kept(w) == {}


async def test_a_cancel_beside_a_refund_that_is_owed_is_left_to_the_refund(tmp_path: Path) -> None:
    async with world(tmp_path, loops=False, goods=GOODS, answer_within_s=1) as w:
        payment = await paid(w)
        await w.faults(cancel=[{"kind": "drop-before"}], get=[{"kind": "drop-before"}])
        assert (await refund(w, payment, amount=2_000)).json()["status"] == "PENDING"
        key = await key_of(w, payment)
        await call_pg(w, f"{key}/cancel", cancelReason="by hand", cancelAmount=1_000)
        await deliver(w)
        await settle()
        [found] = (await reconcile(w)).looked
        assert (found.seen.kind, found.verdict.end) == (Kind.CANCEL_MISSING_HERE, End.WAITS)
        await w.until("the refund is worked on", lambda: _refunded(w))
        await deliver(w)
        sums = [each["amount"] for each in await rows(w.app.stores.payment, "seq amount status", "refund")]
        assert sorted(sums) == [1_000, 2_000]
        await settle()
        assert (await reconcile(w)).looked == ()
        assert await kept(w) == {}


async def _refunded(w: World) -> bool:
    """Do what the loop would; and whether nothing is owed any more."""
    await w.app.flows.refunding.due()
    states = await rows(w.app.stores.payment, "status", "refund")
    return all(each["status"] != "PENDING" for each in states)


async def test_an_order_that_cannot_take_what_it_is_told_again_is_left_to_a_human(tmp_path: Path) -> None:
    async with world(tmp_path, loops=False, goods=GOODS, payment_window_s=WINDOW_S) as w:
        await order_behind(w)
        await deliver(w)
        await settle()
        [first] = (await reconcile(w)).looked
        assert first.verdict.end is End.TOLD
        [soon] = (await reconcile(w)).looked
        assert soon.verdict.end is End.WAITS, "it has had no time"
        await w.app.stores.payment.run(lambda tx: tx.run("DELETE FROM outbox"))
        await settle()
        [later] = (await reconcile(w)).looked
        assert later.verdict.end is End.LEFT
        assert "dead letters" in later.verdict.detail


async def test_what_is_told_again_to_an_order_that_knows_by_now_changes_nothing(tmp_path: Path) -> None:
    """The bus was only slow: both the first news and the repeated one arrive."""
    async with world(tmp_path, loops=False, goods=GOODS, payment_window_s=WINDOW_S) as w:
        payment = await paid(w)
        assert (await refund(w, payment, restock=True)).json()["status"] == "DONE"
        await settle()
        [found] = (await reconcile(w)).looked
        assert (found.seen.kind, found.verdict.end) == (Kind.ORDER_BEHIND, End.TOLD)
        await deliver(w)
        assert await w.status(payment["order_id"]) == "REFUNDED"
        assert await w.stock(1) == (1_000_000, 0, 0), "the goods came back twice, or not at all"
        await check(w)
        await settle()
        assert (await reconcile(w)).looked == ()


async def test_a_list_that_shows_what_a_reading_denies_is_not_believed(tmp_path: Path) -> None:
    """Money is written down from readings of the payment alone."""
    async with world(tmp_path, loops=False, goods=GOODS, payment_window_s=WINDOW_S) as w:
        payment_id = await captured_not_recorded(w)
        await at_pg(w, ("UPDATE payment SET amount = amount + 1 WHERE order_id = ?", (payment_id,)))
        await settle()
        [found] = (await reconcile(w)).looked
        assert (found.seen.kind, found.verdict.end) == (Kind.CAPTURED_NOT_RECORDED, End.LEFT)
        [row] = await rows(w.app.stores.payment, "status captured", "payment")
        assert row == {"status": "DECLINED", "captured": 0}


async def test_money_that_the_list_has_and_no_reading_finds_is_told_to_a_human(tmp_path: Path) -> None:
    """It may only lag, so that it is looked at again; but not for ever without anybody knowing."""
    async with process(tmp_path, goods=GOODS, payment_window_s=WINDOW_S, reconcile_every_s=EVERY_S) as w:
        payment_id = await captured_not_recorded(w)
        await w.faults(get=[{"kind": "error", "code": "NOT_FOUND_PAYMENT", "forever": True}])
        await w.until("it is found", lambda: kept(w), within_s=SETTLE_S + EVERY_S + 30)
        assert await human(w) == []
        await asyncio.sleep(LONG_S)
        assert [(each["why"], each["payment_id"]) for each in await human(w)] == [("mismatch", payment_id)]
        await w.faults(get=[])
        await asyncio.sleep(2 * EVERY_S)
        assert (await kept(w), await human(w)) == ({}, [])


async def test_a_reading_that_fails_is_no_verdict(tmp_path: Path) -> None:
    async with world(tmp_path, loops=False, goods=GOODS, payment_window_s=WINDOW_S) as w:
        await recorded_not_captured(w)
        await deliver(w)
        await settle()
        await w.faults(get=[{"kind": "http", "status": 500, "forever": True}])
        [found] = (await reconcile(w)).looked
        assert found.verdict.end is End.WAITS
        assert await human(w) == []
        await w.faults(get=[])
        [found] = (await reconcile(w)).looked
        assert found.verdict.end is End.LEFT
        assert len(await human(w)) == 1
