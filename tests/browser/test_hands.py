"""Keys, clicks and a bad line: whatever a buyer does on the pages works, and goes on working."""

from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, Route, expect

from quickcommerce.kit.auth import Role

from .buyer import buyer, reply_lost

pytestmark = pytest.mark.browser

FOCUSED = "document.activeElement.outerHTML.slice(0, 60)"


def line(page: Page, product: int) -> Any:
    """The row of a product in the basket."""
    return page.locator(f"[data-product='{product}']")


async def test_the_basket_is_changed_with_the_keyboard(tmp_path: Path) -> None:
    """Whoever stands on a button stands there after it was pressed, and each key counts."""
    async with buyer(tmp_path, language="en") as someone:
        page = await someone.with_basket((1, 1), (2, 1))
        milk = line(page, 1)
        await milk.get_by_role("button", name="One more: Milk 1L").focus()
        await page.keyboard.press("Enter")
        await page.keyboard.press("Enter")
        await expect(milk.get_by_role("spinbutton", name="Quantity of Milk 1L")).to_have_value("3")
        await expect(milk.locator("[data-plus]")).to_be_focused()
        await page.keyboard.press("Shift+Tab")
        await page.keyboard.press("Shift+Tab")
        await page.keyboard.press("Enter")
        await page.keyboard.press("Enter")
        await expect(milk.locator("input")).to_have_value("1")
        await expect(milk.locator("input"), "the button cannot be used any more").to_be_focused()
        await milk.get_by_role("button", name="Remove Milk 1L").focus()
        await page.keyboard.press("Enter")
        await expect(line(page, 2).locator("[data-remove]")).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(page.locator("[data-empty] a")).to_be_focused()


async def test_no_click_is_lost_behind_a_quantity_that_was_typed(tmp_path: Path) -> None:
    async with buyer(tmp_path) as someone:
        page = await someone.with_basket((1, 1), (2, 1))
        await line(page, 1).locator("input").fill("7")
        await line(page, 1).locator("[data-plus]").click()
        await expect(line(page, 1).locator("input")).to_have_value("8")
        await line(page, 1).locator("input").fill("4")
        await line(page, 1).locator("[data-remove]").click()
        await expect(page.locator("[data-lines] > li")).to_have_count(1)
        await line(page, 2).locator("input").fill("5000")
        await page.keyboard.press("Enter")
        await expect(line(page, 2).locator("input")).to_have_value("999")


async def test_all_that_is_wrong_with_a_basket_is_told_at_once(tmp_path: Path) -> None:
    """A coupon that is spent, a price that moved, goods that are gone: one press tells it all, and the sum is right."""
    async with buyer(tmp_path) as someone:
        await someone.coupon()
        page = await someone.sign_in()
        await someone.open("/coupons", page)
        await page.click("[data-policies] button")
        await expect(page.locator("[data-own] > li")).to_have_count(1)
        await someone.fill_basket(page, (1, 2), (2, 1), (4, 5))
        await line(page, 1).locator("select").select_option(index=1)
        await expect(page.locator("[data-discount-row]")).to_be_visible()
        coupon = (await someone.shop.get("/v1/coupons"))["items"][0]["coupon_id"]
        spent = {"lines": [{"product_id": 1, "quantity": 1, "coupon_id": coupon}]}
        assert (await someone.shop.ask("POST", "/v1/orders", json=spent)).status_code == 201
        await someone.shop.order([(4, 3)], user=8)
        changed = await someone.shop.ask("PATCH", "/v1/products/2", role=Role.SELLER, json={"price": 9_900})
        assert changed.status_code == 200, changed.text
        await page.click("button[data-order]")
        await expect(line(page, 1).locator(".line-problem")).to_contain_text("쿠폰")
        await expect(line(page, 2).locator(".line-problem")).to_contain_text("9,900원")
        await expect(line(page, 4).locator(".line-problem")).to_contain_text("2개")
        await expect(page.locator("[data-discount-row]")).to_be_hidden()
        await expect(page.locator(".line-coupon option"), "no row offers it any more").to_have_count(3)
        await line(page, 4).locator(".line-problem button").click()
        await expect(page.locator("[data-total]")).to_have_text(f"{2 * 2_900 + 9_900 + 2 * 25_900:,}원")
        await someone.order(page)


async def test_what_is_on_its_way_cannot_be_changed(tmp_path: Path) -> None:
    async with buyer(tmp_path) as someone:
        page = await someone.with_basket((1, 1))
        held: list[Route] = []

        async def hold(route: Route) -> None:
            held.append(route)

        await page.route("**/v1/orders", hold)
        await page.click("button[data-order]")
        await expect(page.locator("button[data-order]")).to_be_disabled()
        await page.evaluate("document.querySelector('[data-plus]').focus()")
        await page.keyboard.press("Enter")
        await expect(line(page, 1).locator("input")).to_have_value("1")
        assert await page.evaluate(FOCUSED + ".includes('data-plus')") is False
        await held[0].continue_()
        await page.wait_for_url("**/pay/ord_*")


