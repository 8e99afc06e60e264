"""The due loop: what is left open is looked at again, each by itself, and not more often than it is worth."""

import asyncio
from pathlib import Path

import pytest

from flow.acts import MILK, calls, kept, payment_of, to_pay
from flow.invariants import check
from flow.probe import Probe
from flow.process import process
from quickcommerce.payment import breaker
from quickcommerce.payment.running import DUE_MAX


async def test_one_payment_that_hangs_at_the_pg_delays_no_other(tmp_path: Path) -> None:
    async with process(tmp_path) as w:
        bought = [await to_pay(w) for _ in range(breaker.IN_A_ROW - 1)]
        await w.faults(
            confirm=[{"kind": "drop-before", "repeat": len(bought)}],
            get=[{"kind": "drop-before", "repeat": len(bought)}, {"kind": "slow", "ms": 9_000}],
        )
        await asyncio.gather(*(w.confirm(payment, key) for _, payment, key in bought))

        async def paid() -> int:
            return sum([await w.status(order_id) == "PAID" for order_id, _, _ in bought])

        async def others() -> bool:
            return await paid() == len(bought) - 1

        await w.until("those that do not hang are paid", others, within_s=6)
        assert await paid() == len(bought) - 1, "the one that hangs is done too, and this test has seen nothing"
        for order_id, _, _ in bought:
            await w.until_status(order_id, "PAID", within_s=30)
        await w.at_rest()
        await check(w)


async def test_a_pg_that_hangs_for_everybody_is_not_buried_under_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More are unknown than may be worked on at once: the rest waits its turn, and none is forgotten.

    The breaker would spare such a PG; what holds without it is the bound.
    """
    for few in ("CALLS_MIN", "IN_A_ROW"):
        monkeypatch.setattr(breaker, few, 10**6)
    many = DUE_MAX + 10
    async with process(tmp_path) as w:
        bought = [await to_pay(w, [(MILK, 1)]) for _ in range(many)]
        await w.faults(
            confirm=[{"kind": "drop-after", "repeat": many}],
            get=[{"kind": "drop-before", "repeat": many}, {"kind": "slow", "ms": 9_000, "repeat": DUE_MAX}],
        )
        async with kept(w, MILK, many):
            await asyncio.gather(*(w.confirm(payment, key) for _, payment, key in bought))
            await asyncio.sleep(6)
            assert len(w.app.flows.captures.running) == DUE_MAX
            for order_id, _, _ in bought:
                await w.until_status(order_id, "PAID", within_s=90)
        await w.at_rest()
        await check(w)


async def test_a_payment_that_has_let_go_of_its_order_is_looked_at_now_and_then(tmp_path: Path) -> None:
    """Nobody waits for it any more, and the PG has better things to do."""
    async with process(tmp_path, payment_window_s=30, unknown_hold_s=120) as w:
        order_id, payment, key = await to_pay(w)
        await w.faults(
            confirm=[{"kind": "drop-before", "forever": True}], get=[{"kind": "drop-before", "forever": True}]
        )
        await w.confirm(payment, key)
        await w.until_status(order_id, "EXPIRED", within_s=300)
        await asyncio.sleep(60)
        before = await calls(w, "get")
        await asyncio.sleep(3600)
        assert 3600 / 90 - 2 <= await calls(w, "get") - before <= 3600 / 45, "every 45 to 90 seconds"
        assert (await payment_of(w, {"order_id": order_id, "user_id": 7}))["status"] == "UNKNOWN"


async def test_a_confirm_whose_commit_was_not_heard_of_is_captured_at_once(tmp_path: Path) -> None:
    """The unit of work runs again, and finds its own attempt: not somebody else's, whose lease must end first."""
    probe = Probe(twice_at=0)
    async with process(tmp_path, probe) as w:
        order_id, payment, key = await to_pay(w)
        await w.at_rest()
        probe.armed = True
        assert (await w.confirm(payment, key)).status_code == 200, "the buyer waits until the lease ends"
        assert probe.commits[0] == "payment: Attempts.begin.work"
        await w.until_status(order_id, "PAID", within_s=5)
        await w.at_rest()
        await check(w)
