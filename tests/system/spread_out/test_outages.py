"""MariaDB, Kafka, Elasticsearch or a process goes away under load: buyers buy on, nothing is lost or done twice."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import schemas
import streams
from indices import elastic, wipe
from quickcommerce.catalog.model import Entry
from quickcommerce.kit.addresses import server_of
from servers.mariadb.server import server as mariadb
from system.process import Process, until
from system.sale import Sale
from system.servers import stopped_at_the_end
from system.split import Split, split
from system.truth import Truth, at_rest, checked

pytestmark = pytest.mark.servers

GOODS = [Entry(product, f"goods {product}", 1_000 * product, 1_000_000) for product in (1, 2)]
SHORT = {"payment_window_s": 6, "pg_confirm_deadline_s": 1, "pg_read_deadline_s": 1}
UNPAID = 1_000_001
"""A buyer whose turn to pay never comes."""
OTHERS_SELL_WITHIN_S = 5
"""What operators may count on when a process stands still."""


async def ended(shop: Split, sale: Sale) -> Truth:
    """Wait until every order has come to its end, and look at everything there is."""
    await until("every order has ended", shop.over, within_s=180)
    await shop.invariants_hold()
    truth = at_rest(checked(await shop.truth()))
    assert truth.orders.keys() == sale.orders.keys(), "an order that a buyer was told of is lost, or there are two"
    paid = {order_id for order_id, order in truth.orders.items() if order["status"] == "PAID"}
    assert paid >= sale.paid, "an order that was paid for has expired"
    assert sale.paid
    return truth


@pytest.mark.parametrize(
    ("times", "away_s"), [pytest.param(2, 0, id="small"), pytest.param(5, 20, id="real", marks=pytest.mark.full)]
)
async def test_a_database_that_dies_under_load_loses_no_order_that_a_buyer_was_told_of_and_doubles_none(
    tmp_path: Path, times: int, away_s: int
) -> None:
    async with mariadb(tmp_path / "mariadb") as server:
        await server.sql("CREATE DATABASE payment CHARACTER SET utf8mb4 COLLATE utf8mb4_bin")
        url = f"mariadb://root:@127.0.0.1:{server.port}"
        urls: dict[str, Any] = {"database_url": f"{url}/shop", "payment_database_url": f"{url}/payment"}
        async with split(tmp_path, goods=GOODS, **SHORT, **urls) as shop:
            sale = Sale(shop, pay_every=3)
            async with sale.going_on():
                for _ in range(times):
                    await sale.more(50)
                    before = sale.again.total()
                    await server.kill()
                    await until("buyers are told to come again", lambda before=before: told(sale, before))  # type: ignore[misc]
                    await until("no process says that it is ready", lambda: none_ready(shop))
                    await asyncio.sleep(away_s)
                    await server.start()
                    await sale.more(50)
                    await until("every process is ready again by itself", shop.ready)
            assert {process.lives for process in shop.every} == {1}
            await ended(shop, sale)


async def test_processes_that_start_before_their_database_say_so_and_open_by_themselves(tmp_path: Path) -> None:
    async with mariadb(tmp_path / "mariadb") as server:
        await server.sql("CREATE DATABASE payment CHARACTER SET utf8mb4 COLLATE utf8mb4_bin")
        url = f"mariadb://root:@127.0.0.1:{server.port}"
        urls: dict[str, Any] = {"database_url": f"{url}/shop", "payment_database_url": f"{url}/payment"}
        async with split(tmp_path, each=1, goods=GOODS, **SHORT, **urls) as shop:
            await server.kill()
            await asyncio.gather(*(process.restart() for process in shop.every))
            assert await none_ready(shop)
            await server.start()
            await until("every process is ready by itself", shop.ready)
            assert {process.lives for process in shop.every} == {2}
            sale = Sale(shop, pay_every=1)
            async with sale.going_on():
                await sale.more(10)
            await ended(shop, sale)


async def told(sale: Sale, before: int) -> bool:
    return sale.again.total() > before


async def none_ready(shop: Split) -> bool:
    answers = await asyncio.gather(*(shop.http.get(f"{process.url}/readyz") for process in shop.every))
    return {answer.status_code for answer in answers} == {503}


@pytest.mark.parametrize(
    ("more", "away_s"), [pytest.param(50, 0, id="small"), pytest.param(1_000, 60, id="real", marks=pytest.mark.full)]
)
async def test_without_kafka_for_longer_than_the_time_to_pay_orders_go_on_and_no_paid_one_expires(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: int, away_s: int
) -> None:
    with stopped_at_the_end(tmp_path / "servers") as services:
        up = await asyncio.to_thread(services, "up", "kafka")
        assert up.returncode == 0, up.stderr
        monkeypatch.setenv(streams.VARIABLE, services("url", "kafka").stdout.strip().removeprefix("QC_BUS_URL="))
        async with split(tmp_path, goods=GOODS, **SHORT) as shop:
            sale = Sale(shop, pay_every=2)
            async with sale.going_on():
                await sale.more(more)
                await asyncio.to_thread(services, "kill", "kafka")
                left, paid_before = await sale.buy(UNPAID), set(sale.paid)
                sale.again.clear()
                await sale.more(more)
                await shop.until_status(left["order_id"], "EXPIRED")
                await sale.more(more)
                await asyncio.sleep(away_s)
                assert not sale.again, "a buyer was told to come again"
                assert not sale.late, "a buyer waited for Kafka until the time to pay was over"
                assert len(sale.paid - paid_before) > more // 2, "what was ordered meanwhile could not be paid"
                await asyncio.to_thread(services, "up", "kafka")
                await sale.more(more)
            await ended(shop, sale)
            prefix = shop.settings["bus_prefix"]
            for topic in ("orders", "payments"):
                await asyncio.to_thread(in_order, f"{prefix}{topic}")


def in_order(topic: str) -> None:
    """The events of an order came in their order, however often each was sent."""
    last: dict[bytes, int] = {}
    seen: set[object] = set()
    for record in streams.records(topic):
        event = dict(record.headers() or ())["ce_id"]
        if event not in seen:
            seen.add(event)
            key, data = record.key() or b"", json.loads(record.value() or b"")
            version = data["order"]["version"] if "order" in data else data["version"]
            assert version == last.get(key, version - 1) + 1, f"{key!r} has its events in another order in {topic}"
            last[key] = version
    assert seen


@pytest.mark.parametrize(
    ("more", "away_s"), [pytest.param(50, 0, id="small"), pytest.param(1_000, 15, id="real", marks=pytest.mark.full)]
)
async def test_while_a_process_stands_still_in_its_transaction_the_others_sell_on(
    tmp_path: Path, more: int, away_s: int
) -> None:
    async with split(tmp_path, goods=GOODS, **SHORT) as shop:
        await lacking(shop, "")
        sale = Sale(shop, pay_every=3)
        async with sale.going_on():
            await sale.more(more)
            async with frozen_in_its_transaction(shop):
                async with asyncio.timeout(OTHERS_SELL_WITHIN_S):
                    await sale.buy(UNPAID)
                await sale.more(50)
                await asyncio.sleep(away_s)
            await sale.more(more)
        # Those who waited at the one that stood still for too long, or whose transaction it then found undone, ask
        # again with their key.
        assert all(detail.startswith(("there is no answer yet", "the database ")) for detail in sale.again), sale.again
        await ended(shop, sale)


async def test_control_without_an_end_to_idle_transactions_a_process_that_stands_still_stops_the_sale(
    tmp_path: Path,
) -> None:
    async with split(tmp_path, goods=GOODS, **SHORT) as shop:
        await lacking(shop, "endless-idling")
        sale = Sale(shop, pay_every=3)
        async with sale.going_on():
            await sale.more(20)
            async with frozen_in_its_transaction(shop):
                buying = asyncio.create_task(sale.buy(UNPAID))
                done, _ = await asyncio.wait({buying}, timeout=OTHERS_SELL_WITHIN_S)
                assert not done, "the row was let go of"
            await buying
        await ended(shop, sale)


async def lacking(shop: Split, guard: str) -> None:
    """The processes that sell are without a guard; the first takes so long to commit that it can be met in between."""
    first, *others = shop.processes["api"]
    first.lacks = f"{guard},lingering" if guard else "lingering"
    for other in others:
        other.lacks = guard
    for process in (first, *others):
        await process.restart()


@asynccontextmanager
async def frozen_in_its_transaction(shop: Split) -> AsyncIterator[None]:
    """A process that sells stands still while others wait for a row that it holds; at the end it goes on."""
    process = shop.processes["api"][0]
    for _ in range(1_000):
        process.send(signal.SIGSTOP)
        if await in_the_way(shop, process):
            break
        process.send(signal.SIGCONT)
        await asyncio.sleep(0.01)
    else:
        raise AssertionError("it never stood still in a transaction")
    # The load balancer sees that it does not answer.
    url, process.url = process.url, ""
    try:
        yield
    finally:
        process.send(signal.SIGCONT)
        process.url = url


async def in_the_way(shop: Split, process: Process) -> bool:
    """Whether a process that is frozen keeps others from goods, which shows soon if it does."""
    schema = server_of(str(shop.settings["database_url"])).schema
    waited_for = (
        "SELECT host FROM information_schema.innodb_lock_waits"
        " JOIN information_schema.innodb_locks ON lock_id = blocking_lock_id AND RIGHT(lock_table, 9) = '`product`'"
        " JOIN information_schema.innodb_trx ON trx_id = blocking_trx_id"
        " JOIN information_schema.processlist ON id = trx_mysql_thread_id WHERE db = ? AND command = 'Sleep'"
    )
    for _ in range(5):
        held = await asyncio.to_thread(schemas.sql, waited_for, (schema,))
        if any(owns(process.pid, int(host.rpartition(":")[2])) for (host,) in held):
            return True
        await asyncio.sleep(0.05)
    return False


def owns(pid: int, port: int) -> bool:
    """Whether a process is at this end of a connection."""
    sockets = {f"socket:[{line[9]}]" for line in connections() if int(line[1].rpartition(":")[2], 16) == port}
    return any(str(file.readlink()) in sockets for file in Path(f"/proc/{pid}/fd").iterdir())


def connections() -> list[list[str]]:
    return [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]


@pytest.mark.parametrize(
    ("times", "more"), [pytest.param(2, 50, id="small"), pytest.param(5, 1_000, id="real", marks=pytest.mark.full)]
)
async def test_a_history_that_was_deleted_is_rebuilt_while_orders_go_on(tmp_path: Path, times: int, more: int) -> None:
    async with split(tmp_path, goods=GOODS, **SHORT) as shop:
        sale = Sale(shop, pay_every=2)
        async with sale.going_on():
            for _ in range(times):
                await sale.more(more)
                async with elastic(str(shop.settings["search_index"]), made=False) as index:
                    await wipe(index)
                assert "there are" in await shop.command("rebuild", "history")
                await sale.more(more)
        await ended(shop, sale)