async def test_a_price_that_moves_behind_a_lost_reply_does_not_order_twice(tmp_path: Path) -> None:
    """The order may be there: until that is known the basket keeps what was sent, and its key."""
    async with buyer(tmp_path) as someone:
        page = await someone.with_basket((1, 1))
        await page.route("**/v1/orders", reply_lost)
        await page.click("button[data-order]")
        await expect(page.locator("[data-problem]")).to_be_visible()
        await someone.shop.ask("PATCH", "/v1/products/1", role=Role.SELLER, json={"price": 3_300})
        await page.unroute("**/v1/orders")
        async with page.expect_response("**/v1/products/1"):
            await page.reload()
        await expect(page.locator("[data-lines] > li")).to_have_count(1)
        await someone.order(page)
        assert (await someone.shop.counts())["orders"] == 1


async def test_another_buyers_coupon_does_not_stay_in_the_basket(tmp_path: Path) -> None:
    async with buyer(tmp_path) as someone:
        page = await someone.with_basket((1, 1))
        strange = "b = JSON.parse(localStorage['qc.basket']); b.lines[0].coupon_id = 4711; b.key = 'k';"
        await page.evaluate(f"() => {{ const {strange} localStorage['qc.basket'] = JSON.stringify(b); }}")
        await page.reload()
        await expect(page.locator(".line-problem")).to_contain_text("쿠폰")
        await someone.order(page)


@pytest.mark.parametrize(
    "kept", ['{"lines":[null]}', '{"lines":[{"product_id":1}],"key":5}', "null", "[]", "{", '{"lines":{}}']
)
async def test_a_damaged_basket_stops_no_page(tmp_path: Path, kept: str) -> None:
    async with buyer(tmp_path) as someone:
        page = await someone.sign_in()
        await page.evaluate("kept => { localStorage['qc.basket'] = kept; }", kept)
        await someone.fill_basket(page, (1, 1))
        await expect(page.locator("[data-lines] > li")).to_have_count(1)
        await someone.order(page)


@pytest.mark.parametrize("what", ["cancel", "refund"])
async def test_after_a_lost_connection_a_buyer_presses_again(tmp_path: Path, what: str) -> None:
    async with buyer(tmp_path) as someone:
        page = await someone.with_basket((1, 1))
        order_id = await someone.order(page)
        if what == "refund":
            await someone.pay(page)
            await someone.shop.until_status(order_id, "PAID")
        await someone.open(f"/orders/{order_id}", page)
        await page.click(f"[data-ask={what}]")
        await someone.context.set_offline(True)
        await page.click("dialog[open] [data-post]")
        await expect(page.locator("[data-toast]")).to_contain_text("한 번만")
        await expect(page.locator("dialog[open]")).to_have_count(0)
        await someone.context.set_offline(False)
        await page.click(f"[data-ask={what}]")
        await page.click("dialog[open] [data-post]")
        done = {"cancel": "CANCELLED", "refund": "REFUNDED"}[what]
        await expect(page.locator("[data-order]")).to_have_attribute("data-status", done)
        assert await someone.shop.status(order_id) == done


async def test_a_question_stays_while_the_page_hears_news_and_they_are_shown_after_it(tmp_path: Path) -> None:
    async with buyer(tmp_path) as someone:
        page = await someone.with_basket((1, 1))
        order_id = await someone.order(page)
        await someone.open(f"/orders/{order_id}", page)
        await page.click("[data-ask=cancel]")
        async with page.expect_response(f"**/orders/{order_id}"):
            await someone.shop.ask("POST", f"/v1/orders/{order_id}/cancel")
        async with page.expect_response(f"**/orders/{order_id}"):
            pass  # asked for again, so what came before was looked at
        await expect(page.locator("dialog[open]")).to_have_count(1)
        await page.click("dialog[open] [data-keep]")
        await expect(page.locator("[data-order]")).to_have_attribute("data-status", "CANCELLED")


async def test_a_page_that_could_not_be_taken_is_asked_for_again(tmp_path: Path) -> None:
    """The event came; the page that it announced did not, once as an error and once not at all."""
    async with buyer(tmp_path) as someone:
        page = await someone.with_basket((1, 1))
        order_id = await someone.order(page)
        await someone.open(f"/orders/{order_id}", page)
        failures = [503, 0]

        async def fail(route: Route) -> None:
            status = failures.pop()
            await (route.fulfill(status=status, body="") if status else route.abort("connectionreset"))

        await page.route(f"**/orders/{order_id}", fail, times=2)
        await someone.shop.ask("POST", f"/v1/orders/{order_id}/cancel")
        await expect(page.locator("[data-order]")).to_have_attribute("data-status", "CANCELLED")
        assert failures == []
        await expect(page.locator("[data-happened]"), "said to whoever hears the page").to_have_text("주문 취소")


