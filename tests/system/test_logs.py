"""What operators read: every line of an order under its own trace, and nothing that opens a door."""

import asyncio
import base64
import json
import re
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from quickcommerce.kit.auth import Role
from system.process import qc_async
from system.shop import basket, running
from system.wire import dialled, request
from world import SECRET

ORDERS, PAID = 100, 40
UNPAID_LINES = {("order.placed", None), ("history.folded", "OrderPlaced")}
PAID_LINES = UNPAID_LINES | {
    ("payment.outcome", None),
    ("order.changed", None),
    ("history.folded", "OrderChanged"),
    ("history.folded", "OrderPaid"),
}
PG_SECRET = "test_gsk_local"


async def test_a_hundred_orders_committed_together_keep_their_traces_apart(tmp_path: Path) -> None:
    async with running(tmp_path, log_level="INFO", log_format="json") as shop:
        traces = {user: f"{user:032x}" for user in range(1, ORDERS + 1)}
        parents = {user: {"traceparent": f"00-{trace}-{user:016x}-01"} for user, trace in traces.items()}
        users = list(traces)
        async with dialled(shop.url, ORDERS) as lines:

            async def ask(user: int, method: str, path: str, body: object = None) -> Any:
                line = lines[user - 1]
                await line.send(request(method, path, shop.auth(user) | parents[user], body))
                answer = await line.answer()
                assert answer.headers["x-trace-id"] == traces[user], "the buyer would quote somebody else's trace"
                return answer.json

            placed = await asyncio.gather(*(ask(user, "POST", "/v1/orders", basket([(1, 1)])) for user in users))
            orders = {user: order["order_id"] for user, order in zip(users, placed, strict=True)}
            payments = await asyncio.gather(
                *(ask(user, "GET", f"/v1/orders/{orders[user]}/payment") for user in users[:PAID])
            )
            keys = await asyncio.gather(*(shop.authenticate(payment) for payment in payments))

            async def confirm(user: int, payment: dict[str, Any], key: str) -> None:
                body = {"payment_key": key, "amount": payment["amount"]}
                await ask(user, "POST", f"/v1/payments/{payment['payment_id']}/confirm", body)

            await asyncio.gather(*map(confirm, users, payments, keys))
        await shop.until_status(orders[PAID], "PAID")
        await shop.at_rest()
        metrics = (await shop.http.get(f"{shop.url}/metrics")).text
        await shop.terminate()
        logs = shop.logs()
    lists = re.search(r'qc_batch_list_size_count\{batch="orders"\} (\d+)', metrics)
    assert lists
    assert int(lists[1]) < ORDERS, "each order had a list of its own: nothing could have been mixed up"
    seen: dict[str, set[tuple[str, str | None]]] = defaultdict(set)
    of_order: dict[str, set[str]] = defaultdict(set)
    for line in logs:
        if "order_id" in line:
            seen[line["order_id"]].add((line["message"], line.get("type")))
            of_order[line["order_id"]].add(line["trace"]["id"])
    assert of_order == {order_id: {traces[user]} for user, order_id in orders.items()}
    assert seen == {order: PAID_LINES if user <= PAID else UNPAID_LINES for user, order in orders.items()}


async def test_lines_of_the_web_server_are_read_by_the_same_machine_as_ours(tmp_path: Path) -> None:
    async with running(tmp_path, log_level="INFO") as shop:
        await shop.order()
        host, port = shop.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"this is no HTTP\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 400")
        writer.close()
        await shop.terminate()
        logs = shop.logs()
    told = {line["message"]: line for line in logs}
    garbage = told["Invalid HTTP request received."]
    assert (garbage["log.level"], garbage["log"]["logger"]) == ("warning", "uvicorn.error")
    assert told["order.placed"]["log.level"] == "info"
    assert {"Application startup complete.", "Shutting down"} <= told.keys()
    for line in logs:
        assert {"@timestamp", "log.level", "message", "ecs.version"} <= line.keys()
        assert "level" not in line, "two fields that say the same will one day differ"


