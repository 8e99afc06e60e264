"""`qc rebuild history`, as somebody types it beside a shop that takes orders."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

from quickcommerce.kit.auth import Role
from system.process import qc, qc_async
from system.shop import Shop, running, stock_up


async def test_a_history_that_was_deleted_is_whole_again_while_the_shop_takes_orders(tmp_path: Path) -> None:
    async with running(tmp_path) as shop:
        orders = [await shop.order() for _ in range(3)]
        await shop.pay(orders[0])
        await shop.until_status(orders[0]["order_id"], "PAID")
        await shop.at_rest()
        await shop.terminate()
        lose_history(tmp_path)
        await shop.start()
        assert (await shop.counts())["documents"] == 0
        placing = asyncio.create_task(place(shop, 20))
        done = await qc_async(tmp_path, "rebuild", "history")
        assert done.returncode == 0, done.stderr
        await placing
        await shop.at_rest()
        counts = await shop.counts()
        assert (counts["orders"], counts["documents"]) == (23, 23)
        history = await shop.get("/v1/history/orders?keyword=milk&status=PAID", role=Role.MASTER)
        assert [item["order_id"] for item in history["items"]] == [orders[0]["order_id"]]
        again = await qc_async(tmp_path, "rebuild", "history")
        assert again.stdout == "23 orders: 0 documents added, 0 renewed, 0 removed; there are 23 documents\n"


def lose_history(folder: Path) -> None:
    """Delete the history of a shop that has stopped."""
    for path in folder.glob("history.db*"):
        path.unlink()
    with closing(sqlite3.connect(folder / "shop.db")) as db:
        # What every reader had taken is pruned after a while: no event tells of these orders any more.
        db.execute("DELETE FROM outbox")
        db.commit()


async def place(shop: Shop, count: int) -> None:
    for _ in range(count):
        await shop.order()


async def test_a_shop_without_orders_is_rebuilt_to_nothing(tmp_path: Path) -> None:
    await stock_up(tmp_path)
    done = await asyncio.to_thread(qc, tmp_path, "rebuild", "history")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "0 orders: 0 documents added, 0 renewed, 0 removed; there are 0 documents\n"
