"""The session of the pages: it is as good as a token, but only for what comes from the shop's own pages."""

from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import httpx2
import pytest

from quickcommerce.kit import session
from world import World

from .browser import BROWSER, is_page
from .routes import OF_USERS, PROTECTED, PUBLIC, Route, auth, find, scene, send, visited
from .shop import counts, refused, shop

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
OWN = {"Origin": "http://shop.test"}
FOREIGN = [
    {}, {"Origin": "null"}, {"Origin": ""}, {"Origin": "http://evil.test"}, {"Origin": "http://shop.test.evil.test"},
    {"Origin": "http://shop.test:8080"}, {"Origin": "http://evil.test/http://shop.test"}, {"Origin": "shop.test"},
    {"Origin": "https://shop.test"}, {"Origin": "ftp://shop.test"},
    {"Origin": "http://SHOP.test@evil.test"}, {"Referer": "http://shop.test/"},
]  # fmt: skip


def cookie(w: World, who: str) -> dict[str, str]:
    """The session of these people, as a browser sends it."""
    return {"Cookie": f"qc_session={auth(w, who)['Authorization'].removeprefix('Bearer ')}"}


async def with_session(w: World, route: Route, at: Any, who: str, **headers: str) -> httpx2.Response:
    return await send(w, route, at, "nobody", headers=cookie(w, who) | headers)


@visited(PROTECTED, strangers=False)
async def test_a_session_is_as_good_as_a_token(tmp_path: Path, route: Route, people: tuple[str, ...]) -> None:
    async with shop(tmp_path) as w:
        for who in people:
            answer = await with_session(w, route, await scene(w), who, **OWN)
            assert answer.status_code == route.status, who


@visited(OF_USERS)
async def test_a_session_serves_the_shops_own_pages_and_no_other_site(
    tmp_path: Path, route: Route, people: tuple[str, ...]
) -> None:
    """Else any site that a buyer opens could order, cancel and give money back in their name."""
    async with shop(tmp_path, loops=False) as w:
        at = await scene(w)
        before = await counts(w)
        for who in people:
            for headers in FOREIGN:
                assert refused(await with_session(w, route, at, who, **headers)) == "forbidden", headers
        assert await counts(w) == before


