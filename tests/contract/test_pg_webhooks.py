"""What the PG tells the shop by itself: which news, in which form, and how often until it is heard."""

import asyncio
import random
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
from litestar import Litestar, Request, post

from quickcommerce.toss_emulator import Emulator, delivery
from quickcommerce.toss_emulator.delivery import Delivery
from quickcommerce.toss_emulator.ledger import Books
from world import VirtualLoop

from .test_pg_cancel import cancel, captured
from .test_pg_emulator import (
    AMOUNT,
    NOBODY,
    ORDER,
    SECRET,
    Pg,
    emulator,
    in_process,
    listening,
    over_tcp,
    refusal,
)

URL = "http://shop.test/webhooks/toss"
MINUTES = (1, 4, 16, 64, 256, 1024, 4096)
HEADER = "tosspayments-webhook-transmission-"


@dataclass
class Shop(httpx2.AsyncBaseTransport):
    """A shop's end of its webhooks: what came, and what it answers in turn (then 200)."""

    answers: list[int | Exception] = field(default_factory=list)
    came: list[tuple[httpx2.Headers, Any]] = field(default_factory=list)
    open: asyncio.Event = field(default_factory=asyncio.Event)
    """Cleared: it does not answer."""
    under_way: int = 0
    most: int = 0

    def __post_init__(self) -> None:
        self.open.set()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        assert (request.method, str(request.url)) == ("POST", URL)
        self.came.append((request.headers, msgspec.json.decode(await request.aread())))
        answer = self.answers.pop(0) if self.answers else 200
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await self.open.wait()
        finally:
            self.under_way -= 1
        if isinstance(answer, Exception):
            raise answer
        return httpx2.Response(answer, request=request)

    def news(self) -> list[tuple[str, str]]:
        """Which order came to which status, as they came."""
        return [(data["orderId"], data["status"]) for data in (body.get("data", body) for _, body in self.came)]

    def ids(self) -> list[str]:
        return [headers[HEADER + "id"] for headers, _ in self.came]


@dataclass
class Told(Pg):
    """A PG that tells a shop."""

    http: httpx2.AsyncClient
    shop: Shop
    toss: Emulator

    async def webhooks(self) -> list[dict[str, Any]]:
        return list((await self.http.get("/emulator/webhook")).json()["webhooks"])

    async def now(self) -> str:
        return str((await self.http.post("/emulator/clock", json={"advance_s": 0})).json()["now"])

    async def at_rest(self) -> None:
        """Wait until nothing is to be sent before time goes on."""
        now = await self.now()
        while any(each["nextAt"] and each["nextAt"] <= now for each in await self.webhooks()):
            pass

    async def states(self) -> list[str]:
        return [each["state"] for each in await self.webhooks()]

    async def heard(self) -> list[str]:
        return [call["outcome"] for call in (await self.ledger())["calls"] if call["kind"] == "webhook"]

    async def pay(self, order_id: str = ORDER) -> str:
        key = await self.authenticate(order_id)
        assert (await self.confirm(key, order_id)).status_code == 200
        return key


@asynccontextmanager
async def telling(shop: Shop, data_dir: Path | None = None, **more: Any) -> AsyncIterator[Told]:
    options = {"inline": True, "webhook_url": URL, "webhook_network": shop, **more}
    toss = emulator(data_dir, **options)
    await toss.start()
    async with in_process(toss.asgi) as http:
        yield Told(http, shop, toss)
    await toss.stop()


@pytest.fixture
async def told() -> AsyncIterator[Told]:
    async with telling(Shop()) as pg:
        yield pg


# What is told


async def test_a_capture_is_told_in_the_form_of_the_pg_and_reads_as_the_payment_does(told: Told) -> None:
    key = await told.pay()
    await told.at_rest()
    [(headers, body)] = told.shop.came
    assert list(body) == ["eventType", "createdAt", "data"]
    assert (body["eventType"], body["createdAt"]) == ("PAYMENT_STATUS_CHANGED", "2026-01-01T09:00:00.000000")
    assert body["data"] == (await told.get(key)).json()
    assert headers["content-type"] == "application/json"
    sent = {name.removeprefix(HEADER): value for name, value in headers.items() if name.startswith("tosspayments")}
    [webhook] = await told.webhooks()
    assert sent == {
        "id": webhook["transmissionId"], "time": "2026-01-01T09:00:00+09:00", "retried-count": "0",
    }  # fmt: skip
    call = {"kind": "webhook", "orderId": ORDER, "paymentKey": key, "outcome": "done"}
    assert {**call, "at": "2026-01-01T00:00:00.000000Z"} in (await told.ledger())["calls"]


