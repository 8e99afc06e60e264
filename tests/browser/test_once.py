"""Whatever a buyer's hands or a bad line do, nothing is ordered or paid twice."""

import asyncio
from pathlib import Path

import pytest
from playwright.async_api import Route, expect

from .buyer import buyer, reply_lost

pytestmark = pytest.mark.browser

TWICE = "document.querySelector('button[data-order]').click(); document.querySelector('button[data-order]').click()"


async def test_a_double_click_orders_once(tmp_path: Path) -> None:
    async with buyer(tmp_path) as someone:
        page = await someone.with_basket((1, 1))
        await page.evaluate(TWICE)
        await page.wait_for_url("**/pay/ord_*")
        assert (await someone.shop.counts())["orders"] == 1
        assert len(someone.orders_sent) == 1


async def test_going_back_and_reloading_order_nothing(tmp_path: Path) -> None:
    async with buyer(tmp_path) as someone:
        page = await someone.with_basket((1, 1))
        await someone.order(page)
        await page.reload()
        await page.go_back()
        await expect(page.locator("[data-empty]")).to_be_visible()
        await page.reload()
        await expect(page.locator("[data-empty]")).to_be_visible()
        await page.evaluate(TWICE)
        assert (await someone.shop.counts())["orders"] == 1


async def test_two_windows_order_one_basket_once(tmp_path: Path) -> None:
    async with buyer(tmp_path) as someone:
        pages = [await someone.with_basket((1, 2)), await someone.open("/basket")]
        await expect(pages[1].locator("[data-lines] > li")).to_have_count(1)
        together = asyncio.Event()

        async def hold(route: Route) -> None:
            if len(someone.orders_sent) == len(pages):
                together.set()
            await together.wait()
            await route.continue_()

        await someone.context.route("**/v1/orders", hold)
        for page in pages:
            await page.evaluate("document.querySelector('button[data-order]').click()")
        for page in pages:
            await page.wait_for_url("**/pay/ord_*")
        assert len(set(someone.orders_sent)) == 1
        assert len({page.url for page in pages}) == 1
        assert (await someone.shop.counts())["orders"] == 1


async def test_a_window_that_shows_an_old_basket_orders_nothing_unseen(tmp_path: Path) -> None:
    async with buyer(tmp_path) as someone:
        page = await someone.with_basket((1, 1))
        other = await someone.open("/?all=1")
        await page.evaluate("addEventListener('storage', (event) => event.stopImmediatePropagation(), true)")
        await other.click("[data-add*='\"product_id\": 2,']")
        await expect(page.locator("[data-lines] > li")).to_have_count(2)
        await someone.order(page)
        order = (await someone.shop.get("/v1/orders"))["items"][0]
        assert len(order["lines"]) == 2


@pytest.mark.parametrize("lost", ["request", "reply"])
async def test_a_lost_connection_orders_once(tmp_path: Path, lost: str) -> None:
    """The buyer cannot know whether the order arrived: the same key goes again, by itself and by hand."""
    async with buyer(tmp_path) as someone:
        page = await someone.with_basket((1, 1))

        async def cut(route: Route) -> None:
            if lost == "reply":
                await route.fetch()
            await route.abort("connectionreset")

        await page.route("**/v1/orders", cut, times=2)
        order_id = await someone.order(page)
        assert len(someone.orders_sent) == 3
        assert len(set(someone.orders_sent)) == 1
        assert [each["order_id"] for each in (await someone.shop.get("/v1/orders"))["items"]] == [order_id]


async def test_a_line_that_stays_dead_keeps_the_basket_and_the_key(tmp_path: Path) -> None:
    async with buyer(tmp_path) as someone:
        page = await someone.with_basket((1, 1))
        await page.route("**/v1/orders", reply_lost)
        await page.click("button[data-order]")
        await expect(page.locator("[data-problem]")).to_be_visible()
        await page.unroute("**/v1/orders")
        await page.reload()
        await someone.order(page)
        assert len(set(someone.orders_sent)) == 1
        assert (await someone.shop.counts())["orders"] == 1


async def test_a_key_whose_order_has_ended_does_not_keep_the_buyer_from_ordering_again(tmp_path: Path) -> None:
    async with buyer(tmp_path) as someone:
        page = await someone.with_basket((1, 1))
        await page.route("**/v1/orders", reply_lost)
        await page.click("button[data-order]")
        await expect(page.locator("[data-problem]")).to_be_visible()
        first = (await someone.shop.get("/v1/orders"))["items"][0]["order_id"]
        await someone.shop.ask("POST", f"/v1/orders/{first}/cancel")
        await page.unroute("**/v1/orders")
        second = await someone.order(page)
        assert second != first
        assert await someone.shop.status(second) == "PLACED"


async def test_paying_twice_takes_the_money_once(tmp_path: Path) -> None:
    """Double click at the PG, reload of the way back, and back to pay again."""
    async with buyer(tmp_path) as someone:
        page = await someone.with_basket((1, 1))
        order_id = await someone.order(page)
        await page.click("a.button")
        at_pg = page.url
        await page.dblclick("button.pay")
        await page.wait_for_url("**/pay/success?*")
        await page.reload()
        await page.goto(at_pg)
        await page.click("button.pay")
        await page.wait_for_url("**/pay/success?*")
        await someone.shop.until_status(order_id, "PAID")
        assert await someone.captures() == 1
        await someone.open(f"/pay/{order_id}", page)
        await expect(page.locator("a.button")).to_have_count(0)


async def test_two_windows_pay_one_order_once(tmp_path: Path) -> None:
    async with buyer(tmp_path) as someone:
        page = await someone.with_basket((1, 1))
        order_id = await someone.order(page)
        pages = [page, await someone.open(f"/pay/{order_id}")]
        for each in pages:
            await each.click("a.button")
        for each in pages:
            await each.click("button.pay")
            await each.wait_for_url("**/pay/success?*")
        await someone.shop.until_status(order_id, "PAID")
        assert await someone.captures() == 1
