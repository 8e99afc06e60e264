"""A shop whose history is in Elasticsearch: `qc run` and its commands, and a server that loses everything."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from indices import between, elastic, elastic_url, new_name, wipe
from quickcommerce.kit.auth import Role
from quickcommerce.kit.problem import Unavailable
from quickcommerce.settings import load
from system.process import qc_async, until
from system.shop import Shop, running, stock_up

pytestmark = pytest.mark.servers


@pytest.fixture
async def name() -> AsyncIterator[str]:
    """A name for the shop's index, which is removed afterwards."""
    name = new_name()
    yield name
    async with elastic(name, made=False) as index:
        await wipe(index)


async def documents(shop: Shop, count: int) -> None:
    async def there() -> bool:
        return (await shop.counts())["documents"] == count

    await until(f"there are {count} documents", there)


async def found(shop: Shop, query: str) -> list[str]:
    page = await shop.get(f"/v1/history/orders?{query}", role=Role.MASTER)
    assert page["total"] == len(page["items"])
    return [item["order_id"] for item in page["items"]]


async def test_an_order_is_found_as_it_is_and_the_history_has_no_file(tmp_path: Path, name: str) -> None:
    settings: dict[str, Any] = {"search_url": elastic_url(), "search_index": name}
    async with running(tmp_path / "shop", **settings) as shop:
        (tmp_path / "shop" / "history.db").unlink()  # that of whoever put the goods there, without these settings
        first, second = await shop.order(), await shop.order([(2, 1)], user=8)
        await shop.pay(first)
        await shop.until_status(first["order_id"], "PAID")
        await shop.at_rest()
        await documents(shop, 2)
        await until("the history tells of the payment", lambda: found(shop, "status=PAID"))
        assert await found(shop, "keyword=milk") == [first["order_id"]]
        assert await found(shop, "user_id=8") == [second["order_id"]]
        assert (await shop.get("/v1/ops/invariants", role=Role.MASTER))["holds"]
        found_fit = await qc_async(tmp_path / "shop", "doctor", **settings)
        assert re.search(rf"search +│ yes .*{name}-1, 2 documents", found_fit.stdout), found_fit.stdout
        await shop.terminate()
        await shop.start()
        await documents(shop, 2)
    assert list((tmp_path / "shop").glob("history.db")) == []


async def test_a_history_that_was_deleted_is_whole_again_while_the_shop_takes_orders(tmp_path: Path, name: str) -> None:
    settings: dict[str, Any] = {"search_url": elastic_url(), "search_index": name}
    async with running(tmp_path, **settings) as shop:
        for _ in range(5):
            await shop.order()
        await shop.at_rest()
        await documents(shop, 5)
        placing = asyncio.create_task(place(shop, 30))
        async with elastic(name, made=False) as index:
            await wipe(index)
        done = await qc_async(tmp_path, "rebuild", "history", **settings)
        assert done.returncode == 0, done.stderr
        assert re.fullmatch(r"\d+ orders: \d+ documents added, .*; there are \d+ documents\n", done.stdout)
        await placing
        await shop.at_rest()
        await documents(shop, 35)
        assert len(await found(shop, "keyword=milk&limit=100")) == 35
        # Again, by nobody: the shop itself makes it anew.
        async with elastic(name, made=False) as index:
            await wipe(index)
        await place(shop, 3)
        await documents(shop, 38)
        await shop.at_rest()
        assert (await shop.get("/v1/ops/invariants", role=Role.MASTER))["holds"]


async def once(shop: Shop) -> bool:
    """Whether there is one document, with the server back from nowhere."""
    answer = await shop.ask("GET", "/v1/history/orders?status=PAID", role=Role.MASTER)
    return answer.status_code == 200 and answer.json()["total"] == 1


async def place(shop: Shop, count: int) -> None:
    for _ in range(count):
        await shop.order()


async def test_orders_go_on_while_the_server_is_down_and_are_found_once_it_is_back(tmp_path: Path, name: str) -> None:
    async with between() as there:
        await there.stop()
        url = there.url.replace("//", "//shop:cret-password@")
        settings: dict[str, Any] = {"search_url": url, "search_index": name}
        async with running(tmp_path, **settings) as shop:
            # A start does not wait for it.
            paid = await shop.order()
            await shop.pay(paid)
            await shop.until_status(paid["order_id"], "PAID")

            async def waits() -> bool:
                answer = await shop.ask("GET", "/readyz")
                return answer.status_code == 503 and "history-index: Elasticsearch does not answer" in answer.text

            await until("readiness tells of it", waits)
            assert (await shop.ask("GET", "/v1/history/orders")).status_code == 503
            unfit = await qc_async(tmp_path, "doctor", **settings)
            assert unfit.returncode == 1
            assert re.search(r"search +│ NO .*does not answer", unfit.stdout), unfit.stdout
            refused = await qc_async(tmp_path, "rebuild", "history", **settings)
            assert (refused.returncode, refused.stderr.startswith("qc: Elasticsearch does not answer")) == (1, True)
            await there.start()
            await until("the order is found", lambda: once(shop))

            async def ready() -> bool:
                return (await shop.ask("GET", "/readyz")).status_code == 200

            await until("it is ready", ready)
            assert (await shop.get("/v1/ops/dead-letters", role=Role.MASTER))["items"] == []
            assert "cret-password" not in shop.printed() + unfit.stdout + refused.stderr


async def test_migrate_makes_the_index_from_the_orders_that_there_are(tmp_path: Path, name: str) -> None:
    """As when a shop that kept its history in a file moves on."""
    async with running(tmp_path) as shop:
        await place(shop, 3)
        await shop.at_rest()
    settings: dict[str, Any] = {"search_url": elastic_url(), "search_index": name}
    done = await qc_async(tmp_path, "migrate", **settings)
    assert done.returncode == 0, done.stderr
    async with elastic(name, made=False) as index:
        assert await index.count() == 3


async def test_a_missing_client_is_said_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await stock_up(tmp_path)
    for module in [each for each in sys.modules if each.startswith("quickcommerce.history.elastic")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.delattr("quickcommerce.history.elastic_index")
    monkeypatch.setitem(sys.modules, "elasticsearch", None)
    from quickcommerce.app import build

    settings = load({"QC_PROFILE": "test", "QC_DATA_DIR": str(tmp_path), "QC_SEARCH_URL": "http://elastic:9200"})
    with pytest.raises(Unavailable, match=r"the extra quickcommerce\[elastic\]"):
        build(settings)
