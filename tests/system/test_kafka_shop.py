"""The shop on Kafka: the same shop, by its settings alone; and what it does when Kafka is not there."""

import asyncio
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import streams
from quickcommerce.kit.auth import Role
from system.process import STOP_WITHIN_S, qc_async, until
from system.shop import Shop, running
from system.truth import exact, settled

ORDERS = 30
GROUPS = {"payment": "orders", "order": "payments", "history": "orders"}


async def with_topics(folder: Path) -> dict[str, Any]:
    """The settings of a shop with topics of its own."""
    settings: dict[str, Any] = {
        "bus_url": f"kafka://{streams.servers()}",
        "bus_prefix": streams.fresh("shop") + ".",
        "bus_partitions": 4,
    }
    made = await qc_async(folder, "migrate", **settings)
    assert made.stdout.count("bus: topic") == 2, made.stderr
    again = await qc_async(folder, "migrate", **settings)
    assert "0 applied" in again.stdout
    for group in GROUPS:
        await streams.quick(f"{settings['bus_prefix']}{group}")
    return settings


async def at_rest(shop: Shop, prefix: object) -> None:
    """Wait until every event is sent, and taken by every group that reads it."""
    await shop.at_rest()
    async with asyncio.timeout(60):
        await asyncio.gather(*(streams.caught_up(f"{prefix}{GROUPS[group]}", f"{prefix}{group}") for group in GROUPS))


async def buy(shop: Shop, user: int) -> str:
    """Order, and pay if the user's number is even. Returns the order's id."""
    order = await shop.order(user=user)
    if user % 2 == 0:
        assert (await shop.pay(order, user=user)).status_code == 200
    return str(order["order_id"])


@pytest.mark.servers
async def test_a_day_on_kafka_ends_as_a_day_in_one_process(tmp_path: Path) -> None:
    settings = await with_topics(tmp_path)
    prefix = settings["bus_prefix"]
    async with running(tmp_path, **settings) as shop:
        orders = await asyncio.gather(*(buy(shop, user) for user in range(1, ORDERS + 1)))
        for order_id in orders[1::2]:
            await shop.until_status(order_id, "PAID")
        # In the middle of events: what was in hand comes again.
        more = await asyncio.gather(*(buy(shop, user) for user in range(101, 121)))
        await shop.restart()
        for order_id in more[1::2]:
            await shop.until_status(order_id, "PAID")
        await at_rest(shop, prefix)
        assert (await shop.http.get(f"{shop.url}/readyz")).status_code == 200
        stopped = await shop.terminate()
        assert (stopped.code, stopped.seconds < STOP_WITHIN_S) == (0, True)
    truth = settled(tmp_path)
    assert truth.statuses == {"PAID": 25, "PLACED": 25}
    assert truth.letters == []
    assert {status for _, status in truth.documents.values()} == {"PAID", "PLACED"}


@pytest.mark.servers
async def test_a_shop_whose_topics_are_missing_does_not_open_and_says_what_to_do(tmp_path: Path) -> None:
    prefix = streams.fresh("none") + "."
    settings = {"bus_url": f"kafka://{streams.servers()}", "bus_prefix": prefix}
    refused = await qc_async(tmp_path / "shop", "run", "--port", "0", **settings)
    assert refused.returncode == 2
    assert f"QC_BUS_URL has no topic {prefix}orders and no {prefix}payments: `qc migrate` makes them" in refused.stderr
    assert not list((tmp_path / "shop").glob("*.db")), "a refused start left something behind"
    found = await qc_async(tmp_path / "shop", "doctor", **settings)
    assert (found.returncode, f"no topic {prefix}orders" in found.stdout) == (1, True)
    await qc_async(tmp_path / "shop", "migrate", **settings)
    found = await qc_async(tmp_path / "shop", "doctor", **settings)
    assert (found.returncode, f"{prefix}orders of 16 partitions" in found.stdout) == (0, True)


@pytest.mark.servers
async def test_without_kafka_the_shop_opens_sells_and_takes_money_and_says_what_it_waits_for(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"kafka://127.0.0.1:{free.getsockname()[1]}"
    async with running(tmp_path, bus_url=nobody) as shop:
        order = await shop.order(user=8)
        assert (await shop.pay(order, user=8)).status_code == 200

        async def named() -> bool:
            ready = (await shop.http.get(f"{shop.url}/readyz")).json()
            reasons = " ".join(ready.get("reasons", ()))
            return all(f"{loop}: Kafka" in reasons for loop in ("relay-shop", "events-payment", "events-history"))

        await until("/readyz names what waits for Kafka", named)
        assert (await shop.counts())["outbox_pending"] == 3, "OrderPlaced, PaymentStarted and PaymentSettled wait"
        stopped = await shop.terminate()
        assert (stopped.code, stopped.seconds < STOP_WITHIN_S) == (0, True)
        found = await qc_async(tmp_path, "doctor", bus_url=nobody)
        assert (found.returncode, "does not answer" in found.stdout) == (1, True)
        # The outbox may go another way than it was written for.
        shop.settings["bus_url"] = "memory:"
        await shop.start()
        await shop.until_status(order["order_id"], "PAID", within_s=60)
        await shop.at_rest()
        assert (await shop.get("/v1/ops/counts", role=Role.MASTER))["documents"] == 1
        await shop.terminate()
    exact(tmp_path)


def test_an_embedded_shop_needs_no_client_of_kafka_and_kafka_says_that_it_needs_one(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['confluent_kafka'] = None\n"
        "from quickcommerce.app import build\n"
        "from quickcommerce.settings import load\n"
        f"settings = {{'QC_PROFILE': 'test', 'QC_DATA_DIR': {str(tmp_path)!r}}}\n"
        "build(load(settings)); print('embedded')\n"
        "build(load(settings | {'QC_BUS_URL': 'kafka://127.0.0.1:9092'}))\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ran.stdout == "embedded\n"
    assert "the library confluent_kafka is not installed; it comes with the extra quickcommerce[kafka]" in ran.stderr
