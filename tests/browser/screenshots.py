"""Makes the pictures of the shop: the sample catalog, time sales and a coupon, on a phone and at a desk; and the
operator's page, with something to do.
"""

import asyncio
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path

from playwright.async_api import Page, expect

from browser.buyer import Buyer, buyer
from quickcommerce.catalog.file import read_file
from quickcommerce.kit.auth import Role

SAMPLE = Path(str(files("quickcommerce").joinpath("samples", "catalog.csv")))
ON_SALE = {6: 20, 33: 30, 71: 25, 92: 40, 120: 15, 150: 20}
"""Product: per cent off."""
SIZE_MAX_BYTES = 250_000


async def dress(someone: Buyer) -> None:
    """What makes a shop look like one: sales that run, a coupon that can be had."""
    now = datetime.now(UTC)
    for at, (product_id, rate) in enumerate(ON_SALE.items()):
        sale = {
            "product_id": product_id,
            "discount_rate": rate,
            "quota": 30 + 7 * at,
            "starts_at": f"{now - timedelta(minutes=1):%Y-%m-%dT%H:%M:%SZ}",
            "ends_at": f"{now + timedelta(minutes=34 + 11 * at):%Y-%m-%dT%H:%M:%SZ}",
        }
        answer = await someone.shop.ask("POST", "/v1/time-sales", role=Role.MASTER, json=sale)
        assert answer.status_code == 201, answer.text
    await someone.coupon()


async def picture(page: Page, path: Path) -> None:
    """What the window shows."""
    size = len(await page.screenshot(path=path))
    if size > SIZE_MAX_BYTES:
        raise SystemExit(f"{path} has {size} bytes; {SIZE_MAX_BYTES} is the most")


async def watch(someone: Buyer, folder: Path) -> None:
    """The operator's page of a shop that sells: a refund that the PG refuses, and a letter to be replayed."""
    for product in range(1, 13):
        order = await someone.shop.order([(product, 1 + product % 3)])
        if product % 4:
            await someone.shop.pay(order)
        if product == 7:
            await someone.refused_refund(order)
            await someone.letter(order["order_id"])
    await someone.shop.at_rest()
    await someone.context.clear_cookies()
    await someone.shop.get("/v1/ops/invariants", role=Role.MASTER)
    page = await someone.operate()
    await page.set_viewport_size({"width": 1280, "height": 1540})
    await expect(page.locator("[data-letter]")).to_have_count(1)
    await expect(page.locator("[data-count=orders] dd")).to_have_text("13")
    await expect(page.locator("[data-live]")).to_be_visible()
    await picture(page, folder / "console.png")


async def walk(someone: Buyer, folder: Path, name: str) -> None:
    """One buyer's path, with a picture of each thing worth seeing."""

    async def shot(page: Page, what: str) -> None:
        await page.wait_for_load_state("networkidle")
        await picture(page, folder / f"shop-{what}{name}.png")

    page = await someone.sign_in()
    await someone.open("/coupons", page)
    await page.click("[data-policies] button")
    await expect(page.locator("[data-own] > li")).to_have_count(1)
    await someone.open("/", page)
    for at in (0, 1, 8):
        await page.locator("[data-add]").nth(at).click()
    await expect(page.locator("[data-toast]")).to_be_hidden()
    await page.evaluate("scrollTo(0, 0); document.activeElement.blur()")
    await page.mouse.move(0, 0)
    await shot(page, "")
    await someone.open("/basket", page)
    await page.locator(".line-coupon select").first.select_option(index=1)
    await shot(page, "basket-")
    order_id = await someone.order(page)
    await someone.pay(page)
    await someone.open(f"/orders/{order_id}", page)
    await expect(page.locator("[data-order]")).to_have_attribute("data-status", "PAID")
    await shot(page, "order-")


async def main(folder: Path) -> None:
    """The phone speaks Korean, the desk English."""
    for size, language in (("phone", "ko"), ("desktop", "en")):
        with tempfile.TemporaryDirectory() as data:
            async with buyer(Path(data), size, language, goods=read_file(SAMPLE)) as someone:
                await dress(someone)
                await walk(someone, folder, size)
                if size == "desktop":
                    await watch(someone, folder)


asyncio.run(main(Path(sys.argv[1])))
