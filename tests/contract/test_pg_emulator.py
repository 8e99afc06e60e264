"""The PG as the shop's client sees it: one contract, held in process and over real TCP."""

import asyncio
import base64
import contextvars
import random
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
import uvicorn
from litestar import Litestar, asgi
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from quickcommerce.toss_emulator import AppTransport, Emulator, store
from quickcommerce.toss_emulator.ledger import Books
from quickcommerce.toss_emulator.server import CuttableProtocol

SECRET = "test_gsk_contract"
ORDER, AMOUNT = "order-0001", 7300
KEY = "Idempotency-Key"
NOBODY = httpx2.Auth()
SHOP = {"successUrl": "http://shop.test/pay/success?lang=ko", "failUrl": "https://shop.test/pay/fail"}


class Gate:
    """A sleep that lasts until the test opens it."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.open = asyncio.Event()

    async def sleep(self, _: float) -> None:
        self.entered.set()
        await self.open.wait()


class Pg:
    """The shop's view of the PG, with the questions that tests ask."""

    def __init__(self, http: httpx2.AsyncClient, gate: Gate | None = None) -> None:
        self.http = http
        self.gate = gate or Gate()

    async def authenticate(self, order_id: str = ORDER, amount: int = AMOUNT, **more: Any) -> str:
        body = {"orderId": order_id, "amount": amount, **more}
        answer = await self.http.post("/emulator/authenticate", json=body, auth=NOBODY)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["paymentKey"])

    async def confirm(self, key: Any, order_id: Any = ORDER, amount: Any = AMOUNT, **options: Any) -> httpx2.Response:
        body = {"paymentKey": key, "orderId": order_id, "amount": amount}
        return await self.http.post("/v1/payments/confirm", json=body, **options)

    async def get(self, path: str) -> httpx2.Response:
        return await self.http.get(f"/v1/payments/{path}")

    async def script(self, **scripts: Any) -> httpx2.Response:
        return await self.http.put("/emulator/faults", json=scripts)

    async def advance(self, seconds: float) -> None:
        assert (await self.http.post("/emulator/clock", json={"advance_s": seconds})).status_code == 200

    async def ledger(self) -> dict[str, Any]:
        answer = await self.http.get("/emulator/ledger")
        return dict(answer.json())

    async def captures(self) -> int:
        return sum(len(payment["captures"]) for payment in (await self.ledger())["payments"])

    async def outcomes(self) -> list[str]:
        return [call["outcome"] for call in (await self.ledger())["calls"]]


def refusal(answer: httpx2.Response) -> tuple[int, str]:
    body = answer.json()
    assert set(body) == {"code", "message"}
    assert body["message"]
    return answer.status_code, body["code"]


def emulator(data_dir: Path | None = None, **more: Any) -> Emulator:
    options = {"secret_key": SECRET, "now_us": lambda: 1_767_225_600_000_000, "rng": random.Random(7), **more}
    return Emulator(data_dir=data_dir, **options)


@asynccontextmanager
async def listening(app: Any, protocol: type[HttpToolsProtocol] = CuttableProtocol) -> AsyncIterator[str]:
    """uvicorn's protocol on a loopback port, without uvicorn's Server, whose start and end wait by the clock."""
    config = uvicorn.Config(app, lifespan="off", log_config=None, ws="none")
    config.load()
    state = ServerState()
    server = await asyncio.get_running_loop().create_server(lambda: protocol(config, state, {}), "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    for task in state.tasks:
        task.cancel()
    while state.connections or state.tasks:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0)


@asynccontextmanager
async def in_process(app: Any) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(transport=AppTransport(app), base_url="http://pg", auth=(SECRET, "")) as http:
        yield http


@asynccontextmanager
async def over_tcp(app: Any) -> AsyncIterator[httpx2.AsyncClient]:
    async with listening(app) as url, httpx2.AsyncClient(base_url=url, auth=(SECRET, "")) as http:
        yield http


@pytest.fixture(params=["in process", "over TCP"])
async def pg(request: pytest.FixtureRequest) -> AsyncIterator[Pg]:
    gate = Gate()
    tcp = request.param == "over TCP"
    toss = emulator(sleep=gate.sleep, inline=not tcp)
    await toss.start()
    async with (over_tcp if tcp else in_process)(toss.asgi) as http:
        yield Pg(http, gate)
        gate.open.set()
    await toss.stop()


# Confirm and read back


