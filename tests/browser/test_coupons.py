"""What buyers are told of coupons: none is offered that cannot be used, and a refusal says why."""

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from quickcommerce.catalog.model import Entry

from .buyer import Buyer, buyer

pytestmark = pytest.mark.browser

KOREA = timezone(timedelta(hours=9))
OVER = {"ko": "끝난 쿠폰이라 뺐어요", "en": "This coupon has ended, and was taken off"}
ENDED = {"ko": "종료", "en": "Ended"}
LITTLE = {"ko": "결제할 금액은 100원 이상이어야 해요", "en": "The amount to pay must be at least ₩100"}
BUYERS = {"ko": "쿠폰은 구매자만 받을 수 있어요.", "en": "Only buyers can get coupons."}


async def taken(someone: Buyer) -> Page:
    """A buyer who has the shop's coupon looks at it."""
    await someone.coupon()
    page = await someone.sign_in()
    await someone.open("/coupons", page)
    await page.click("[data-policies] button")
    await expect(page.locator("[data-own] > li")).to_have_count(1)
    return page


@pytest.mark.parametrize("language", list(OVER))
async def test_a_coupon_that_has_ended_is_taken_off_with_its_reason_and_offered_no_more(
    tmp_path: Path, language: str
) -> None:
    async with buyer(tmp_path, language=language) as someone:
        page = await taken(someone)
        await someone.fill_basket(page, (1, 1))
        await page.select_option(".line-coupon select", index=1)
        await expect(page.locator("[data-discount-row]")).to_be_visible()
        await someone.end_coupons()
        await page.click("button[data-order]")
        await expect(page.locator(".line-problem")).to_contain_text(OVER[language])
        await expect(page.locator("[data-discount-row]")).to_be_hidden()
        async with page.expect_response("**/v1/coupons?*"):
            await page.reload()
        await expect(page.locator("[data-lines] > li")).to_have_count(1)
        await expect(page.locator(".line-coupon")).to_be_hidden()
        await someone.open("/coupons", page)
        await expect(page.locator("[data-own] button")).to_have_text(ENDED[language])
        await someone.open("/basket", page)
        await someone.order(page)


async def test_a_coupon_that_ends_while_nobody_looks_is_taken_off_with_its_reason(tmp_path: Path) -> None:
    async with buyer(tmp_path) as someone:
        page = await taken(someone)
        await someone.fill_basket(page, (1, 1))
        await page.select_option(".line-coupon select", index=1)
        await expect(page.locator("[data-discount-row]")).to_be_visible()
        await someone.end_coupons()
        await page.reload()
        await expect(page.locator(".line-problem")).to_contain_text(OVER["ko"])
        await expect(page.locator("[data-discount-row]")).to_be_hidden()


@pytest.mark.parametrize("zone", ["America/Los_Angeles", "Pacific/Kiritimati"])
async def test_when_a_coupon_ends_is_told_to_the_minute_by_the_shops_clock(tmp_path: Path, zone: str) -> None:
    async with buyer(tmp_path, language="en", zone=zone) as someone:
        page = await taken(someone)
        [coupon] = (await someone.shop.get("/v1/coupons"))["items"]
        ends = datetime.fromisoformat(coupon["ends_at"]).astimezone(KOREA)
        text = page.locator("[data-own] p")
        await expect(text).to_contain_text(f"{ends:%b} {ends.day}, {ends.year}, {ends.hour % 12 or 12}:{ends:%M}")
        await expect(text).to_contain_text("Korean time")


@pytest.mark.parametrize("language", list(LITTLE))
async def test_a_basket_that_costs_less_than_the_pg_takes_is_told_the_least(tmp_path: Path, language: str) -> None:
    async with buyer(tmp_path, language=language, goods=[Entry(1, "사탕", 50, 10, "Candy", "snack")]) as someone:
        page = await someone.with_basket((1, 1))
        await page.click("button[data-order]")
        await expect(page.locator("[data-problem]")).to_have_text(LITTLE[language])
        await page.locator("[data-plus]").click()
        await someone.order(page)


@pytest.mark.parametrize("language", list(BUYERS))
async def test_who_is_given_no_coupons_is_offered_none(tmp_path: Path, language: str) -> None:
    async with buyer(tmp_path, language=language) as someone:
        await someone.coupon()
        page = await someone.open("/sign-in")
        await page.check("input[value=ROLE_SELLER]")
        await page.click("form[action='/sign-in'] button")
        await page.wait_for_url(f"{someone.shop.url}/")
        await someone.open("/coupons", page)
        await expect(page.locator("[data-policies] > li")).to_have_count(1)
        await expect(page.locator("[data-policies] button")).to_have_count(0)
        await expect(page.locator("main")).to_contain_text(BUYERS[language])
