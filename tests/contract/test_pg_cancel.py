"""Money going back, as the shop's client sees it at the PG: in process and over real TCP."""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest

from .test_pg_emulator import AMOUNT, KEY, ORDER, Pg, emulator, in_process, pg, refusal

__all__ = ["pg"]

ACCOUNT = {"bank": "20", "accountNumber": "1002003004005", "holderName": "김하나"}
"""Where the money of a virtual account goes back to; a card's goes back to the card."""


async def cancel(pg: Pg, key: str, *, options: dict[str, Any] | None = None, **body: Any) -> httpx2.Response:
    """Ask for money back; a `cancelReason` of None is left out."""
    asked = {"cancelReason": "changed my mind"} | body
    asked = {name: value for name, value in asked.items() if value is not None}
    return await pg.http.post(f"/v1/payments/{key}/cancel", json=asked, **(options or {}))


async def captured(pg: Pg) -> str:
    """A payment that has captured."""
    key = await pg.authenticate()
    assert (await pg.confirm(key)).status_code == 200
    return key


async def cancelled(pg: Pg) -> list[int]:
    """What went back, as the ledger shows it."""
    return [each["amount"] for payment in (await pg.ledger())["payments"] for each in payment["cancels"]]


async def test_all_of_it_goes_back_and_reads_back_the_same(pg: Pg) -> None:
    key = await captured(pg)
    answer = await cancel(pg, key)
    assert answer.status_code == 200
    payment = answer.json()
    assert {name: payment[name] for name in ("status", "totalAmount", "balanceAmount", "suppliedAmount", "vat")} == {
        "status": "CANCELED", "totalAmount": AMOUNT, "balanceAmount": 0, "suppliedAmount": 0, "vat": 0,
    }  # fmt: skip
    (only,) = payment["cancels"]
    assert (only["cancelAmount"], only["cancelReason"], only["refundableAmount"]) == (AMOUNT, "changed my mind", 0)
    assert (only["canceledAt"], only["cancelStatus"]) == ("2026-01-01T09:00:00+09:00", "DONE")
    assert only["transactionKey"] == payment["lastTransactionKey"]
    assert payment == (await pg.get(key)).json() == (await pg.get(f"orders/{ORDER}")).json()
    ledger = await pg.ledger()
    at = "2026-01-01T00:00:00.000000Z"
    assert ledger["payments"][0]["status"] == "CANCELED"
    assert ledger["payments"][0]["cancels"] == [{"amount": AMOUNT, "at": at}]
    assert {"kind": "cancel", "orderId": ORDER, "paymentKey": key, "outcome": "done", "at": at} in ledger["calls"]


async def test_parts_of_it_go_back_until_nothing_is_left(pg: Pg) -> None:
    key = await captured(pg)
    shown = [(await cancel(pg, key, cancelAmount=amount)).json() for amount in (1000, 300)]
    shown.append((await cancel(pg, key)).json())
    assert [(each["status"], each["balanceAmount"]) for each in shown] == [
        ("PARTIAL_CANCELED", AMOUNT - 1000), ("PARTIAL_CANCELED", AMOUNT - 1300), ("CANCELED", 0),
    ]  # fmt: skip
    assert [each["cancelAmount"] for each in shown[-1]["cancels"]] == [1000, 300, AMOUNT - 1300]
    assert len({each["transactionKey"] for each in shown[-1]["cancels"]}) == 3
    assert await cancelled(pg) == [1000, 300, AMOUNT - 1300]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"cancelReason": None}, (400, "INVALID_REQUEST")),
        ({"cancelReason": ""}, (400, "INVALID_REQUEST")),
        ({"cancelReason": 5}, (400, "INVALID_REQUEST")),
        ({"cancelReason": "x" * 201}, (400, "INVALID_REQUEST")),
        ({"cancelAmount": 0}, (400, "INVALID_REQUEST")),
        ({"cancelAmount": -1}, (400, "INVALID_REQUEST")),
        ({"cancelAmount": True}, (400, "INVALID_REQUEST")),
        ({"cancelAmount": "100"}, (400, "INVALID_REQUEST")),
        ({"cancelAmount": AMOUNT + 1}, (403, "NOT_CANCELABLE_AMOUNT")),
        ({"cancelAmount": 100, "refundableAmount": AMOUNT - 1}, (400, "NOT_MATCHES_REFUNDABLE_AMOUNT")),
        ({"refundableAmount": "all"}, (400, "INVALID_REQUEST")),
        ({"refundReceiveAccount": ACCOUNT}, (400, "INVALID_REQUEST")),
        ({"currency": "USD"}, (400, "INVALID_REQUEST")),
        ({"currency": 410}, (400, "INVALID_REQUEST")),
    ],
)
async def test_what_does_not_fit_moves_nothing(pg: Pg, body: dict[str, Any], expected: tuple[int, str]) -> None:
    key = await captured(pg)
    assert refusal(await cancel(pg, key, **body)) == expected
    assert await cancelled(pg) == []
    assert (await pg.get(key)).json()["status"] == "DONE"
    assert (await cancel(pg, key, cancelAmount=100, refundableAmount=AMOUNT, currency="KRW")).status_code == 200


