"""What sellers, operators and the PG write is shown, and never run."""

from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.async_api import expect

from quickcommerce.catalog.model import Entry

from .buyer import buyer

pytestmark = pytest.mark.browser

EVIL = '</script><img src=x onerror="window.hit=1"><script>window.hit=1</script>\'"{{7*7}}'


async def test_texts_of_others_stay_texts_on_every_page(tmp_path: Path) -> None:
    async with buyer(tmp_path, goods=[Entry(1, EVIL, 5_000, 10, EVIL, "x' onclick=window.hit=1")]) as someone:
        await someone.coupon(EVIL)
        page = await someone.with_basket((1, 1))
        await expect(page.locator(".line h2")).to_have_text(EVIL)
        pages = ["/", f"/?{urlencode({'keyword': EVIL})}", f"/?{urlencode({'category': EVIL})}", "/coupons", "/basket"]
        for path in [*pages, f"/pay/fail?{urlencode({'message': EVIL})}", f"/sign-in?{urlencode({'next': EVIL})}"]:
            await someone.open(path, page)
            assert await page.evaluate("window.hit") is None, path
        await someone.open("/coupons", page)
        await page.click("[data-policies] button")
        await expect(page.locator("[data-own] h3")).to_have_text(EVIL)
        await someone.open("/basket", page)
        await expect(page.locator(".line-coupon option")).to_have_count(2)
        order_id = await someone.order(page)
        for path in (f"/pay/{order_id}", f"/orders/{order_id}", "/orders"):
            await someone.open(path, page)
            await expect(page.locator("main")).to_contain_text("{{7*7}}")
            assert await page.evaluate("window.hit") is None, path
        said = '{"code":"BELOW_MINIMUM_AMOUNT","message":"<img src=x onerror=window.hit=1>"}'
        await someone.shop.faults(confirm=[{"kind": "http", "status": 403, "body": said}])
        await someone.open(f"/pay/{order_id}", page)
        await someone.pay(page)
        await expect(page.locator(".quote")).to_contain_text("onerror")
        assert await page.evaluate("window.hit") is None


async def test_even_markup_that_got_in_would_not_run(tmp_path: Path) -> None:
    """The second wall: were a text ever put in as markup, the policy still runs nothing of it."""
    async with buyer(tmp_path) as someone:
        page = await someone.open("/")
        put = "html => document.body.append(document.createRange().createContextualFragment(html))"
        await page.evaluate(put, "<script>window.hit=1</script><img src='data:,x' onerror='window.hit=1'>")
        await page.evaluate("new Promise((resolve) => setTimeout(resolve))")
        assert await page.evaluate("window.hit") is None
        assert someone.faults, "the browser said that it blocked it"
        someone.faults.clear()