async def test_a_confirmed_payment_is_captured_and_reads_back_the_same(pg: Pg) -> None:
    key = await pg.authenticate()
    before = (await pg.get(key)).json()
    answer = await pg.confirm(key)
    assert answer.status_code == 200
    payment = answer.json()
    assert (before["status"], before["approvedAt"], before["secret"]) == ("IN_PROGRESS", None, payment["secret"])
    assert {name: payment[name] for name in ("paymentKey", "orderId", "status", "currency", "type", "method")} == {
        "paymentKey": key,
        "orderId": ORDER,
        "status": "DONE",
        "currency": "KRW",
        "type": "NORMAL",
        "method": "카드",
    }
    assert payment["totalAmount"] == payment["balanceAmount"] == payment["suppliedAmount"] + payment["vat"] == AMOUNT
    assert payment["approvedAt"] == payment["requestedAt"] == "2026-01-01T09:00:00+09:00"
    assert 0 < len(payment["secret"]) <= 50
    assert payment == (await pg.get(key)).json() == (await pg.get(f"orders/{ORDER}")).json()
    ledger = await pg.ledger()
    at = "2026-01-01T00:00:00.000000Z"
    captures = [{"amount": AMOUNT, "at": at}]
    assert ledger["payments"] == [
        {"paymentKey": key, "orderId": ORDER, "status": "DONE", "amount": AMOUNT, "captures": captures, "cancels": []}
    ]
    call = {"orderId": ORDER, "paymentKey": key, "outcome": "done", "at": at}
    assert ledger["calls"] == [{"kind": kind, **call} for kind in ("get", "confirm", "get", "get")]


async def test_what_is_not_there_is_not_found(pg: Pg) -> None:
    await pg.authenticate()
    for path in ("unknown", "orders/order-0002", "orders/x", "orders/한글"):
        assert refusal(await pg.get(path)) == (404, "NOT_FOUND_PAYMENT")
    assert refusal(await pg.http.get("/v1/nothing")) == (404, "NOT_FOUND")
    wrong_method = await pg.http.get("/v1/payments/confirm")
    assert (refusal(wrong_method), "POST" in wrong_method.headers["allow"]) == ((405, "METHOD_NOT_ALLOWED"), True)


@pytest.mark.parametrize(
    ("authorization", "expected"),
    [
        ({}, (401, "UNAUTHORIZED_KEY")),
        ({"Authorization": "Bearer x"}, (401, "UNAUTHORIZED_KEY")),
        ({"Authorization": "Basic dGVzdF9vdGhlcjo="}, (401, "UNAUTHORIZED_KEY")),
        ({"Authorization": "Basic dGVzdF9nc2tfY29udHJhY3Q="}, (403, "INCORRECT_BASIC_AUTH_FORMAT")),
        ({"Authorization": "Basic !"}, (403, "INCORRECT_BASIC_AUTH_FORMAT")),
        pytest.param(
            {"Authorization": "Basic " + base64.b64encode(f"{SECRET}:x".encode()).decode()},
            (403, "INCORRECT_BASIC_AUTH_FORMAT"),
            id="a password",
        ),
    ],
)
async def test_only_the_secret_key_and_a_colon_are_let_in(
    pg: Pg, authorization: dict[str, str], expected: tuple[int, str]
) -> None:
    key = await pg.authenticate()
    pg.http.auth = NOBODY
    refused = await pg.confirm(key, headers={**authorization, KEY: "k"})
    assert refusal(refused) == expected
    assert await pg.outcomes() == [f"error:{expected[1]}"]
    # A caller that was not let in has not used up the key.
    assert (await pg.confirm(key, headers={KEY: "k"}, auth=(SECRET, ""))).status_code == 200


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"key": "unknown"}, (404, "NOT_FOUND_PAYMENT_SESSION")),
        ({"order_id": "order-0002"}, (404, "NOT_FOUND_PAYMENT_SESSION")),
        ({"amount": AMOUNT + 1}, (400, "INVALID_REQUEST")),
        ({"amount": AMOUNT - 1}, (400, "INVALID_REQUEST")),
        ({"amount": 0}, (400, "INVALID_REQUEST")),
        ({"amount": 2**63}, (400, "INVALID_REQUEST")),
        ({"amount": str(AMOUNT)}, (400, "INVALID_REQUEST")),
        ({"amount": True}, (400, "INVALID_REQUEST")),
        ({"amount": None}, (400, "INVALID_REQUEST")),
        ({"order_id": "short"}, (400, "INVALID_REQUEST")),
        ({"order_id": "o" * 65}, (400, "INVALID_REQUEST")),
        ({"order_id": ORDER + "\n"}, (400, "INVALID_REQUEST")),
        ({"order_id": "order 0001"}, (400, "INVALID_REQUEST")),
        ({"key": "k" * 201}, (400, "INVALID_REQUEST")),
        ({"key": 7}, (400, "INVALID_REQUEST")),
    ],
)
async def test_a_confirm_that_does_not_fit_moves_no_money(
    pg: Pg, change: dict[str, Any], expected: tuple[int, str]
) -> None:
    key = await pg.authenticate()
    assert refusal(await pg.confirm(**{"key": key, **change})) == expected
    assert (await pg.captures(), await pg.outcomes()) == (0, [f"error:{expected[1]}"])
    assert (await pg.confirm(key)).status_code == 200


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"\xff", b"[" * 60_000, b" " * 70_000])
async def test_a_body_that_is_no_object_is_refused_and_noted(pg: Pg, body: bytes) -> None:
    assert refusal(await pg.http.post("/v1/payments/confirm", content=body)) == (400, "INVALID_REQUEST")
    assert await pg.outcomes() == ["error:INVALID_REQUEST"]


