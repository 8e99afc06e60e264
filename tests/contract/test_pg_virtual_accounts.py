"""Money that a buyer pays into an account of the order's own, later and by a bank: as the shop sees it at the PG."""

import re
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from .test_pg_cancel import cancel
from .test_pg_emulator import AMOUNT, NOBODY, ORDER, SHOP, Pg, emulator, in_process, pg, refusal
from .test_pg_transactions import shown
from .test_pg_webhooks import Shop, Told, telling, told

__all__ = ["pg", "told"]

ACCOUNT = {"bank": "20", "accountNumber": "1002123456789", "holderName": "김토스"}
AT = "2026-01-01T00:00:00.000000Z"
WEEK_S = 168 * 3600


async def opened(pg: Pg, order_id: str = ORDER, **more: Any) -> str:
    """A payment whose account is open."""
    key = await pg.authenticate(order_id, method="VIRTUAL_ACCOUNT", **more)
    answer = await pg.confirm(key, order_id)
    assert (answer.status_code, answer.json()["status"]) == (200, "WAITING_FOR_DEPOSIT")
    return key


async def deposit(pg: Pg, key: str, **more: Any) -> httpx2.Response:
    return await pg.http.post("/emulator/deposit", json={"paymentKey": key, **more}, auth=NOBODY)


async def deposited(pg: Pg) -> str:
    key = await opened(pg)
    assert (await deposit(pg, key)).json() == {"paymentKey": key, "status": "DONE"}
    return key


async def of_ledger(pg: Pg) -> dict[str, Any]:
    [payment] = (await pg.ledger())["payments"]
    return dict(payment)


async def test_confirming_opens_an_account_and_captures_nothing(pg: Pg) -> None:
    key = await pg.authenticate(method="가상계좌", customerName="이구매")
    before = (await pg.get(key)).json()
    payment = (await pg.confirm(key)).json()
    assert (before["status"], before["virtualAccount"], before["method"]) == ("IN_PROGRESS", None, "가상계좌")
    assert (payment["status"], payment["approvedAt"], payment["balanceAmount"]) == ("WAITING_FOR_DEPOSIT", None, AMOUNT)
    account = dict(payment["virtualAccount"])
    assert re.fullmatch(r"X\d{13}", account.pop("accountNumber"))
    assert account == {
        "accountType": "일반", "bankCode": "20", "customerName": "이구매", "depositorName": None,
        "dueDate": "2026-01-08T09:00:00+09:00", "expired": False, "settlementStatus": "INCOMPLETED",
        "refundStatus": "NONE", "refundReceiveAccount": None,
    }  # fmt: skip
    assert 0 < len(payment["secret"]) <= 50
    assert payment == (await pg.get(key)).json() == (await pg.get(f"orders/{ORDER}")).json()
    ledger = await of_ledger(pg)
    assert (ledger["status"], ledger["captures"]) == ("WAITING_FOR_DEPOSIT", [])
    assert await shown(pg) == []


async def test_a_deposit_is_a_capture(pg: Pg) -> None:
    key = await deposited(pg)
    payment = (await pg.get(key)).json()
    assert (payment["status"], payment["approvedAt"]) == ("DONE", "2026-01-01T09:00:00+09:00")
    assert payment["virtualAccount"]["depositorName"] == payment["virtualAccount"]["customerName"]
    assert await of_ledger(pg) == {
        "paymentKey": key, "orderId": ORDER, "status": "DONE", "amount": AMOUNT,
        "captures": [{"amount": AMOUNT, "at": AT}], "cancels": [],
    }  # fmt: skip
    assert [(each["status"], each["method"]) for each in await shown(pg)] == [("DONE", "가상계좌")]


async def test_a_deposit_is_told_by_both_events_with_the_secret_of_the_payment(told: Told) -> None:
    key = await deposited(told)
    await told.at_rest()
    payment = (await told.get(key)).json()
    flat, changed = (body for _, body in told.shop.came)
    assert flat == {
        "createdAt": "2026-01-01T09:00:00.000000", "secret": payment["secret"], "status": "DONE",
        "transactionKey": payment["lastTransactionKey"], "orderId": ORDER,
    }  # fmt: skip
    assert list(flat) == ["createdAt", "secret", "status", "transactionKey", "orderId"]
    assert (changed["eventType"], changed["data"]) == ("PAYMENT_STATUS_CHANGED", payment)
    assert [each["eventType"] for each in await told.webhooks()] == ["DEPOSIT_CALLBACK", "PAYMENT_STATUS_CHANGED"]


