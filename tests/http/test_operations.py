"""What operators and their tools rely on: is it alive, is it ready, how much is there, what could not be handled."""

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
import structlog

from quickcommerce.kit import batch, inbox, life, outbox
from quickcommerce.kit.auth import Role
from quickcommerce.kit.db import Tx
from quickcommerce.kit.ids import EventId
from quickcommerce.kit.inbox import LETTERS_MAX, DeadLetters
from quickcommerce.kit.outbox import Message
from quickcommerce.kit.telemetry import configure_logs
from world import World

from .routes import PEOPLE, bury
from .shop import counts, down, refused, shop

LETTERS = "/v1/ops/dead-letters"


async def letters(w: World) -> list[dict[str, Any]]:
    page = await w.get(LETTERS, user=1, role=Role.MASTER)
    items: list[dict[str, Any]] = page["items"]
    return items


async def replay(w: World, letter_id: str) -> httpx2.Response:
    return await w.http.post(f"{LETTERS}/{letter_id}/replay", headers=w.auth(*(PEOPLE["master"] or ())))


async def test_alive_and_ready(tmp_path: Path) -> None:
    async with shop(tmp_path) as w:
        assert (await w.http.get("/healthz")).json() == {"status": "alive"}
        assert (await w.http.get("/readyz")).json() == {"status": "ready"}


async def test_while_it_drains_no_new_work_should_come_and_what_comes_is_served(tmp_path: Path) -> None:
    """A balancer needs a moment to notice: orders that arrive in it are not lost."""
    async with shop(tmp_path) as w:
        w.app.drain()
        answer = await w.http.get("/readyz")
        assert refused(answer) == "unavailable"
        assert answer.json()["reasons"] == ["the process is stopping"]
        assert (await w.http.get("/healthz")).status_code == 200
        assert (await w.order()).status_code == 201


@pytest.mark.parametrize("store", ["shop", "payment", "history"])
async def test_not_ready_while_a_store_is_down_and_ready_again_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str
) -> None:
    async with shop(tmp_path, loops=False) as w:
        with monkeypatch.context() as patch:
            down(patch, w, store)
            answer = await w.http.get("/readyz")
            assert refused(answer) == "unavailable"
            assert answer.json()["reasons"]
            assert (await w.http.get("/healthz")).status_code == 200
        assert (await w.http.get("/readyz")).status_code == 200


async def test_what_alerts_count_is_there_before_the_first_of_it(tmp_path: Path) -> None:
    """`increase` needs a figure from before: the first dead letter would raise no alert."""
    for metric in (inbox.CONSUMED, life.CRASHES, life.HEARTBEAT, batch.REFUSED):
        metric.clear()
    async with shop(tmp_path) as w:
        text = (await w.http.get("/metrics")).text
    for series in (
        'qc_events_total{consumer="payment",end="dead"}',
        'qc_events_total{consumer="history",end="dead"}',
        'qc_payment_alerts_total{code="INVALID_API_KEY"}',
        'qc_payment_alerts_total{code="FOREIGN_CANCEL"}',
        'qc_loop_crashes_total{loop="payments-due"}',
        'qc_loop_heartbeat_seconds{loop="expire"}',
        'qc_batch_refused_total{batch="orders"}',
    ):
        assert re.search(rf"^{re.escape(series)} ", text, re.MULTILINE), series


async def test_the_metrics_are_what_prometheus_reads(tmp_path: Path) -> None:
    async with shop(tmp_path) as w:
        await w.order()
        await w.http.get("/v1/orders/ord_1", headers=w.auth())
        answer = await w.http.get("/metrics")
        assert re.fullmatch(r"text/plain; version=[\d.]+; charset=utf-8", answer.headers["content-type"])
        lines = [line for line in answer.text.splitlines() if not line.startswith("#")]
        assert all(re.fullmatch(r"[a-zA-Z_:][\w:]*(\{.*\})? [-+.\w]+", line) for line in lines)
        series = 'qc_http_seconds_count{method="POST",route="/v1/orders",status="201"}'
        assert float(next(line for line in lines if line.startswith(series)).rpartition(" ")[2]) >= 1
        assert "ord_" not in answer.text, "an id in a label is a series for each order"
        await w.http.request("FOO", "/v1/orders")
        text = (await w.http.get("/metrics")).text
        assert "FOO" not in text, "a method that a client made up is a series for each"
        assert 'method="OTHER",route="",status="405"' in text


async def test_the_counts_count(tmp_path: Path) -> None:
    async with shop(tmp_path) as w:
        one, _, three = [(await w.order([(1, 2)])).json() for _ in range(3)]
        payment = await w.get(f"/v1/orders/{one['order_id']}/payment")
        await w.confirm(payment, await w.authenticate(payment))
        await w.http.post(f"/v1/orders/{three['order_id']}/cancel", headers=w.auth())
        await w.until_status(one["order_id"], "PAID")
        await w.at_rest()
        assert await counts(w) == {
            "orders": 3,
            "order_events": 6,
            "outbox_pending": 0,
            "payments": 3,
            "documents": 3,
            "on_hand": 3_005,
            "reserved": 2,
            "sold": 2,
        }


