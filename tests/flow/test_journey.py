"""One order, from the basket to the history."""

from pathlib import Path

from world import world


async def test_an_order_is_placed_paid_and_found(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        placed = await w.order([(1, 2), (2, 1)], key="k1")
        assert placed.status_code == 201
        order = placed.json()
        assert (order["total"], order["payable"], order["status"]) == (14_700, 14_700, "PLACED")
        assert await w.stock(1) == (1_000, 2, 0)
        payment = await w.get(f"/v1/orders/{order['order_id']}/payment")
        paid = await w.confirm(payment, await w.authenticate(payment))
        assert (paid.status_code, paid.json()["status"]) == (200, "CAPTURED")
        await w.until_status(order["order_id"], "PAID")
        await w.at_rest()
        assert await w.stock(1) == (1_000, 0, 2)
        assert await w.captures(payment["payment_id"]) == 1
        for keyword in ("우유", "milk", "우유 1l", "달걀 MIL"):
            found = await w.get(f"/v1/history/orders?keyword={keyword}")
            assert [item["status"] for item in found["items"]] == ["PAID"]
        again = await w.order([(1, 2), (2, 1)], key="k1")
        assert again.content == placed.content
        assert again.headers["Idempotency-Replayed"] == "true"
