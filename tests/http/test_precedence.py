"""Two things wrong at once: the contract says which is told, so that a client always learns the same, and nobody learns
from the second fault what the first forbids to know.
"""

from itertools import combinations, product
from pathlib import Path
from typing import Any

import pytest

from quickcommerce.kit.auth import Role

from .matrix import KEYED
from .routes import PEOPLE, PROTECTED, ROUTES, TAKING, Route, find, scene, send
from .shop import CODES, refused, shop

BIG = b"[" * 70_000
FAULTS: dict[str, dict[str, Any]] = {
    "unauthorized": {"headers": {"Authorization": "Bearer stale"}},
    "forbidden": {},
    "payload-too-large": {"content": BIG},
    "unsupported-media-type": {"headers": {"Content-Type": "text/plain"}},
    "invalid-request": {"content": b'{"a":', "headers": {"Content-Type": "application/json"}},
}
"""In the contract's order, each by what it changes in a request that is right."""
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "FOO"]
PATHS = sorted({route.path for route in ROUTES})
NOWHERE = [
    "/v1", "/v1/order", "/v1/orders/a/b/c", "/V1/orders", "/v1/orders;x=1", "/v1/ops", "/pay", "/pay/a/b",
    "/static", "/static/%2e%2e/shop.css", "/.env", "/%00", "/%ff", "/" + "a" * 10_000,
]  # fmt: skip


def both(first: str, second: str) -> dict[str, Any]:
    """A request with two faults. A body that is too large is no JSON either."""
    one, two = FAULTS[first], FAULTS[second]
    return two | one | {"headers": two.get("headers", {}) | one.get("headers", {})}


@pytest.mark.parametrize("route", TAKING, ids=str)
async def test_of_two_faults_the_earlier_is_told(tmp_path: Path, route: Route) -> None:
    async with shop(tmp_path, loops=False) as w:
        at = await scene(w)
        public = {"unauthorized", "forbidden"} if not route.roles else set()
        open_to_all = {"forbidden"} if set(route.roles) == set(Role) else set()
        known = [fault for fault in FAULTS if fault not in public | open_to_all]
        may = next(who for who in ("master", "user") if route.admits(who))
        for first, second in combinations(known, 2):
            who = {"master": "user", "user": "master"}[may] if "forbidden" in (first, second) else may
            answer = await send(w, route, at, who, **both(first, second))
            assert refused(answer) == first, f"{first} before {second}"


@pytest.mark.parametrize("people", [tuple(PEOPLE)], ids=["everybody"])
@pytest.mark.parametrize("path", PATHS)
async def test_a_method_that_a_path_does_not_have_is_told_first(
    tmp_path: Path, path: str, people: tuple[str, ...]
) -> None:
    async with shop(tmp_path, loops=False) as w:
        at = await scene(w)
        there = {route.method for route in ROUTES if route.path == path}
        there |= {"HEAD"} if "GET" in there else set()
        route = next(route for route in ROUTES if route.path == path)
        for method, who in product(set(METHODS) - there, people):
            wrong = Route(method, path, query=route.query)
            answer = await send(w, wrong, at, who, content=BIG, headers={"Content-Type": "text/plain"})
            assert answer.status_code == 405, method
            assert set(answer.headers["allow"].split(", ")) == there | {"OPTIONS"}
            if method != "HEAD":
                assert refused(answer) == "method-not-allowed"
                assert answer.json()["detail"] == f"this address takes {', '.join(sorted(there))}"
        for who in people:
            told = await send(w, Route("OPTIONS", path, query=route.query), at, who)
            assert (told.status_code, told.content) == (204, b"")
            assert told.headers["allow"] == answer.headers["allow"]


