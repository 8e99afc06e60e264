"""A buyer who pays by virtual account is told where, how much and until when, in their language, on every page."""

from pathlib import Path
from typing import Any

import pytest

from world import World

from .shop import shop

HTML = {"Accept": "text/html"}
SAID = {
    "ko": ("입금을 기다리고 있어요", "우리은행", "입금 기한"),
    "en": ("Waiting for your deposit", "Woori Bank", "Pay by"),
}


async def opened(w: World) -> tuple[dict[str, Any], dict[str, Any], str]:
    """An order whose buyer has an account to pay into: the order, its payment, and where they come back to."""
    order = (await w.order()).json()
    payment = await w.get(f"/v1/orders/{order['order_id']}/payment")
    key = await w.authenticate(payment, method="VIRTUAL_ACCOUNT", validHours=2, customerName="김하나")
    back = f"/pay/success?paymentKey={key}&orderId={payment['payment_id']}&amount={payment['amount']}"
    return order, payment, back


@pytest.mark.parametrize("language", SAID)
async def test_every_page_says_where_to_pay_and_that_nothing_is_being_checked(tmp_path: Path, language: str) -> None:
    async with shop(tmp_path, virtual_account_max_s=86_400) as w:
        order, _, back = await opened(w)
        speaks = HTML | {"Accept-Language": language}
        came = await w.http.get(back, headers=speaks)
        assert came.status_code == 202
        await w.at_rest()
        payment = await w.get(f"/v1/orders/{order['order_id']}/payment")
        account = payment["virtual_account"]
        mine = await w.http.get(f"/orders/{order['order_id']}", headers=speaks | w.auth())
        again = await w.http.get(order["checkout_url"], headers=speaks)
        reloaded = await w.http.get(back, headers=speaks)
        for page in (came, mine, again, reloaded):
            for text in (*SAID[language], account["account_number"], "김하나", "5,800", account["due_at"]):
                assert text in page.text, page.url
            assert "다시 결제하지 마세요" not in page.text
            assert "do not pay again" not in page.text
        # The order's page follows the order; the others look again, but not as often as where it takes moments.
        assert [page.headers.get("Refresh") for page in (came, mine, again, reloaded)] == ["60", None, "60", "60"]
        listed = await w.http.get("/orders", headers=speaks | w.auth())
        assert SAID[language][0] in listed.text
        assert "결제 확인 중" not in listed.text
        assert "Checking payment" not in listed.text


async def test_the_account_is_told_only_while_a_deposit_is_awaited(tmp_path: Path) -> None:
    async with shop(tmp_path, virtual_account_max_s=86_400) as w:
        order, payment, back = await opened(w)
        assert "virtual_account" not in payment
        assert (await w.http.get(back)).status_code == 202
        shown = await w.get(f"/v1/orders/{order['order_id']}/payment")
        assert set(shown["virtual_account"]) == {"bank", "account_number", "holder", "due_at"}
        key = shown["pg_payment_key"]
        assert (await w.http.post("/_toss/emulator/deposit", json={"paymentKey": key})).status_code == 200
        # No webhook comes in this profile: the loop looks by itself.
        await w.until_status(order["order_id"], "PAID", within_s=660)
        assert "virtual_account" not in await w.get(f"/v1/orders/{order['order_id']}/payment")
        page = await w.http.get(f"/orders/{order['order_id']}", headers=HTML | w.auth())
        assert shown["virtual_account"]["account_number"] not in page.text


@pytest.mark.parametrize(("seconds", "offered"), [(0, False), (86_400, True)])
async def test_the_pg_offers_accounts_only_where_the_shop_takes_deposits(
    tmp_path: Path, seconds: int, offered: bool
) -> None:
    async with shop(tmp_path, loops=False, virtual_account_max_s=seconds) as w:
        order = (await w.order()).json()
        page = await w.http.get(order["checkout_url"], headers=HTML)
        assert ("virtualAccount=true" in page.text) is offered
