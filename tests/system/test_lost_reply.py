"""The PG took the money and its answer did not arrive. The buyer is never told "failed", and never loses the goods."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from quickcommerce.kit.auth import Role
from system.process import OPEN_WITHIN_S, STOP_WITHIN_S, Process, closing, until
from system.shop import Shop, client, running, stock_up
from system.truth import settled
from system.wire import Way

WINDOW_S = 3
"""The time to pay ends while nobody knows whether it was paid."""
QUICK: dict[str, Any] = {
    "payment_window_s": WINDOW_S, "pg_confirm_deadline_s": 1, "pg_read_deadline_s": 1, "answer_within_s": 1,
    "log_level": "WARNING",
}  # fmt: skip
RESOLVED_S = 90
UNREADABLE = [{"kind": "http", "status": 503, "forever": True}]


async def timeline(shop: Shop, order_id: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = (await shop.get(f"/v1/orders/{order_id}/timeline", role=Role.MASTER))["items"]
    return items


async def expiry_refused(shop: Shop, order_id: str) -> None:
    """Wait until the shop wanted to end the order and did not."""

    async def noted() -> bool:
        items = await timeline(shop, order_id)
        assert "EXPIRED" not in [item["to"] for item in items], "the goods are given back while money may be taken"
        return "expiry deferred" in [item["what"] for item in items]

    await until("the order's time has ended", noted)


async def check(shop: Shop, order_id: str) -> None:
    """It was never anything but on its way to being paid; then the shop closes."""
    went_through = [item["to"] for item in await timeline(shop, order_id)]
    assert {"EXPIRED", "FAILED", "CANCELLED"}.isdisjoint(went_through), went_through
    await shop.at_rest()
    assert (await shop.terminate()).code == 0


def resolved(folder: Path, ledger: Path | None = None) -> None:
    """It is paid, once, and its goods were never anybody else's."""
    truth = settled(folder, ledger)
    assert truth.statuses == {"PAID": 1}
    released = [entry for entry in truth.entries if entry["kind"] == "RELEASE"]
    assert not released, "the goods were given back while the buyer's money was taken"


@pytest.mark.parametrize("killed", [False, True], ids=["while the PG cannot be read", "and the shop is killed"])
async def test_a_capture_whose_reply_is_lost_is_paid_once_and_keeps_its_stock(tmp_path: Path, killed: bool) -> None:
    async with running(tmp_path, **QUICK) as shop:
        await shop.faults(confirm=[{"kind": "drop-after"}], get=UNREADABLE)
        order = await shop.order([(4, 5)])
        answer = await shop.pay(order)
        assert answer.status_code == 202, "the buyer was told more than is known"
        assert answer.json()["status"] in ("CAPTURING", "UNKNOWN")
        assert (await shop.ask("POST", f"/v1/orders/{order['order_id']}/cancel")).status_code == 409
        await expiry_refused(shop, order["order_id"])
        assert (await shop.get("/v1/products/4"))["available"] == 0, "the goods of an unknown payment are for sale"
        if killed:
            await shop.restart()
        else:
            await shop.faults(get=[])
        await shop.until_status(order["order_id"], "PAID", within_s=RESOLVED_S)
        await check(shop, order["order_id"])
    resolved(tmp_path)


async def test_a_shop_that_dies_during_the_call_to_the_pg_finds_the_money_when_it_is_back(tmp_path: Path) -> None:
    ledger = tmp_path / "pg"
    ledger.mkdir()
    await stock_up(tmp_path / "shop")
    pg = Process(ledger, "emulator", "--port", "0")
    async with client() as http, closing(pg):
        await pg.start()
        shop = Shop(tmp_path / "shop", http, **QUICK | {"answer_within_s": OPEN_WITHIN_S})
        async with Way(pg.url, deaf=True) as line, closing(shop):
            shop.pg, shop.settings["pg_url"] = pg.url, line.url
            await shop.start()
            order = await shop.order([(4, 5)])
            paying = asyncio.create_task(shop.pay(order))
            await line.swallowed.wait()
            captured = (await http.get(f"{pg.url}/emulator/ledger")).json()["payments"]
            assert [each["captures"][0]["amount"] for each in captured] == [order["payable"]]
            shop.kill9()
            gone = await asyncio.gather(paying, return_exceptions=True)
            assert isinstance(gone[0], Exception), "the shop answered before it died: nothing was lost"

            async def late() -> bool:
                return datetime.now(UTC) > datetime.fromisoformat(order["expires_at"])

            await until("the time to pay has ended while nobody was there", late)
            line.deaf = False
            await shop.start()
            await shop.until_status(order["order_id"], "PAID", within_s=RESOLVED_S)
            await check(shop, order["order_id"])
        assert (await pg.terminate()).seconds < STOP_WITHIN_S
    resolved(shop.folder, ledger)
