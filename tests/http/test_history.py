"""Finding orders: each exactly once, by everything the contract lets one look for, and nobody else's."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from unicodedata import normalize
from urllib.parse import quote

import pytest

from quickcommerce.catalog.model import Entry
from quickcommerce.kit.auth import Role
from quickcommerce.kit.clock import from_rfc3339
from world import World

from .shop import refused, shop

HISTORY = "/v1/history/orders"
WEEK_S = 7 * 24 * 3600
GOODS = [
    Entry(1, "서울우유 1L", 2_900, 1_000, "Seoul Milk 1L"),
    Entry(2, "유기농 달걀-30구 (특란)", 8_900, 1_000, "Organic Eggs, 30"),
    Entry(3, "CAFÉ Straße", 3_900, 1_000, ""),
    Entry(4, "100% 사과_주스", 1_900, 1_000, "Apple juice"),
]


async def find(w: World, query: str = "", *, user: int = 7, role: Role = Role.USER) -> list[str]:
    """The ids of what is found; the total counts them all."""
    page = await w.get(f"{HISTORY}?limit=100&{query}", user=user, role=role)
    assert page["next_cursor"] is None
    ids = [item["order_id"] for item in page["items"]]
    assert page["total"] == len(ids) == len(set(ids))
    return ids


async def place(w: World, *lines: tuple[int, int], user: int = 7, at: str | None = None) -> str:
    """An order, placed at this time if one is named. Returns its id."""
    if at:
        w.clock.jump((from_rfc3339(at) - w.clock()) / 1_000_000)
    answer = await w.order(lines or ((1, 1),), user=user)
    if at:
        assert answer.json()["placed_at"] == at
    return str(answer.json()["order_id"])


async def test_an_item_is_the_order_object_as_it_is_now_without_its_way_to_pay(tmp_path: Path) -> None:
    async with shop(tmp_path, goods=GOODS) as w:
        order_id = await place(w, (1, 2), (2, 1))
        await w.at_rest()
        for status in ("PLACED", "CANCELLED"):
            order = await w.get(f"/v1/orders/{order_id}")
            del order["checkout_url"]
            assert order["status"] == status
            assert await w.get(HISTORY) == {"items": [order], "total": 1, "next_cursor": None}
            await w.http.post(f"/v1/orders/{order_id}/cancel", headers=w.auth())
            await w.at_rest()


async def test_users_see_their_own_and_a_master_sees_all(tmp_path: Path) -> None:
    async with shop(tmp_path, goods=GOODS) as w:
        mine, yours = await place(w), await place(w, user=8)
        await w.at_rest()
        for role in (Role.USER, Role.SELLER):
            assert await find(w, role=role) == [mine]
            assert await find(w, "user_id=7", role=role) == [mine]
            for foreign in ("user_id=8", f"user_id=8&order_id={yours}", f"order_id={yours}", "user_id=9"):
                assert await find(w, foreign, role=role) == []
        assert set(await find(w, user=1, role=Role.MASTER)) == {mine, yours}
        assert await find(w, "user_id=8", user=1, role=Role.MASTER) == [yours]
        assert await find(w, f"order_id={mine}&user_id=8", user=1, role=Role.MASTER) == [], "every condition holds"


@pytest.mark.parametrize("limit", [1, 3, 7, 20])
async def test_each_order_is_found_exactly_once_over_the_pages_even_of_one_instant(tmp_path: Path, limit: int) -> None:
    async with shop(tmp_path, goods=GOODS) as w:
        for _ in range(2):
            await asyncio.gather(*(place(w) for _ in range(10)))
            w.clock.jump(1)
        await w.at_rest()
        whole = (await w.get(f"{HISTORY}?limit=100"))["items"]
        keys = [(item["placed_at"], item["order_id"]) for item in whole]
        assert (len(keys), len({at for at, _ in keys})) == (20, 2)
        assert keys == sorted(keys, reverse=True), "newest first"
        pages, cursor = [], ""
        while True:
            page = await w.get(f"{HISTORY}?limit={limit}{cursor}")
            assert page["total"] == 20
            pages += page["items"]
            if page["next_cursor"] is None:
                break
            assert len(page["items"]) == limit
            cursor = f"&cursor={page['next_cursor']}"
        assert pages == whole


async def test_orders_are_found_by_status(tmp_path: Path) -> None:
    async with shop(tmp_path, goods=GOODS) as w:
        open_, cancelled, paid = [await place(w) for _ in range(3)]
        await w.http.post(f"/v1/orders/{cancelled}/cancel", headers=w.auth())
        payment = await w.get(f"/v1/orders/{paid}/payment")
        await w.confirm(payment, await w.authenticate(payment))
        await w.until_status(paid, "PAID")
        await w.at_rest()
        for status, found in (("PLACED", [open_]), ("CANCELLED", [cancelled]), ("PAID", [paid]), ("FAILED", [])):
            assert await find(w, f"status={status}") == found


KEYWORDS: dict[str, tuple[str, Sequence[int]]] = {
    "a whole word": ("서울우유", [1]),
    "its beginning": ("서울", [1]),
    "not its middle": ("우유", []),
    "the English name": ("milk", [1]),
    "beginning of the English name": ("EG", [2, 5]),
    "any case": ("MiLk", [1]),
    "words are and-ed": ("서울 1l", [1]),
    "over both names": ("유기 egg", [2, 5]),
    "in any order": ("30 organic", [2, 5]),
    "one of two is missing": ("서울 달걀", []),
    "across the lines of one order": ("달걀 사과", [5]),
    "punctuation divides words": ("30구", [2, 5]),
    "punctuation in the question": ("(달걀-30구)", [2, 5]),
    "accent in upper case": ("CAFÉ", [3]),
    "accent in lower case": ("café", [3]),
    "no accent is another word": ("cafe1", []),
    "sharp s": ("STRASSE", [3]),
    "only punctuation is in no name": ("%_-", []),
    "a quote, a star, a picture": ('" * 🍓', []),
    "blanks ask for nothing": ("   ", [1, 2, 3, 4, 5]),
    "a per cent sign is no wildcard": ("%주", [4, 5]),
    "an underscore is no wildcard": ("사_", [4, 5]),
    "a quote ends no statement": ("' UNION SELECT --", []),
    "blanks around": ("  milk  ", [1]),
    "empty": ("", [1, 2, 3, 4, 5]),
}


async def test_keywords_find_whole_words_and_beginnings(tmp_path: Path) -> None:
    """A buyer's keyboard may send either form of Unicode (a Mac sends NFD): the same letters are the same word."""
    async with shop(tmp_path, goods=GOODS) as w:
        baskets = [(1,), (2,), (3,), (4,), (2, 4)]
        orders = {await place(w, *((each, 1) for each in basket)): at for at, basket in enumerate(baskets, 1)}
        await w.at_rest()
        for form in ("NFC", "NFD"):
            found = {
                name: sorted(orders[each] for each in await find(w, f"keyword={quote(normalize(form, words))}"))
                for name, (words, _) in KEYWORDS.items()
            }
            assert found == {name: right for name, (_, right) in KEYWORDS.items()}, form