async def test_a_deposit_taken_back_is_no_capture_any_more(told: Told) -> None:
    key = await deposited(told)
    first = (await told.get(key)).json()["lastTransactionKey"]
    await told.advance(90)
    assert (await deposit(told, key, error=True)).json()["status"] == "WAITING_FOR_DEPOSIT"
    payment = (await told.get(key)).json()
    assert (payment["status"], payment["approvedAt"]) == ("WAITING_FOR_DEPOSIT", None)
    ledger = await of_ledger(told)
    later = "2026-01-01T00:01:30.000000Z"
    assert (ledger["captures"], ledger["cancels"]) == ([], [])
    assert ledger["reversals"] == [{"amount": AMOUNT, "capturedAt": AT, "at": later}]
    assert (await deposit(told, key)).json()["status"] == "DONE"
    ledger = await of_ledger(told)
    assert (ledger["captures"], len(ledger["reversals"])) == ([{"amount": AMOUNT, "at": later}], 1)
    assert [each["status"] for each in await shown(told)] == ["DONE", "WAITING_FOR_DEPOSIT", "DONE"]
    assert (await shown(told))[0]["transactionKey"] == first
    await told.at_rest()
    events = [(each["eventType"], each["status"]) for each in await told.webhooks()]
    assert events == [
        ("DEPOSIT_CALLBACK", "DONE"), ("PAYMENT_STATUS_CHANGED", "DONE"), ("DEPOSIT_CALLBACK", "WAITING_FOR_DEPOSIT"),
        ("DEPOSIT_CALLBACK", "DONE"), ("PAYMENT_STATUS_CHANGED", "DONE"),
    ]  # fmt: skip
    assert len({body["transactionKey"] for _, body in told.shop.came if "secret" in body}) == 3


async def test_an_account_closes_at_its_due_date(told: Told) -> None:
    early, late = await opened(told), await opened(told, "order-0002", validHours=1)
    await told.advance(3599.999_999)
    assert (await told.get(late)).json()["status"] == "WAITING_FOR_DEPOSIT"
    await told.advance(0.000_001)
    payment = (await told.get(late)).json()
    assert (payment["status"], payment["virtualAccount"]["expired"]) == ("EXPIRED", True)
    assert refusal(await deposit(told, late)) == (400, "INVALID_REQUEST")
    assert refusal(await cancel(told, late)) == (403, "NOT_CANCELABLE_PAYMENT")
    await told.at_rest()
    assert told.shop.news() == [("order-0002", "EXPIRED")]
    await told.advance(WEEK_S - 3600)
    assert (await deposit(told, early)).is_error
    # Its order may be paid in another way now.
    again = await told.authenticate()
    assert (await told.get(f"orders/{ORDER}")).json()["paymentKey"] == again
    assert (await told.confirm(again)).json()["status"] == "DONE"


async def test_a_deposit_taken_back_after_the_due_date_leaves_nothing_open(told: Told) -> None:
    key = await deposited(told)
    await told.advance(WEEK_S + 1)
    assert (await told.get(key)).json()["status"] == "DONE"
    assert (await deposit(told, key, error=True)).status_code == 200
    await told.at_rest()
    assert (await told.get(key)).json()["status"] == "EXPIRED"
    assert told.shop.news()[2:] == [(ORDER, "WAITING_FOR_DEPOSIT"), (ORDER, "EXPIRED")]


async def test_while_an_account_is_open_the_order_is_not_paid_in_another_way(pg: Pg) -> None:
    key, other = await opened(pg), await pg.authenticate()
    for each in (key, other):
        assert refusal(await pg.confirm(each)) == (400, "ALREADY_PROCESSED_PAYMENT")
    assert (await pg.get(f"orders/{ORDER}")).json()["paymentKey"] == key
    assert (await deposit(pg, key)).status_code == 200
    assert refusal(await pg.confirm(other)) == (400, "ALREADY_PROCESSED_PAYMENT")
    assert await pg.captures() == 1


