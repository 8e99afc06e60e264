"""A buyer who pays at the bank: told where and until when wherever they look, and told at once that it came."""

from pathlib import Path

import pytest
from playwright.async_api import expect

from .buyer import buyer
from .test_journey import fits

pytestmark = pytest.mark.browser
SAID = {
    "ko": ("입금을 기다리고 있어요", "결제 완료", "결제가 완료됐어요"),
    "en": ("Waiting for your deposit", "Paid", "Paid, thank you"),
}


@pytest.mark.parametrize(("size", "language"), [("phone", "ko"), ("desktop", "en")])
async def test_from_the_basket_to_the_bank_and_to_paid(tmp_path: Path, size: str, language: str) -> None:
    awaited, paid, done = SAID[language]
    async with buyer(tmp_path, size, language, virtual_account_max_s=86_400) as someone:
        shop = someone.shop
        tells = {"url": f"{shop.url}/webhooks/toss"}
        assert (await shop.http.put(f"{shop.pg_url}/emulator/webhook", json=tells)).status_code == 200
        page = await someone.with_basket((1, 2))
        order_id = await someone.order(page)
        await page.click("a.button")
        await page.click("button[value=virtual-account]")
        await page.wait_for_url("**/pay/success?*")
        await expect(page.locator("h1")).to_have_text(awaited)
        await fits(someone, page)
        payment = await shop.get(f"/v1/orders/{order_id}/payment")
        number = payment["virtual_account"]["account_number"]
        await expect(page.locator("[data-account]")).to_contain_text(number)

        # A list of orders is as it was when it was asked for.
        await shop.until_status(order_id, "PAYING")
        elsewhere = await someone.open("/orders")
        await expect(elsewhere.locator(".order-card .chip")).to_have_text(awaited)
        await elsewhere.click(".order-card")
        await expect(elsewhere.locator("h1")).to_have_text(awaited)
        await expect(elsewhere.locator("[data-account]")).to_contain_text(number)
        await fits(someone, elsewhere)

        bank = {"paymentKey": payment["pg_payment_key"]}
        assert (await shop.http.post(f"{shop.pg_url}/emulator/deposit", json=bank)).status_code == 200
        # The page of the order hears of it by itself.
        await expect(elsewhere.locator("h1")).to_have_text(paid)
        await expect(elsewhere.locator("[data-account]")).to_have_count(0)
        await page.reload()
        await expect(page.locator("h1")).to_have_text(done)
        assert await someone.captures() == 1
