"""Who may ask what: a shop that asks for too little gives orders away, one that asks for too much sells nothing."""

from pathlib import Path

import pytest

from quickcommerce.kit.auth import Role

from .matrix import ISSUE, STAFF
from .routes import PROTECTED, PUBLIC, Route, auth, find, scene, send, visited
from .shop import counts, refused, shop

SELLING = [route for route in PROTECTED if route.roles == (Role.SELLER, Role.MASTER)]
OPERATIONS = [route for route in PROTECTED if route.roles == (Role.MASTER,)]


@pytest.mark.parametrize("route", PROTECTED, ids=str)
async def test_without_a_token_nobody_is_served(tmp_path: Path, route: Route) -> None:
    async with shop(tmp_path, loops=False) as w:
        at = await scene(w)
        before = await counts(w)
        answer = await send(w, route, at, "nobody")
        assert refused(answer) == "unauthorized"
        assert answer.headers["www-authenticate"] == "Bearer"
        assert await counts(w) == before


@pytest.mark.parametrize("people", [("user", "seller")], ids=["user and seller"])
@pytest.mark.parametrize("route", OPERATIONS, ids=str)
async def test_operations_are_for_a_master_only(tmp_path: Path, route: Route, people: tuple[str, ...]) -> None:
    async with shop(tmp_path, loops=False) as w:
        at = await scene(w)
        for who in people:
            assert refused(await send(w, route, at, who)) == "forbidden", who
        letters = await w.get("/v1/ops/dead-letters", role=Role.MASTER)
        assert [letter["id"] for letter in letters["items"]] == [at.letter_id]


@pytest.mark.parametrize("who", ["user"])
@pytest.mark.parametrize("route", SELLING, ids=str)
async def test_shelves_are_filled_by_sellers_only(tmp_path: Path, route: Route, who: str) -> None:
    async with shop(tmp_path, loops=False) as w:
        at = await scene(w)
        before = await counts(w)
        assert refused(await send(w, route, at, who)) == "forbidden"
        assert await counts(w) == before


@pytest.mark.parametrize("who", STAFF)
@pytest.mark.parametrize("route", [find(ISSUE)], ids=str)
async def test_coupons_are_issued_to_buyers_only(tmp_path: Path, route: Route, who: str) -> None:
    async with shop(tmp_path, loops=False) as w:
        at = await scene(w)
        assert refused(await send(w, route, at, who)) == "forbidden"
        assert (await w.http.get("/v1/coupons", headers=auth(w, who))).json()["items"] == []


@visited(PROTECTED, strangers=False)
async def test_everybody_who_may_ask_is_served(tmp_path: Path, route: Route, people: tuple[str, ...]) -> None:
    async with shop(tmp_path) as w:
        for who in people:
            answer = await send(w, route, await scene(w), who)
            assert answer.status_code == route.status, who


@pytest.mark.parametrize("route", PUBLIC, ids=str)
async def test_a_public_route_looks_at_no_token(tmp_path: Path, route: Route) -> None:
    """A buyer whose token has expired can still look at goods, and come back from the PG."""
    async with shop(tmp_path) as w:
        at = await scene(w)
        assert (await send(w, route, at, "nobody")).status_code == route.status
        for header in ("Bearer stale.or.wrong", "Basic bWU6bWU=", w.auth(8, Role.SELLER)["Authorization"]):
            answer = await send(w, route, at, "nobody", headers={"Authorization": header})
            assert answer.status_code == route.status, header


async def test_of_two_tokens_none_is_chosen(tmp_path: Path) -> None:
    """A proxy before the shop may have believed the other one."""
    async with shop(tmp_path, loops=False) as w:
        twice = [("Authorization", w.auth(user)["Authorization"]) for user in (7, 8)]
        assert refused(await w.http.get("/v1/orders", headers=twice)) == "unauthorized"


async def test_identity_headers_from_outside_are_not_believed(tmp_path: Path) -> None:
    """The gateway of the original set these; whoever sends them today is an impostor."""
    async with shop(tmp_path, loops=False) as w:
        at = await scene(w)
        lies = {"X-Id": "7", "X-UserId": "7", "X-User-Id": "7", "X-Role": "ROLE_MASTER"}
        order = find("GET /v1/orders/{order_id}")
        assert refused(await send(w, order, at, "nobody", headers=lies)) == "unauthorized"
        assert refused(await send(w, order, at, "stranger", headers=lies)) == "not-found"
        assert refused(await send(w, OPERATIONS[0], at, "user", headers=lies)) == "forbidden"
        placed = await send(w, find("POST /v1/orders"), at, "stranger", headers=lies)
        assert placed.json()["user_id"] == 8