async def test_every_end_of_a_payment_is_told_and_its_beginning_is_not(told: Told) -> None:
    await told.authenticate("order-lapses")
    refused = await told.authenticate("order-refused", method="CARD_REFUSED")
    assert (await told.confirm(refused, "order-refused")).status_code == 403
    key = await told.pay()
    for amount in (1_000, None):
        assert (await cancel(told, key, cancelAmount=amount)).status_code == 200
    await told.at_rest()
    assert told.shop.news() == [
        ("order-refused", "ABORTED"), (ORDER, "DONE"), (ORDER, "PARTIAL_CANCELED"), (ORDER, "CANCELED"),
    ]  # fmt: skip
    await told.advance(600)
    await told.at_rest()
    assert told.shop.news()[4:] == [("order-lapses", "EXPIRED")]
    assert told.shop.came[-1][1]["createdAt"] == "2026-01-01T09:10:00.000000"
    assert len(set(told.shop.ids())) == 5


async def test_what_changed_nothing_is_not_told(told: Told) -> None:
    key = await told.authenticate()
    assert (await told.confirm(key, amount=1)).status_code == 400
    await told.script(confirm=[{"kind": "error", "code": "PROVIDER_ERROR"}, {"kind": "http", "status": 500}])
    for _ in range(2):
        assert (await told.confirm(key)).is_error
    assert (await told.confirm(key, headers={"Idempotency-Key": "k"})).status_code == 200
    assert (await told.confirm(key, headers={"Idempotency-Key": "k"})).status_code == 200
    await told.at_rest()
    assert told.shop.news() == [(ORDER, "DONE")]


async def test_a_capture_whose_answer_was_lost_is_told(told: Told) -> None:
    key = await told.authenticate()
    await told.script(confirm=[{"kind": "drop-after"}])
    with pytest.raises(httpx2.ReadError):
        await told.confirm(key)
    await told.at_rest()
    assert told.shop.news() == [(ORDER, "DONE")]


# Until it is heard


async def test_what_is_not_heard_is_told_again_after_1_4_16_up_to_4096_minutes_and_then_given_up(told: Told) -> None:
    told.shop.answers = [500] * 100
    await told.pay()
    await told.at_rest()
    for tries, minutes in enumerate(MINUTES, 1):
        await told.advance(minutes * 60 - 0.000_001)
        await told.at_rest()
        assert len(told.shop.came) == tries, f"nothing before {minutes} minutes have passed"
        await told.advance(0.000_001)
        await told.at_rest()
        assert len(told.shop.came) == tries + 1
    assert [headers[HEADER + "retried-count"] for headers, _ in told.shop.came] == [str(each) for each in range(8)]
    assert len(set(told.shop.ids())) == 1
    assert all(body == told.shop.came[0][1] for _, body in told.shop.came), "it tells what was then"
    assert (await told.states(), await told.heard()) == (["failed"], ["http:500"] * 8)
    await told.advance(10 * 86_400)
    await told.at_rest()
    assert len(told.shop.came) == 8


async def test_a_jump_of_the_clock_makes_all_tries_that_lie_between(told: Told) -> None:
    told.shop.answers = [503] * 3
    await told.pay()
    await told.at_rest()
    await told.advance(5 * 86_400)
    await told.at_rest()
    assert (await told.heard(), await told.states()) == (["http:503"] * 3 + ["done"], ["delivered"])


@pytest.mark.parametrize("answer", [201, 204, 302, 404, 500])
async def test_only_200_is_heard(told: Told, answer: int) -> None:
    told.shop.answers = [answer]
    await told.pay()
    await told.at_rest()
    assert (await told.heard(), await told.states()) == ([f"http:{answer}"], ["waiting"])


