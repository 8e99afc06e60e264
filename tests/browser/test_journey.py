"""A buyer's path, as a buyer walks it: on a phone and at a desk, in both languages."""

import re
from pathlib import Path

import pytest
from playwright.async_api import expect

from .buyer import SIZES, Buyer, buyer

pytestmark = pytest.mark.browser

WORDS = {
    "ko": {"search": "바나나", "paid": "결제 완료", "refunded": "환불 완료", "payable": "2,900원"},
    "en": {"search": "banana", "paid": "Paid", "refunded": "Refunded", "payable": "₩2,900"},
}


@pytest.mark.parametrize("language", list(WORDS))
@pytest.mark.parametrize("size", list(SIZES))
async def test_from_the_first_look_to_paid_and_back(tmp_path: Path, size: str, language: str) -> None:
    said = WORDS[language]
    async with buyer(tmp_path, size, language) as someone:
        await someone.coupon()
        page = await someone.sign_in()
        await expect(page.locator("html")).to_have_attribute("lang", language)
        await page.fill("input[name=keyword]", said["search"])
        await page.press("input[name=keyword]", "Enter")
        await page.click("[data-add]")
        await expect(page.locator("[data-bar]")).to_be_visible()
        await fits(someone, page)

        await someone.open("/coupons", page)
        await page.click("[data-policies] button")
        await expect(page.locator("[data-own] > li")).to_have_count(1)
        await fits(someone, page)

        await someone.open("/basket", page)
        await page.select_option(".line-coupon select", index=1)
        await expect(page.locator("[data-total]")).to_have_text(said["payable"])
        await fits(someone, page)
        order_id = await someone.order(page)
        await fits(someone, page)
        await someone.pay(page)
        await page.click("a.button")
        await page.wait_for_url(f"**/orders/{order_id}")
        await expect(page.locator("h1")).to_have_text(said["paid"])
        await fits(someone, page)
        assert await someone.captures() == 1
        if await someone.can("/v1/payments/{payment_id}/refunds"):
            await page.click("[data-ask=refund]")
            await page.click("dialog[open] [data-post]")
            await expect(page.locator("h1")).to_have_text(said["refunded"])
        await someone.open("/orders", page)
        await expect(page.locator(".order-card")).to_have_count(1)
        await fits(someone, page)


async def fits(_someone: Buyer, page: object) -> None:
    """Nothing is wider than the screen: a phone that scrolls sideways is a shop that was not tried on one."""
    wide, width = await page.evaluate("[document.documentElement.scrollWidth, innerWidth]")  # type: ignore[attr-defined]
    assert wide <= width


async def test_an_order_page_follows_what_happens_elsewhere(tmp_path: Path) -> None:
    async with buyer(tmp_path) as someone:
        page = await someone.with_basket((1, 1))
        order_id = await someone.order(page)
        await someone.open(f"/orders/{order_id}", page)
        await expect(page.locator("[data-order]")).to_have_attribute("data-status", "PLACED")
        await someone.shop.ask("POST", f"/v1/orders/{order_id}/cancel")
        await expect(page.locator("[data-order]")).to_have_attribute("data-status", "CANCELLED")
        await expect(page.locator(".timeline li")).to_have_count(2)


async def test_a_buyer_cancels_only_after_saying_so_twice(tmp_path: Path) -> None:
    async with buyer(tmp_path) as someone:
        page = await someone.with_basket((1, 1))
        order_id = await someone.order(page)
        await someone.open(f"/orders/{order_id}", page)
        await page.click("[data-ask=cancel]")
        await page.click("dialog[open] [data-keep]")
        assert await someone.shop.status(order_id) == "PLACED"
        await page.click("[data-ask=cancel]")
        await page.click("dialog[open] [data-post]")
        await expect(page.locator("[data-order]")).to_have_attribute("data-status", "CANCELLED")
        assert await someone.shop.status(order_id) == "CANCELLED"


async def test_what_is_wrong_with_a_line_is_said_beside_it_and_mended_there(tmp_path: Path) -> None:
    async with buyer(tmp_path) as someone:
        page = await someone.with_basket((1, 1), (4, 5))
        await someone.shop.order([(4, 3)], user=8)
        await page.click("button[data-order]")
        line = page.locator("[data-product='4']")
        await expect(line.locator(".line-problem")).to_contain_text("2개")
        await expect(page.locator("[data-product='1'] .line-problem")).to_be_hidden()
        await line.locator(".line-problem button").click()
        await expect(line.locator("input")).to_have_value("2")
        order_id = await someone.order(page)
        order = await someone.shop.get(f"/v1/orders/{order_id}")
        assert [each["quantity"] for each in order["lines"]] == [1, 2]


async def test_a_price_that_moved_is_shown_before_anything_is_ordered(tmp_path: Path) -> None:
    async with buyer(tmp_path) as someone:
        page = await someone.with_basket((1, 2))
        stale = (
            "lines => { const b = JSON.parse(localStorage['qc.basket']); b.lines[0].price = 100; b.key = 'stale-key';"
        )
        await page.evaluate(stale + " localStorage['qc.basket'] = JSON.stringify(b); }")
        await page.evaluate("dispatchEvent(new StorageEvent('storage', {key: 'qc.basket'}))")
        await page.click("button[data-order]")
        await expect(page.locator(".line-problem")).to_contain_text("2,900원")
        await expect(page.locator("[data-total]")).to_have_text("5,800원")
        assert (await someone.shop.counts())["orders"] == 0
        await someone.order(page)


async def test_who_is_not_signed_in_signs_in_and_finds_the_basket(tmp_path: Path) -> None:
    async with buyer(tmp_path) as someone:
        page = await someone.open("/?all=1")
        await page.click("[data-add]")
        await someone.open("/basket", page)
        await page.click("button[data-order]")
        await page.wait_for_url("**/sign-in?next=*")
        await page.click("form[action='/sign-in'] button")
        await page.wait_for_url("**/basket")
        await someone.order(page)
        assert re.fullmatch(r".*/pay/ord_\w{26}", page.url)
