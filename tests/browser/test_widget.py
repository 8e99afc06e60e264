"""The PG's widget in the pay page, with a script of ours in the place of the PG's; nothing comes from outside."""

from pathlib import Path

import pytest
from playwright.async_api import Page, Route, expect

from .buyer import Buyer, buyer

pytestmark = pytest.mark.browser

KEY = "test_gck_of_a_shop"
SCRIPT = "https://js.tosspayments.com/v2/standard"
STAND_IN = """
window.calls = [];
const note = (name, value) => { window.calls.push([name, value]); };
window.TossPayments = (key) => {
  note("key", key);
  return { widgets: ({ customerKey }) => {
    note("customer", customerKey.startsWith("buyer-"));
    return {
      setAmount: async (amount) => note("amount", amount),
      renderPaymentMethods: async ({ selector }) => {
        note("methods", selector);
        document.querySelector(selector).textContent = "CARD";
      },
      renderAgreement: async ({ selector }) => note("agreement", selector),
      requestPayment: (request) => { note("request", request); return window.answer(request); },
    };
  } };
};
"""
"""Does what the fact sheet of the SDK says, and tells what it was asked."""


async def checkout(someone: Buyer, language: str) -> Page:
    page = await someone.with_basket((1, 2))
    await someone.order(page)
    await someone.open(page.url.removeprefix(someone.shop.url) + f"?lang={language}", page)
    return page


@pytest.mark.parametrize(("language", "label"), [("ko", "5,800원 결제하기"), ("en", "Pay ₩5,800")])
async def test_a_buyer_pays_with_the_widget(tmp_path: Path, language: str, label: str) -> None:
    async with buyer(tmp_path, language=language, pg_client_key=KEY) as someone:

        async def stand_in(route: Route) -> None:
            await route.fulfill(content_type="text/javascript", body=STAND_IN)

        await someone.context.route(SCRIPT, stand_in)
        page = await checkout(someone, language)
        order_id = page.url.partition("/pay/")[2].partition("?")[0]
        payment = await someone.shop.get(f"/v1/orders/{order_id}/payment")
        await expect(page.locator("#pay-methods")).to_have_text("CARD")
        button = page.get_by_role("button", name=label)
        await expect(button).to_be_enabled()
        # The buyer closes the PG's window, and then goes again.
        await page.evaluate("() => { window.answer = async () => { throw new Error('closed by the buyer'); }; }")
        await button.click()
        await expect(page.locator("[data-toast]")).to_have_text("closed by the buyer")
        await expect(button).to_be_enabled()
        assert await page.evaluate("window.calls.map(([name]) => name)") == [
            "key", "customer", "amount", "methods", "agreement", "request",
        ]  # fmt: skip
        calls = dict(await page.evaluate("window.calls"))
        assert (calls["key"], calls["customer"]) == (KEY, True)
        assert calls["amount"] == {"currency": "KRW", "value": payment["amount"]}
        assert calls["request"] == {
            "orderId": payment["payment_id"],
            "orderName": {"ko": "우유 1L", "en": "Milk 1L"}[language],
            "successUrl": f"{someone.shop.url}/pay/success",
            "failUrl": f"{someone.shop.url}/pay/fail",
        }
        # The PG sends the buyer back as it does, with its key.
        key = await someone.shop.authenticate(payment)
        await page.evaluate(
            """([key, amount]) => { window.answer = (request) => new Promise(() => location.assign(
                `${request.successUrl}?paymentType=NORMAL&orderId=${request.orderId}&paymentKey=${key}&amount=${amount}`
            )); }""",
            [key, payment["amount"]],
        )
        await button.dblclick()
        await page.wait_for_url("**/pay/success?*")
        await someone.shop.until_status(order_id, "PAID")
        assert await someone.captures() == 1


@pytest.mark.parametrize(("language", "said"), [("ko", "결제창을 불러오지 못했어요"), ("en", "could not be loaded")])
@pytest.mark.parametrize("failure", ["is not there", "is another script"])
async def test_a_buyer_whose_widget_does_not_come_is_told(
    tmp_path: Path, language: str, said: str, failure: str
) -> None:
    """Else they look at a page on which nothing can be pressed."""
    async with buyer(tmp_path, language=language, pg_client_key=KEY) as someone:

        async def broken(route: Route) -> None:
            if failure == "is not there":
                await route.abort()
            else:
                await route.fulfill(content_type="text/javascript", body="window.somethingElse = 1;")

        await someone.context.route(SCRIPT, broken)
        page = await checkout(someone, language)
        await expect(page.get_by_role("alert")).to_contain_text(said)
        await expect(page.locator("[data-pay]")).to_be_hidden()


async def test_no_script_but_the_pgs_and_ours_runs_in_the_pay_page(tmp_path: Path) -> None:
    async with buyer(tmp_path, pg_client_key=KEY) as someone:

        async def stand_in(route: Route) -> None:
            await route.fulfill(content_type="text/javascript", body="window.hit = 1;")

        await someone.context.route("https://**", stand_in)
        page = await checkout(someone, "ko")
        put = """address => new Promise((over) => {
            const script = document.createElement("script");
            script.src = address;
            script.onload = script.onerror = over;
            document.head.append(script);
        })"""
        await page.evaluate("delete window.hit")
        await page.evaluate(put, "https://elsewhere.example/evil.js")
        assert await page.evaluate("window.hit") is None
        assert someone.faults, "the browser said that it blocked it"
        someone.faults.clear()
