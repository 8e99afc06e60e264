"""Where the PG sends the buyer back to: paid, being checked, declined or refused, and never more than once."""

from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from world import World

from .browser import BROWSER, is_page, success, visit, way_to_pay
from .shop import counts, refused, shop


async def opened(w: World) -> dict[str, Any]:
    order = (await w.order()).json()
    payment: dict[str, Any] = await w.get(f"/v1/orders/{order['order_id']}/payment")
    return payment


async def test_success_pays_once_however_often_it_is_loaded(tmp_path: Path) -> None:
    async with shop(tmp_path) as w:
        payment = await opened(w)
        key = await w.authenticate(payment)
        for _ in range(5):
            text = is_page(await success(w, payment, key))
            assert "5,800원" in text
        assert await w.captures(payment["payment_id"]) == 1
        assert refused(await success(w, payment, await w.authenticate(payment), headers={})) == "invalid-state"


async def test_success_says_checking_while_it_is_not_known(tmp_path: Path) -> None:
    async with shop(tmp_path) as w:
        payment = await opened(w)
        key = await w.authenticate(payment)
        await w.faults(confirm=[{"kind": "slow", "ms": 5_000}])
        answer = await success(w, payment, key)
        text = is_page(answer, 202)
        assert "확인 중" in text
        assert "실패" not in text
        assert answer.headers["refresh"]
        assert "결제가 완료" in is_page(await success(w, payment, key))


async def test_success_says_what_the_pg_said_when_it_declined(tmp_path: Path) -> None:
    async with shop(tmp_path) as w:
        payment = await opened(w)
        key = await w.authenticate(payment, method="CARD_REFUSED")
        text = is_page(await success(w, payment, key), 402)
        assert "Over the limit or short of balance." in text
        assert way_to_pay(text).startswith(f"/pay/{payment['order_id']}?token=")
        problem = await success(w, payment, key, headers={})
        assert refused(problem) == "payment-declined"
        assert problem.json()["pg_code"] == "REJECT_CARD_PAYMENT"


async def test_success_with_another_amount_takes_no_money(tmp_path: Path) -> None:
    async with shop(tmp_path) as w:
        payment = await opened(w)
        key = await w.authenticate(payment)
        for amount in (1, payment["amount"] - 1, payment["amount"] + 1):
            is_page(await success(w, payment, key, amount=amount), 409)
            assert refused(await success(w, payment, key, amount=amount, headers={})) == "amount-mismatch"
        assert (await w.ledger())["calls"] == []


async def test_success_of_a_closed_payment_takes_no_money(tmp_path: Path) -> None:
    async with shop(tmp_path) as w:
        payment = await opened(w)
        key = await w.authenticate(payment)
        await w.http.post(f"/v1/orders/{payment['order_id']}/cancel", headers=w.auth())
        is_page(await success(w, payment, key), 409)
        assert refused(await success(w, payment, key, headers={})) == "invalid-state"
        assert (await w.ledger())["calls"] == []


async def test_success_of_a_payment_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        payment = await opened(w)
        for bad in ("pay_" + "0" * 26, payment["order_id"], "x", "", "%00", "../../x"):
            code = refused(await success(w, payment, "key", orderId=bad, headers={}))
            assert code == "not-found", bad
            is_page(await success(w, payment, "key", orderId=bad), 404)


async def test_success_without_what_the_pg_sends_is_refused(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        at = f"orderId={(await opened(w))['payment_id']}"
        for query in (
            "", at, f"{at}&amount=5800", f"{at}&paymentKey=k", f"{at}&paymentKey=&amount=5800", "paymentKey=k&amount=x",
            f"{at}&paymentKey=k&amount=0", f"{at}&paymentKey=k&amount=-1", f"{at}&paymentKey=k&amount=5800.0",
            f"{at}&paymentKey=k&amount=9007199254740992", f"{at}&paymentKey=k&amount={'9' * 5_000}",
            f"{at}&paymentKey=k%00&amount=5800", f"{at}&paymentKey=k%0a&amount=5800",
            f"{at}&paymentKey=k+k&amount=5800",
            f"{at}&paymentKey={'k' * 201}&amount=5800", f"{at}&paymentKey=k&paymentKey=k&amount=5800",
            f"{at}&{at}&paymentKey=k&amount=5800", f"{at}&paymentKey=k&amount=5800&amount=5800",
        ):  # fmt: skip
            assert refused(await w.http.get(f"/pay/success?{query}")) == "invalid-request", query
            assert is_page(await w.http.get(f"/pay/success?{query}", headers=BROWSER), 400), query
        assert (await w.ledger())["calls"] == []


async def test_fail_says_why_and_shows_the_way_back_and_changes_nothing(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        payment = await opened(w)
        before = await counts(w)
        query = urlencode(
            {"code": "PAY_PROCESS_CANCELED", "message": "취소하셨습니다", "orderId": payment["payment_id"]}
        )
        text = is_page(await visit(w, f"/pay/fail?{query}"))
        assert "취소하셨습니다" in text
        assert way_to_pay(text).startswith(f"/pay/{payment['order_id']}?token=")
        for query in (
            "",
            "code=X",
            "orderId=pay_" + "0" * 26,
            f"orderId={payment['order_id']}",
            "message=" + "가" * 5_000,
        ):
            assert 'class="button"' not in is_page(await visit(w, f"/pay/fail?{query}")), query
        assert await counts(w) == before


@pytest.mark.parametrize("query", ["message=a&message=b", "code=%00", "orderId=%00", "message=%00"])
async def test_fail_refuses_what_no_pg_sends(tmp_path: Path, query: str) -> None:
    async with shop(tmp_path, loops=False) as w:
        assert refused(await w.http.get(f"/pay/fail?{query}")) == "invalid-request"
        is_page(await visit(w, f"/pay/fail?{query}"), 400)
