"""The pages of goods and of a buyer's orders: in the buyer's language, complete, and inert whatever others wrote."""

import asyncio
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from quickcommerce.catalog.flow import Catalog
from quickcommerce.catalog.model import Entry
from quickcommerce.kit.auth import Role
from quickcommerce.kit.clock import SECOND_US
from quickcommerce.order.book import OrderBook
from world import GOODS

from .browser import BROWSER, is_page, success, visit
from .routes import BASKET, BUYERS, auth
from .shop import pay, refused, shop


def stamp(at_s: int) -> str:
    return f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%dT%H:%M:%SZ}"


SCRIPT = "</script><script>alert('\"&')</script>"


@pytest.mark.parametrize(
    ("query", "cookie", "accept", "spoken"),
    [
        ("", "", "", "ko"),
        ("", "", "en", "en"),
        ("", "", "en-GB,ko;q=0.5", "en"),
        ("", "", "fr, en;q=0.4, ko;q=0.6", "ko"),
        ("", "", "fr", "ko"),
        ("", "", "en;q=0", "ko"),
        ("", "", "en;q=x, ;;;,," * 50, "ko"),
        ("", "qc_lang=en", "ko", "en"),
        ("", "qc_lang=xx", "en", "en"),
        ("?lang=ko", "qc_lang=en", "en", "ko"),
        ("?lang=xx", "qc_lang=en", "ko", "en"),
        ("?lang=xx&lang=en", "", "ko", "en"),
    ],
)
async def test_a_page_speaks_the_buyers_language(
    tmp_path: Path, query: str, cookie: str, accept: str, spoken: str
) -> None:
    async with shop(tmp_path, loops=False) as w:
        headers = BROWSER | {"Accept-Language": accept} | ({"Cookie": cookie} if cookie else {})
        answer = await w.http.get(f"/{query}", headers=headers)
        text = is_page(answer)
        assert f'<html lang="{spoken}">' in text
        assert ("우유 1L" if spoken == "ko" else "Milk 1L") in text
        assert ("qc_lang" in answer.headers.get("set-cookie", "")) == (f"lang={spoken}" in query), "a choice is kept"