async def test_unknown_fields_of_the_api_are_ignored_and_those_of_the_emulator_refused(pg: Pg) -> None:
    body = {"paymentKey": await pg.authenticate(), "orderId": ORDER, "amount": AMOUNT, "new": {}}
    assert (await pg.http.post("/v1/payments/confirm", json=body)).status_code == 200
    for path, wrong in {
        "authenticate": {"orderId": ORDER, "amount": AMOUNT, "x": 1},
        "clock": {"advance_s": 1, "x": 1},
        "reset": {"x": 1},
    }.items():
        assert refusal(await pg.http.post(f"/emulator/{path}", json=wrong)) == (400, "INVALID_REQUEST")
    for wrong in ({"orderId": "x", "amount": 1}, {"orderId": ORDER, "amount": 0}, {"orderId": ORDER, "amount": "1"}):
        assert refusal(await pg.http.post("/emulator/authenticate", json=wrong)) == (400, "INVALID_REQUEST")


async def test_an_order_is_captured_once_whatever_key_asks(pg: Pg) -> None:
    first, second = await pg.authenticate(), await pg.authenticate()
    assert first != second
    answers = await asyncio.gather(*(pg.confirm(key) for key in (first, second) * 10))
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 19
    assert {refusal(answer) for answer in answers if answer.is_error} == {(400, "ALREADY_PROCESSED_PAYMENT")}
    assert await pg.captures() == 1
    assert (await pg.get(f"orders/{ORDER}")).json()["status"] == "DONE"


async def test_a_payment_expires_ten_minutes_after_the_buyer_authenticated(pg: Pg) -> None:
    early, late = await pg.authenticate(), await pg.authenticate("order-0002")
    await pg.advance(599.999_999)
    assert (await pg.confirm(early)).status_code == 200
    await pg.advance(0.000_001)
    assert refusal(await pg.confirm(late, "order-0002")) == (404, "NOT_FOUND_PAYMENT_SESSION")
    assert [(await pg.get(key)).json()["status"] for key in (early, late)] == ["DONE", "EXPIRED"]
    assert [payment["status"] for payment in (await pg.ledger())["payments"]] == ["DONE", "EXPIRED"]


async def test_a_card_its_issuer_refuses_is_refused_for_good(pg: Pg) -> None:
    key = await pg.authenticate(method="CARD_REFUSED")
    for _ in range(2):
        assert refusal(await pg.confirm(key)) == (403, "REJECT_CARD_PAYMENT")
    payment = (await pg.get(key)).json()
    assert (payment["status"], payment["failure"]["code"]) == ("ABORTED", "REJECT_CARD_PAYMENT")
    assert (await pg.confirm(await pg.authenticate())).status_code == 200


async def test_less_than_the_minimum_is_refused(pg: Pg) -> None:
    below = await pg.authenticate(amount=99)
    assert refusal(await pg.confirm(below, amount=99)) == (400, "BELOW_MINIMUM_AMOUNT")
    assert (await pg.confirm(await pg.authenticate(amount=100), amount=100)).status_code == 200


# Idempotency keys


async def test_a_repeat_gets_the_first_answer_and_runs_nothing(pg: Pg) -> None:
    key, other = await pg.authenticate(), await pg.authenticate("order-0002")
    first = await pg.confirm(key, headers={KEY: "k"})
    repeat = await pg.confirm(key, headers={KEY: "k"})
    assert (repeat.status_code, repeat.content) == (200, first.content)
    # The key's scope is the address, which is one for all payments: a shop that reuses it is told of another payment.
    assert (await pg.confirm(other, "order-0002", headers={KEY: "k"})).json()["orderId"] == ORDER
    assert (await pg.captures(), await pg.outcomes()) == (1, ["done", "replayed", "replayed"])


