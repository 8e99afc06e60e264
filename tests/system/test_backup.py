"""A backup, as docs/operations.md says: of a stopped shop, whole, and put back whole."""

import shutil
from pathlib import Path

from quickcommerce.kit.auth import Role
from system.process import qc_async
from system.shop import Shop, running


def copied(source: Path, target: Path, *, without: str = "") -> None:
    """Replace the stores in a folder by those of another."""
    target.mkdir(exist_ok=True)
    for path in target.glob("*.db*"):
        path.unlink()
    for path in source.glob("*.db*"):
        if not (without and path.name.startswith(without)):
            shutil.copy(path, target)


async def paid(shop: Shop) -> None:
    """An order goes all the way."""
    order = await shop.order()
    assert (await shop.pay(order)).status_code == 200
    await shop.until_status(order["order_id"], "PAID")
    await shop.at_rest()


async def test_a_shop_that_was_put_back_knows_what_it_knew_and_goes_on(tmp_path: Path) -> None:
    folder, backup = tmp_path / "shop", tmp_path / "backup"
    async with running(folder) as shop:
        await paid(shop)
        await shop.order()
        await shop.at_rest()
        before = await shop.counts()
        await shop.terminate()
        copied(folder, backup)
        await shop.start()
        for _ in range(3):
            await paid(shop)
        await shop.terminate()
        copied(backup, folder, without="history")
        await shop.start()
        rebuilt = await qc_async(folder, "rebuild", "history")
        assert rebuilt.returncode == 0, rebuilt.stderr
        await shop.at_rest()
        assert await shop.counts() == before
        # What was written anew stands behind what the readers had read: no event is taken for one of before.
        await paid(shop)
        told = await shop.get("/v1/ops/invariants", role=Role.MASTER)
        assert told["holds"], told
        assert (await shop.counts())["documents"] == before["documents"] + 1