async def test_the_language_can_be_changed_where_one_is(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        text = is_page(await visit(w, "/?keyword=%22%26x&category=fruit"))
        assert 'href="/?keyword=%22%26x&amp;category=fruit&amp;lang=en"' in text


async def test_each_category_has_its_goods_and_a_word_finds_its_own(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        home = is_page(await visit(w, "/"))
        assert home.count("data-add=") == 4
        assert "유제품" in home
        assert is_page(await visit(w, "/?category=dairy")).count("data-add=") == 2
        found = is_page(await visit(w, "/?keyword=sirloin"))
        assert (found.count("data-add="), "한우 등심" in found) == (1, True)
        assert "찾는 상품이 없어요" in is_page(await visit(w, "/?keyword=nothing"))


async def test_the_pages_of_goods_are_each_product_once(tmp_path: Path) -> None:
    goods = [Entry(n, f"상품 {n}", 1_000, 10) for n in range(1, 61)]
    async with shop(tmp_path, loops=False, goods=goods) as w:
        seen, url = [], "/?all=1"
        while url:
            text = is_page(await visit(w, url))
            seen += re.findall(r'"product_id": (\d+)', text)
            more = re.search(r'class="quiet" href="([^"]+)"', text)
            url = more[1].replace("&amp;", "&") if more else ""
        assert [int(each) for each in seen] == list(range(1, 61))


@pytest.mark.parametrize("path", ["/", "/sign-in"])
async def test_a_query_that_cannot_be_is_told_as_a_page(tmp_path: Path, path: str) -> None:
    queries = {"/": ["cursor=x", "keyword=a&keyword=b", f"keyword={'a' * 101}"], "/sign-in": ["next=a&next=b"]}
    async with shop(tmp_path, loops=False) as w:
        for query in queries[path]:
            assert "요청을 읽을 수 없어요" in is_page(await visit(w, f"{path}?{query}"), 400)
            assert refused(await w.http.get(f"{path}?{query}")) == "invalid-request"


async def test_categories_with_a_name_come_first_and_a_page_leads_to_some_of_them(tmp_path: Path) -> None:
    """Of a thousand categories a page leads to some: those that the shop has a name and a picture for."""
    strange = [Entry(n, f"상품 {n}", 1_000, 10, f"Goods {n}", f"a-{n:03}") for n in range(10, 200)]
    async with shop(tmp_path, loops=False, goods=[*GOODS, *strange]) as w:
        tiles = re.findall(r'<a href="/\?category=([\w-]+)"><span', is_page(await visit(w, "/")))
        assert tiles[:4] == ["fruit", "meat", "dairy", "a-010"]
        assert len(tiles) == 40
        chosen = is_page(await visit(w, "/?category=a-199"))
        assert '<a href="/?category=a-199" aria-current="page">' in chosen
        assert chosen.count("data-add=") == 1


async def test_a_crowd_at_the_first_page_looks_the_goods_up_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes a dozen reads of the catalog; what is new is shown a second later."""
    async with shop(tmp_path, loops=False) as w:
        looked: list[str] = []
        real = Catalog.page

        async def page(self: Catalog, keyword: str, after: int, limit: int, category: str | None = None) -> Any:
            looked.append(category or "")
            return await real(self, keyword, after, limit, category)

        monkeypatch.setattr(Catalog, "page", page)
        await asyncio.gather(*(visit(w, "/") for _ in range(20)))
        assert sorted(looked) == ["dairy", "fruit", "meat"]
        new = {"name": "새 우유", "name_en": "New milk", "category": "dairy", "price": 1_000, "stock": 5}
        answer = await w.http.post("/v1/products", json=new, headers=w.auth(9, Role.SELLER))
        assert answer.status_code == 201, answer.text
        w.clock.jump(1)
        assert "새 우유" in is_page(await visit(w, "/"))


async def test_a_defect_is_a_page_for_people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with shop(tmp_path, loops=False) as w:

        async def broken(*_: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(OrderBook, "page", broken)
        assert "문제가 생겼어요" in is_page(await visit(w, "/orders", "owner"), 500)


async def test_the_basket_says_how_long_goods_are_held(tmp_path: Path) -> None:
    for seconds, ko, en in (
        (600, "10분 동안", "for 10 minutes once"),
        (60, "1분", "for 1 minute once"),
        (90, "90초", "90 s"),
    ):
        async with shop(tmp_path / str(seconds), loops=False, payment_window_s=seconds) as w:
            assert ko in is_page(await visit(w, "/basket"))
            assert en in is_page(await w.http.get("/basket", headers=BROWSER | {"Accept-Language": "en"}))


async def test_a_card_of_a_time_sale_knows_what_it_costs_afterwards(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        at = w.clock() // SECOND_US
        sale = {"product_id": 1, "price": 1_000, "quota": 5, "starts_at": stamp(at - 60), "ends_at": stamp(at + 60)}
        answer = await w.http.post("/v1/time-sales", json=sale, headers=w.auth(9, Role.MASTER))
        assert answer.status_code == 201, answer.text
        text = is_page(await visit(w, "/?category=dairy"))
        assert text.count('data-list-price="2900"') == 1
        assert text.count('data-then="list-price"') == 1


async def test_what_is_sold_out_cannot_be_put_into_the_basket(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False, goods=[Entry(1, "없는 우유", 1_000, 0), Entry(2, "달걀", 900, 3)]) as w:
        text = is_page(await visit(w, "/?all=1"))
        buttons = re.findall(r"<button class=\"add\"[^>]*>", text)
        assert [each.endswith("disabled>") for each in buttons] == [True, False]
        assert re.findall(r">([^<]*)</button>", text.partition("<main")[2]) == ["품절", "담기"]
        assert "3개 남음" in text


async def test_what_sellers_and_buyers_write_stays_text(tmp_path: Path) -> None:
    async with shop(tmp_path, goods=[Entry(1, SCRIPT, 1_000, 10, SCRIPT, "x'><script>")]) as w:
        order = (await w.order([(1, 1)])).json()
        for path in ("/", "/?all=1", f"/?{urlencode({'keyword': SCRIPT})}", f"/?{urlencode({'category': SCRIPT})}"):
            for spoken in ("ko", "en"):
                is_page(await w.http.get(path, headers=BROWSER | {"Accept-Language": spoken}))
        shown = "&lt;/script&gt;&lt;script&gt;alert("
        assert shown in is_page(await visit(w, "/?all=1"))
        assert shown in is_page(await visit(w, "/orders", "owner"))
        assert shown in is_page(await visit(w, f"/orders/{order['order_id']}", "owner"))


async def test_an_order_shows_where_it_stands_and_only_what_may_be_done_now(tmp_path: Path) -> None:
    async with shop(tmp_path) as w:
        order = (await w.order()).json()
        path = f"/orders/{order['order_id']}"
        placed = is_page(await visit(w, path, "owner"))
        assert 'data-status="PLACED"' in placed
        assert f'href="{order["checkout_url"]}"' in placed
        assert f'data-post="/v1/orders/{order["order_id"]}/cancel"' in placed
        await pay(w, order)
        await w.until_status(order["order_id"], "PAID")
        paid = is_page(await visit(w, path, "owner"))
        assert 'data-status="PAID"' in paid
        assert "/cancel" not in paid
        assert order["checkout_url"] not in paid
        assert re.findall(r'class="at-(\w+)"', paid) == ["PLACED", "PAYING", "PAID"]


async def test_a_refund_that_is_under_way_is_shown_and_not_offered_again(tmp_path: Path) -> None:
    """The PG gives back a part at once; the reply about the rest is lost, so that it is found out later."""
    async with shop(tmp_path) as w:
        order = (await w.order()).json()
        path = f"/orders/{order['order_id']}"
        await pay(w, order)
        await w.until_status(order["order_id"], "PAID")
        payment = await w.get(f"/v1{path}/payment")
        url = f"/v1/payments/{payment['payment_id']}/refunds"
        text = is_page(await visit(w, path, "owner"))
        assert "5,800원을 환불할까요?" in text
        assert "전액 환불" in text
        part = await w.http.post(url, json={"reason": "x", "amount": 800}, headers=w.auth())
        assert part.json()["status"] == "DONE"
        text = is_page(await visit(w, path, "owner"))
        assert "5,000원을 환불할까요?" in text
        assert "나머지 환불" in text
        await w.faults(cancel=[{"kind": "slow", "ms": 50_000}])
        rest = await w.http.post(url, json={"reason": "x"}, headers=w.auth())
        assert rest.json()["status"] == "PENDING"
        text = is_page(await visit(w, path, "owner"))
        assert "5,000원 환불이 진행 중" in text
        assert 'data-ask="refund"' not in text
        await w.until_status(order["order_id"], "REFUNDED")
        text = is_page(await visit(w, path, "owner"))
        assert "진행 중이에요" not in text
        assert ("결제한 금액" in text, "<dt>결제 금액" in text) == (True, False), "there is nothing to pay any more"


async def test_while_the_payment_is_checked_no_clock_urges_the_buyer_on(tmp_path: Path) -> None:
    async with shop(tmp_path) as w:
        order = (await w.order()).json()
        payment = await w.get(f"/v1/orders/{order['order_id']}/payment")
        path = f"/orders/{order['order_id']}"
        assert "data-ends" in is_page(await visit(w, path, "owner"))
        await w.faults(confirm=[{"kind": "slow", "ms": 30_000}])
        await success(w, payment, await w.authenticate(payment))
        await w.until_status(order["order_id"], "PAYING")
        text = is_page(await visit(w, path, "owner"))
        assert "다시 결제하지 마세요" in text
        assert "data-ends" not in text


@pytest.mark.parametrize("who", BUYERS)
async def test_the_pages_of_my_orders_are_each_order_once(tmp_path: Path, who: str) -> None:
    async with shop(tmp_path, loops=False) as w:
        assert "아직 주문이 없어요" in is_page(await visit(w, "/orders", who))
        placed = [
            (await w.http.post("/v1/orders", json=BASKET, headers=auth(w, who))).json()["order_id"] for _ in range(23)
        ]
        await w.order(user=8)
        seen, url = [], "/orders"
        while url:
            text = is_page(await visit(w, url, who))
            seen += re.findall(r'href="/orders/(ord_\w+)"', text)
            more = re.search(r'class="quiet" href="([^"]+)"', text)
            url = more[1] if more else ""
        assert sorted(seen) == sorted(placed)
        assert "요청을 읽을 수 없어요" in is_page(await visit(w, "/orders?cursor=x", who), 400)


async def test_who_is_not_signed_in_is_shown_the_way_in_and_back(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        for path in ("/orders", "/orders/ord_" + "0" * 26):
            text = is_page(await visit(w, path), 401)
            assert f'href="/sign-in?{urlencode({"next": path})}"' in text


async def test_an_address_that_is_not_there_is_a_page_for_people_and_a_problem_for_programs(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        assert "찾을 수 없어요" in is_page(await visit(w, "/nowhere"), 404)
        for path, headers in (("/nowhere", {}), ("/v1/nowhere", BROWSER), ("/static/x.js", BROWSER)):
            answer = await w.http.get(path, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (404, "not-found")


async def test_a_pg_of_another_site_may_be_sent_a_form_and_nobody_else(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False, pg_url="https://pg.example/v1") as w:
        policy = (await visit(w, "/")).headers["content-security-policy"]
        assert "form-action 'self' https://pg.example;" in policy


async def test_an_english_page_names_the_goods_of_an_order_in_english(tmp_path: Path) -> None:
    goods = [Entry(1, "우유 1L", 2_900, 10, "Milk 1L"), Entry(2, "두부", 1_900, 10)]
    async with shop(tmp_path, goods=goods, loops=False) as w:
        order = (await w.order([(1, 1), (2, 1)])).json()
        for path in ("/orders", f"/orders/{order['order_id']}", order["checkout_url"].partition("?")[0]):
            english = await w.http.get(path, headers=BROWSER | {"Accept-Language": "en"} | auth(w, "owner"))
            text = is_page(english)
            assert "Milk 1L" in text, path
            assert "우유" not in text, path
            assert path == "/orders" or "두부" in text, "goods without an English name have no name at all"
            korean = is_page(await visit(w, path, "owner"))
            assert "우유 1L" in korean
            assert "Milk" not in korean