@pytest.mark.parametrize("raw", [b"", b"null", b"[]", b"{", b"[" * 10_000])
async def test_a_body_that_is_none_is_refused(pg: Pg, raw: bytes) -> None:
    key = await captured(pg)
    assert refusal(await pg.http.post(f"/v1/payments/{key}/cancel", content=raw)) == (400, "INVALID_REQUEST")


async def test_only_money_that_is_there_goes_back(pg: Pg) -> None:
    assert refusal(await cancel(pg, "unknown")) == (404, "NOT_FOUND_PAYMENT")
    key = await pg.authenticate()
    assert refusal(await cancel(pg, key)) == (403, "NOT_CANCELABLE_PAYMENT")
    assert (await pg.confirm(key)).status_code == 200
    assert (await cancel(pg, key)).status_code == 200
    assert refusal(await cancel(pg, key)) == (400, "ALREADY_CANCELED_PAYMENT")
    assert refusal(await pg.confirm(await pg.authenticate())) == (400, "ALREADY_PROCESSED_PAYMENT")
    assert await cancelled(pg) == [AMOUNT]


async def test_the_same_key_is_one_cancel_with_one_answer(pg: Pg) -> None:
    key, other = await captured(pg), await pg.authenticate("order-0002")
    assert (await pg.confirm(other, "order-0002")).status_code == 200
    first = await cancel(pg, key, cancelAmount=100, options={"headers": {KEY: "k"}})
    again = await cancel(pg, key, cancelAmount=100, options={"headers": {KEY: "k"}})
    assert (again.status_code, again.content) == (200, first.content)
    assert await cancelled(pg) == [100]
    assert (await cancel(pg, key, cancelAmount=100, options={"headers": {KEY: "l"}})).status_code == 200
    elsewhere = await cancel(pg, other, cancelAmount=100, options={"headers": {KEY: "k"}})
    assert elsewhere.json()["orderId"] == "order-0002", "another payment is another address"
    assert await cancelled(pg) == [100, 100, 100]


async def test_an_error_is_answered_again_under_its_key(pg: Pg) -> None:
    key = await captured(pg)
    await pg.script(cancel=[{"kind": "error", "code": "PROVIDER_ERROR"}])
    for _ in range(2):
        assert refusal(await cancel(pg, key, options={"headers": {KEY: "k"}})) == (400, "PROVIDER_ERROR")
    assert (await cancel(pg, key, options={"headers": {KEY: "l"}})).status_code == 200
    assert (await pg.outcomes())[1:] == ["error:PROVIDER_ERROR", "replayed", "done"]


async def test_that_the_first_request_still_runs_is_not_kept_as_its_answer(pg: Pg) -> None:
    key = await captured(pg)
    await pg.script(cancel=[{"kind": "error", "code": "IDEMPOTENT_REQUEST_PROCESSING"}])
    told = [await cancel(pg, key, options={"headers": {KEY: "k"}}) for _ in range(2)]
    assert [answer.status_code for answer in told] == [409, 200]