@pytest.mark.parametrize(
    ("broken", "outcome"),
    [
        (httpx2.ConnectError("refused"), "dropped-before"),
        (httpx2.ReadError("cut"), "dropped-after"),
        (httpx2.RemoteProtocolError("cut"), "dropped-after"),
    ],
)
async def test_a_shop_that_is_away_is_told_later(told: Told, broken: Exception, outcome: str) -> None:
    told.shop.answers = [broken]
    await told.pay()
    await told.at_rest()
    await told.advance(60)
    await told.at_rest()
    assert (await told.heard(), await told.states()) == ([outcome, "done"], ["delivered"])


def test_a_shop_that_takes_longer_than_10_seconds_has_not_heard() -> None:
    async def day() -> None:
        shop, loop = Shop(), asyncio.get_running_loop()
        async with telling(shop, now_us=lambda: round(loop.time() * 1_000_000)) as pg:
            shop.open.clear()
            await pg.pay()
            await asyncio.sleep(9.9)
            assert await pg.heard() == []
            await asyncio.sleep(0.2)
            assert await pg.heard() == ["dropped-after"]
            shop.open.set()
            await asyncio.sleep(60)
            assert (await pg.heard(), loop.time() < 100) == (["dropped-after", "done"], True)

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(day())


async def test_one_shop_that_is_slow_to_answer_holds_up_no_other_payment_but_its_own_keeps_its_order(
    told: Told,
) -> None:
    told.shop.open.clear()
    key = await told.pay()
    await cancel(told, key)
    for each in range(3):
        await told.pay(f"order-later-{each}")
    while told.shop.under_way < 4:
        await told.now()
    assert told.shop.news() == [(ORDER, "DONE"), *((f"order-later-{each}", "DONE") for each in range(3))]
    told.shop.open.set()
    await told.at_rest()
    assert told.shop.news()[4:] == [(ORDER, "CANCELED")]


async def test_a_crowd_of_webhooks_is_sent_so_many_at_once(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "SIDE_BY_SIDE", 4)
    told.shop.open.clear()
    for each in range(20):
        await told.pay(f"order-{each:04}")
    while told.shop.under_way < 4:
        await told.now()
    told.shop.open.set()
    await told.at_rest()
    assert (told.shop.most, sorted(told.shop.news())) == (4, [(f"order-{each:04}", "DONE") for each in range(20)])


# What goes wrong by script


@pytest.mark.parametrize(
    ("fault", "came", "outcomes"),
    [
        ({"kind": "ok"}, 1, ["done"]),
        ({"kind": "drop-before"}, 1, ["dropped-before", "done"]),
        ({"kind": "drop-after"}, 2, ["dropped-after", "done"]),
        ({"kind": "error", "code": "PROVIDER_ERROR"}, 1, ["error:PROVIDER_ERROR", "done"]),
        ({"kind": "http", "status": 502}, 1, ["http:502", "done"]),
        ({"kind": "http", "status": 200}, 0, ["http:200"]),
        ({"kind": "duplicate"}, 2, ["done", "done"]),
    ],
    ids=str,
)
async def test_a_script_spoils_webhooks_as_it_spoils_calls(
    told: Told, fault: dict[str, Any], came: int, outcomes: list[str]
) -> None:
    assert (await told.script(webhook=[fault])).status_code == 200
    await told.pay()
    await told.at_rest()
    await told.advance(60)
    await told.at_rest()
    assert (len(told.shop.came), await told.heard(), await told.states()) == (came, outcomes, ["delivered"])
    assert len(set(told.shop.ids())) <= 1, "however often it comes, it is one transmission"


async def test_a_slow_webhook_comes_later() -> None:
    entered, go = asyncio.Event(), asyncio.Event()

    async def sleep(seconds: float) -> None:
        assert seconds == 30
        entered.set()
        await go.wait()

    async with telling(Shop(), sleep=sleep) as pg:
        await pg.script(webhook=[{"kind": "slow", "ms": 30_000}])
        await pg.pay()
        await entered.wait()
        assert pg.shop.came == []
        go.set()
        await pg.at_rest()
        assert await pg.heard() == ["done"]