async def test_before_the_deposit_only_the_whole_is_cancelled(told: Told) -> None:
    key = await opened(told)
    partial = await cancel(told, key, cancelAmount=100)
    assert refusal(partial) == (403, "NOT_ALLOWED_PARTIAL_REFUND_WAITING_DEPOSIT")
    assert refusal(await cancel(told, key, refundableAmount=1)) == (400, "NOT_MATCHES_REFUNDABLE_AMOUNT")
    payment = (await cancel(told, key)).json()
    assert (payment["status"], payment["balanceAmount"]) == ("CANCELED", 0)
    assert (payment["cancels"][0]["cancelAmount"], payment["virtualAccount"]["refundStatus"]) == (AMOUNT, "NONE")
    assert payment == (await told.get(key)).json()
    ledger = await of_ledger(told)
    assert (ledger["status"], ledger["captures"], ledger["cancels"]) == ("CANCELED", [], [])
    assert await shown(told) == []
    assert refusal(await deposit(told, key)) == (400, "INVALID_REQUEST")
    assert refusal(await told.confirm(key)) == (400, "ALREADY_PROCESSED_PAYMENT")
    await told.at_rest()
    assert told.shop.news() == [(ORDER, "CANCELED")] * 2


@pytest.mark.parametrize(
    ("account", "code"),
    [
        (None, "INVALID_REFUND_ACCOUNT_INFO"),
        ("1002123456789", "INVALID_REFUND_ACCOUNT_INFO"),
        (ACCOUNT | {"holderName": ""}, "INVALID_REFUND_ACCOUNT_INFO"),
        (ACCOUNT | {"holderName": "김" * 61}, "INVALID_REFUND_ACCOUNT_INFO"),
        (ACCOUNT | {"bank": ""}, "INVALID_BANK"),
        (ACCOUNT | {"bank": 20}, "INVALID_BANK"),
        (ACCOUNT | {"accountNumber": "1002-123-456789"}, "INVALID_REFUND_ACCOUNT_NUMBER"),
        (ACCOUNT | {"accountNumber": "1" * 21}, "INVALID_REFUND_ACCOUNT_NUMBER"),
        (ACCOUNT | {"accountNumber": 1002123456789}, "INVALID_REFUND_ACCOUNT_NUMBER"),
    ],
    ids=str,
)
async def test_a_deposit_goes_back_only_to_an_account(pg: Pg, account: Any, code: str) -> None:
    key = await deposited(pg)
    assert refusal(await cancel(pg, key, refundReceiveAccount=account)) == (400, code)
    assert (await of_ledger(pg))["cancels"] == []
    assert (await cancel(pg, key, cancelAmount=100, refundReceiveAccount=ACCOUNT)).status_code == 200
    payment = (await cancel(pg, key, refundReceiveAccount=ACCOUNT)).json()
    assert (payment["status"], payment["virtualAccount"]["refundStatus"]) == ("CANCELED", "COMPLETED")
    assert payment["virtualAccount"]["refundReceiveAccount"] is None
    assert [each["amount"] for each in (await of_ledger(pg))["cancels"]] == [100, AMOUNT - 100]
    assert refusal(await deposit(pg, key, error=True)) == (400, "INVALID_REQUEST")


@pytest.mark.parametrize("before", ["authenticated", "of a card", "done twice"])
async def test_only_what_waits_for_a_deposit_takes_one(pg: Pg, before: str) -> None:
    if before == "authenticated":
        key, expected = await pg.authenticate(method="VIRTUAL_ACCOUNT"), (400, "INVALID_REQUEST")
    elif before == "of a card":
        key, expected = await pg.authenticate(), (404, "NOT_FOUND")
    else:
        key, expected = await deposited(pg), (400, "INVALID_REQUEST")
    captures = await pg.captures()
    assert refusal(await deposit(pg, key)) == expected
    assert refusal(await deposit(pg, "unknown")) == (404, "NOT_FOUND")
    assert await pg.captures() == captures


@pytest.mark.parametrize("hours", [0, 2161, "1"])
async def test_an_account_is_open_for_an_hour_to_90_days(pg: Pg, hours: Any) -> None:
    body = {"orderId": ORDER, "amount": AMOUNT, "method": "VIRTUAL_ACCOUNT", "validHours": hours}
    assert refusal(await pg.http.post("/emulator/authenticate", json=body)) == (400, "INVALID_REQUEST")
    key = await opened(pg, validHours=2160)
    assert (await pg.get(key)).json()["virtualAccount"]["dueDate"] == "2026-04-01T09:00:00+09:00"