async def test_a_refusal_is_repeated_too_until_its_time_has_passed(pg: Pg) -> None:
    key = await pg.authenticate()
    wrong = await pg.confirm(key, amount=1, headers={KEY: "k"})
    assert (await pg.confirm(key, headers={KEY: "k"})).content == wrong.content
    await pg.advance(15 * 86_400)
    key = await pg.authenticate()
    assert (await pg.confirm(key, headers={KEY: "k"})).status_code == 200
    assert await pg.outcomes() == ["error:INVALID_REQUEST", "replayed", "done"]


async def test_a_key_has_1_to_300_characters_and_get_ignores_it(pg: Pg) -> None:
    key = await pg.authenticate()
    for bad in ("", "k" * 301):
        assert refusal(await pg.confirm(key, headers={KEY: bad})) == (400, "INVALID_IDEMPOTENCY_KEY")
    for _ in range(2):
        assert (await pg.http.get(f"/v1/payments/{key}", headers={KEY: "k" * 301})).json()["status"] == "IN_PROGRESS"
    assert (await pg.confirm(key, headers={KEY: "k" * 300})).status_code == 200
    assert (await pg.get(key)).json()["status"] == "DONE"


async def test_while_the_first_call_runs_its_key_is_busy(pg: Pg) -> None:
    key = await pg.authenticate()
    await pg.script(confirm=[{"kind": "slow", "ms": 1}])
    first = asyncio.create_task(pg.confirm(key, headers={KEY: "k"}))
    await pg.gate.entered.wait()
    assert refusal(await pg.confirm(key, headers={KEY: "k"})) == (409, "IDEMPOTENT_REQUEST_PROCESSING")
    pg.gate.open.set()
    assert (await first).status_code == 200
    assert (await pg.confirm(key, headers={KEY: "k"})).content == (await first).content
    assert sorted(await pg.outcomes()) == ["done", "error:IDEMPOTENT_REQUEST_PROCESSING", "replayed"]


# Faults


async def test_a_call_dropped_before_does_nothing(pg: Pg, caplog: pytest.LogCaptureFixture) -> None:
    key = await pg.authenticate()
    await pg.script(confirm=[{"kind": "drop-before"}])
    with pytest.raises(httpx2.ReadError):
        await pg.confirm(key, headers={KEY: "k"})
    assert await pg.captures() == 0
    assert (await pg.get(key)).json()["status"] == "IN_PROGRESS"
    assert (await pg.confirm(key, headers={KEY: "k"})).status_code == 200
    assert await pg.outcomes() == ["dropped-before", "done", "done"]
    assert [record for record in caplog.records if record.levelname == "ERROR"] == [], "to the server it is no error"


async def test_a_call_dropped_after_has_happened(pg: Pg) -> None:
    key = await pg.authenticate()
    await pg.script(confirm=[{"kind": "drop-after", "repeat": 2}], get=[{"kind": "drop-after"}])
    for _ in range(2):  # the second is a repeat, and its answer is lost as well
        with pytest.raises(httpx2.ReadError):
            await pg.confirm(key, headers={KEY: "k"})
    with pytest.raises(httpx2.ReadError):
        await pg.get(key)
    assert await pg.captures() == 1
    assert (await pg.get(f"orders/{ORDER}")).json()["status"] == "DONE"
    assert (await pg.confirm(key, headers={KEY: "k"})).json()["status"] == "DONE"
    assert await pg.outcomes() == ["dropped-after"] * 3 + ["done", "replayed"]


async def test_a_slow_call_outlives_its_callers_patience(pg: Pg) -> None:
    key = await pg.authenticate()
    await pg.script(confirm=[{"kind": "slow", "ms": 60_000}])
    with pytest.raises(httpx2.ReadTimeout):
        await pg.confirm(key, timeout=0.05)
    assert await pg.captures() == 0
    pg.gate.open.set()
    while not await pg.captures():
        pass
    assert await pg.outcomes() == ["done"]


