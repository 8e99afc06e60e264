"""Ids in paths: what is absent, somebody else's, or no id at all is one and the same 404, and never more than that."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from .routes import ROUTES, STRANGERS, Route, find, scene, send, visited
from .shop import counts, refused, shop

OWNED = [route for route in ROUTES if route.owned]
NAMING = [route for route in ROUTES if "{" in route.path]
ABSENT = {
    "order_id": "ord_" + "0" * 26,
    "payment_id": "pay_" + "Z" * 26,
    "letter_id": "payment.evt_1",
    "product_id": 5,
    "policy_id": "pol_" + "0" * 26,
}

HOSTILE = [
    "%00", "%2e%2e", "%2e%2e%2f%2e%2e%2fetc%2fpasswd", "..%5c..", "%ff%fe", "%ED%A0%80", "null", "undefined", "NaN",
    "0", "-1", "1.0", "1e3", "+5", "01", "%201", "1%20", "%D9%A1", "9007199254740992", "9223372036854775808",
    "0000000000000000" + "1" + "9" * 40, "9" * 5_000, "a" * 10_000, quote("주문"),
    quote("\u202e\U0001f469\u200d\U0001f467"),
    quote("' OR '1'='1"), quote("1; DROP TABLE orders"), quote("<script>"), quote("{{7*7}}"), quote("${jndi:ldap://x}"),
    "%0d%0aX-Injected:%201", "*", "%25s%25n", "ord_", "pay_", "ord_" + "0" * 25, "ord_" + "0" * 27,
    "ord_" + "i" * 26, "pay_" + "0" * 26 + "%0a", "ord_" + "0" * 26 + "%00", "evt_" + "0" * 26, "payment.",
    "history." + "0" * 300, "nobody.evt_1",
]  # fmt: skip


def but_for_the_instance(answer: Any) -> bytes:
    content: bytes = answer.content
    return content.replace(answer.json()["instance"].encode(), b"")


@visited(OWNED)
async def test_absent_and_foreign_are_the_same_answer(tmp_path: Path, route: Route, people: tuple[str, ...]) -> None:
    """Else a stranger could find out which orders exist."""
    async with shop(tmp_path, loops=False) as w:
        at = await scene(w)
        before = await counts(w)
        for who in people:
            absent = await send(w, route, at, who, url=route.path.format(**ABSENT))
            assert refused(absent) == "not-found", who
            if who in STRANGERS:
                foreign = await send(w, route, at, who)
                assert refused(foreign) == "not-found"
                assert but_for_the_instance(foreign) == but_for_the_instance(absent)
                assert set(foreign.headers) == set(absent.headers)
        assert await counts(w) == before
        assert await w.status(at.order["order_id"]) == "PLACED"


@visited(NAMING, strangers=False)
async def test_what_is_no_id_names_nothing(tmp_path: Path, route: Route, people: tuple[str, ...]) -> None:
    async with shop(tmp_path, loops=False) as w:
        at = await scene(w)
        before = await counts(w)
        name = route.path[route.path.index("{") + 1 : route.path.index("}")]
        for who in people:
            codes = {}
            for bad in HOSTILE:
                answer = await send(w, route, at, who, url=route.path.replace(f"{{{name}}}", bad))
                codes[bad] = refused(answer)
                assert "x-injected" not in answer.headers
            assert codes == dict.fromkeys(HOSTILE, "not-found"), who
        assert await counts(w) == before


@pytest.mark.parametrize(
    ("path", "kind"),
    [("GET /v1/orders/{order_id}", "payment_id"), ("POST /v1/payments/{payment_id}/confirm", "order_id")],
)
async def test_the_id_of_one_thing_does_not_name_another(tmp_path: Path, path: str, kind: str) -> None:
    async with shop(tmp_path, loops=False) as w:
        at = await scene(w)
        route = find(path)
        url = route.path.replace("{order_id}", "{x}").replace("{payment_id}", "{x}").format(x=at.payment[kind])
        assert refused(await send(w, route, at, "master", url=url)) == "not-found"


async def test_a_product_or_a_letter_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        at = await scene(w)
        for route in (find("GET /v1/products/{product_id}"), find("POST /v1/ops/dead-letters/{letter_id}/replay")):
            assert refused(await send(w, route, at, "master", url=route.path.format(**ABSENT))) == "not-found"
