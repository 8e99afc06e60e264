"""The PG loses replies, is slow, and says odd things. The buyer is charged once, and gets what was paid for."""

import asyncio
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx2
import pytest

from flow.acts import MILK, calls, kept, order, payment_of, to_pay
from flow.invariants import check
from flow.process import process
from quickcommerce.payment import breaker
from quickcommerce.payment.breaker import IN_A_ROW, Sparing
from quickcommerce.payment.model import Asked, Reply
from stores import metric
from world import World

Fault = dict[str, Any]
KNOWN_S = 90
"""So soon after the PG can be read again, every outcome is known."""
LONGER_THAN_A_BUYER_WAITS = 3
"""So many refusals in a row, at once and after 1-2 and 2-4 seconds, take longer than a buyer waits."""
LOST: Fault = {"kind": "drop-after"}


async def ends_paid(w: World, order_id: str, payment: dict[str, Any], *, within_s: float = KNOWN_S) -> None:
    """The order is paid in time, and charged once."""
    await w.until_status(order_id, "PAID", within_s=within_s)
    await w.at_rest()
    assert await w.captures(payment["payment_id"]) == 1
    await check(w)


@pytest.mark.parametrize("unreadable", [[], [{"kind": "drop-before", "repeat": 5}], [{"kind": "http", "status": 502}]])
async def test_a_capture_whose_reply_is_lost_is_found_and_never_repeated(
    unreadable: list[Fault], tmp_path: Path
) -> None:
    async with process(tmp_path) as w:
        order_id, payment, key = await to_pay(w)
        await w.faults(confirm=[LOST], get=unreadable)
        async with kept(w, MILK, 2):
            answer = await w.confirm(payment, key)
            assert (answer.status_code, answer.json()["status"]) in {(200, "CAPTURED"), (202, "UNKNOWN")}
            assert answer.status_code == 200 or answer.headers["Retry-After"] == "3", "the buyer must know when to look"
            await ends_paid(w, order_id, payment)
        assert await calls(w, "confirm") == 1, "the card may be charged again by each repeat"


async def test_a_lost_reply_and_a_pg_that_cannot_be_read_for_a_minute(tmp_path: Path) -> None:
    async with process(tmp_path) as w:
        order_id, payment, key = await to_pay(w)
        await w.faults(confirm=[LOST], get=[{"kind": "drop-before", "forever": True}])
        async with kept(w, MILK, 2):
            answer = await w.confirm(payment, key)
            assert (answer.status_code, answer.json()["status"]) == (202, "UNKNOWN"), "unknown is not a failure"
            await asyncio.sleep(60)
            again = await w.confirm(payment, key)
            assert again.status_code == 202, "a buyer who asks again must not be sent away, nor charged again"
            assert (await w.status(order_id)) == "PAYING"
            await w.faults(get=[])
            await ends_paid(w, order_id, payment)
        assert await calls(w, "confirm") == 1


async def test_a_request_that_never_arrived_is_sent_again_and_charged_once(tmp_path: Path) -> None:
    async with process(tmp_path) as w:
        order_id, payment, key = await to_pay(w)
        await w.faults(confirm=[{"kind": "drop-before", "repeat": 3}])
        async with kept(w, MILK, 2):
            assert (await w.confirm(payment, key)).status_code in (200, 202)
            await ends_paid(w, order_id, payment)
        assert len((await payment_of(w, {"order_id": order_id, "user_id": 7}))["attempts"]) == 1, (
            "one attempt, repeated"
        )


async def test_a_pg_that_takes_its_time_is_asked_once(tmp_path: Path) -> None:
    """While a worker waits for the PG, the payment is leased to it: nobody else asks."""
    async with process(tmp_path) as w:
        order_id, payment, key = await to_pay(w)
        await w.faults(confirm=[{"kind": "slow", "ms": 50_000}])
        await w.confirm(payment, key)
        await ends_paid(w, order_id, payment)
        assert (await calls(w, "confirm"), await calls(w, "get")) == (1, 0), "two workers on one payment"


async def test_a_repeat_is_the_same_request_to_the_pg_and_a_new_attempt_is_another(tmp_path: Path) -> None:
    """By its Idempotency-Key a PG knows a repeat; with a new one it may charge again."""
    async with process(tmp_path) as w:
        order_id, payment, key = await to_pay(w)
        asked: list[str] = []
        ask = w.app.flows.toss.confirm

        async def confirm(request: Asked) -> Reply:
            asked.append(request.idempotency_key)
            return await ask(request)

        await w.faults(confirm=[{"kind": "drop-before", "repeat": 3}, {"kind": "error", "code": "PROVIDER_ERROR"}])
        with patch.object(w.app.flows.toss, "confirm", confirm):
            await w.confirm(payment, key)
            await ends_paid(w, order_id, payment)
        first, *repeats, another = asked
        assert repeats == [first] * 3, "a request that may have arrived was sent again as a new one"
        assert another != first, "an answer that the PG keeps under its key would be given for ever"


