"""With the key of a real PG the pay page shows that PG's widget, and no other page lets its script in."""

import html
import json
import re
from pathlib import Path
from typing import Any

import httpx2
import pytest

from .browser import BROWSER, HTML, POLICY, is_page, visit, way_to_pay
from .shop import shop

KEY = "test_gck_of_a_shop"
CUSTOMER = re.compile(r"(?=.*[-_=.@])[A-Za-z0-9_=.@-]{2,50}")
"""What Toss takes as a customerKey."""


def told(answer: httpx2.Response) -> Any:
    """What the page tells the script that starts the widget."""
    found = re.search(r'data-widget="([^"]+)"', answer.text)
    assert found, answer.text
    return json.loads(html.unescape(found[1]))


def rules(answer: httpx2.Response) -> dict[str, str]:
    return dict(rule.split(" ", 1) for rule in answer.headers["content-security-policy"].split("; "))


@pytest.mark.parametrize(("language", "button"), [("ko", "9,700원 결제하기"), ("en", "Pay ₩9,700")])
async def test_with_a_client_key_the_buyer_pays_at_the_real_pg(tmp_path: Path, language: str, button: str) -> None:
    async with shop(tmp_path, pg_client_key=KEY, public_url="https://shop.example/") as w:
        order = (await w.order([(1, 2), (3, 1)])).json()
        answer = await w.http.get(order["checkout_url"], headers=BROWSER | {"Accept-Language": language})
        assert (answer.status_code, answer.headers["content-type"]) == (200, HTML)
        payment = await w.get(f"/v1/orders/{order['order_id']}/payment")
        page = told(answer)
        assert CUSTOMER.fullmatch(page.pop("customerKey"))
        assert page == {
            "script": "https://js.tosspayments.com/v2/standard",
            "clientKey": KEY,
            "amount": {"currency": "KRW", "value": 9_700},
            "request": {
                "orderId": payment["payment_id"],
                "orderName": {"ko": "우유 1L 외 1건", "en": "Milk 1L and 1 more"}[language],
                "successUrl": "https://shop.example/pay/success",
                "failUrl": "https://shop.example/pay/fail",
            },
        }
        assert button in answer.text
        assert '<script type="module" src="/static/pay.js">' in answer.text
        assert "emulator" not in answer.text, "a way to pay that takes no money"


async def test_the_pgs_script_runs_in_the_pay_page_and_nowhere_else(tmp_path: Path) -> None:
    async with shop(tmp_path, pg_client_key=KEY) as w:
        order = (await w.order()).json()
        answer = await visit(w, order["checkout_url"])
        pg = "https://*.tosspayments.com"
        assert rules(answer) == {
            "default-src": "'none'",
            "script-src": "'self' https://js.tosspayments.com",
            "style-src": "'self'",
            "img-src": f"'self' data: {pg}",
            "connect-src": f"'self' {pg}",
            "frame-src": pg,
            "form-action": f"'self' {pg}",
            "base-uri": "'none'",
            "frame-ancestors": "'none'",
        }
        assert answer.headers["cross-origin-opener-policy"] == "same-origin-allow-popups"
        # `is_page` holds every other page to the policy without the PG.
        for path in ("/", "/basket", f"/orders/{order['order_id']}", "/pay/fail"):
            is_page(await visit(w, path, "owner"))
        assert "tosspayments" not in POLICY


async def test_the_pg_knows_a_buyer_by_one_name_that_nobody_can_guess(tmp_path: Path) -> None:
    """It keeps a buyer's cards under it: two buyers with one name would pay with each other's."""
    async with shop(tmp_path, pg_client_key=KEY) as w:
        orders = [(await w.order(user=user)).json() for user in (7, 7, 8)]
        names = [told(await visit(w, order["checkout_url"]))["customerKey"] for order in orders]
        assert names[0] == names[1]
        assert names[0] != names[2]
        for order, name in zip(orders, names, strict=True):
            assert order["checkout_url"].partition("token=")[2] not in name, "the PG could open the pay page"


async def test_that_no_real_money_moves_is_said_only_where_it_is_true(tmp_path: Path) -> None:
    said = "실제로 배송되거나 결제되지 않아요"
    for key, true in (("", True), (KEY, False)):
        async with shop(tmp_path / (key or "toy"), pg_client_key=key) as w:
            assert (said in is_page(await visit(w, "/"))) == true
            answer = await visit(w, (await w.order()).json()["checkout_url"])
            assert (said in answer.text) == true
            if true:
                assert way_to_pay(is_page(answer)).startswith("/_toss/emulator/checkout?")