async def test_an_event_that_cannot_be_handled_is_listed_with_its_reason_and_stops_nobody(tmp_path: Path) -> None:
    async with shop(tmp_path) as w:
        order = (await w.order()).json()
        event = Message(EventId("evt_odd"), "OrderTeleported", "test", order["order_id"], w.clock(), "", b"{}")
        await w.app.stores.shop.run(lambda tx: outbox.append(tx, [event]))
        await w.order()
        await w.at_rest()
        listed = {letter["consumer"]: letter for letter in await letters(w)}
        assert set(listed) == {"payment", "history"}
        letter = listed["payment"]
        assert letter == {
            "id": letter["id"],
            "consumer": "payment",
            "event_type": "OrderTeleported",
            "order_id": order["order_id"],
            "reason": "unknown event type OrderTeleported",
            "tries": letter["tries"],
            "failed_at": letter["failed_at"],
        }
        assert 1 <= letter["tries"] <= 5
        assert re.fullmatch(r"2026-01-01T00:00:\d\d\.\d{6}Z", letter["failed_at"])
        assert (await counts(w))["documents"] == 2, "its neighbours go on"


async def test_a_letter_whose_cause_was_mended_is_handled_and_gone(tmp_path: Path) -> None:
    async with shop(tmp_path) as w:
        order = (await w.order()).json()
        await w.at_rest()
        letter_id = await bury(w, "payment", "OrderChanged", order["order_id"])
        answer = await replay(w, letter_id)
        assert (answer.status_code, answer.json()) == (200, {"status": "replayed"})
        assert await letters(w) == []
        assert refused(await replay(w, letter_id)) == "not-found", "it happens once"


@pytest.mark.parametrize("consumer", ["payment", "order", "history"])
async def test_a_letter_that_fails_again_stays(tmp_path: Path, consumer: str) -> None:
    async with shop(tmp_path) as w:
        letter_id = await bury(w, consumer, "OrderTeleported", "ord_" + "0" * 26)
        for _ in range(2):
            assert refused(await replay(w, letter_id)) == "invalid-state"
        assert [letter["id"] for letter in await letters(w)] == [letter_id]


@pytest.mark.parametrize(
    ("consumer", "event_type", "why"),
    [
        ("payment", "OrderTeleported", "unknown event type OrderTeleported"),
        ("payment", "OrderPlaced", "the log says why"),
        ("history", "OrderTeleported", "the log says why"),
    ],
)
async def test_a_letter_that_fails_again_is_one_warning_and_no_alarm(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], consumer: str, event_type: str, why: str
) -> None:
    """An operator who tries too early is told so; nobody else is woken."""
    async with shop(tmp_path, loops=False) as w:
        letter_id = await bury(w, consumer, event_type, "ord_" + "0" * 26)
        quiet = structlog.get_config()
        configure_logs("INFO", machine=True)
        try:
            answer = await replay(w, letter_id)
        finally:
            structlog.configure(**quiet)
        assert refused(answer) == "invalid-state"
        assert answer.json()["detail"] == f"it cannot be handled now either: {why}"
        [line] = [json.loads(each) for each in capsys.readouterr().err.splitlines()]
        assert (line["log.level"], line["message"], line["letter_id"]) == ("warning", "event.dead_again", letter_id)
        assert line["reason"]
        assert "Traceback" not in str(line)


async def test_no_letter_is_beyond_the_list_however_many_there_are(tmp_path: Path) -> None:
    """More in each store than are read at once, many of them of the same moment."""
    async with shop(tmp_path, loops=False) as w:
        stores, made = w.app.stores, []

        async def bury_all(tx: Tx, letters: DeadLetters, consumer: str) -> None:
            for number in range(LETTERS_MAX + 50):
                event = Message(EventId(f"evt_{number:05}"), "OrderPlaced", "test", "ord_1", 0, "", b"{}")
                await letters.add(tx, consumer, event, "it failed", 5)
                made.append(f"{consumer}.{event.id}")
                w.clock.jump(number % 3 // 2)

        for store, consumer in ((stores.shop, "order"), (stores.payment, "payment")):
            await store.run(partial(bury_all, letters=DeadLetters(store, w.clock), consumer=consumer))
        found: list[dict[str, Any]] = []
        cursor: str | None = ""
        while cursor is not None:
            page = await w.get(f"{LETTERS}?limit=100{cursor and f'&cursor={cursor}'}", user=1, role=Role.MASTER)
            found += page["items"]
            cursor = page["next_cursor"]
        assert sorted(letter["id"] for letter in found) == sorted(made)
        assert [letter["failed_at"] for letter in found] == sorted(letter["failed_at"] for letter in found)
        assert [letter.id for letter in await w.app.operations.all_dead_letters()] == [each["id"] for each in found]


async def test_the_letters_of_all_stores_are_one_list_the_oldest_first(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        made = []
        for at, consumer in enumerate(["payment", "order", "history"] * 3):
            made.append(await bury(w, consumer, "OrderPlaced", "ord_1"))
            w.clock.jump(at % 2)
        listed = await letters(w)
        assert {letter["id"] for letter in listed} == set(made)
        assert [letter["failed_at"] for letter in listed] == sorted(letter["failed_at"] for letter in listed)
        page = await w.get(f"{LETTERS}?limit=5", user=1, role=Role.MASTER)
        rest = await w.get(f"{LETTERS}?limit=5&cursor={page['next_cursor']}", user=1, role=Role.MASTER)
        assert (page["items"] + rest["items"], rest["next_cursor"]) == (listed, None)
