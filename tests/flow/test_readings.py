"""What the PG is asked to read, and what one reading is worth."""

import asyncio
from pathlib import Path

import pytest

from world import World, world


async def placed(w: World) -> tuple[str, dict[str, object]]:
    order = (await w.order()).json()
    return order["order_id"], await w.get(f"/v1/orders/{order['order_id']}/payment")


@pytest.mark.parametrize("key", ["confirm", "orders", "key-in", "..", "a/b", "tgen_invented"])
async def test_a_key_that_is_no_key_holds_no_goods(tmp_path: Path, key: str) -> None:
    """Without a card and without the PG's page, nobody keeps an order alive past its time."""
    async with world(tmp_path, payment_window_s=30) as w:
        order_id, payment = await placed(w)
        assert (await w.confirm(payment, key)).status_code == 402
        await w.until_status(order_id, "EXPIRED", within_s=40)
        assert await w.stock(1) == (1_000, 0, 0)


@pytest.mark.parametrize("readings", [1, 2, 5])
async def test_a_capture_that_a_reading_does_not_show_yet_is_not_called_declined(tmp_path: Path, readings: int) -> None:
    async with world(tmp_path) as w:
        order_id, payment = await placed(w)
        key = await w.authenticate(payment)
        lost = {"kind": "error", "code": "NOT_FOUND_PAYMENT", "repeat": 2 * readings}
        await w.faults(confirm=[{"kind": "drop-after"}], get=[lost])
        assert (await w.confirm(payment, key)).status_code in (200, 202)
        await w.until_status(order_id, "PAID", within_s=90)
        assert await w.captures(str(payment["payment_id"])) == 1


async def test_an_order_whose_hold_has_passed_does_not_end_while_its_capture_is_being_asked_for(tmp_path: Path) -> None:
    slow_s = 19
    async with world(
        tmp_path, payment_window_s=1, pg_confirm_deadline_s=slow_s + 0.5, pg_read_deadline_s=0.5, unknown_hold_s=25
    ) as w:
        order_id, payment = await placed(w)
        key = await w.authenticate(payment)
        # The fourth request leaves 7-14 s after the first, and is still on its way when the hold has passed.
        slow = {"kind": "slow", "ms": slow_s * 1_000, "forever": True}
        await w.faults(confirm=[{"kind": "drop-before", "repeat": 3}, slow])
        await w.confirm(payment, key)

        async def ended() -> bool:
            return await w.status(order_id) in ("PAID", "EXPIRED")

        await w.until("the order has ended", ended)
        await asyncio.sleep(2 * slow_s)
        captured = await w.captures(str(payment["payment_id"]))
        assert (await w.status(order_id), captured) in (("PAID", 1), ("EXPIRED", 0))