class NoLine(httpx2.AsyncBaseTransport):
    """The way to a PG that cannot be reached for the requests of these numbers."""

    def __init__(self, way: httpx2.AsyncBaseTransport, *lost: int) -> None:
        self._way, self._lost = way, lost
        self.keys: list[str] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.keys.append(request.headers["Idempotency-Key"])
        if len(self.keys) in self._lost:
            raise httpx2.ConnectError("nobody is there")
        return await self._way.handle_async_request(request)


@pytest.mark.parametrize("rests", [False, True], ids=["no-line", "held-back"])
async def test_a_repeat_that_could_not_be_sent_leaves_the_request_before_it_open(
    rests: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one may have arrived: under a new key the PG would take the next one for another."""
    async with process(tmp_path) as w:
        order_id, payment, key = await to_pay(w)
        line = NoLine(w.app.flows.toss._paying._transport, *([] if rests else [2, 3]))
        w.app.flows.toss._paying._transport = line
        if rests:
            # The next failure makes it rest, for longer than until the first repeat.
            monkeypatch.setattr(breaker, "REST_S", 5.0)
            pg = w.app.flows.payments.captures.pg
            assert isinstance(pg, Sparing)
            for _ in range(IN_A_ROW - 1):
                pg._confirm.ended(pg._confirm.turn(), failed=True)
        await w.faults(confirm=[{"kind": "drop-before"}])
        assert (await w.confirm(payment, key)).status_code in (200, 202)
        await ends_paid(w, order_id, payment)
        assert len(set(line.keys)) == 1, "a request that may have arrived was sent again as a new one"


async def test_a_pg_slower_than_our_deadline_charges_once(tmp_path: Path) -> None:
    async with process(tmp_path) as w:
        order_id, payment, key = await to_pay(w)
        await w.faults(confirm=[{"kind": "slow", "ms": 90_000}])
        async with kept(w, MILK, 2):
            answer = await w.confirm(payment, key)
            assert (answer.status_code, answer.json()["status"]) == (202, "CAPTURING")
            await ends_paid(w, order_id, payment, within_s=90 + KNOWN_S)


@pytest.mark.parametrize("window_s", [62, 64])
@pytest.mark.parametrize(
    "repeat", [[], [{"kind": "http", "status": 502}], [{"kind": "error", "code": "UNAUTHORIZED_KEY"}]]
)
async def test_an_order_does_not_end_while_a_slow_capture_may_still_happen(
    window_s: int, repeat: list[Fault], tmp_path: Path
) -> None:
    """Its time is over, and the repeat of its request was answered by an error; the first one is still with the PG."""
    async with process(tmp_path, payment_window_s=window_s) as w:
        order_id, payment, key = await to_pay(w)
        await w.faults(confirm=[{"kind": "slow", "ms": 100_000}, *repeat])
        async with kept(w, MILK, 2):
            await w.confirm(payment, key)
            await ends_paid(w, order_id, payment, within_s=100 + KNOWN_S)


ODD = [
    (500, "oops"), (502, "<html>Bad Gateway</html>"), (429, "{}"), (503, ""), (500, '{"code": 5}'), (400, "null"),
    (404, "[]"), (200, "not JSON"), (200, "{}"), (200, '{"paymentKey": "x", "orderId": "y", "status": "DONE"}'),
]  # fmt: skip


@pytest.mark.parametrize(("status", "body"), ODD)
async def test_an_odd_answer_is_neither_a_success_nor_a_decline(status: int, body: str, tmp_path: Path) -> None:
    async with process(tmp_path) as w:
        order_id, payment, key = await to_pay(w)
        await w.faults(confirm=[{"kind": "http", "status": status, "body": body, "repeat": LONGER_THAN_A_BUYER_WAITS}])
        async with kept(w, MILK, 2):
            answer = await w.confirm(payment, key)
            assert answer.status_code == 202, f"the buyer is told {answer.status_code}: {answer.text}"
            assert await w.captures(payment["payment_id"]) == 0
            await ends_paid(w, order_id, payment)


async def test_one_odd_answer_is_over_before_the_buyer_has_waited_three_seconds(tmp_path: Path) -> None:
    async with process(tmp_path) as w:
        order_id, payment, key = await to_pay(w)
        await w.faults(confirm=[{"kind": "http", "status": 500}])
        begun = asyncio.get_running_loop().time()
        answers = await asyncio.gather(*(w.confirm(payment, key) for _ in range(3)))
        assert [answer.json()["status"] for answer in answers] == ["CAPTURED"] * 3, "sent away although it was paid"
        assert asyncio.get_running_loop().time() - begun <= 3
        await ends_paid(w, order_id, payment)


CODES = [
    ("REJECT_CARD_PAYMENT", 402), ("EXCEED_MAX_AMOUNT", 402), ("INVALID_REQUEST", 402), ("NOT_AVAILABLE_BANK", 402),
    ("UNAUTHORIZED_KEY", 503), ("FORBIDDEN_REQUEST", 503), ("NOT_REGISTERED_BUSINESS", 503),
    ("PROVIDER_ERROR", 202), ("ALREADY_PROCESSED_PAYMENT", 202), ("NOT_FOUND_PAYMENT_SESSION", 202),
    ("FAILED_PAYMENT_INTERNAL_SYSTEM_PROCESSING", 202), ("A_CODE_OF_NEXT_YEAR", 202),
    ("FORBIDDEN_CONSECUTIVE_REQUEST", 202),
]  # fmt: skip


@pytest.mark.parametrize(("code", "told"), CODES)
async def test_each_class_of_codes_says_what_it_means_to_the_buyer(code: str, told: int, tmp_path: Path) -> None:
    async with process(tmp_path) as w:
        order_id, payment, key = await to_pay(w)
        repeat = LONGER_THAN_A_BUYER_WAITS if told == 202 else 1
        await w.faults(confirm=[{"kind": "error", "code": code, "repeat": repeat}])
        async with kept(w, MILK, 2):
            answer = await w.confirm(payment, key)
            assert answer.status_code == told, answer.text
            if told == 402:
                assert answer.json()["pg_code"] == code, "the buyer cannot know what to do"
                assert (await w.confirm(payment, key)).content == answer.content, "the same key, the same answer"
                assert await calls(w, "confirm") == 1
                assert (await w.confirm(payment, await w.authenticate(payment))).status_code == 200
            elif told == 503:
                assert answer.headers["Retry-After"]
            await ends_paid(w, order_id, payment)


@pytest.mark.parametrize(
    ("code", "alerts"),
    [("INVALID_REQUEST", 1), ("BELOW_MINIMUM_AMOUNT", 1), pytest.param("REJECT_CARD_PAYMENT", 0, id="control")],
)
async def test_a_request_that_the_pg_does_not_take_ends_the_attempt_and_is_told_to_somebody(
    code: str, alerts: int, tmp_path: Path
) -> None:
    async with process(tmp_path) as w:
        _, payment, key = await to_pay(w)
        before = metric("qc_payment_alerts_total", code=code)
        await w.faults(confirm=[{"kind": "error", "code": code}])
        assert (await w.confirm(payment, key)).status_code == 402
        assert metric("qc_payment_alerts_total", code=code) - before == alerts, (
            "the shop asks wrongly, and nobody knows"
        )


async def test_five_minutes_of_errors_lose_no_order_and_flood_nobody(tmp_path: Path) -> None:
    async with process(tmp_path) as w:
        bought = [await to_pay(w) for _ in range(10)]
        await w.faults(confirm=[{"kind": "http", "status": 500, "forever": True}])
        async with kept(w, MILK, 20):
            answers = await asyncio.gather(*(w.confirm(payment, key) for _, payment, key in bought))
            assert {answer.status_code for answer in answers} == {202}
            await asyncio.sleep(300)
            # 1-2, 2-4, 4-8, 8-16 s apart, then 20-40: at most 5 and one every 20 seconds, for each payment.
            assert await calls(w, "confirm") <= 10 * (5 + 300 / 20), "the PG is flooded while it is down"
            await w.faults(confirm=[])
            for order_id, _, _ in bought:
                await w.until_status(order_id, "PAID", within_s=KNOWN_S)
            for order_id, payment, _ in bought:
                await ends_paid(w, order_id, payment)


async def test_ten_declines_end_the_order_and_the_goods_go_back(tmp_path: Path) -> None:
    async with process(tmp_path) as w:
        placed = await order(w, [(MILK, 2)])
        payment = await payment_of(w, placed)
        for _ in range(10):
            refused = await w.confirm(payment, await w.authenticate(payment, method="CARD_REFUSED"))
            assert refused.status_code == 402
        await w.until_status(placed["order_id"], "FAILED")
        assert await w.stock(MILK) == (1_000, 0, 0), "the goods of a failed order cannot be bought"
        late = await w.confirm(payment, await w.authenticate(payment))
        assert (late.status_code, late.json()["code"]) == (409, "invalid-state")
        await w.at_rest()
        assert await w.captures(payment["payment_id"]) == 0
        await check(w)


async def test_a_card_that_is_refused_leaves_the_goods_to_a_buyer_with_another_card(tmp_path: Path) -> None:
    async with process(tmp_path) as w:
        placed = await order(w, [(MILK, 2)])
        payment = await payment_of(w, placed)
        async with kept(w, MILK, 2):
            assert (await w.confirm(payment, await w.authenticate(payment, method="CARD_REFUSED"))).status_code == 402
            await w.until_status(placed["order_id"], "PLACED", within_s=5)
            assert (await w.confirm(payment, await w.authenticate(payment))).status_code == 200
            await ends_paid(w, placed["order_id"], payment)
