"""Money that came too late makes no new version of its order: the page that is open hears of it all the same."""

from pathlib import Path

import pytest
from playwright.async_api import Route, expect

from .buyer import buyer

pytestmark = pytest.mark.browser


async def test_an_open_page_hears_that_late_money_went_back(tmp_path: Path) -> None:
    """Until then it stays as it is: whoever stands somewhere on it is not moved by a look that finds nothing new."""
    async with buyer(tmp_path, language="en") as someone:
        page = await someone.with_basket((1, 1))
        order_id = await someone.order(page)
        await someone.shop.ask("POST", f"/v1/orders/{order_id}/cancel")
        on_its_way = ('data-money="none" data-again=""', 'data-money="late" data-again="1"')
        looks = 0

        async def late(route: Route) -> None:
            nonlocal looks
            looks += 1
            answer = await route.fetch()
            text = await answer.text()
            assert on_its_way[0] in text
            await route.fulfill(response=answer, body=text.replace(*on_its_way))

        await page.route(f"**/orders/{order_id}", late)
        await someone.open(f"/orders/{order_id}", page)
        first = await page.query_selector("[data-order]")
        assert first
        async with page.expect_response(f"**/orders/{order_id}"):
            pass
        async with page.expect_response(f"**/orders/{order_id}"):
            pass  # asked for again, so what came before was looked at
        assert looks >= 3
        assert await first.evaluate("each => each.isConnected")
        await page.unroute(f"**/orders/{order_id}")
        await expect(page.locator("[data-order]")).to_have_attribute("data-money", "none")
        said = page.locator("[data-happened]")
        await expect(said, "said to whoever hears the page").to_have_text(
            "The order is cancelled. Nothing was charged."
        )
