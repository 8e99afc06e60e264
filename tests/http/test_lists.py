"""What all lists share: pages of 1 to 100, cursors of their own making, and deafness to what they do not know."""

import asyncio
import base64
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from quickcommerce.catalog.model import Entry, NewSale
from quickcommerce.coupon.flow import Issuing
from quickcommerce.kit.db import Tx
from quickcommerce.payment import store
from quickcommerce.payment.model import Status
from quickcommerce.payment.store import NEVER_US, Attempt
from world import World

from .routes import ROUTES, Route, auth, bury, policy, visited
from .shop import refused, shop

LISTS = [route for route in ROUTES if "cursor" in route.knows and not route.page]
GOODS = [Entry(n, f"상품 {n}", 1_000, 1_000) for n in range(1, 121)]


async def ask(w: World, route: Route, who: str, query: str = "") -> Any:
    return await w.http.get(f"{route.path}?{query}", headers=auth(w, who))


def cursor(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


BAD_LIMITS = ["0", "101", "-1", "1.0", "1e1", "abc", "", "+5", " 5", "5 ", "0x10", "\u0665", "9" * 5_000, "null", "%00"]
BAD_CURSORS = {
    "empty": "",
    "not Base64": "!!!",
    "not ASCII": quote("커서"),
    "not UTF-8": "%FF%FE",
    "NUL": "%00",
    "no JSON": cursor("{"),
    "another JSON": cursor("{}"),
    "a number": cursor("5"),
    "too short": cursor("[1]"),
    "too long": cursor('[1,"a",2]'),
    "text for a number": cursor('["1","a"]'),
    "a fraction": cursor('[1.5,"a"]'),
    "true": cursor('[true,"a"]'),
    "negative": cursor('[-1,"a"]'),
    "2^63": cursor('[9223372036854775808,"a"]'),
    "10^30": cursor('[1000000000000000000000000000000,"a"]'),
    "NaN": cursor('[NaN,"a"]'),
    "a lone surrogate": cursor('[1,"\\ud800"]'),
    "a number for text": cursor("[1,2]"),
    "deep": cursor("[" * 5_000),
    "an id of nothing": cursor('[1,"x"]'),
    "NUL in an id": cursor('[1,"\\u0000"]'),
    "an id of something else": cursor('[1,"evt_01M8HJ2S2YXEA02YEN7FKYX0H4"]'),
    "half of one": cursor('[1767225600000000,"ord_')[:-3],
}


@visited(LISTS)
async def test_a_limit_is_1_to_100(tmp_path: Path, route: Route, people: tuple[str, ...]) -> None:
    async with shop(tmp_path, loops=False) as w:
        for who in people:
            for limit in BAD_LIMITS:
                assert refused(await ask(w, route, who, f"limit={limit}")) == "invalid-request", limit
            assert refused(await ask(w, route, who, "limit=5&limit=5")) == "invalid-request"
            for limit in ("1", "100"):
                assert (await ask(w, route, who, f"limit={limit}")).status_code == 200


@visited(LISTS)
async def test_a_cursor_is_one_that_the_list_gave(tmp_path: Path, route: Route, people: tuple[str, ...]) -> None:
    async with shop(tmp_path, loops=False) as w:
        for who in people:
            codes = {name: refused(await ask(w, route, who, f"cursor={bad}")) for name, bad in BAD_CURSORS.items()}
            assert codes == dict.fromkeys(BAD_CURSORS, "invalid-request")


@visited(LISTS)
async def test_what_a_list_does_not_know_it_ignores(tmp_path: Path, route: Route, people: tuple[str, ...]) -> None:
    """A link with a tracking parameter, or from a newer client, still works."""
    async with shop(tmp_path) as w:
        await fill(w, 3)
        for who in people:
            plain = (await ask(w, route, who)).json()
            assert len(plain["items"]) >= 3
            for query in ("utm_source=mail", "Limit=0", "limit[]=0", "offset=2&page=5", "=&&=", "%00=%00", "a=1&a=2"):
                answer = await ask(w, route, who, query)
                assert (answer.status_code, answer.json()) == (200, plain), query


@visited(LISTS)
async def test_a_page_is_20_if_nothing_else_is_said_and_each_item_comes_once(
    tmp_path: Path, route: Route, people: tuple[str, ...]
) -> None:
    async with shop(tmp_path, goods=GOODS) as w:
        await fill(w, 45)
        for who in people:
            seen: list[dict[str, Any]] = []
            sizes, query = [], ""
            while True:
                page = (await ask(w, route, who, query)).json()
                seen += page["items"]
                sizes.append(len(page["items"]))
                if page["next_cursor"] is None:
                    break
                query = f"cursor={page['next_cursor']}"
            assert set(sizes[:-1]) == {20}
            assert len({str(item) for item in seen}) == len(seen) >= 45
            whole = (await ask(w, route, who, "limit=100")).json()["items"]
            assert whole == seen[:100]


async def fill(w: World, count: int) -> None:
    """Each this often: orders and coupons of users 7 and 1 (a MASTER, whose lists are tested), letters, time sales, and
    payments that need a human, all since the same moment.
    """
    made = await asyncio.gather(*(w.order([(1, 1)], user=user) for user in (1, 7) for _ in range(count)))
    for at, answer in enumerate(made[:count]):
        await bury(w, ("payment", "order", "history")[at % 3], "OrderPlaced", answer.json()["order_id"])
    for _ in range(count):
        policy_id = await policy(w)
        await w.app.flows.coupons.issue([Issuing(policy_id, user) for user in (1, 7)])
    for year in range(2030, 2030 + count):
        await w.app.flows.sales.create(NewSale(1, 5, f"{year}-01-01T00:00:00Z", f"{year}-01-02T00:00:00Z", 500))
    await w.at_rest()

    async def forget(tx: Tx) -> None:
        for (payment_id,) in await tx.all("SELECT payment_id FROM payment LIMIT ?", (count,)):
            await store.start(tx, [Attempt(payment_id, 1, "key", "key", None, None, None, 1, None)])
            sql = "UPDATE payment SET status = ?, attempt = 1, unknown_us = 1, due_us = ? WHERE payment_id = ?"
            await tx.run(sql, (Status.UNKNOWN, NEVER_US, payment_id))

    await w.app.stores.payment.run(forget)


BAD_FILTERS = [
    "user_id=0", "user_id=-7", "user_id=x", "user_id=7.0", "user_id=", "user_id=9007199254740992",
    "user_id=7&user_id=7",
    "status=paid", "status=", "status=PAID,PLACED", "status=PAID&status=PAID", "status=ORDER_PROGRESS",
    "from=", "from=yesterday", "from=2026-1-1", "from=2026-02-30", "from=1767225600",
    "to=2026-13-01", "to=2026-01-01T25:00:00Z", "to=2026-01-01&to=2026-01-01",
    "from=2026-01-01T00:00Z", "from=2026-01-01T00:00:00",
    "from=%00", "keyword=%00", "order_id=%00", "keyword=a&keyword=b", f"keyword={'a' * 201}", "order_id=a&order_id=b",
    "order_id=../../etc/passwd", "order_id=%ED%A0%80", "order_id=" + "a" * 10_000, "order_id=' OR 1=1 --",
]  # fmt: skip


@pytest.mark.parametrize("who", ["user", "seller", "master"])
async def test_bad_values_of_known_filters_are_refused(tmp_path: Path, who: str) -> None:
    """Ignoring one would show a buyer who mistyped a date all orders, or none."""
    async with shop(tmp_path, loops=False) as w:
        for query in BAD_FILTERS:
            answer = await w.http.get(f"/v1/history/orders?{query}", headers=auth(w, who))
            assert refused(answer) == "invalid-request", query


async def test_a_keyword_for_goods_is_bounded(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        for query in (f"keyword={'a' * 101}", "keyword=%00", "keyword=a&keyword=a"):
            assert refused(await w.http.get(f"/v1/products?{query}")) == "invalid-request", query
        for query in (
            f"keyword={'z ' * 50}",
            f"keyword={'%25' * 100}",
            "keyword=" + quote("\U0001f469\u200d\U0001f467"),
            "keyword=%ED%A0%80",
        ):
            assert (await w.http.get(f"/v1/products?{query}")).json()["items"] == [], query


ODD_FILTERS = [
    "keyword=%ED%A0%80z", "keyword=" + quote("\u202e\u200bz"), "from=9999-12-31", "from=9999-12-31T23:59:59.999999Z",
    "to=0001-01-02", "to=0001-01-01T00:00:00.000000%2B23:59",
]  # fmt: skip


async def test_odd_filters_find_nothing_and_break_nothing(tmp_path: Path) -> None:
    async with shop(tmp_path) as w:
        await fill(w, 1)
        assert (await w.get("/v1/history/orders"))["total"] == 1
        for query in ODD_FILTERS:
            found = await w.get(f"/v1/history/orders?{query}")
            assert found == {"items": [], "total": 0, "next_cursor": None}, query
