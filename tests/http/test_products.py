"""What is for sale: public, in full, and true to the second."""

import asyncio
import unicodedata
from pathlib import Path
from urllib.parse import quote

from quickcommerce.catalog.model import Entry
from world import world

from .shop import shop

SIRLOIN = {
    "product_id": 4,
    "name": "한우 등심 200g",
    "price": 25_900,
    "list_price": 25_900,
    "available": 5,
    "time_sale": None,
}


async def test_the_product_object_is_what_clients_were_promised(tmp_path: Path) -> None:
    async with shop(tmp_path) as w:
        assert (await w.http.get("/v1/products/4")).json() == SIRLOIN
        listed = (await w.http.get("/v1/products")).json()
        assert [item["product_id"] for item in listed["items"]] == [1, 2, 3, 4]
        assert (listed["items"][3], listed["next_cursor"]) == (SIRLOIN, None)


async def test_what_is_available_follows_orders_within_a_second(tmp_path: Path) -> None:
    async with shop(tmp_path) as w:
        order = (await w.order([(4, 3)])).json()
        await asyncio.sleep(1)
        assert (await w.http.get("/v1/products/4")).json()["available"] == 2
        await w.http.post(f"/v1/orders/{order['order_id']}/cancel", headers=w.auth())
        await asyncio.sleep(1)
        assert (await w.http.get("/v1/products/4")).json()["available"] == 5
        await w.order([(4, 5)])
        await asyncio.sleep(1)
        assert (await w.http.get("/v1/products/4")).json()["available"] == 0


KEYWORDS = {
    "part of a name": ("등심", [4]),
    "part of an English name": ("EGGS", [2]),
    "words are and-ed": ("우유 1l", [1]),
    "in both names": ("우유 milk", [1]),
    "nothing": ("없는것", []),
    "empty": ("", [1, 2, 3, 4, 5, 6]),
    "a per cent sign": ("100%", [5]),
    "no wildcard": ("1%0", []),
    "an underscore": ("1_", []),
    "the escape character": ("!", [5]),
    "a quote": ("'", []),
    "letters apart, as a Mac sends them": (unicodedata.normalize("NFD", "등심"), [4]),
    "letters apart in the catalog": ("치즈", [6]),
    "capitals with accents": ("CRÈME", [6]),
    "capitals of another script": ("МОЛОКО", [6]),
    "a letter whose capital is two": ("STRASSE", [6]),
    "a capital that only has case when taken apart": ("ΐ".upper(), [6]),
    "a category": ("Meat", [4]),
    "a name and a category": ("한우 meat", [4]),
    "across two fields": ("1LMilk", []),
}


async def test_goods_are_found_by_words_of_their_names(tmp_path: Path) -> None:
    goods = [
        Entry(1, "우유 1L", 2_900, 9, "Milk 1L", "dairy"),
        Entry(2, "달걀 30구", 8_900, 9, "Eggs 30"),
        Entry(3, "바나나 1송이", 3_900, 9, "Bananas"),
        Entry(4, "한우 등심 200g", 25_900, 5, "Korean beef sirloin", "meat"),
        Entry(5, "100% 주스!", 1_900, 9),
        Entry(6, unicodedata.normalize("NFD", "치즈 молоко"), 4_900, 9, "crème straße ΐ"),
    ]
    async with shop(tmp_path, loops=False, goods=goods) as w:
        found = {}
        for name, (words, _) in KEYWORDS.items():
            answer = (await w.http.get(f"/v1/products?keyword={quote(words)}")).json()
            found[name] = [item["product_id"] for item in answer["items"]]
        assert found == {name: right for name, (_, right) in KEYWORDS.items()}


async def test_goods_are_found_by_the_names_that_they_have_now(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False, goods=[Entry(1, "우유", 2_900, 9, "Milk", "dairy")]) as w:
        await w.app.flows.catalog.put([Entry(1, "두유", 2_900, 9, "Soy drink", "vegan")])
        for keyword, right in {"우유": [], "milk": [], "dairy": [], "두유 soy VEGAN": [1]}.items():
            items = (await w.http.get(f"/v1/products?keyword={quote(keyword)}")).json()["items"]
            assert [item["product_id"] for item in items] == right, keyword


async def test_names_come_back_as_they_are(tmp_path: Path) -> None:
    """Stored text is returned inert: JSON needs no escapes that a page would need."""
    names = [
        "<script>alert(1)</script>",
        "'; DROP TABLE product; --",
        "=1+1",
        "\U0001f469\u200d\U0001f467 패밀리팩",
        "\u202eright-to-left",
        "\u200bzero",
    ]
    goods = [Entry(at, name, 1_000, 9) for at, name in enumerate(names, 1)]
    async with shop(tmp_path, loops=False, goods=goods) as w:
        listed = (await w.http.get("/v1/products")).json()["items"]
        assert [item["name"] for item in listed] == names
        order = (await w.order([(at, 1) for at in range(1, len(names) + 1)])).json()
        assert [line["name"] for line in order["lines"]] == names


async def test_goods_of_a_data_folder_of_before_are_found_after_the_upgrade(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.app.stores.shop.run(lambda tx: tx.run("UPDATE product SET search_text = ''"))
        assert (await w.get("/v1/products?keyword=milk"))["items"] == []
    async with world(tmp_path) as w:
        assert [each["product_id"] for each in (await w.get("/v1/products?keyword=milk"))["items"]] == [1]


async def test_english_goods_are_found_in_either_number(tmp_path: Path) -> None:
    goods = [
        Entry(1, "블루베리", 1, 1, "Blueberries"),
        Entry(2, "달걀", 1, 1, "Egg 30"),
        Entry(3, "달걀s", 1, 1, "Box"),
    ]
    async with shop(tmp_path, goods=goods, loops=False) as w:
        found = {"blueberry": [1], "Blueberries": [1], "EGGS": [2], "egg 30": [2], "달걀": [2, 3], "달걀s": [3]}
        for keyword, right in found.items():
            items = (await w.http.get(f"/v1/products?keyword={quote(keyword)}")).json()["items"]
            assert [item["product_id"] for item in items] == right, keyword