async def test_a_scripted_refusal_is_the_pgs_own(pg: Pg) -> None:
    key = await pg.authenticate()
    codes = ["PROVIDER_ERROR", "UNKNOWN_PAYMENT_ERROR", "SOMETHING_NEW", "REJECT_CARD_COMPANY"]
    await pg.script(confirm=[{"kind": "error", "code": code} for code in codes])
    answers = [await pg.confirm(key, headers={KEY: "k"}), await pg.confirm(key, headers={KEY: "k"})]
    assert answers[0].content == answers[1].content, "an error is the first answer like any other"
    assert [refusal(await pg.confirm(key)) for _ in range(2)] == [(400, codes[2]), (403, codes[3])]
    # The last one was the issuer's: this payment is closed.
    assert (await pg.get(key)).json()["failure"]["code"] == "REJECT_CARD_COMPANY"
    outcomes = ["error:PROVIDER_ERROR", "replayed", "error:SOMETHING_NEW", "error:REJECT_CARD_COMPANY", "done"]
    assert await pg.outcomes() == outcomes


async def test_a_scripted_answer_is_not_of_the_pgs_form_and_nothing_happens(pg: Pg) -> None:
    key = await pg.authenticate()
    await pg.script(
        confirm=[{"kind": "http", "status": 502, "body": "<h1>Bad gateway</h1>"}, {"kind": "http", "status": 204}]
    )
    answer = await pg.confirm(key)
    assert (answer.status_code, answer.text) == (502, "<h1>Bad gateway</h1>")
    assert (await pg.confirm(key)).status_code == 204
    assert (await pg.captures(), await pg.outcomes()) == (0, ["http:502", "http:204"])


@pytest.mark.parametrize("body", [{"a": 1}, [], 5, None, {"code": "NO", "message": "아니요"}], ids=repr)
async def test_a_scripted_answer_may_be_any_json(pg: Pg, body: object) -> None:
    key = await pg.authenticate()
    await pg.script(confirm=[{"kind": "http", "status": 500, "body": body}])
    answer = await pg.confirm(key)
    assert (answer.status_code, answer.json()) == (500, body)
    assert answer.headers["content-type"].startswith("application/json")
    assert (await pg.captures(), await pg.outcomes()) == (0, ["http:500"])


async def test_whoever_opens_its_address_is_told_what_it_is_and_where_its_pages_are(pg: Pg) -> None:
    about = await pg.http.get("/")
    assert about.status_code == 200
    assert "no real money" in about.json()["what"]
    for entry in about.json()["for_tests"]:
        method, path = entry.split(" ")
        assert (await pg.http.request(method, path)).status_code not in (404, 405), entry


async def test_a_script_is_used_up_call_by_call(pg: Pg) -> None:
    key = await pg.authenticate()
    bad = {"kind": "http", "status": 500}
    await pg.script(get=[{**bad, "repeat": 2}, {"kind": "ok"}, {**bad, "forever": True}], confirm=[bad])
    assert [(await pg.get(key)).status_code for _ in range(5)] == [500, 500, 200, 500, 500]
    await pg.script(get=[])
    assert (await pg.get(key)).status_code == 200
    assert (await pg.confirm(key)).status_code == 500, "a kind that was not named keeps its script"
    assert (await pg.confirm(key)).status_code == 200


async def test_a_mix_is_drawn_from_its_seed(pg: Pg) -> None:
    key = await pg.authenticate()

    async def draw() -> list[int]:
        mix = {"mix": {"error:PROVIDER_ERROR": 0.3, "http:503": 0.2, "ok": 0.3}, "seed": 5, "repeat": 200}
        await pg.script(get=[mix])
        return [(await pg.get(key)).status_code for _ in range(205)]

    first = await draw()
    assert first == await draw()
    assert set(first[200:]) == {200}
    assert 40 <= first.count(400) <= 80
    assert 25 <= first.count(503) <= 55
    await pg.script(get=[{"mix": {"http:503": 1}}])
    assert {(await pg.get(key)).status_code for _ in range(5)} == {503}, "a mix lasts"