@pytest.mark.parametrize("status", [503, 502])
async def test_an_order_page_connects_again_after_an_error(tmp_path: Path, status: int) -> None:
    """A browser gives a stream up for good after an answer that is an error."""
    async with buyer(tmp_path) as someone:
        page = await someone.with_basket((1, 1))
        order_id = await someone.order(page)
        refused: list[str] = []

        async def refuse(route: Route) -> None:
            refused.append(route.request.url)
            await route.fulfill(status=status, body="")

        await page.route("**/events", refuse, times=2)
        await someone.open(f"/orders/{order_id}", page)
        await page.wait_for_function("performance.getEntriesByType('resource').length > 0")
        await someone.shop.ask("POST", f"/v1/orders/{order_id}/cancel")
        await expect(page.locator("[data-order]")).to_have_attribute("data-status", "CANCELLED")
        assert refused


async def test_whoever_stood_on_the_page_stands_there_after_it_changed(tmp_path: Path) -> None:
    async with buyer(tmp_path) as someone:
        page = await someone.with_basket((1, 1))
        order_id = await someone.order(page)
        await someone.open(f"/orders/{order_id}", page)
        await page.locator("[data-ask=cancel]").focus()
        await someone.shop.ask("POST", f"/v1/orders/{order_id}/cancel")
        await expect(page.locator("h1")).to_have_text("주문 취소")
        await expect(page.locator("h1")).to_be_focused()


async def test_when_time_runs_out_a_page_sells_nothing_any_more(tmp_path: Path) -> None:
    """The pay page has no way to pay, and what was on sale costs what it costs."""
    async with buyer(tmp_path) as someone:
        page = await someone.with_basket((2, 1))
        order_id = await someone.order(page)
        await someone.sale(1, 1_900)
        goods = await someone.open("/?category=dairy")
        card = goods.locator("[data-list-price]")
        await expect(card.locator(".price b")).to_have_text("1,900원")
        await goods.evaluate("Date.now = ((real) => () => real() + 3 * 3600e3)(Date.now)")
        await expect(card.locator(".price")).to_have_text("2,900원")
        await goods.locator("[data-add*='\"product_id\":1,']").click()
        kept = await goods.evaluate("JSON.parse(localStorage['qc.basket']).lines.map((line) => line.price)")
        assert kept == [2_900]

        await page.clock.install()
        await someone.open(f"/pay/{order_id}", page)
        await expect(page.locator("a.button")).to_be_visible()
        over = await someone.shop.http.get(f"{someone.shop.url}/healthz")
        assert over.status_code == 200
        await page.route("**/pay/ord_*", lambda route: route.fulfill(status=200, content_type="text/html", body="over"))
        await page.clock.fast_forward(700_000)
        await expect(page.locator("body"), "it asked for itself anew").to_have_text("over")


async def test_three_windows_at_the_pg_are_told_the_truth(tmp_path: Path) -> None:
    async with buyer(tmp_path) as someone:
        page = await someone.with_basket((1, 1))
        order_id = await someone.order(page)
        windows = [page, await someone.open(f"/pay/{order_id}"), await someone.open(f"/pay/{order_id}")]
        for each in windows:
            await each.click("a.button")
        await someone.shop.faults(
            confirm=[{"kind": "drop-after"}] * 3, get=[{"kind": "http", "status": 503, "body": "{}"}] * 20
        )
        for each, button in zip(windows, ("pay", "cancel", "pay"), strict=True):
            await each.click(f"button[value={button}]")
            await expect(each.locator("h1")).to_have_text("결제 확인 중")
        await someone.shop.faults(confirm=[], get=[])
        await someone.shop.until_status(order_id, "PAID")
        for each in windows:
            await expect(each.locator("h1")).to_contain_text("결제")
            await expect(each.locator("main")).not_to_contain_text("결제된 금액은 없어요")
            await expect(each.locator(f"a.button[href='/orders/{order_id}']")).to_be_visible()
        assert await someone.captures() == 1


async def test_without_scripts_the_basket_says_what_it_needs(tmp_path: Path) -> None:
    async with buyer(tmp_path) as someone:
        assert someone.context.browser
        context = await someone.context.browser.new_context(java_script_enabled=False, locale="ko-KR")
        page = await context.new_page()
        for path in ("/basket", "/coupons", "/"):
            await page.goto(someone.shop.url + path)
            await expect(page.locator("main .no-script")).to_be_visible()
        await context.close()
