"""Where the PG sends the buyer back to: paid, being checked, declined or refused, and never more than once."""

import asyncio
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import urlencode

import pytest

from quickcommerce.payment.model import Asked, Later, Reply
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


async def test_who_waits_while_the_order_ends_is_told_so_and_not_that_it_is_checked(tmp_path: Path) -> None:
    """The PG cannot be reached, so nothing was asked of it, and the buyer cancels in another window."""

    async def unreached(_: Asked) -> Reply:
        return Later("NOT_SENT", "ConnectError", ours=False, sent=False)

    async with shop(tmp_path) as w:
        for by_page in (True, False):
            payment = await opened(w)
            key = await w.authenticate(payment)
            with patch.object(w.app.flows.toss, "confirm", unreached):
                paying = asyncio.create_task(success(w, payment, key) if by_page else w.confirm(payment, key))
                await asyncio.sleep(0.5)
                cancelled = await w.http.post(f"/v1/orders/{payment['order_id']}/cancel", headers=w.auth())
                assert cancelled.status_code == 200
                told = await paying
            if by_page:
                is_page(told, 409)
            else:
                assert refused(told) == "invalid-state"
            assert (await w.confirm(payment, key)).status_code == 409


async def test_success_says_what_the_pg_said_when_it_declined(tmp_path: Path) -> None:
    async with shop(tmp_path) as w:
        payment = await opened(w)
        key = await w.authenticate(payment, method="CARD_REFUSED")
        text = is_page(await success(w, payment, key), 402)
        assert "한도를 넘었거나 잔액이 부족해요." in text
        assert way_to_pay(text).startswith(f"/pay/{payment['order_id']}?token=")
        problem = await success(w, payment, key, headers={})
        assert refused(problem) == "payment-declined"
        assert problem.json()["pg_code"] == "REJECT_CARD_PAYMENT"


@pytest.mark.parametrize(
    ("spoken", "said"), [("ko", "한도를 넘었거나 잔액이 부족해요."), ("en", "Over the limit or short of balance.")]
)
async def test_why_the_pg_declined_is_said_in_the_buyers_language(tmp_path: Path, spoken: str, said: str) -> None:
    """The PG is asked in one language for all; a code that we do not know is told in its own words."""
    async with shop(tmp_path) as w:
        payment = await opened(w)
        headers = BROWSER | {"Accept-Language": spoken}
        declined = await success(w, payment, await w.authenticate(payment, method="CARD_REFUSED"), headers=headers)
        assert said in is_page(declined, 402)
        await w.faults(
            confirm=[{"kind": "http", "status": 400, "body": '{"code":"BELOW_MINIMUM_AMOUNT","message":"?!"}'}]
        )
        assert '<p class="quote">?!</p>' in is_page(await success(w, payment, await w.authenticate(payment)), 402)
        gone_back = {"code": "REJECT_CARD_COMPANY", "message": "MESSAGE", "orderId": payment["payment_id"]}
        text = is_page(await w.http.get(f"/pay/fail?{urlencode(gone_back)}", headers=headers))
        assert {"ko": "카드사가 결제를 거절했어요.", "en": "The card company refused the payment."}[spoken] in text
        assert ">MESSAGE<" not in text