async def test_out_of_order_a_webhook_comes_after_the_next(told: Told) -> None:
    await told.script(webhook=[{"kind": "out-of-order"}])
    key = await told.pay()
    await told.at_rest()
    assert (told.shop.came, await told.states()) == ([], ["held"])
    await told.advance(86_400)
    await told.at_rest()
    assert told.shop.came == []
    await cancel(told, key)
    await told.at_rest()
    assert told.shop.news() == [(ORDER, "CANCELED"), (ORDER, "DONE")]
    assert [headers[HEADER + "retried-count"] for headers, _ in told.shop.came] == ["0", "0"]
    assert (await told.heard(), await told.states()) == (["done"] * 2, ["delivered"] * 2)


async def test_all_out_of_order_they_change_places_two_by_two_and_none_is_lost(told: Told) -> None:
    await told.script(webhook=[{"kind": "out-of-order", "forever": True}])
    for each in range(6):
        await told.pay(f"order-{each}")
        await told.at_rest()
    assert [order_id[-1] for order_id, _ in told.shop.news()] == list("103254")


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_goes_wrong_at_once_every_news_is_heard_in_the_end(told: Told, seed: int) -> None:
    mix = {"drop-before": 0.2, "drop-after": 0.1, "duplicate": 0.1, "out-of-order": 0.2, "http:500": 0.1}
    await told.script(webhook=[{"mix": mix, "seed": seed}])
    told.shop.answers = [500 if each % 5 == 0 else 200 for each in range(200)]
    news = set()
    for each in range(100):
        order_id = f"order-{each:04}"
        key = await told.pay(order_id)
        await cancel(told, key, cancelAmount=100)
        news |= {(order_id, "DONE"), (order_id, "PARTIAL_CANCELED")}
        await told.advance(7)
    await told.at_rest()
    await told.script(webhook=[])
    await told.advance(4 * 86_400)
    await told.pay("order-last")
    await told.at_rest()
    assert set(told.shop.news()) == news | {("order-last", "DONE")}
    assert (await told.states(), len(set(told.shop.ids()))) == (["delivered"] * 201, 201)


@pytest.mark.parametrize("kind", ["confirm", "get", "cancel", "transactions"])
@pytest.mark.parametrize("fault", ["duplicate", "out-of-order"])
async def test_what_only_webhooks_do_is_no_script_for_calls(told: Told, kind: str, fault: str) -> None:
    await told.script(get=[{"kind": "http", "status": 500}])
    for script in ([{"kind": fault}], [{"mix": {fault: 0.5}}]):
        assert refusal(await told.script(**{kind: script, "webhook": script})) == (400, "INVALID_REQUEST")
    assert (await told.get("unknown")).status_code == 500
    await told.pay()
    await told.at_rest()
    assert await told.heard() == ["done"], "a bad script changes nothing"
    mix = [{"mix": {fault: 0.5}}]
    assert (await told.script(webhook=mix)).status_code == 200


# Where they go


async def test_nobody_is_told_who_did_not_ask_and_what_is_past_is_no_news() -> None:
    async with telling(Shop(), webhook_url=None) as pg:
        await captured(pg)
        assert (await pg.http.get("/emulator/webhook", auth=NOBODY)).json() == {"url": None, "webhooks": []}
        await pg.authenticate("order-lapses")
        await pg.advance(600)
        answer = await pg.http.put("/emulator/webhook", json={"url": URL}, auth=NOBODY)
        assert answer.json() == {"url": URL, "webhooks": []}
        await pg.pay("order-news")
        await pg.at_rest()
        assert pg.shop.news() == [("order-news", "DONE")]