@pytest.mark.parametrize(
    "script",
    [
        {"confirms": []},
        {"confirm": {"kind": "ok"}},
        {"confirm": [{"kind": "explode"}]},
        {"confirm": [{}]},
        {"confirm": [{"kind": "ok", "ms": 5}]},
        {"confirm": [{"kind": "error"}]},
        {"confirm": [{"kind": "error", "code": "no code"}]},
        {"confirm": [{"kind": "http", "status": 99}]},
        {"confirm": [{"kind": "slow", "ms": -1}]},
        {"confirm": [{"kind": "ok", "repeat": 0}]},
        {"confirm": [{"kind": "ok", "repeat": 2, "forever": True}]},
        {"confirm": [{"mix": {"ok": 0.6, "drop-after": 0.6}}]},
        {"confirm": [{"mix": {"ok": -1}}]},
        {"confirm": [{"mix": {"error": 1}}]},
        {"confirm": [{"mix": {"ok:1": 1}}]},
        {"confirm": [{"mix": {"slow:x": 1}}]},
        {"confirm": [{"mix": {}, "kind": "ok"}]},
        {"get": [], "confirm": [{"kind": "ok"}, 7]},
    ],
)
async def test_a_bad_script_changes_nothing(pg: Pg, script: dict[str, Any]) -> None:
    await pg.script(get=[{"kind": "http", "status": 500}])
    assert refusal(await pg.script(**script)) == (400, "INVALID_REQUEST")
    assert (await pg.get("unknown")).status_code == 500


async def test_a_developer_can_ask_for_an_error_by_header_with_a_test_key_only(pg: Pg) -> None:
    key = await pg.authenticate()
    wish = {"TossPayments-Test-Code": "INVALID_STOPPED_CARD"}
    assert refusal(await pg.confirm("unknown", headers=wish)) == (400, "INVALID_STOPPED_CARD")
    assert (await pg.get(key)).json()["status"] == "IN_PROGRESS"
    live = emulator(secret_key="live_gsk_x", inline=True)
    await live.start()
    async with in_process(live.asgi) as http:
        http.auth = httpx2.BasicAuth("live_gsk_x", "")
        assert (await Pg(http).confirm(await Pg(http).authenticate(), headers=wish)).status_code == 200
    await live.stop()


async def test_english_is_spoken_when_asked_for(pg: Pg) -> None:
    korean, english = await pg.get("unknown"), await pg.http.get("/v1/payments/x", headers={"Accept-Language": "en-US"})
    assert not korean.json()["message"].isascii()
    assert english.json()["message"].isascii()


# The ledger


async def test_the_ledger_survives_a_restart(tmp_path: Path) -> None:
    first = emulator(tmp_path / "new")
    await first.start()
    await first.start()
    async with in_process(first.asgi) as http:
        pg = Pg(http)
        await pg.advance(60)
        key = await pg.authenticate()
        answer = await pg.confirm(key, headers={KEY: "k"})
        before = await pg.ledger()
    await first.stop()
    await first.stop()
    second = emulator(tmp_path / "new", inline=True, controls=False)
    await second.start()
    async with in_process(second.asgi) as http:
        assert await Pg(http).ledger() == before
        assert (await Pg(http).confirm(key, headers={KEY: "k"})).content == answer.content
        later = await Pg(http).authenticate("order-0002")
        assert (await Pg(http).get(later)).json()["requestedAt"] == "2026-01-01T09:01:00+09:00"
    await second.stop()


