"""What the Toss client makes of answers that are not written quite as documented: money that is told is seen."""

import asyncio
import json
from typing import Any

import httpx2
import pytest

from quickcommerce.payment.breaker import IN_A_ROW, Sparing
from quickcommerce.payment.model import Asked, Captured, Declined, Doubtful, Found, Later, Reply, Unreadable
from quickcommerce.payment.refund_model import Cancel, CancelReply, Refunded
from quickcommerce.payment.toss import Toss
from quickcommerce.payment.toss_json import WON_MAX
from quickcommerce.payment.toss_payment import payment_of

ASKED = Asked("key-1", "pay_1", 1_000, "attempt-1")
CANCEL = Cancel("rfd_1", "key-1", "pay_1", 1_000, 1_000, 400, "changed", "refund-1", frozenset())
DONE: dict[str, Any] = {
    "paymentKey": "key-1", "orderId": "pay_1", "status": "DONE", "totalAmount": 1_000, "currency": "KRW",
    "failure": None,
}  # fmt: skip
BACK = DONE | {
    "status": "PARTIAL_CANCELED", "balanceAmount": 600.0,
    "cancels": [{"cancelAmount": 400.0, "transactionKey": "T2", "cancelReason": "rfd_1: changed"}],
}  # fmt: skip


def answered(content: bytes, status: int = 200) -> Toss:
    transport = httpx2.MockTransport(lambda _: httpx2.Response(status, content=content))
    return Toss("https://pg.test", "test_gsk_x", confirm_deadline_s=5, read_deadline_s=5, transport=transport)


async def confirmed(content: bytes, status: int = 200) -> Reply:
    toss = answered(content, status)
    try:
        return await toss.confirm(ASKED)
    finally:
        await toss.close()


async def cancelled(content: bytes) -> CancelReply:
    toss = answered(content)
    try:
        return await toss.cancel(CANCEL)
    finally:
        await toss.close()


@pytest.mark.parametrize(
    "changes",
    [
        {"totalAmount": 1_000.0},
        {"currency": None},
        {"failure": {"code": None, "message": None}},
        {"failure": {"code": 7}},
        {"failure": "none"},
        {"balanceAmount": 1_000.0},
        {"balanceAmount": "1000"},
    ],
    ids=str,
)
async def test_money_that_was_taken_is_seen_however_its_answer_is_written(changes: dict[str, Any]) -> None:
    assert await confirmed(json.dumps(DONE | changes).encode()) == Captured("key-1")


@pytest.mark.parametrize("odd", [rb'"\ud800"', b'"\xff"', b'"a\n"', b"9" * 5_000, b"1e999"])
async def test_an_odd_value_beside_the_money_does_not_hide_it(odd: bytes) -> None:
    assert await confirmed(json.dumps(DONE | {"orderName": 0}).encode().replace(b" 0}", odd + b"}")) == Captured(
        "key-1"
    )


async def test_money_that_went_back_is_seen_however_its_amounts_are_written() -> None:
    assert await cancelled(json.dumps(BACK).encode()) == Refunded("T2")


@pytest.mark.parametrize(
    "changes",
    [
        {"totalAmount": 1_000.5},
        {"totalAmount": "1000"},
        {"totalAmount": True},
        {"totalAmount": None},
        {"totalAmount": WON_MAX + 1},
        {"totalAmount": 1e300},
        {"currency": 410},
        {"paymentKey": None},
        {"status": ["DONE"]},
    ],
    ids=str,
)
async def test_control_what_does_not_say_how_much_was_taken_is_no_capture(changes: dict[str, Any]) -> None:
    content = json.dumps(DONE | changes).encode()
    assert isinstance(payment_of(content), Unreadable)
    assert await confirmed(content) == Doubtful("UNEXPECTED_ANSWER", "200, but not as asked")


@pytest.mark.parametrize("content", [b"[" * 100_000, b"\xff\xfe", b"null", b"{", b""], ids=lambda it: repr(it[:4]))
async def test_an_answer_that_says_nothing_leaves_the_outcome_open(content: bytes) -> None:
    assert isinstance(payment_of(content), Unreadable)
    assert await confirmed(content) == Doubtful("UNEXPECTED_ANSWER", "200, but not as asked")
    assert await confirmed(content, 500) == Doubtful("HTTP_500", "")


async def test_a_reading_by_key_and_then_by_order_takes_no_longer_than_one() -> None:
    """The time within which what is unknown is known counts one."""
    deadline_s, asked = 0.3, list[str]()

    async def slowly(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.url.path)
        await asyncio.sleep(deadline_s * 0.7)
        return httpx2.Response(404, content=b'{"code":"NOT_FOUND_PAYMENT","message":"no"}')

    transport = httpx2.MockTransport(slowly)
    toss = Toss("https://pg.test", "k", confirm_deadline_s=5, read_deadline_s=deadline_s, transport=transport)
    try:
        assert await toss.read(ASKED) == Unreadable("TimeoutError")
    finally:
        await toss.close()
    assert asked == ["/v1/payments/key-1", "/v1/payments/orders/pay_1"]


@pytest.mark.parametrize(
    ("status", "code", "rests"),
    [
        (403, "INVALID_REFUND_ACCOUNT_INFO", False),
        (400, "NOT_MATCHES_REFUNDABLE_AMOUNT", False),
        (400, "PROVIDER_ERROR", True),
        (400, "A_NEW_CODE", True),
        (503, "INVALID_REFUND_ACCOUNT_INFO", True),
    ],
)
async def test_a_pg_that_will_not_close_an_account_does_its_work(status: int, code: str, *, rests: bool) -> None:
    """A deposit has come first, say. Refunds go the same way, and must not be held back for it."""
    toss = answered(json.dumps({"code": code, "message": "no"}).encode(), status)
    pg = Sparing(toss, 0)
    try:
        for _ in range(IN_A_ROW):
            assert isinstance(await pg.withdraw(ASKED), Unreadable)
        assert isinstance(await pg.cancel(CANCEL), Later) == rests
    finally:
        await toss.close()


@pytest.mark.parametrize("message", [b"null", b"7", rb'"\ud800"', b'"\xff"'])
async def test_a_refusal_counts_whatever_is_wrong_with_its_message(message: bytes) -> None:
    refused = await confirmed(b'{"code":"REJECT_CARD_PAYMENT","message":' + message + b"}", 403)
    assert isinstance(refused, Declined)
    assert refused.code == "REJECT_CARD_PAYMENT"
    refused.message.encode()
    ours = await confirmed(b'{"code":"UNAUTHORIZED_KEY","message":' + message + b"}", 401)
    assert isinstance(ours, Later)


def test_texts_that_are_kept_are_such_that_a_database_takes() -> None:
    found = payment_of(rb'{"paymentKey":"k\ud800","orderId":"pay_1","status":"DONE","totalAmount":1000}')
    assert isinstance(found, Found)
    found.payment_key.encode()