async def test_without_the_look_at_the_origin_another_site_orders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control."""
    async with shop(tmp_path, loops=False) as w:
        at = await scene(w)
        monkeypatch.setattr(session, "is_own", lambda _request: True)
        assert (await with_session(w, find("POST /v1/orders"), at, "user", **FOREIGN[3])).status_code == 201


async def test_two_origins_are_none(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        headers = [*cookie(w, "user").items(), ("Origin", "http://shop.test"), ("Origin", "http://evil.test")]
        answer = await w.http.post("/v1/orders", json={"lines": []}, headers=headers)
        assert refused(answer) == "forbidden"


@pytest.mark.parametrize(
    ("origin", "fine"),
    [
        ("https://shop.example", True),
        ("http://shop.example", False),
        ("http://shop.test", False),
        ("https://evil.example", False),
    ],
)
async def test_behind_a_proxy_the_shop_is_where_its_public_address_says(
    tmp_path: Path, origin: str, *, fine: bool
) -> None:
    async with shop(tmp_path, loops=False, public_url="https://shop.example/") as w:
        answer = await with_session(w, find("POST /v1/orders"), await scene(w), "user", Origin=origin)
        assert (answer.status_code == 201) == fine


async def test_an_authorization_is_believed_before_a_session(tmp_path: Path) -> None:
    """A client that sends both is the one that it says; a stale token is not mended by a cookie."""
    async with shop(tmp_path, loops=False) as w:
        order = (await w.order()).json()
        url = f"/v1/orders/{order['order_id']}"
        assert (await w.http.get(url, headers=cookie(w, "user"))).status_code == 200
        assert refused(await w.http.get(url, headers=cookie(w, "user") | auth(w, "stranger"))) == "not-found"
        stale = cookie(w, "user") | {"Authorization": "Bearer stale"}
        assert refused(await w.http.get(url, headers=stale)) == "unauthorized"


@pytest.mark.parametrize("route", PUBLIC, ids=str)
async def test_a_stale_session_keeps_nobody_from_what_is_public(tmp_path: Path, route: Route) -> None:
    async with shop(tmp_path) as w:
        answer = await send(w, route, await scene(w), "nobody", headers={"Cookie": "qc_session=stale; qc_lang=%00xx"})
        assert answer.status_code == route.status


@pytest.mark.parametrize(("public_url", "secure"), [("", False), ("https://shop.example", True)])
async def test_who_signs_in_gets_a_cookie_that_no_script_can_read(
    tmp_path: Path, public_url: str, *, secure: bool
) -> None:
    async with shop(tmp_path, loops=False, public_url=public_url) as w:
        form = "user=42&role=ROLE_SELLER&next=%2Fbasket"
        own = {"Origin": public_url} if public_url else OWN
        answer = await w.http.post("/sign-in", content=form, headers=FORM | own)
        assert (answer.status_code, answer.headers["location"]) == (303, "/basket")
        given = SimpleCookie(answer.headers["set-cookie"])["qc_session"]
        assert (given["httponly"], given["samesite"].lower(), given["path"]) == (True, "lax", "/")
        assert bool(given["secure"]) == secure
        token = {"Authorization": f"Bearer {given.value}"}
        assert (
            await w.http.post("/v1/orders", json={"lines": [{"product_id": 1, "quantity": 1}]}, headers=token)
        ).json()["user_id"] == 42
        page = await w.http.get("/sign-in", headers=BROWSER | {"Cookie": f"qc_session={given.value}"})
        assert "42번 고객" in is_page(page)
        out = await w.http.post("/sign-out", headers={"Cookie": f"qc_session={given.value}"} | own)
        gone = SimpleCookie(out.headers["set-cookie"])["qc_session"]
        assert (gone.value, gone["max-age"]) == ("", "0")


@pytest.mark.parametrize("path", ["/sign-in", "/sign-out"])
async def test_another_site_signs_nobody_in_or_out(tmp_path: Path, path: str) -> None:
    """Else a buyer could be made to order as somebody else."""
    async with shop(tmp_path, loops=False) as w:
        for headers in FOREIGN[1:-1]:
            answer = await w.http.post(path, content="user=7", headers=FORM | headers)
            assert refused(answer) == "forbidden", headers
            assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "next_path",
    ["https://evil.test/", "//evil.test", "/\\evil.test", "javascript:alert(1)", "/%0d%0aSet-Cookie:x=1\r\n", "/한"],
)
async def test_signing_in_leads_only_to_the_shop(tmp_path: Path, next_path: str) -> None:
    async with shop(tmp_path, loops=False) as w:
        answer = await w.http.post("/sign-in", data={"user": "7", "next": next_path}, headers=OWN)
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        page = await w.http.get("/sign-in", params={"next": next_path}, headers=BROWSER)
        assert 'name="next" value="/"' in is_page(page)


async def test_a_form_that_names_no_buyer_is_refused(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        bad = [
            "",
            "user=",
            "user=0",
            "user=x",
            "user=1.5",
            f"user={2**53}",
            "user=7&role=ROLE_GOD",
            "user=7&a=b",
        ]
        for form in [*bad, "user=%ff", "&".join(f"a{n}=1" for n in range(50))]:
            answer = await w.http.post("/sign-in", content=form, headers=FORM | OWN)
            assert refused(answer) == "invalid-request", form
        page = await w.http.post("/sign-in", content="user=x", headers=FORM | OWN | BROWSER)
        assert "확인해 주세요" in is_page(page, 400)


async def test_a_form_that_does_not_end_is_refused(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        answer = await w.http.post("/sign-in", content="user=7&next=" + "a" * 5000, headers=FORM | OWN)
        assert refused(answer) == "payload-too-large"


async def test_what_is_no_form_is_refused(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        for kind in ("application/json", "text/plain", "multipart/form-data; boundary=x"):
            answer = await w.http.post("/sign-in", content="user=7", headers={"Content-Type": kind} | OWN)
            assert refused(answer) == "unsupported-media-type", kind


async def test_in_production_nobody_chooses_who_they_are(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False, profile="dev", jwt_secret="x" * 32, pg_secret_key="y") as w:
        for method, path in (("GET", "/sign-in"), ("POST", "/sign-in"), ("POST", "/sign-out")):
            answer = await w.http.request(method, path, content="user=7", headers=FORM | OWN)
            assert refused(answer) == "not-found"
        assert "/sign-in" not in is_page(await w.http.get("/", headers=BROWSER))
        assert "/sign-in" not in is_page(await w.http.get("/orders", headers=BROWSER), 401)


async def test_what_a_session_is_told_is_kept_by_nothing_between(tmp_path: Path) -> None:
    """Else the next who uses the browser, or a proxy, finds a buyer's orders. What says for itself how long it keeps
    is left alone.
    """
    async with shop(tmp_path, loops=False) as w:
        at = await scene(w)
        for name in ("GET /v1/orders", "GET /v1/orders/{order_id}", "POST /v1/orders"):
            headers = (await with_session(w, find(name), at, "user", **OWN)).headers
            assert headers.get_list("cache-control") == ["no-store"]
            assert headers.get_list("x-content-type-options") == ["nosniff"]
        assert (await w.http.get("/static/logo.svg")).headers.get_list("cache-control") == ["public, max-age=86400"]


async def test_a_session_sees_its_own_orders_only(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        at = await scene(w)
        for name in ("GET /orders/{order_id}", "GET /orders/{order_id}/events", "GET /pay/{order_id}"):
            assert refused(await with_session(w, find(name), at, "stranger")) == "not-found"
