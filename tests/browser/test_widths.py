"""No page is wider than its screen, however long a name, however large a number: a page that scrolls sideways on a
phone is one that was not tried on a phone.
"""

from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from quickcommerce.catalog.model import Entry

from .buyer import Buyer, buyer

pytestmark = pytest.mark.browser

WIDTHS = (320, 360, 390, 1280)
LARGEST = 2**53 - 1
LONG = [
    Entry(1, "유기농제주산한라봉" * 10, 99_999_999, 999_999, "Supercalifragilisticexpialidocious" * 4, "a" * 50),
    Entry(2, "아주 긴 이름을 가진 상품 " * 6, 12_345_678, 7, "A product with a very long name indeed " * 4, "fruit"),
    Entry(3, "우유", 900, 0, "Milk", "dairy"),
]
OVER = """() => [...document.querySelectorAll('body *')]
    .filter((each) => each.getBoundingClientRect().right > innerWidth + 1 && !each.closest('.chips, .cards'))
    .map((each) => each.outerHTML.slice(0, 120))"""


async def fits(page: Page) -> None:
    """At every width, nothing of the page is outside of it; lists that are meant to be pushed sideways are."""
    await page.wait_for_load_state()  # before its styles are there, every page is too wide
    for width in WIDTHS:
        await page.set_viewport_size({"width": width, "height": 800})
        assert await page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, (page.url, width)
        assert await page.evaluate(OVER) == [], (page.url, width)


async def dressed(someone: Buyer) -> Page:
    """A buyer with the largest number, a full basket and the longest coupon."""
    await someone.coupon("여름맞이특별할인쿠폰" * 9)
    await someone.sale(2, 10_000_001, hours=60)
    page = await someone.sign_in(LARGEST)
    await someone.open("/coupons", page)
    await page.click("[data-policies] button")
    await expect(page.locator("[data-own] > li")).to_have_count(1)
    await someone.fill_basket(page, (1, 12), (2, 1))
    await page.locator(".line-coupon select").first.select_option(index=1)
    await expect(page.locator("[data-discount-row]")).to_be_visible()
    return page


@pytest.mark.parametrize("language", ["ko", "en"])
async def test_no_page_is_wider_than_its_screen(tmp_path: Path, language: str) -> None:
    async with buyer(tmp_path, language=language, goods=LONG) as someone:
        page = await dressed(someone)
        await fits(page)
        for path in ("/", "/?all=1", "/?category=fruit", f"/?keyword={'w' * 100}", "/coupons", "/sign-in", "/nowhere"):
            await someone.open(path, page)
            await page.wait_for_load_state("networkidle")
            await fits(page)
        await someone.open("/basket", page)
        await someone.shop.order([(2, 3)], user=8)
        await page.locator("[data-product='2'] input").fill("6")
        await page.click("button[data-order]")
        await expect(page.locator(".line-problem")).to_be_visible()
        await fits(page)
        await page.locator(".line-problem button").click()
        order_id = await someone.order(page)
        await fits(page)
        await page.click("a.button")
        await page.wait_for_url("**/emulator/checkout?*")
        await fits(page)
        await page.click("button[value=cancel]")
        await page.wait_for_url("**/pay/fail?*")
        await fits(page)
        await someone.open(f"/pay/{order_id}", page)
        await someone.pay(page)
        await fits(page)
        for path in (f"/orders/{order_id}", "/orders", f"/pay/{order_id}"):
            await someone.open(path, page)
            await fits(page)
        await someone.open(f"/orders/{order_id}", page)
        await expect(page.locator("[data-order]")).to_have_attribute("data-status", "PAID")
        await page.click("[data-ask=refund]")
        await fits(page)
