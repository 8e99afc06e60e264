"""The operator's page in a browser: it follows what happens, and a letter is replayed by a click."""

from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from quickcommerce.kit.auth import Role

from .buyer import SIZES, Buyer, buyer
from .test_journey import fits

pytestmark = pytest.mark.browser

WORDS = {"ko": ("서비스 준비됨", "처리했습니다"), "en": ("Ready to serve", "Handled")}


@pytest.mark.parametrize("language", list(WORDS))
@pytest.mark.parametrize("size", list(SIZES))
async def test_an_operator_signs_in_and_replays_a_letter_by_a_click(tmp_path: Path, size: str, language: str) -> None:
    ready, handled = WORDS[language]
    async with buyer(tmp_path, size, language) as someone:
        page = await someone.operate()
        await expect(page.locator("h1")).to_have_text(ready)
        await expect(page.locator("[data-loop][data-state=running]")).to_have_count(10)
        await fits(someone, page)
        letter_id = await someone.letter()
        card = page.locator(f"[data-letter='{letter_id}']")
        await expect(card).to_be_visible()
        await fits(someone, page)
        await card.locator("button").click()
        await expect(page.locator(".told")).to_contain_text(handled)
        await expect(card).to_have_count(0)
        assert (await someone.shop.get("/v1/ops/dead-letters", role=Role.MASTER))["items"] == []
        await fits(someone, page)


async def test_the_page_follows_what_happens_without_being_loaded_again(tmp_path: Path) -> None:
    async with buyer(tmp_path) as someone:
        page = await someone.operate()
        await expect(page.locator("[data-count=orders] dd")).to_have_text("0")
        await page.evaluate("window.here = true")
        order = await someone.shop.order([(1, 2)])
        await someone.shop.pay(order)
        await expect(page.locator("[data-count=orders] dd")).to_have_text("1")
        await expect(page.locator("[data-count=sold] dd")).to_have_text("2")
        await expect(page.locator("[data-live]")).to_be_visible()
        await someone.refused_refund(order)
        await page.click(f"[data-needing] a[href='/orders/{order['order_id']}']")
        await expect(page.locator("[data-order]")).to_have_attribute("data-status", "PAID")


async def test_what_is_being_pressed_is_not_taken_away_by_what_is_new(tmp_path: Path) -> None:
    """The page takes new parts every few seconds: a button between press and release must stay the same."""
    async with buyer(tmp_path) as someone:
        page = await someone.operate()
        letter_id = await someone.letter()
        button = page.locator(f"[data-letter='{letter_id}'] button")
        await expect(button).to_be_visible()
        await button.focus()
        await button.evaluate("(each) => { window.pressed = each; }")
        await someone.shop.order([(1, 1)])
        await expect(page.locator("[data-count=orders] dd")).to_have_text("1")
        assert await page.evaluate("window.pressed === document.activeElement && window.pressed.isConnected")


async def test_a_session_that_ends_leads_to_the_sign_in_page(tmp_path: Path) -> None:
    async with buyer(tmp_path) as someone:
        page = await someone.operate()
        await someone.context.clear_cookies()
        await page.wait_for_url("**/sign-in?next=%2Fconsole")


async def test_without_a_script_it_shows_the_same_and_replays(tmp_path: Path) -> None:
    async with buyer(tmp_path, scripts=False) as someone:
        page = await someone.operate()
        letter_id = await someone.letter()
        await until_shown(someone, page, letter_id)
        await page.click(f"[data-letter='{letter_id}'] button")
        await expect(page.locator(".told")).to_be_visible()
        await expect(page.locator("[data-letter]")).to_have_count(0)
        await expect(page.locator("[data-live]")).to_be_hidden()


async def until_shown(someone: Buyer, page: Page, letter_id: str) -> None:
    """Load the page again until it has been measured anew."""
    for _ in range(60):
        await someone.open("/console", page)
        if await page.locator(f"[data-letter='{letter_id}']").count():
            return
        await page.wait_for_timeout(250)
    raise AssertionError("the letter is not shown")