async def test_no_page_says_that_nothing_was_charged_while_money_is_on_its_way_or_taken(tmp_path: Path) -> None:
    """Three windows at the PG: one pays and its reply is lost; the others give up, or pay too."""
    async with shop(tmp_path) as w:
        payment = await opened(w)
        keys = [await w.authenticate(payment) for _ in range(3)]
        lost = [{"kind": "drop-after"}] * 3
        await w.faults(confirm=lost, get=[{"kind": "http", "status": 503, "body": "{}"}] * 20)
        gave_up = f"/pay/fail?{urlencode({'code': 'PAY_PROCESS_CANCELED', 'orderId': payment['payment_id']})}"
        assert "확인 중" in is_page(await success(w, payment, keys[0]), 202)
        for answer, status in (
            (await success(w, payment, keys[1]), 409),
            (await success(w, payment, keys[1], amount=payment["amount"] + 1), 409),
            (await visit(w, gave_up), 200),
        ):
            text = is_page(answer, status)
            assert "확인 중" in text
            assert "다시 결제하지 마세요" in text
            assert "결제된 금액은 없어요" not in text
            assert "?token=" not in text.partition('class="button"')[0]
            assert answer.headers["refresh"]
        assert 'class="button"' not in is_page(await visit(w, f"/pay/{payment['order_id']}", "owner"))
        await w.faults(confirm=[], get=[])
        await w.until_status(payment["order_id"], "PAID")
        for url_status in ((await success(w, payment, keys[2]), 409), (await visit(w, gave_up), 200)):
            text = is_page(*url_status)
            assert "이미 결제된 주문이에요" in text
            assert "결제된 금액은 없어요" not in text
            assert way_to_pay(text).startswith(f"/pay/{payment['order_id']}?token="), "the order, by its link"
        assert await w.captures(payment["payment_id"]) == 1


async def test_a_card_that_was_declined_before_the_order_was_paid_with_another_asks_for_no_money(
    tmp_path: Path,
) -> None:
    async with shop(tmp_path) as w:
        payment = await opened(w)
        refused_key = await w.authenticate(payment, method="CARD_REFUSED")
        assert "결제된 금액은 없어요" in is_page(await success(w, payment, refused_key), 402)
        is_page(await success(w, payment, await w.authenticate(payment)))
        text = is_page(await success(w, payment, refused_key), 402)
        assert "이미 결제된 주문이에요" in text
        assert "다시 결제하기" not in text


async def test_a_buyer_is_shown_the_way_to_the_order_from_whatever_came_of_the_payment(tmp_path: Path) -> None:
    async with shop(tmp_path) as w:
        payment = await opened(w)
        key, order = await w.authenticate(payment), f'href="/orders/{payment["order_id"]}"'
        other = urlencode({"paymentKey": key, "orderId": payment["payment_id"], "amount": payment["amount"] + 1})
        mine = urlencode({"paymentKey": key, "orderId": payment["payment_id"], "amount": payment["amount"]})
        assert order in is_page(await visit(w, f"/pay/success?{other}", "owner"), 409)
        await w.http.post(f"/v1/orders/{payment['order_id']}/cancel", headers=w.auth())
        closed = is_page(await visit(w, f"/pay/success?{mine}", "owner"), 409)
        assert order in closed
        assert "결제된 금액은 없어요" not in closed
        ended = is_page(await visit(w, f"/pay/fail?orderId={payment['payment_id']}", "owner"))
        assert order in ended
        assert "다시 결제하기" not in ended


async def test_after_a_refund_the_way_back_from_the_pg_does_not_say_paid(tmp_path: Path) -> None:
    async with shop(tmp_path) as w:
        payment = await opened(w)
        key = await w.authenticate(payment)
        is_page(await success(w, payment, key))
        url = f"/v1/payments/{payment['payment_id']}/refunds"
        assert (await w.http.post(url, json={"reason": "x"}, headers=w.auth())).status_code == 201
        text = is_page(await success(w, payment, key))
        assert "환불 완료" in text
        assert "결제가 완료" not in text


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


async def test_a_link_with_anybodys_words_shows_none_of_them(tmp_path: Path) -> None:
    """Else whoever writes a link speaks in the shop's name: "call this number to have your money back"."""
    async with shop(tmp_path, loops=False) as w:
        words = {"message": "CALL 555", "code": "CALL-555"}
        for more in ({}, {"orderId": "pay_" + "0" * 26}, {"orderId": "x"}):
            text = is_page(await visit(w, f"/pay/fail?{urlencode(words | more)}"))
            assert "555" not in text.partition("<main")[2].partition("</main>")[0]
            assert "결제된 금액은 없어요" not in text, "we do not know of which payment"


async def test_fail_says_why_and_shows_the_way_back_and_changes_nothing(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        payment = await opened(w)
        before = await counts(w)
        query = urlencode({"code": "SOMETHING_NEW", "message": "취소하셨습니다", "orderId": payment["payment_id"]})
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
