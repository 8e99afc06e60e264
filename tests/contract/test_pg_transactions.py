"""The list of what moved at the PG, as the shop's client sees it: in process and over real TCP."""

from typing import Any

import httpx2
import pytest

from .test_pg_cancel import cancel, captured
from .test_pg_emulator import AMOUNT, NOBODY, ORDER, Pg, pg, refusal

__all__ = ["pg"]

DAY = {"startDate": "2026-01-01T00:00:00", "endDate": "2026-01-01T23:59:59"}
"""The day on which these tests happen, which begin at nine in the morning in Seoul."""


async def listed(pg: Pg, **query: object) -> httpx2.Response:
    """Ask for the transactions of the day; a part that is None is left out."""
    asked = {name: str(value) for name, value in (DAY | query).items() if value is not None}
    return await pg.http.get("/v1/transactions", params=asked)


async def shown(pg: Pg, **query: object) -> list[dict[str, Any]]:
    """The transactions that are found."""
    answer = await listed(pg, **query)
    assert answer.status_code == 200, answer.text
    return list(answer.json())


async def test_a_capture_and_each_cancel_are_a_transaction_in_order(pg: Pg) -> None:
    key = await captured(pg)
    first = (await pg.get(key)).json()["lastTransactionKey"]
    for amount in (1_000, None):
        assert (await cancel(pg, key, cancelAmount=amount)).status_code == 200
    found = await shown(pg)
    assert [(each["status"], each["amount"]) for each in found] == [
        ("DONE", AMOUNT), ("PARTIAL_CANCELED", 1_000), ("CANCELED", AMOUNT - 1_000),
    ]  # fmt: skip
    cancels = [each["transactionKey"] for each in (await pg.get(key)).json()["cancels"]]
    assert [each["transactionKey"] for each in found] == [first, *cancels]
    assert found[0] == {
        "mId": "emulator", "transactionKey": first, "paymentKey": key, "orderId": ORDER, "method": "카드",
        "customerKey": None, "useEscrow": False, "receiptUrl": None, "status": "DONE",
        "transactionAt": "2026-01-01T09:00:00+09:00", "currency": "KRW", "amount": AMOUNT,
    }  # fmt: skip


async def test_what_moved_no_money_is_no_transaction(pg: Pg) -> None:
    await pg.confirm(await pg.authenticate("order-refused", method="CARD_REFUSED"), "order-refused")
    await pg.authenticate("order-waiting")
    assert await shown(pg) == []


async def test_pages_show_every_transaction_once(pg: Pg) -> None:
    for each in range(7):
        order_id = f"order-{each:04}"
        assert (await pg.confirm(await pg.authenticate(order_id), order_id)).status_code == 200
    found: list[dict[str, Any]] = []
    while page := await shown(pg, limit=3, startingAfter=found[-1]["transactionKey"] if found else None):
        assert len(page) <= 3
        found += page
    assert [each["orderId"] for each in found] == [f"order-{each:04}" for each in range(7)]
    assert found == await shown(pg)


async def test_a_span_of_time_covers_its_last_second_and_is_in_seoul(pg: Pg) -> None:
    await captured(pg)
    await pg.advance(1.5)
    await pg.confirm(await pg.authenticate("order-later"), "order-later")
    on, later = "2026-01-01T09:00:00", "2026-01-01T09:00:01"
    assert [each["orderId"] for each in await shown(pg, startDate=on, endDate=on)] == [ORDER]
    assert [each["orderId"] for each in await shown(pg, startDate=later, endDate=later)] == ["order-later"]
    assert len(await shown(pg, startDate=f"{on}.000", endDate=f"{later}.999")) == 2
    assert await shown(pg, startDate="2026-01-01T00:00:00", endDate="2026-01-01T08:59:59") == []
    assert await shown(pg, startDate="2026-01-02T00:00:00", endDate="9999-12-31T23:59:59") == []


@pytest.mark.parametrize(
    "query",
    [
        {"startDate": None},
        {"endDate": None},
        {"startDate": "2026-01-01"},
        {"startDate": "2026-02-30T00:00:00"},
        {"endDate": "2026-01-01T23:59:59+09:00"},
        {"startDate": "2026-01-02T00:00:00"},
        {"startDate": "0000-01-01T00:00:00"},
        {"limit": 0},
        {"limit": 5_001},
        {"limit": "many"},
        {"limit": "-1"},
        {"limit": "1.5"},
    ],
    ids=str,
)
async def test_a_question_that_is_none_is_refused(pg: Pg, query: dict[str, object]) -> None:
    assert refusal(await listed(pg, **query)) == (400, "INVALID_REQUEST")


async def test_a_page_that_follows_nothing_of_the_span_is_refused(pg: Pg) -> None:
    key = await captured(pg)
    transaction = (await pg.get(key)).json()["lastTransactionKey"]
    assert refusal(await listed(pg, startingAfter="nothing")) == (400, "INVALID_TRANSACTION_KEY")
    tomorrow = {"startDate": "2026-01-02T00:00:00", "endDate": "2026-01-03T00:00:00"}
    assert refusal(await listed(pg, startingAfter=transaction, **tomorrow)) == (400, "INVALID_TRANSACTION_KEY")


async def test_it_is_the_merchants_own(pg: Pg) -> None:
    answer = await pg.http.get("/v1/transactions", params=DAY, auth=NOBODY)
    assert refusal(answer) == (401, "UNAUTHORIZED_KEY")


async def test_the_ledger_notes_the_call_and_a_script_spoils_it(pg: Pg) -> None:
    script = [{"kind": "error", "code": "FORBIDDEN_CONSECUTIVE_REQUEST"}, {"kind": "http", "status": 502}]
    assert (await pg.script(transactions=[*script, {"kind": "drop-before"}])).status_code == 200
    assert refusal(await listed(pg)) == (403, "FORBIDDEN_CONSECUTIVE_REQUEST")
    assert (await listed(pg)).status_code == 502
    with pytest.raises(httpx2.TransportError):
        await listed(pg)
    assert await shown(pg) == []
    calls = [call for call in (await pg.ledger())["calls"] if call["kind"] == "transactions"]
    assert [call["outcome"] for call in calls] == [
        "error:FORBIDDEN_CONSECUTIVE_REQUEST", "http:502", "dropped-before", "done",
    ]  # fmt: skip
    assert all(call["orderId"] is None and call["paymentKey"] is None for call in calls)
