"""The pages on which a buyer pays: they show the order to whoever holds its link, and to nobody else."""

from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from quickcommerce.catalog.model import Entry

from .browser import BROWSER, is_page, success, visit, way_to_pay
from .routes import OWNERS, PEOPLE, auth
from .shop import counts, refused, shop

SCRIPT = "<script>alert('\"&')</script>"


@pytest.mark.parametrize("choice", ["pay", "pay-refused", "decline", "cancel"])
async def test_from_the_basket_to_the_pg_and_back(tmp_path: Path, choice: str) -> None:
    """Every link is followed as a browser would; nothing is typed in."""
    async with shop(tmp_path) as w:
        order = (await w.order([(1, 2), (3, 1)])).json()
        text = is_page(await visit(w, order["checkout_url"]))
        assert "우유 1L" in text
        assert "9,700원" in text
        assert "09:10" in text, "until when, in Korea"
        start = way_to_pay(text)
        at_pg = await visit(w, start)
        assert at_pg.status_code == 200
        form = {name: values[0] for name, values in parse_qs(urlsplit(start).query).items()} | {"choice": choice}
        back = await w.http.post("/_toss/emulator/checkout", data=form)
        arrived = await visit(w, back.headers["location"])
        status = {"pay": 200, "pay-refused": 402, "decline": 200, "cancel": 200}[choice]
        text = is_page(arrived, status)
        if choice == "pay":
            assert "결제가 완료" in text
            await w.until_status(order["order_id"], "PAID")
            assert "결제 완료" in is_page(await visit(w, order["checkout_url"]))
        else:
            assert way_to_pay(text) == order["checkout_url"], "a way to try again"
            assert await w.status(order["order_id"]) in ("PLACED", "PAYING")
        assert await w.captures(form["orderId"]) == (choice == "pay")


async def test_the_pay_page_tells_the_pg_the_payment_the_amount_and_the_way_back(tmp_path: Path) -> None:
    async with shop(tmp_path, public_url="https://shop.example/") as w:
        order = (await w.order([(1, 2), (3, 1)])).json()
        start = urlsplit(way_to_pay((await visit(w, order["checkout_url"])).text))
        payment = await w.get(f"/v1/orders/{order['order_id']}/payment")
        assert start.path == "/_toss/emulator/checkout"
        assert parse_qs(start.query) == {
            "orderId": [payment["payment_id"]],
            "amount": ["9700"],
            "orderName": ["우유 1L 외 1건"],
            "successUrl": ["https://shop.example/pay/success"],
            "failUrl": ["https://shop.example/pay/fail"],
        }


