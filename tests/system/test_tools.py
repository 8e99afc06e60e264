"""The tools beside the shop: the PG emulator on a port of its own, and the bench that counts."""

import asyncio
import base64
import json
import signal
from pathlib import Path
from typing import Any

import pytest

from quickcommerce.catalog.model import Entry
from system.process import STOP_WITHIN_S, Process, closing, qc_async, until
from system.shop import Shop, client, running, stock_up
from system.truth import settled
from system.wire import dialled, request

GOODS = [Entry(product, f"goods {product}", 1_000 * product, 10_000) for product in range(1, 21)]
BUYERS = 120


async def test_the_shop_pays_at_an_emulator_of_its_own_over_tcp_and_both_books_agree(tmp_path: Path) -> None:
    ledger = tmp_path / "pg"
    ledger.mkdir()
    await stock_up(tmp_path / "shop")
    async with client() as http:
        pg = Process(ledger, "emulator", "--port", "0")
        shop = Shop(tmp_path / "shop", http, pg_read_deadline_s=2)
        async with closing(pg, shop):
            await pg.start()
            shop.pg = shop.settings["pg_url"] = pg.url
            await shop.start()
            doctor = await qc_async(shop.folder, "doctor", pg_url=pg.url)
            assert doctor.returncode == 0, doctor.stdout
            assert "answers and accepts our key" in doctor.stdout
            stranger = await qc_async(shop.folder, "doctor", pg_url=pg.url, pg_secret_key="somebody-elses")
            assert stranger.returncode == 1, "a shop whose key the PG refuses is called fit"
            await shop.faults(
                confirm=[{"kind": "ok"}, {"kind": "error", "code": "REJECT_CARD_PAYMENT"}, {"kind": "drop-after"}]
            )
            orders = [await shop.order(user=user) for user in (1, 2, 3)]
            told = [(await shop.pay(order, user=user)).status_code for user, order in enumerate(orders, 1)]
            assert told == [200, 402, 200], "a lost reply is read back at once where the PG can be read"
            await shop.until_status(orders[2]["order_id"], "PAID")
            assert (await shop.http.get(f"{shop.url}/_toss/emulator/ledger")).status_code == 404
            await shop.at_rest()
            assert (await shop.terminate()).code == 0
            assert (await pg.terminate()).code == 0
    assert settled(shop.folder, ledger).statuses == {"PAID": 2, "PLACED": 1}


async def test_an_emulator_by_itself_tells_who_its_command_or_its_setting_names(tmp_path: Path) -> None:
    told = asyncio.Queue[str]()

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        told.put_nowait(head)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(hear, "127.0.0.1", 0) as server, client() as http:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        by_option = Process(tmp_path / "a", "emulator", "--port", "0", "--webhook-url", f"{url}/by-option")
        by_setting = Process(tmp_path / "b", "emulator", "--port", "0", pg_webhook_url=f"{url}/by-setting")
        for folder in (by_option.folder, by_setting.folder):
            folder.mkdir()
        for pg, path in ((by_option, "/by-option"), (by_setting, "/by-setting")):
            async with closing(pg):
                await pg.start()
                account = {"orderId": "order-1", "amount": 1_000, "method": "CARD_REFUSED"}
                key = (await http.post(f"{pg.url}/emulator/authenticate", json=account)).json()["paymentKey"]
                asked = {"paymentKey": key, "orderId": "order-1", "amount": 1_000}
                await http.post(f"{pg.url}/v1/payments/confirm", json=asked, auth=("test_gsk_local", ""))
                head = await asyncio.wait_for(told.get(), 60)
                assert head.startswith(f"post {path} http/1.1")
                assert "tosspayments-webhook-transmission-retried-count: 0" in head
                assert (await pg.terminate()).code == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
async def test_an_emulator_that_is_told_to_stop_answers_what_it_has_in_hand(
    tmp_path: Path, number: signal.Signals
) -> None:
    pg = Process(tmp_path, "emulator", "--port", "0")
    async with client() as http, closing(pg):
        await pg.start()
        bought = await http.post(f"{pg.url}/emulator/authenticate", json={"orderId": "order-1", "amount": 1_000})
        slow = {"confirm": [{"kind": "slow", "ms": 1_500}]}
        assert (await http.put(f"{pg.url}/emulator/faults", json=slow)).status_code == 200
        body = {"orderId": "order-1", "amount": 1_000, "paymentKey": bought.json()["paymentKey"]}
        key = {"Authorization": "Basic " + base64.b64encode(b"test_gsk_local:").decode()}
        async with dialled(pg.url, 1) as [line]:
            await line.send(request("POST", "/v1/payments/confirm", key, body))
            # What is asked later is answered later: then the confirm has arrived.
            assert (await http.get(f"{pg.url}/emulator/ledger")).status_code == 200
            pg.send(number)
            pg.send(number)
            answer = await line.answer()
        assert answer.json["status"] == "DONE", "the buyer was charged and nobody was told"
        stopped = await pg.ended()
        assert stopped.code == 0, "a supervisor would count this as a crash"
        assert stopped.seconds < STOP_WITHIN_S
        assert "Traceback" not in pg.printed()
        assert all("log.level" in line for line in pg.logs())
        await pg.start()
        [payment] = (await http.get(f"{pg.url}/emulator/ledger")).json()["payments"]
        assert payment["status"] == "DONE"
        await pg.terminate()


async def bench(shop: Shop, result: Path, *arguments: object) -> tuple[int, Any, str]:
    """Run the bench: its exit status, its JSON, its output."""
    common = ("--url", shop.url, "--buyers", BUYERS, "--pay", 0.3, "--json", result)
    ran = await qc_async(shop.folder, "bench", "orders", *common, *arguments)
    return ran.returncode, json.loads(await asyncio.to_thread(result.read_bytes)), ran.stdout


async def test_the_bench_finds_an_exact_shop_exact_and_sees_a_single_order_of_somebody_else(tmp_path: Path) -> None:
    async with running(tmp_path, goods=GOODS, log_level="WARNING") as shop:
        code, result, printed = await bench(shop, tmp_path / "exact.json", "--ramp-up", 0.5)
        assert code == 0, printed
        assert result["failure"] is None
        assert (result["answers"]["accepted"], result["after"]["orders"]) == (BUYERS, BUYERS)
        assert "exact: every answer is accounted for" in printed

        disturbed = asyncio.create_task(bench(shop, tmp_path / "disturbed.json", "--ramp-up", 2, "--drain", 4))

        async def under_way() -> bool:
            return (await shop.counts())["orders"] > BUYERS

        await until("the bench has begun", under_way)
        await shop.order([(1, 1)])
        code, result, printed = await disturbed
        assert code == 1, "an order that nobody in the bench placed went unnoticed"
        assert "orders stored 121, not 120" in result["failure"]
        await shop.at_rest()
        await shop.terminate()
        nobody = await qc_async(tmp_path, "bench", "orders", "--url", shop.url, "--buyers", 1)
        assert nobody.returncode == 2
        assert "no shop answers" in nobody.stdout
    assert len(settled(tmp_path).orders) == 2 * BUYERS + 1
