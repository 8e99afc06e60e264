"""Money whose order has ended: every page tells its buyer the same, and none of them asks for it again."""

import html
from pathlib import Path
from typing import Any

import httpx2
import pytest

from quickcommerce.kit.db import Tx
from quickcommerce.payment import store
from world import World

from .browser import BROWSER, is_page, success, visit, way_to_pay
from .routes import auth
from .shop import refused, shop

TIMES: dict[str, Any] = {"payment_window_s": 30, "unknown_hold_s": 120}
SILENT = {"kind": "http", "status": 503, "body": "{}", "forever": True}
BEEF = 4
LANGUAGES = ("ko", "en")
CHECKING = {
    "ko": "결제 결과를 아직 확인하고 있어요. 다시 결제하거나 주문하지 마세요",
    "en": "do not pay or order again",
}
LATE = {
    "ko": "129,500원이 결제됐어요. 주문은 이루어지지 않았고, 전액 돌려드리고 있어요",
    "en": "₩129,500 came after the order",
}
BACK = {"ko": "129,500원을 모두 돌려드렸어요", "en": "₩129,500 came after the order had ended, and all of it went back"}
SHORT = {
    "checking": {"ko": "결제 확인 중", "en": "Checking your payment"},
    "late": {"ko": "결제가 늦게 들어왔어요", "en": "Your payment came too late"},
    "back": {"ko": "늦게 들어온 결제를 돌려드렸어요", "en": "Your late payment went back"},
}


class Late:
    """The only five pieces of beef, paid for by a buyer whose PG then fell silent; the order has ended."""

    def __init__(self, w: World, order: dict[str, Any], payment: dict[str, Any], key: str) -> None:
        self.w, self.order, self.payment, self.key = w, order, payment, key

    async def sold(self) -> None:
        """Somebody else buys the goods, the PG can be read again, and will not give the money back."""
        assert (await self.w.order([(BEEF, 5)], user=8)).status_code == 201
        await self.w.faults(get=[], cancel=[{"kind": "error", "code": "REFUND_REJECTED", "forever": True}])

        async def owed() -> bool:
            items = (await self.w.get(f"/v1/orders/{self.order['order_id']}/timeline"))["items"]
            refunding: list[store.Payment] = []

            async def look(tx: Tx) -> None:
                refunding.extend((await store.of_orders(tx, [self.order["order_id"]])).values())

            await self.w.app.stores.payment.read(look)
            return items[-1]["what"] == "late payment" and refunding[0].refunding > 0

        await self.w.until("the money is owed", owed, within_s=200)

    async def back(self) -> None:
        """The PG gives the money back."""
        await self.w.faults(cancel=[])

        async def done() -> bool:
            found = await self.w.get(f"/v1/orders/{self.order['order_id']}/payment")
            return bool(found["status"] == "REFUNDED")

        await self.w.until("the money is back", done, within_s=7_200)
        await self.w.at_rest()

    async def see(self, path: str, language: str) -> httpx2.Response:
        """A page as the owner is shown it."""
        headers = BROWSER | auth(self.w, "owner") | {"Accept-Language": language}
        return await self.w.http.get(path, headers=headers)

    async def told(self, note: dict[str, str], short: str, status: int, *, follows: bool) -> None:
        """Every page says it, in both languages, and goes on looking while there is more to hear."""
        order_id, way = self.order["order_id"], self.order["checkout_url"]
        for language in LANGUAGES:
            headers = BROWSER | {"Accept-Language": language}
            returned = await success(self.w, self.payment, self.key, headers=headers)
            gave_up = await self.see(f"/pay/fail?code=X&orderId={self.payment['payment_id']}", language)
            for answer, code in ((returned, status), (gave_up, 200), (await self.see(way, language), 200)):
                text = html.unescape(is_page(answer, code))
                assert note[language] in text
                assert ("refresh" in answer.headers) == follows
            for answer in (returned, gave_up):
                assert SHORT[short][language] in answer.text
                assert "결제가 완료" not in answer.text
                assert "thank you" not in answer.text
            text = html.unescape(is_page(await self.see(f"/orders/{order_id}", language)))
            assert note[language] in text
            assert ('data-again="1"' in text) == follows
            assert f'<span class="order-money">{SHORT[short][language]}</span>' in is_page(
                await self.see("/orders", language)
            )


async def late(w: World) -> Late:
    order = (await w.order([(BEEF, 5)])).json()
    payment = await w.get(f"/v1/orders/{order['order_id']}/payment")
    await w.faults(confirm=[{"kind": "drop-after"}], get=[SILENT])
    key = await w.authenticate(payment)
    await success(w, payment, key)
    await w.until_status(order["order_id"], "EXPIRED", within_s=130)
    return Late(w, order, payment, key)