async def test_less_than_200_won_is_not_paid_into_an_account(pg: Pg) -> None:
    key = await pg.authenticate(amount=199, method="VIRTUAL_ACCOUNT")
    assert refusal(await pg.confirm(key, amount=199)) == (400, "BELOW_MINIMUM_AMOUNT")


async def test_without_controls_nobody_makes_a_deposit() -> None:
    async with telling(Shop(), controls=False) as pg:
        assert refusal(await deposit(pg, await opened(pg))) == (403, "FORBIDDEN_REQUEST")


async def test_the_page_offers_an_account_where_the_shop_takes_deposits(pg: Pg) -> None:
    purchase = {"orderId": ORDER, "amount": str(AMOUNT), **SHOP}
    page = await pg.http.get("/emulator/checkout", params=purchase)
    assert "virtual-account" not in page.text
    page = await pg.http.get("/emulator/checkout", params=purchase | {"virtualAccount": "true"})
    assert 'value="virtual-account"' in page.text
    form = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page.text))
    answer = await pg.http.post("/emulator/checkout", data=form | {"choice": "virtual-account"})
    assert answer.status_code == 303
    key = httpx2.URL(answer.headers["location"]).params["paymentKey"]
    assert (await pg.confirm(key)).json()["status"] == "WAITING_FOR_DEPOSIT"


BEFORE_ACCOUNTS = (
    """CREATE TABLE payment (payment_key TEXT PRIMARY KEY, order_id TEXT NOT NULL, order_name TEXT NOT NULL,
        amount INTEGER NOT NULL, method TEXT NOT NULL, status TEXT NOT NULL, secret TEXT NOT NULL,
        authenticated_at INTEGER NOT NULL, approved_at INTEGER, transaction_key TEXT, failure_code TEXT)""",
    """CREATE TABLE movement (transaction_key TEXT PRIMARY KEY, payment_key TEXT NOT NULL REFERENCES payment,
        kind TEXT NOT NULL CHECK (kind IN ('capture', 'cancel')), amount INTEGER NOT NULL CHECK (amount > 0),
        at INTEGER NOT NULL)""",
    """CREATE TABLE cancel (transaction_key TEXT PRIMARY KEY REFERENCES movement, reason TEXT NOT NULL,
        left_over INTEGER NOT NULL CHECK (left_over >= 0))""",
    """INSERT INTO payment VALUES ('old', 'order-0001', '', 7300, 'CARD', 'PARTIAL_CANCELED', 's', 1767225600000000,
        1767225600000000, 'T1', NULL)""",
    """INSERT INTO movement (rowid, transaction_key, payment_key, kind, amount, at)
        VALUES (5, 'T1', 'old', 'capture', 7300, 1767225600000000), (9, 'T2', 'old', 'cancel', 300, 1767225600000000)
    """,
    "INSERT INTO cancel VALUES ('T2', 'why', 7000)",
)


@pytest.fixture
async def of_old(tmp_path: Path) -> AsyncIterator[Pg]:
    """An emulator on a ledger of the version that knew no virtual accounts."""
    with sqlite3.connect(tmp_path / "toss.db") as old:
        for statement in BEFORE_ACCOUNTS:
            old.execute(statement)
    old.close()
    toss = emulator(tmp_path, inline=True)
    await toss.start()
    async with in_process(toss.asgi) as http:
        yield Pg(http)
    await toss.stop()


async def test_a_ledger_of_before_is_taken_over_with_all_that_moved(of_old: Pg) -> None:
    ledger = await of_ledger(of_old)
    assert (ledger["captures"], ledger["cancels"]) == ([{"amount": 7300, "at": AT}], [{"amount": 300, "at": AT}])
    assert (await of_old.get("old")).json()["balanceAmount"] == 7000
    assert (await cancel(of_old, "old")).json()["status"] == "CANCELED"
    key = await opened(of_old, "order-0002")
    assert (await deposit(of_old, key)).status_code == 200
    assert (await deposit(of_old, key, error=True)).status_code == 200
    moved = [each["transactionKey"] for each in await shown(of_old)]
    assert (moved[:2], len(moved)) == (["T1", "T2"], 5)