async def test_a_capture_whose_answer_was_lost_survives_kill_9(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    code = (
        "import pathlib, sys; from quickcommerce.toss_emulator.server import serve;"
        "serve('127.0.0.1', int(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3])"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, str(port), str(tmp_path), SECRET, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"The PG emulator is open at http://127.0.0.1:%d\n" % port
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", auth=(SECRET, "")) as http:
            pg = Pg(http)
            key = await pg.authenticate()
            await pg.script(confirm=[{"kind": "drop-after"}])
            with pytest.raises(httpx2.ReadError):
                await pg.confirm(key, headers={KEY: "k"})
    finally:
        process.kill()
        await process.communicate()
    again = emulator(tmp_path, inline=True)
    await again.start()
    async with in_process(again.asgi) as http:
        assert (await Pg(http).captures(), await Pg(http).outcomes()) == (1, ["dropped-after"])
        assert (await Pg(http).confirm(key, headers={KEY: "k"})).json()["status"] == "DONE"
    await again.stop()


async def test_a_ledger_has_one_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "BUSY_MS", 0)
    first, second = emulator(tmp_path), emulator(tmp_path)
    await first.start()
    with pytest.raises(store.LedgerError, match="is open in another process"):
        await second.start()
    await first.stop()
    await second.start()
    await second.stop()


@pytest.mark.parametrize("inline", [True, False])
async def test_an_operation_that_fails_stores_nothing_and_spoils_no_other(inline: bool) -> None:
    ledger = store.Store(None, inline=inline)
    await ledger.open()

    def fail(books: Books) -> None:
        books.note("get", None, None, "never", 0)
        raise ZeroDivisionError

    def note(books: Books) -> None:
        books.note("get", None, None, "done", 0)

    results = await asyncio.gather(*map(ledger.run, (note, fail, note)), return_exceptions=True)
    assert [type(result) for result in results] == [type(None), ZeroDivisionError, type(None)]
    calls = (await ledger.run(lambda books: books.everything(0)))["calls"]
    assert [call["outcome"] for call in calls] == ["done", "done"]
    await ledger.close()
    with pytest.raises(RuntimeError):
        await ledger.run(note)


async def test_reset_forgets_everything(pg: Pg) -> None:
    await pg.advance(3600)
    key = await pg.authenticate()
    await pg.confirm(key, headers={KEY: "k"})
    await pg.script(confirm=[{"kind": "drop-before", "forever": True}])
    assert (await pg.http.post("/emulator/reset")).status_code == 200
    assert await pg.ledger() == {"payments": [], "calls": []}
    assert (
        (await pg.confirm(await pg.authenticate(), headers={KEY: "k"}))
        .json()["approvedAt"]
        .startswith("2026-01-01T09:00")
    )


async def test_the_clock_only_goes_forward_and_not_for_ever(pg: Pg) -> None:
    for wrong in (-1, "1", None, 1e300):
        assert refusal(await pg.http.post("/emulator/clock", json={"advance_s": wrong})) == (400, "INVALID_REQUEST")
    century = 100 * 365 * 86_400
    await pg.advance(century)
    assert refusal(await pg.http.post("/emulator/clock", json={"advance_s": 1})) == (400, "INVALID_REQUEST")
    assert (await pg.confirm(await pg.authenticate())).status_code == 200


async def test_without_controls_nobody_is_disturbed() -> None:
    toss = emulator(controls=False, inline=True)
    await toss.start()
    async with in_process(toss.asgi) as http:
        for answer in (
            await Pg(http).script(confirm=[]),
            await http.post("/emulator/reset"),
            await http.post("/emulator/clock", json={"advance_s": 1}),
        ):
            assert refusal(answer) == (403, "FORBIDDEN_REQUEST")
        assert (await Pg(http).confirm(await Pg(http).authenticate())).status_code == 200
    await toss.stop()


# The page


async def test_the_page_shows_the_purchase_and_runs_nothing_of_it(pg: Pg) -> None:
    purchase = {"orderId": ORDER, "amount": "1234567", "orderName": '"><script>x</script>', **SHOP}
    page = await pg.http.get("/emulator/checkout", params=purchase, auth=NOBODY)
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "<script" not in page.text
    assert "1,234,567원" in page.text
    style = await pg.http.get("/emulator/static/checkout.css", auth=NOBODY)
    assert (style.status_code, style.headers["content-type"].split(";")[0]) == (200, "text/css")


@pytest.mark.parametrize(
    "change",
    [
        {"successUrl": "javascript:alert(1)"},
        {"failUrl": "/pay/fail"},
        {"failUrl": "http:///x"},
        {"failUrl": "http://[x/"},
        {"successUrl": "http://shop.test/\r\nX: y"},
        {"amount": "0"},
        {"amount": "x"},
        {"orderId": "a b"},
        {"choice": "steal"},
    ],
)
async def test_the_page_refuses_what_it_cannot_stand_for(pg: Pg, change: dict[str, str]) -> None:
    form = {"orderId": ORDER, "amount": str(AMOUNT), "orderName": "", "choice": "pay", **SHOP, **change}
    assert refusal(await pg.http.post("/emulator/checkout", data=form)) == (400, "INVALID_REQUEST")
    if "choice" not in change:
        assert refusal(await pg.http.get("/emulator/checkout", params=form)) == (400, "INVALID_REQUEST")
    assert (await pg.ledger())["payments"] == []


async def test_the_buttons_lead_back_to_the_shop_with_what_happened(pg: Pg) -> None:
    async def press(choice: str) -> tuple[str, dict[str, list[str]]]:
        form = {"orderId": ORDER, "amount": str(AMOUNT), "orderName": "우유 외 2건", "choice": choice, **SHOP}
        answer = await pg.http.post("/emulator/checkout", data=form, auth=NOBODY)
        assert answer.status_code == 303
        url = urlsplit(answer.headers["location"])
        return f"{url.scheme}://{url.netloc}{url.path}", parse_qs(url.query)

    assert await press("cancel") == (
        SHOP["failUrl"],
        {"code": ["PAY_PROCESS_CANCELED"], "message": ["구매자가 결제를 취소했습니다."], "orderId": [ORDER]},
    )
    assert (await press("decline"))[1]["code"] == ["REJECT_CARD_COMPANY"]
    to, refused = await press("pay-refused")
    assert refusal(await pg.confirm(refused["paymentKey"][0])) == (403, "REJECT_CARD_PAYMENT")
    to, paid = await press("pay")
    key = paid.pop("paymentKey")[0]
    expected = {"lang": ["ko"], "paymentType": ["NORMAL"], "orderId": [ORDER], "amount": [str(AMOUNT)]}
    assert (to, paid) == ("http://shop.test/pay/success", expected)
    assert (await pg.confirm(key)).json()["orderName"] == "우유 외 2건"


# Servers and transports


async def test_it_can_be_mounted_under_a_prefix() -> None:
    toss = emulator(prefix="/_toss")
    await toss.start()
    shop = Litestar(
        [asgi("/_toss", is_mount=True, copy_scope=True)(toss.asgi)], openapi_config=None, logging_config=None
    )
    async with (
        listening(shop, HttpToolsProtocol) as url,
        httpx2.AsyncClient(base_url=f"{url}/_toss", auth=(SECRET, "")) as http,
    ):
        pg = Pg(http)
        key = await pg.authenticate()
        await pg.script(confirm=[{"kind": "drop-after"}])
        # This server does not offer to cut, so the client gets an answer that never ends.
        with pytest.raises(httpx2.RemoteProtocolError):
            await pg.confirm(key, headers={KEY: "k"})
        assert (await pg.confirm(key, headers={KEY: "k"})).json()["status"] == "DONE"
        assert (await pg.get(f"orders/{ORDER}")).json()["paymentKey"] == key
        assert refusal(await http.get("/v1/nothing")) == (404, "NOT_FOUND")
        page = await http.get("/emulator/checkout", params={"orderId": ORDER, "amount": 100, **SHOP})
        assert 'action="/_toss/emulator/checkout"' in page.text
        assert "code" not in (await http.get(f"{url}/v1/payments/x")).json(), "outside the prefix is the shop"
    await toss.stop()


async def test_an_outer_application_finds_its_scope_as_it_was() -> None:
    toss = emulator(inline=True)
    await toss.start()
    same = []

    async def outer(scope: Any, receive: Any, send: Any) -> None:
        before = dict(scope)
        await toss.asgi(scope, receive, send)
        same.append(scope == before)

    async with in_process(outer) as http:
        assert (await http.get("/emulator/ledger")).status_code == 200
    assert same == [True]
    await toss.stop()


async def test_a_client_that_is_cancelled_leaves_the_work_alone() -> None:
    gate = Gate()
    toss = emulator(sleep=gate.sleep)
    await toss.start()
    async with in_process(toss.asgi) as http:
        pg = Pg(http)
        key = await pg.authenticate()
        await pg.script(confirm=[{"kind": "slow", "ms": 1}])
        task = asyncio.create_task(pg.confirm(key))
        await gate.entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.open.set()
        while not await pg.captures():
            pass
    await toss.stop()


Asgi = Callable[[Any, Any, Callable[[Any], Awaitable[None]]], Awaitable[None]]


async def call(app: Asgi) -> httpx2.Response:
    async with httpx2.AsyncClient(transport=AppTransport(app), base_url="http://app") as http:
        return await http.get("/")


async def test_the_transport_treats_a_broken_application_as_a_server_would() -> None:
    async def raise_at_once(_scope: Any, _receive: Any, _send: Any) -> None:
        raise ZeroDivisionError

    async def raise_in_the_middle(_scope: Any, _receive: Any, send: Callable[[Any], Awaitable[None]]) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise ZeroDivisionError

    assert (await call(raise_at_once)).status_code == 500
    with pytest.raises(httpx2.ReadError):
        await call(raise_in_the_middle)


async def test_the_clients_context_stays_the_clients() -> None:
    trace: contextvars.ContextVar[str] = contextvars.ContextVar("trace", default="none")
    trace.set("the client's")

    async def tell(_scope: Any, _receive: Any, send: Callable[[Any], Awaitable[None]]) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": trace.get().encode()})

    assert (await call(tell)).text == "none"


async def test_closing_the_transport_ends_what_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quickcommerce.toss_emulator.transport.GRACE_S", 0)
    ended = asyncio.Event()

    async def hang(_scope: Any, _receive: Any, _send: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with httpx2.AsyncClient(transport=AppTransport(hang), base_url="http://app") as http:
        with pytest.raises(httpx2.ReadTimeout):
            await http.get("/", timeout=0.01)
        assert not ended.is_set()
    assert ended.is_set()