@pytest.mark.parametrize("who", ["nobody", "user", "master"])
async def test_a_path_that_is_not_there_is_told_before_anything_else(tmp_path: Path, who: str) -> None:
    async with shop(tmp_path, loops=False) as w:
        at = await scene(w)
        for path in NOWHERE:
            for method in ("GET", "POST", "DELETE", "OPTIONS", "FOO"):
                wrong = Route(method, path)
                answer = await send(w, wrong, at, who, url=path, content=BIG, headers={"Content-Type": "text/plain"})
                assert refused(answer) == "not-found", path
                assert answer.json()["detail"] == "there is no such address", path


@pytest.mark.parametrize("route", PROTECTED, ids=str)
async def test_who_may_not_ask_learns_nothing_of_what_is_there(tmp_path: Path, route: Route) -> None:
    """Without a token, a good id, an absent one and a bad one are the same 401; so is a bad query."""
    async with shop(tmp_path, loops=False) as w:
        at = await scene(w)
        absent = route.path.replace("{order_id}", "ord_" + "0" * 26).replace("{payment_id}", "x")
        for url in (at.url(route), absent.replace("{letter_id}", "x"), f"{route.path}?limit=0&cursor=x"):
            assert refused(await send(w, route, at, "nobody", url=url)) == "unauthorized"


async def test_what_is_not_valid_is_told_before_a_key_that_was_used(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        at = await scene(w)
        orders, key = find("POST /v1/orders"), {"Idempotency-Key": "k"}
        assert (await send(w, orders, at, "user", headers=key)).status_code == 201
        for code in ("payload-too-large", "unsupported-media-type", "invalid-request"):
            fault = FAULTS[code]
            answer = await send(w, orders, at, "user", **fault | {"headers": fault.get("headers", {}) | key})
            assert refused(answer) == code
        twice = {"lines": [{"product_id": 1, "quantity": 1}] * 2}
        assert refused(await send(w, orders, at, "user", headers=key, json=twice)) == "invalid-request"


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("not-found", {"product_id": 99, "quantity": 1}),
        ("out-of-stock", {"product_id": 4, "quantity": 6}),
        ("price-changed", {"product_id": 1, "quantity": 1, "expected_price": 1}),
        ("coupon-not-usable", {"product_id": 1, "quantity": 1, "coupon_id": 1}),
    ],
)
async def test_a_key_that_was_used_is_told_before_the_state_of_the_shop(
    tmp_path: Path, code: str, line: dict[str, int]
) -> None:
    async with shop(tmp_path, loops=False) as w:
        at = await scene(w)
        orders, body = find("POST /v1/orders"), {"lines": [line]}
        assert refused(await send(w, orders, at, "user", json=body)) == code
        assert (await send(w, orders, at, "user", headers={"Idempotency-Key": "k"})).status_code == 201
        answer = await send(w, orders, at, "user", headers={"Idempotency-Key": "k"}, json=body)
        assert refused(answer) == "idempotency-key-reused"


def test_the_faults_stand_in_the_order_of_the_contract() -> None:
    assert [CODES[code] for code in FAULTS] == [401, 403, 413, 415, 400]


@pytest.mark.parametrize("route", ROUTES, ids=str)
async def test_what_a_route_does_not_read_cannot_be_wrong(tmp_path: Path, route: Route) -> None:
    """What the matrix gives as a reason (it reads no body, no key, no query) is so."""
    async with shop(tmp_path) as w:
        at = await scene(w)
        headers: dict[str, Any] = {} if str(route) in KEYED else {"Idempotency-Key": ""}
        changes: dict[str, Any] = {} if route.takes or route.form else {"content": BIG[:60_000]}
        headers |= {} if route.takes or route.form else {"Content-Type": "text/plain"}
        query = "&".join(f"{name}=%00" for name in {"limit", "cursor", "amount", "from", "x"} - set(route.knows))
        url = at.url(route) + ("&" if route.query else "?") + query
        who = next(who for who in ("master", "user") if route.admits(who))
        answer = await send(w, route, at, who, url=url, headers=headers, **changes)
        assert answer.status_code == route.status, answer.text