async def test_the_pay_page_makes_the_payment_before_its_event_arrives(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        order = (await w.order()).json()
        assert (await counts(w))["payments"] == 0
        for _ in range(2):
            way_to_pay(is_page(await visit(w, order["checkout_url"])))
        assert (await counts(w))["payments"] == 1


@pytest.mark.parametrize("who", OWNERS)
async def test_without_the_link_it_takes_a_token(tmp_path: Path, who: str) -> None:
    async with shop(tmp_path, loops=False) as w:
        order = (await w.order()).json()
        path = order["checkout_url"].partition("?")[0]
        is_page(await visit(w, path, who))
        assert "WWW-Authenticate" in (await visit(w, path)).headers
        assert is_page(await visit(w, path), 401)
        assert refused(await w.http.get(path)) == "unauthorized"


async def test_a_buyer_without_link_or_token_is_told_what_to_do_and_not_what_a_program_would_do(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        path = (await w.order()).json()["checkout_url"].partition("?")[0]
        text = is_page(await visit(w, path), 401)
        assert "주문에서 받은 결제 링크를 열거나 로그인해 주세요." in text
        english = await w.http.get(path, headers=BROWSER | {"Accept-Language": "en"})
        assert "Open the payment link from your order, or sign in." in is_page(english, 401)
        assert "Bearer" not in text
        assert "token" not in text
        assert "결제 링크" not in is_page(await visit(w, "/orders"), 401)
        stale = await w.http.get(path, headers=BROWSER | {"Authorization": "Bearer stale"})
        assert is_page(stale, 401) == text


@pytest.mark.parametrize("who", ["nobody", *OWNERS])
async def test_a_wrong_token_is_not_found_whoever_brings_it(tmp_path: Path, who: str) -> None:
    async with shop(tmp_path, loops=False) as w:
        order, other = [(await w.order()).json() for _ in range(2)]
        path, _, token = order["checkout_url"].partition("?token=")
        wrong = [
            "", "x", token[:-1], token + "A", token.swapcase(), token + "%00", "%ff%fe", "%ED%A0%80", "A" * 10_000,
            "../" + token, other["checkout_url"].partition("?token=")[2],
        ]  # fmt: skip
        for bad in wrong:
            assert refused(await w.http.get(f"{path}?token={bad}", headers=auth(w, who))) == "not-found", bad
            assert is_page(await visit(w, f"{path}?token={bad}", who), 404), bad
        absent = path[:-26] + "0" * 26
        assert refused(await w.http.get(f"{absent}?token={token}", headers=auth(w, who))) == "not-found"
        is_page(await visit(w, f"{path}?token={token}", who))


@pytest.mark.parametrize("end", ["PAYING", "PAID", "CANCELLED", "EXPIRED", "FAILED"])
async def test_where_there_is_nothing_to_pay_there_is_no_way_to_pay(tmp_path: Path, end: str) -> None:
    """Else a buyer pays twice, or for an order that has ended."""
    async with shop(tmp_path, payment_window_s=60) as w:
        order = (await w.order()).json()
        payment = await w.get(f"/v1/orders/{order['order_id']}/payment")
        if end == "PAYING":
            await w.faults(confirm=[{"kind": "slow", "ms": 30_000}])
        if end in ("PAYING", "PAID"):
            await success(w, payment, await w.authenticate(payment))
        if end == "CANCELLED":
            await w.http.post(f"/v1/orders/{order['order_id']}/cancel", headers=w.auth())
        for _ in range(10 if end == "FAILED" else 0):
            await success(w, payment, await w.authenticate(payment, method="CARD_REFUSED"))
        await w.until_status(order["order_id"], end)
        answer = await visit(w, order["checkout_url"])
        text = is_page(answer)
        assert 'class="button"' not in text
        said = {"PAYING": "확인 중", "PAID": "결제 완료", "CANCELLED": "취소", "EXPIRED": "만료", "FAILED": "실패"}
        assert said[end] in text
        assert ("refresh" in answer.headers) == (end == "PAYING"), "the page follows by itself"


async def test_when_the_time_is_over_there_is_no_way_to_pay_and_the_page_follows(tmp_path: Path) -> None:
    """The order is ended a moment later, or when the payments can be asked again; it is not for sale meanwhile."""
    async with shop(tmp_path, loops=False, payment_window_s=60) as w:
        order = (await w.order()).json()
        assert 'data-then="reload"' in is_page(await visit(w, order["checkout_url"]))
        w.clock.jump(60)
        answer = await visit(w, order["checkout_url"])
        text = is_page(answer)
        assert "결제 시간이 지났어요" in text
        assert 'class="button"' not in text
        assert answer.headers["refresh"]


async def test_what_others_wrote_is_shown_and_never_run(tmp_path: Path) -> None:
    """Names of goods come from sellers, messages from the PG or from whoever wrote the link."""
    async with shop(tmp_path, goods=[Entry(1, SCRIPT, 1_000, 10)]) as w:
        order = (await w.order([(1, 1)])).json()
        payment = await w.get(f"/v1/orders/{order['order_id']}/payment")
        shown = "&lt;script&gt;alert("
        assert shown in is_page(await visit(w, order["checkout_url"]))
        for name in ("message", "code"):
            query = urlencode({name: SCRIPT, "orderId": payment["payment_id"]})
            assert shown in is_page(await visit(w, f"/pay/fail?{query}"))
        said = '{"code":"BELOW_MINIMUM_AMOUNT","message":"<script>alert(1)</script>"}'
        await w.faults(confirm=[{"kind": "http", "status": 403, "body": said}])
        assert shown in is_page(await success(w, payment, await w.authenticate(payment)), 402)
        assert shown in is_page(await success(w, payment, await w.authenticate(payment)))
        await w.until_status(order["order_id"], "PAID")
        assert shown in is_page(await visit(w, order["checkout_url"]))


@pytest.mark.parametrize(
    ("public_url", "fine"), [("", "http://shop.test"), ("https://shop.example", "https://shop.example")]
)
async def test_the_emulators_page_in_the_shop_leads_back_to_the_shop_only(
    tmp_path: Path, public_url: str, fine: str
) -> None:
    """It stands under the shop's own address: a link to it must not lead a buyer to any other site."""
    async with shop(tmp_path, loops=False, public_url=public_url) as w:
        for success_url, fail_url, status in (
            (f"{fine}/pay/success", f"{fine}/pay/fail", 200),
            ("https://evil.test/pay/success", f"{fine}/pay/fail", 400),
            (f"{fine}/pay/success", f"{fine}.evil.test/pay/fail", 400),
        ):
            form = {"orderId": "pay_1234567", "amount": "1000", "successUrl": success_url, "failUrl": fail_url}
            page = await w.http.get(f"/_toss/emulator/checkout?{urlencode(form)}", headers=BROWSER)
            assert (page.status_code, page.headers["content-type"]) == (status, "text/html; charset=utf-8")
            for choice in ("pay", "cancel"):
                gone = await w.http.post("/_toss/emulator/checkout", data=form | {"choice": choice})
                assert gone.status_code == (303 if status == 200 else 400)


async def test_errors_are_pages_only_for_who_reads_pages(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        for accept in ("", "*/*", "application/json", "application/problem+json", "text/plain"):
            answer = await w.http.get("/pay/ord_x", headers={"Accept": accept})
            assert refused(answer) == "unauthorized", accept
        for accept in ("text/html", "application/json;q=0.5, text/html"):
            is_page(await w.http.get("/pay/ord_x", headers={"Accept": accept}), 401)
        api = await w.http.get("/v1/orders/ord_x", headers=BROWSER | w.auth(*(PEOPLE["user"] or ())))
        assert refused(api) == "not-found", "what is no page answers no page"


async def test_style_and_scripts_are_those_of_the_page_that_names_them(tmp_path: Path) -> None:
    """A script of before the upgrade would not fit the page of after it; one that did not change is not sent again."""
    async with shop(tmp_path, loops=False) as w:
        for name, kind in (("shop.css", "text/css"), ("shop.js", "text/javascript")):
            answer = await w.http.get(f"/static/{name}")
            assert answer.headers["content-type"] == f"{kind}; charset=utf-8"
            assert answer.headers["cache-control"] == "no-cache"
            again = await w.http.get(f"/static/{name}", headers={"If-None-Match": answer.headers["etag"]})
            assert (again.status_code, again.content) == (304, b"")
            other = await w.http.get(f"/static/{name}", headers={"If-None-Match": '"of-before"'})
            assert (other.status_code, other.content) == (200, answer.content)


async def test_a_picture_runs_nothing_even_when_it_is_opened_by_itself(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        answer = await w.http.get("/static/cat-fruit.svg")
        assert answer.headers["content-type"] == "image/svg+xml"
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        assert answer.headers["x-content-type-options"] == "nosniff"