def test_a_library_is_heard_when_it_warns_and_not_when_it_chats() -> None:
    """An HTTP client's chat holds whole addresses, and with them payment keys."""
    code = """
import logging
from quickcommerce.kit.telemetry import configure_logs, tracing
configure_logs("DEBUG", machine=True)
logging.getLogger("httpx2").info("GET https://pg.test/v1/payments/%s", "tgen_key")
with tracing("f" * 32):
    try:
        1 // 0
    except ZeroDivisionError:
        logging.getLogger("asyncio").exception("a task of %s", "somebody")
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    [line] = map(json.loads, ran.stderr.splitlines())
    assert (line["message"], line["log.level"], line["log"]["logger"]) == ("a task of somebody", "error", "asyncio")
    assert line["error"]["stack_trace"].startswith("Traceback (most recent call last):")
    assert line["error"]["stack_trace"].endswith("ZeroDivisionError: integer division or modulo by zero")
    assert line["trace"]["id"] == "f" * 32


async def test_no_log_line_of_a_whole_day_holds_a_secret_a_token_or_a_payment_key(tmp_path: Path) -> None:
    async with running(tmp_path, log_level="DEBUG", answer_within_s=1) as shop:
        orders = [await shop.order(user=user) for user in range(1, 7)]
        payments = [
            await shop.get(f"/v1/orders/{order['order_id']}/payment", user=user) for user, order in enumerate(orders, 1)
        ]
        keys = [await shop.authenticate(payment) for payment in payments]
        scripts: list[dict[str, Any]] = [
            {"kind": "ok"},
            {"kind": "error", "code": "REJECT_CARD_PAYMENT"},
            {"kind": "error", "code": "INVALID_API_KEY"},
            {"kind": "drop-after"},
            {"kind": "http", "status": 500, "body": f"{keys} {PG_SECRET}"},
        ]
        await shop.faults(confirm=scripts, get=[{"kind": "http", "status": 200, "body": '{"paymentKey": 1}'}])
        told = [
            (await shop.confirm(payment, key, user=user)).status_code
            for user, (payment, key) in enumerate(zip(payments, keys, strict=True), 1)
        ]
        assert told[:3] == [200, 402, 503], told
        wrong = {"Authorization": shop.auth()["Authorization"] + "x"}
        assert (await shop.ask("GET", "/v1/orders", headers=wrong)).status_code == 401
        body = {"payment_key": keys[0], "amount": "all of it", "card": "4330123412341234"}
        path = f"/v1/payments/{payments[0]['payment_id']}/confirm"
        assert (await shop.ask("POST", path, json=body)).status_code == 400
        page = f"/pay/success?paymentKey={keys[5]}&orderId={payments[5]['payment_id']}&amount=1"
        assert (await shop.ask("GET", page)).status_code == 409
        token = orders[5]["checkout_url"].partition("token=")[2]
        assert (await shop.http.get(shop.url + orders[5]["checkout_url"])).status_code == 200
        assert (await shop.ask("GET", "/v1/ops/dead-letters", role=Role.MASTER)).status_code == 200
        await shop.until_status(orders[3]["order_id"], "PAID")
        doctor = await qc_async(tmp_path, "doctor")
        assert doctor.returncode == 0, doctor.stderr
        await shop.terminate()
        printed = shop.printed() + doctor.stdout + doctor.stderr
        messages = Counter(line["message"] for line in shop.logs())
    assert messages["payment.outcome"] >= len(orders), "there was nothing to leak in this log"
    basic = base64.b64encode(f"{PG_SECRET}:".encode()).decode()
    for what in (SECRET, PG_SECRET, basic, token, "4330123412341234", *keys):
        assert what not in printed, f"the log holds {what}"
    assert not re.search(r"eyJ[\w-]{10,}\.", printed), "the log holds a token"