@pytest.mark.parametrize("off", [None, ""])
async def test_a_shop_that_wants_no_more_is_told_no_more(told: Told, off: str | None) -> None:
    told.shop.answers = [500]
    await told.pay()
    await told.at_rest()
    answer = await told.http.put("/emulator/webhook", json={"url": off})
    assert answer.json() == {"url": None, "webhooks": []}
    await told.pay("order-unheard")
    await told.http.put("/emulator/webhook", json={"url": URL})
    await told.advance(86_400)
    await told.pay("order-heard")
    await told.at_rest()
    assert told.shop.news() == [(ORDER, "DONE"), ("order-heard", "DONE")]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"url": "ftp://x"},
        {"url": "http://"},
        {"url": "http://x:port/"},
        {"url": "http://[x/"},
        {"url": "http://x/\n"},
        {"url": 5},
        {"url": URL, "x": 1},
        [],
    ],
    ids=str,
)
async def test_an_address_that_is_none_is_refused_and_changes_nothing(told: Told, body: Any) -> None:
    assert refusal(await told.http.put("/emulator/webhook", json=body)) == (400, "INVALID_REQUEST")
    assert (await told.http.get("/emulator/webhook")).json()["url"] == URL


async def test_a_reset_forgets_webhooks_and_goes_back_to_the_first_address(told: Told) -> None:
    told.shop.open.clear()
    await told.pay()
    while not told.shop.under_way:
        await told.now()
    await told.http.put("/emulator/webhook", json={"url": "http://elsewhere.test/"})
    assert (await told.http.post("/emulator/reset")).status_code == 200
    told.shop.open.set()
    assert (await told.http.get("/emulator/webhook")).json() == {"url": URL, "webhooks": []}
    assert (await told.ledger()) == {"payments": [], "calls": []}
    await told.pay("order-new")
    await told.at_rest()
    assert told.shop.news()[-1] == ("order-new", "DONE")


async def test_an_address_that_was_put_stays_over_a_restart_unless_that_names_one(tmp_path: Path) -> None:
    async def after(first: str | None) -> str | None:
        async with telling(Shop(), tmp_path, webhook_url=first) as pg:
            found: str | None = (await pg.http.get("/emulator/webhook")).json()["url"]
            await pg.http.put("/emulator/webhook", json={"url": "http://put.test/"})
        return found

    assert [await after(first) for first in (None, None, URL, None)] == [
        None,
        "http://put.test/",
        URL,
        "http://put.test/",
    ]


async def test_without_controls_webhooks_stay_where_they_go() -> None:
    async with telling(Shop(), controls=False) as pg:
        assert refusal(await pg.http.put("/emulator/webhook", json={"url": None})) == (403, "FORBIDDEN_REQUEST")
        await pg.pay()
        while await pg.heard() != ["done"]:
            pass


async def test_they_reach_a_shop_over_tcp_past_the_proxy_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    came = asyncio.Queue[Any]()

    @post("/webhooks/toss", status_code=200)
    async def hear(request: Request[Any, Any, Any]) -> None:
        came.put_nowait(await request.json())

    shop = Litestar([hear], openapi_config=None, logging_config=None)
    toss = emulator()
    await toss.start()
    async with listening(shop) as url, over_tcp(toss.asgi) as http:
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        assert (await http.put("/emulator/webhook", json={"url": f"{url}/webhooks/toss"})).status_code == 200
        await captured(Pg(http))
        assert (await asyncio.wait_for(came.get(), 30))["data"]["totalAmount"] == AMOUNT
        while "done" not in await Told(http, Shop(), toss).heard():
            pass
        await toss.stop()


# What a kill leaves