async def test_no_page_calls_an_order_over_while_its_money_may_come(tmp_path: Path) -> None:
    """Else a buyer orders again, and is charged twice."""
    async with shop(tmp_path, **TIMES) as w:
        one = await late(w)
        await one.told(CHECKING, "checking", 202, follows=True)


async def test_no_page_says_paid_of_money_that_came_too_late(tmp_path: Path) -> None:
    """The goods are another buyer's by then, and the money waits to go back."""
    async with shop(tmp_path, **TIMES) as w:
        one = await late(w)
        await one.sold()
        await one.told(LATE, "late", 409, follows=True)
        assert refused(await success(w, one.payment, one.key, headers={})) == "invalid-state"
        await one.back()
        await one.told(BACK, "back", 409, follows=False)
        assert refused(await success(w, one.payment, one.key, headers={})) == "invalid-state"


async def test_late_money_that_buys_everything_again_is_called_paid(tmp_path: Path) -> None:
    async with shop(tmp_path, **TIMES) as w:
        one = await late(w)
        await w.faults(get=[])
        await w.until_status(one.order["order_id"], "PAID", within_s=200)
        assert "결제가 완료됐어요" in is_page(await success(w, one.payment, one.key))


@pytest.mark.parametrize("language", LANGUAGES)
async def test_what_happened_to_late_money_stands_on_the_order_for_its_buyer(tmp_path: Path, language: str) -> None:
    async with shop(tmp_path, **TIMES) as w:
        one = await late(w)
        await one.sold()
        await one.back()
        items = (await w.get(f"/v1/orders/{one.order['order_id']}/timeline"))["items"]
        assert [each["what"] for each in items] == [
            "placed",
            "paying",
            "expired",
            "late payment",
            "late payment refunded",
        ]
        text = is_page(await one.see(f"/orders/{one.order['order_id']}", language))
        came = {"ko": "주문이 끝난 뒤 결제됨", "en": "Your payment came after the order had ended"}
        gone = {"ko": "늦은 결제를 돌려드림", "en": "Money that came late went back"}
        assert text.index(came[language]) < text.index(gone[language])


async def test_an_order_that_was_never_paid_is_told_as_before(tmp_path: Path) -> None:
    async with shop(tmp_path, **TIMES) as w:
        order = (await w.order()).json()
        await w.until_status(order["order_id"], "EXPIRED")
        text = is_page(await visit(w, f"/orders/{order['order_id']}", "owner"))
        assert "결제 시간이 지나 재고를 풀었어요." in text
        assert 'data-again=""' in text
        assert "order-money" not in is_page(await visit(w, "/orders", "owner"))


async def test_the_payments_are_read_for_orders_that_have_ended_and_once_for_a_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with shop(tmp_path, loops=False) as w:
        placed = [(await w.order()).json()["order_id"] for _ in range(3)]
        read: list[int] = []
        inner = store.of_orders

        async def of_orders(tx: Tx, order_ids: Any, *, locked: bool = False) -> Any:
            read.append(len(order_ids))
            return await inner(tx, order_ids, locked=locked)

        monkeypatch.setattr(store, "of_orders", of_orders)
        is_page(await visit(w, "/orders", "owner"))
        is_page(await visit(w, f"/orders/{placed[0]}", "owner"))
        assert read == []
        for order_id in placed[:2]:
            assert (await w.http.post(f"/v1/orders/{order_id}/cancel", headers=w.auth())).status_code == 200
        read.clear()
        is_page(await visit(w, "/orders", "owner"))
        assert read == [2]
        is_page(await visit(w, f"/orders/{placed[0]}", "owner"))
        assert read == [2, 1]


@pytest.mark.parametrize(("language", "name"), [("ko", "우유 1L 외 1건"), ("en", "Milk 1L and 1 more")])
async def test_the_pages_of_a_payment_name_the_goods_in_the_buyers_language(
    tmp_path: Path, language: str, name: str
) -> None:
    async with shop(tmp_path) as w:
        order = (await w.order([(1, 2), (3, 1)])).json()
        payment = await w.get(f"/v1/orders/{order['order_id']}/payment")
        headers = BROWSER | {"Accept-Language": language}
        way = way_to_pay(is_page(await w.http.get(order["checkout_url"], headers=headers)))
        assert httpx2.URL(way).params["orderName"] == name
        text = is_page(await success(w, payment, await w.authenticate(payment), headers=headers))
        assert f"<p>{name}</p>" in text