@pytest.mark.parametrize(
    ("code", "status"),
    [("FAILED_REFUND_PROCESS", 500), ("COMMON_ERROR", 500), ("NOT_AVAILABLE_BANK", 403), ("REFUND_REJECTED", 400)],
)
async def test_a_scripted_error_moves_nothing(pg: Pg, code: str, status: int) -> None:
    key = await captured(pg)
    await pg.script(cancel=[{"kind": "error", "code": code}, {"kind": "http", "status": 502}])
    assert refusal(await cancel(pg, key)) == (status, code)
    assert (await cancel(pg, key)).status_code == 502
    assert await cancelled(pg) == []
    assert (await pg.outcomes())[1:] == [f"error:{code}", "http:502"]


@pytest.mark.parametrize("kind", ["error", "http", "drop-before", "drop-after"])
@pytest.mark.parametrize("call", ["cancel", "get"])
async def test_the_journal_names_the_order_of_a_call_by_key_whatever_goes_wrong_with_it(
    pg: Pg, call: str, kind: str
) -> None:
    key = await captured(pg)
    more: dict[str, dict[str, Any]] = {"error": {"code": "REFUND_REJECTED"}, "http": {"status": 502}}
    await pg.script(**{call: [{"kind": kind} | more.get(kind, {})]})
    with suppress(httpx2.HTTPError):
        await (cancel(pg, key) if call == "cancel" else pg.get(key))
    noted = (await pg.ledger())["calls"][-1]
    assert (noted["kind"], noted["orderId"], noted["paymentKey"]) == (call, ORDER, key)


async def test_the_journal_names_no_order_for_a_key_that_is_nobodys(pg: Pg) -> None:
    assert (await cancel(pg, "unknown")).status_code == 404
    noted = (await pg.ledger())["calls"][-1]
    assert (noted["kind"], noted["orderId"], noted["paymentKey"]) == ("cancel", None, "unknown")


@pytest.mark.parametrize(("kind", "moved"), [("drop-before", []), ("drop-after", [100])])
async def test_a_cut_line_is_told_in_the_journal(pg: Pg, kind: str, moved: list[int]) -> None:
    key = await captured(pg)
    await pg.script(cancel=[{"kind": kind}])
    with pytest.raises(httpx2.HTTPError):
        await cancel(pg, key, cancelAmount=100, options={"headers": {KEY: "k"}})
    assert await cancelled(pg) == moved
    assert (await cancel(pg, key, cancelAmount=100, options={"headers": {KEY: "k"}})).status_code == 200
    assert await cancelled(pg) == [100]
    lost = {"drop-before": "dropped-before", "drop-after": "dropped-after"}[kind]
    assert (await pg.outcomes())[1:] == [lost, "replayed" if moved else "done"]


async def test_while_the_first_request_runs_a_repeat_is_told_to_wait(pg: Pg) -> None:
    key = await captured(pg)
    await pg.script(cancel=[{"kind": "slow", "ms": 1000}])
    first = asyncio.create_task(cancel(pg, key, options={"headers": {KEY: "k"}}))
    await pg.gate.entered.wait()
    repeat = await cancel(pg, key, options={"headers": {KEY: "k"}})
    assert refusal(repeat) == (409, "IDEMPOTENT_REQUEST_PROCESSING")
    pg.gate.open.set()
    assert (await first).status_code == 200
    assert await cancelled(pg) == [AMOUNT]


async def test_a_mix_draws_for_each_cancel(pg: Pg) -> None:
    key = await captured(pg)
    await pg.script(cancel=[{"mix": {"error:PROVIDER_ERROR": 0.5}, "seed": 3}])
    told = [(await cancel(pg, key, cancelAmount=1)).status_code for _ in range(40)]
    assert set(told) == {200, 400}
    assert await cancelled(pg) == [1] * told.count(200)


async def test_what_went_back_is_known_after_a_restart(tmp_path: Path) -> None:
    first = emulator(tmp_path, inline=True)
    await first.start()
    async with in_process(first.asgi) as http:
        key = await captured(Pg(http))
        shown = (await cancel(Pg(http), key, cancelAmount=100)).json()
    await first.stop()
    second = emulator(tmp_path, inline=True)
    await second.start()
    async with in_process(second.asgi) as http:
        assert (await Pg(http).get(key)).json() == shown
    await second.stop()