async def kill_after_a_capture(folder: Path) -> None:
    """An emulator by itself that is killed when it has captured and told nobody."""
    code = (
        "import pathlib, sys; from quickcommerce.toss_emulator.server import serve;"
        "serve('127.0.0.1', 0, pathlib.Path(sys.argv[1]), sys.argv[2], webhook_url='http://127.0.0.1:9/x')"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, str(folder), SECRET, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        url = (await process.stdout.readline()).decode().split()[-1]
        async with httpx2.AsyncClient(base_url=url, auth=(SECRET, "")) as http:
            pg = Pg(http)
            await pg.script(webhook=[{"kind": "drop-before", "forever": True}], confirm=[{"kind": "drop-after"}])
            key = await pg.authenticate()
            with pytest.raises(httpx2.TransportError):
                await pg.confirm(key)
    finally:
        process.kill()
        await process.wait()


async def test_a_webhook_survives_kill_9(tmp_path: Path) -> None:
    await kill_after_a_capture(tmp_path)
    async with telling(Shop(), tmp_path, now_us=lambda: 2_000_000_000_000_000) as pg:
        await pg.at_rest()
        assert pg.shop.news() == [(ORDER, "DONE")]
        assert await pg.states() == ["delivered"]


async def test_what_is_under_way_at_a_stop_comes_again_as_the_same_transmission(tmp_path: Path) -> None:
    shop = Shop()
    shop.open.clear()
    async with telling(shop, tmp_path) as pg:
        await pg.pay()
        while not shop.under_way:
            await pg.now()
    shop.open.set()
    async with telling(shop, tmp_path, webhook_url=None) as pg:
        await pg.at_rest()
        assert (await pg.heard(), len(shop.came), len(set(shop.ids()))) == (["done"], 2, 1)


async def test_what_lapses_while_the_pg_is_away_is_told_to_those_who_had_asked_only(tmp_path: Path) -> None:
    later = 1_777_225_600_000_000
    async with telling(Shop(), tmp_path, webhook_url=None) as pg:
        await pg.authenticate("order-before")
    async with telling(Shop(), tmp_path, now_us=lambda: later) as pg:
        await pg.authenticate("order-lapses")
    async with telling(Shop(), tmp_path, now_us=lambda: 2 * later) as pg:
        await pg.at_rest()
        assert pg.shop.news() == [("order-lapses", "EXPIRED")]


async def test_a_call_that_ends_late_does_not_wake_what_was_stopped(caplog: pytest.LogCaptureFixture) -> None:
    async with telling(Shop()) as pg:
        await pg.pay()
        await pg.at_rest()
        toss = pg.toss
    toss._delivery.wake()
    for _ in range(10):
        await asyncio.sleep(0)
    assert (toss._delivery._task, caplog.records) == (None, [])


async def test_after_days_away_it_starts_with_one_try_and_not_with_all_of_them(tmp_path: Path) -> None:
    shop = Shop(answers=[500] * 100)
    async with telling(shop, tmp_path) as pg:
        await pg.pay()
        await pg.at_rest()
    async with telling(shop, tmp_path, now_us=lambda: 1_777_225_600_000_000) as pg:
        await pg.at_rest()
        assert (await pg.heard(), await pg.states()) == (["http:500"] * 2, ["waiting"])


async def test_a_webhook_is_entered_with_what_it_tells_of_or_neither_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError

    async with telling(Shop()) as pg:
        key = await pg.authenticate()
        with monkeypatch.context() as broken:
            broken.setattr(Books, "_tell", full)
            assert (await pg.confirm(key)).status_code == 500
        assert await pg.captures() == 0
        assert (await pg.confirm(key)).status_code == 200


async def test_a_ledger_that_fails_for_a_moment_loses_no_webhook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "_AFTER_ERROR_S", 0)
    async with telling(Shop()) as pg:
        looked, look = [0], Delivery._look

        async def fail_twice(self: Delivery) -> Any:
            looked[0] += 1
            if looked[0] < 3:
                raise OSError
            return await look(self)

        monkeypatch.setattr(Delivery, "_look", fail_twice)
        await pg.pay()
        await pg.at_rest()
        assert (await pg.heard(), looked[0] > 2) == (["done"], True)


async def test_a_shop_in_the_same_process_is_told_without_a_network() -> None:
    shop = Shop()
    toss = Emulator(
        data_dir=None, secret_key=SECRET, now_us=lambda: 1_767_225_600_000_000, rng=random.Random(1), inline=True,
        webhook_url=URL,
    )  # fmt: skip
    await toss.start()
    await toss.deliver_over(shop)
    async with in_process(toss.asgi) as http:
        pg = Told(http, shop, toss)
        shop.open.clear()
        await pg.pay()
        while not shop.under_way:
            await pg.now()
        await toss.deliver_over(renewed := Shop())
        await pg.at_rest()
        assert (shop.under_way, shop.news(), renewed.news()) == (0, [(ORDER, "DONE")], [(ORDER, "DONE")])
        assert renewed.ids() == shop.ids()
    await toss.stop()
