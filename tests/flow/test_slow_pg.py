"""A PG that is slower than anybody waits: what it may still be working on is neither declined nor given up."""

import asyncio
from pathlib import Path

import pytest

from flow.acts import MILK, kept, to_pay
from flow.invariants import check
from flow.process import process


@pytest.mark.parametrize(
    "code", ["NOT_AVAILABLE_BANK", "NOT_AVAILABLE_PAYMENT", "INVALID_REQUEST", "REJECT_CARD_PAYMENT"]
)
async def test_a_refusal_of_a_repeat_says_nothing_of_the_first_request(code: str, tmp_path: Path) -> None:
    """The first is captured after 90 seconds; meanwhile the PG says that it is busy with it, and refuses others."""
    async with process(tmp_path) as w:
        order_id, payment, key = await to_pay(w)
        refusal = {"kind": "error", "code": code, "forever": True}
        await w.faults(confirm=[{"kind": "slow", "ms": 90_000}, {"kind": "ok", "repeat": 2}, refusal])
        async with kept(w, MILK, 2):
            assert (await w.confirm(payment, key)).status_code == 202
            await w.until_status(order_id, "PAID", within_s=180)
        assert await w.captures(payment["payment_id"]) == 1
        await w.at_rest()
        await check(w)


async def test_a_key_that_is_not_found_beside_another_is_not_called_declined_before_the_pg_says_so(
    tmp_path: Path,
) -> None:
    """The buyer has authenticated twice. One reading misses the key that is being captured, and finds the other."""
    async with process(tmp_path) as w:
        order_id, payment, key = await to_pay(w)
        await w.authenticate(payment)
        await w.faults(confirm=[{"kind": "slow", "ms": 75_000}], get=[{"kind": "error", "code": "NOT_FOUND_PAYMENT"}])
        async with kept(w, MILK, 2):
            assert (await w.confirm(payment, key)).status_code == 202
            await w.until_status(order_id, "PAID", within_s=180)
        assert await w.captures(payment["payment_id"]) == 1
        await w.at_rest()
        await check(w)


@pytest.mark.parametrize("lost", [0, 1])
async def test_control_a_key_that_the_pg_does_not_know_is_declined_beside_another(lost: int, tmp_path: Path) -> None:
    async with process(tmp_path) as w:
        order_id, payment, _ = await to_pay(w)
        await w.faults(confirm=[{"kind": "drop-before"}] * lost)
        assert (await w.confirm(payment, "tgen_invented")).status_code == 402
        await w.until_status(order_id, "PLACED", within_s=5)


async def test_money_that_was_taken_is_written_down_by_whoever_learns_of_it(tmp_path: Path) -> None:
    """A process is frozen past its lease while the PG captures; when it wakes, another holds the payment."""
    async with process(tmp_path) as w:
        order_id, payment, key = await to_pay(w)
        await w.faults(confirm=[{"kind": "slow", "ms": 30_000}], get=[{"kind": "drop-before", "forever": True}])
        paying = asyncio.create_task(w.confirm(payment, key))
        await asyncio.sleep(1)
        w.clock.jump(80)
        await paying
        await w.until_status(order_id, "PAID", within_s=60)
        await w.faults(get=[])
        await w.at_rest()
        await check(w)


async def test_a_crowd_at_a_slow_pg_does_not_keep_lost_money_from_being_found(tmp_path: Path) -> None:
    async with process(tmp_path) as w:
        order_id, payment, key = await to_pay(w)
        lost = [{"kind": "drop-after"}, {"kind": "slow", "ms": 10_000, "forever": True}]
        await w.faults(confirm=lost, get=[{"kind": "drop-before", "repeat": 2}])
        assert (await w.confirm(payment, key)).status_code in (200, 202)
        stop = asyncio.Event()

        async def crowd() -> None:
            while not stop.is_set():
                _, other, card = await to_pay(w, [(MILK, 1)])
                await w.confirm(other, card)

        buyers = [asyncio.create_task(crowd()) for _ in range(70)]
        await w.until_status(order_id, "PAID", within_s=30)
        stop.set()
        await asyncio.gather(*buyers)
        await w.faults(confirm=[])


async def test_an_order_that_cannot_be_ended_keeps_no_other_from_ending(tmp_path: Path) -> None:
    """An operator set a counter by hand, and got it wrong."""
    async with process(tmp_path, payment_window_s=5) as w:
        broken = (await w.order([(1, 2)])).json()
        sound = [(await w.order([(2, 1)], user=user)).json()["order_id"] for user in range(8, 18)]
        await w.app.stores.shop.run(lambda tx: tx.run("UPDATE product SET reserved = 0 WHERE product_id = 1"))
        for order_id in sound:
            await w.until_status(order_id, "EXPIRED", within_s=30)
        assert await w.stock(2) == (1_000, 0, 0), "goods that nobody pays for are kept from everybody"
        assert await w.status(broken["order_id"]) == "PLACED"
        await w.app.stores.shop.run(lambda tx: tx.run("UPDATE product SET reserved = 2 WHERE product_id = 1"))
        await w.until_status(broken["order_id"], "EXPIRED", within_s=30)
        await w.at_rest()
        await check(w)
