"""Virtual accounts in the Toss client: what is sent, to the letter, and what is read, leniently."""

import base64
from typing import Any

import httpx2
import msgspec
import pytest

from quickcommerce.payment.deposit_model import Account, Awaiting
from quickcommerce.payment.model import Asked, Declined, Found, Missing, Unreadable, conclude
from quickcommerce.payment.toss import Toss
from quickcommerce.payment.toss_payment import payment_of

ASKED = Asked("key-1", "pay_1", 5_800, "attempt-1")
OPEN = {"accountNumber": "X123", "bankCode": "20", "customerName": "김하나", "dueDate": "2026-01-01T11:00:00+09:00"}
WAITING: dict[str, Any] = {
    "paymentKey": "key-1", "orderId": "pay_1", "status": "WAITING_FOR_DEPOSIT", "totalAmount": 5_800,
    "currency": "KRW", "secret": "ps_1", "approvedAt": None, "virtualAccount": OPEN,
}  # fmt: skip
DUE_US = 1_767_232_800_000_000


def client(answers: list[httpx2.Response], sent: list[httpx2.Request], *, accounts: bool = True) -> Toss:
    def answer(request: httpx2.Request) -> httpx2.Response:
        sent.append(request)
        return answers.pop(0)

    return Toss(
        "https://pg.test", "test_gsk_x", confirm_deadline_s=1, read_deadline_s=1, accounts=accounts,
        transport=httpx2.MockTransport(answer),
    )  # fmt: skip


async def test_closing_an_account_is_asked_for_in_these_words() -> None:
    sent: list[httpx2.Request] = []
    closed = WAITING | {"status": "CANCELED", "cancels": [{"cancelAmount": 5_800, "transactionKey": "T1"}]}
    toss = client([httpx2.Response(200, json=closed)], sent)
    outcome = conclude(await toss.withdraw(ASKED), ASKED, answered=None)
    assert outcome == Declined("DEPOSIT_CANCELED", "the account was closed before a deposit came")
    [request] = sent
    assert (request.method, str(request.url)) == ("POST", "https://pg.test/v1/payments/key-1/cancel")
    assert request.content == b'{"cancelReason":"no deposit came in time","refundableAmount":5800}'
    assert request.headers["authorization"] == "Basic " + base64.b64encode(b"test_gsk_x:").decode()
    assert request.headers["idempotency-key"] != ASKED.idempotency_key, "a key is of one call"
    await toss.close()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (httpx2.Response(403, json={"code": "NOT_CANCELABLE_PAYMENT", "message": ""}), Unreadable),
        (httpx2.Response(404, json={"code": "NOT_FOUND_PAYMENT", "message": ""}), Missing),
        (httpx2.Response(503), Unreadable),
        (httpx2.Response(200, content=b"<html>"), Unreadable),
    ],
)
async def test_what_refuses_to_close_an_account_proves_nothing(answer: httpx2.Response, expected: type) -> None:
    toss = client([answer], [])
    assert isinstance(await toss.withdraw(ASKED), expected)
    await toss.close()


async def test_the_account_that_a_confirm_opens_is_told_only_where_accounts_are_taken() -> None:
    taking, not_taking = (client([httpx2.Response(200, json=WAITING)], [], accounts=each) for each in (True, False))
    assert await taking.confirm(ASKED) == Awaiting(Account("20", "X123", "김하나", DUE_US), "ps_1")
    assert await not_taking.confirm(ASKED) == Awaiting(None, "ps_1")
    for each in (taking, not_taking):
        await each.close()


@pytest.mark.parametrize(
    "told",
    [
        None, [], "X", 7, {}, OPEN | {"accountNumber": None}, OPEN | {"dueDate": None}, OPEN | {"dueDate": 5},
        OPEN | {"dueDate": "soon"}, OPEN | {"accountNumber": 123},
    ],
    ids=str,
)  # fmt: skip
def test_an_account_that_cannot_be_told_to_a_buyer_is_none(told: Any) -> None:
    found = payment_of(msgspec.json.encode(WAITING | {"virtualAccount": told}))
    assert isinstance(found, Found)
    assert found.account is None


def test_what_a_bank_calls_itself_is_cut_and_a_time_without_an_offset_is_of_seoul() -> None:
    account: dict[str, Any] = {
        "accountNumber": "1" * 99,
        "bankCode": None,
        "dueDate": "2026-01-01T11:00:00",
        "newField": {},
    }
    found = payment_of(msgspec.json.encode(WAITING | {"virtualAccount": account}))
    assert isinstance(found, Found)
    assert found.account == Account("", "1" * 40, "", DUE_US)


@pytest.mark.parametrize("secret", [None, 5, "x" * 65, ["ps_1"]])
def test_a_secret_that_is_none_is_no_secret(secret: Any) -> None:
    found = payment_of(msgspec.json.encode(WAITING | {"secret": secret}))
    assert isinstance(found, Found)
    assert found.secret == ""


def test_a_payment_that_was_deposited_and_given_back_was_paid() -> None:
    back = WAITING | {"status": "CANCELED", "approvedAt": "2026-01-01T10:00:00+09:00"}
    assert not getattr(payment_of(msgspec.json.encode(back)), "unpaid", True)