DAY = (
    "2026-03-01T14:59:59.999999Z",
    "2026-03-01T15:00:00.000000Z",
    "2026-03-02T14:59:59.999999Z",
    "2026-03-02T15:00:00.000000Z",
)
"""The last instant of 1 March in Seoul, the first and the last of 2 March, the first of 3 March."""
RANGES: dict[str, tuple[str, list[int]]] = {
    "from a date: its day begins in Seoul": ("from=2026-03-02", [1, 2, 3]),
    "to a date: its whole day": ("to=2026-03-02", [0, 1, 2]),
    "one day": ("from=2026-03-02&to=2026-03-02", [1, 2]),
    "two days": ("from=2026-03-01&to=2026-03-02", [0, 1, 2]),
    "an earlier day": ("to=2026-02-28", []),
    "a later day": ("from=2026-03-04", []),
    "backwards": ("from=2026-03-03&to=2026-03-01", []),
    "from a time includes it": (f"from={DAY[2]}", [2, 3]),
    "to a time excludes it": (f"to={DAY[2]}", [0, 1]),
    "between two times": (f"from={DAY[1]}&to={DAY[3]}", [1, 2]),
    "the same time twice": (f"from={DAY[1]}&to={DAY[1]}", []),
    "a time without fraction": ("from=2026-03-01T15:00:00Z", [1, 2, 3]),
    "an offset": ("from=2026-03-02T00:00:00%2B09:00", [1, 2, 3]),
    "an offset whose plus became a blank": ("from=2026-03-02T00:00:00+09:00", [1, 2, 3]),
    "an offset to the west": ("to=2026-03-01T10:00:00-05:00", [0]),
    "a date and a time": (f"from=2026-03-02&to={DAY[2]}", [1]),
    "as long as there is a calendar": ("from=0001-01-01&to=9999-12-31", [0, 1, 2, 3]),
    "in lower case": ("from=2026-03-01t15:00:00z", [1, 2, 3]),
}


async def test_days_are_those_of_seoul_and_times_are_exact(tmp_path: Path) -> None:
    async with shop(tmp_path, goods=GOODS, payment_window_s=WEEK_S, unknown_hold_s=2 * WEEK_S) as w:
        orders = {await place(w, at=at): number for number, at in enumerate(DAY)}
        await w.at_rest()
        found = {name: sorted(orders[each] for each in await find(w, query)) for name, (query, _) in RANGES.items()}
        assert found == {name: right for name, (_, right) in RANGES.items()}


async def test_what_is_no_id_of_an_order_is_refused(tmp_path: Path) -> None:
    """An empty list would say that there is no such order, to somebody who mistyped it."""
    async with shop(tmp_path, loops=False) as w:
        for text in ("", "garbage", "ord_1", "pay_01M8HJ2S2YXEA02YEN7FKYX0H4", "%22", "ord_" + "0" * 27):
            answer = await w.http.get(f"{HISTORY}?order_id={text}", headers=w.auth())
            assert refused(answer) == "invalid-request", text
        assert await find(w, "order_id=ord_" + "0" * 26) == []
