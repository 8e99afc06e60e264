"""The same key, one effect, one answer: what lets a client ask again whenever it is not sure."""

import asyncio
from pathlib import Path

import httpx2
import pytest

from world import World

from .routes import BUYERS, auth
from .shop import counts, pay, refused, shop

TWO_MILK = b'{"lines":[{"product_id":1,"quantity":2}]}'
DAY_S = 24 * 3600


async def order(w: World, key: str | None, body: bytes = TWO_MILK, *, who: str = "user") -> httpx2.Response:
    headers = auth(w, who) | {"Content-Type": "application/json"} | ({"Idempotency-Key": key} if key else {})
    return await w.http.post("/v1/orders", content=body, headers=headers)


def same(first: httpx2.Response, again: httpx2.Response) -> bool:
    """A replay: same status, same bytes, same place, and told to be one."""
    told = "idempotency-replayed" not in first.headers and again.headers.get("idempotency-replayed") == "true"
    place = first.headers["location"] == again.headers["location"]
    return told and place and (first.status_code, first.content) == (again.status_code, again.content)


async def test_asking_again_gives_the_first_answer_whatever_has_happened_since(tmp_path: Path) -> None:
    async with shop(tmp_path) as w:
        first = await order(w, "k")
        assert first.status_code == 201
        assert same(first, await order(w, "k"))
        assert await pay(w, first.json()) == 200
        await w.until_status(first.json()["order_id"], "PAID")
        assert same(first, await order(w, "k"))
        w.clock.jump(DAY_S)
        await asyncio.sleep(60)
        assert same(first, await order(w, "k")), "kept at least a day"
        assert await w.stock(1) == (1_000, 0, 2)


async def test_a_restart_forgets_no_key(tmp_path: Path) -> None:
    async with shop(tmp_path) as w:
        first = await order(w, "k")
        await w.http.post(f"{first.headers['location']}/cancel", headers=w.auth())
    async with shop(tmp_path, seed=2) as w:
        assert same(first, await order(w, "k"))
        assert (await counts(w))["orders"] == 1


async def test_without_a_key_each_call_is_an_order_of_its_own(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        both = await asyncio.gather(order(w, None), order(w, None))
        assert len({answer.json()["order_id"] for answer in both}) == 2
        assert await w.stock(1) == (1_000, 4, 0)


OTHER_BODIES = [
    b'{"lines":[{"product_id":1,"quantity":3}]}',
    b'{"lines":[{"product_id":1,"quantity":2}]} ',
    b'{"lines":[{"quantity":2,"product_id":1}]}',
    b'{"lines":[{"product_id":99,"quantity":999}]}',
]


@pytest.mark.parametrize("who", BUYERS)
async def test_a_key_with_another_body_is_refused(tmp_path: Path, who: str) -> None:
    """The fingerprint is of the bytes: a client that sends others may mean something else."""
    async with shop(tmp_path, loops=False) as w:
        first = await order(w, "k", who=who)
        before = await counts(w)
        for body in OTHER_BODIES:
            assert refused(await order(w, "k", body, who=who)) == "idempotency-key-reused", body
        assert await counts(w) == before
        assert same(first, await order(w, "k", who=who))


async def test_a_refusal_is_not_kept_and_the_key_may_be_tried_again(tmp_path: Path) -> None:
    five, one = (b'{"lines":[{"product_id":4,"quantity":%d}]}' % n for n in (5, 1))
    async with shop(tmp_path) as w:
        taken = await order(w, "other", five)
        before = await counts(w)
        assert refused(await order(w, "k", one)) == "out-of-stock"
        assert refused(await order(w, "k", b'{"lines":[]}')) == "invalid-request"
        assert refused(await order(w, "k", b'{"lines":[{"product_id":99,"quantity":1}]}')) == "not-found"
        assert (await counts(w))["orders"] == before["orders"]
        await w.http.post(f"{taken.headers['location']}/cancel", headers=w.auth())
        served = await order(w, "k", one)
        assert served.status_code == 201
        assert same(served, await order(w, "k", one))


@pytest.mark.parametrize("loops", [False, True], ids=["orders alone", "everything running"])
async def test_a_hundred_parallel_calls_with_one_key_are_one_order(tmp_path: Path, loops: bool) -> None:
    async with shop(tmp_path, loops=loops) as w:
        answers = await asyncio.gather(*(order(w, "k") for _ in range(100)))
        assert {answer.status_code for answer in answers} == {201}
        assert len({answer.content for answer in answers}) == 1
        assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1
        assert await w.stock(1) == (1_000, 2, 0)
        assert (await counts(w))["orders"] == 1


async def test_two_bodies_under_one_key_in_one_commit_are_one_order_and_one_refusal(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        other = b'{"lines":[{"product_id":2,"quantity":1}]}'
        answers = await asyncio.gather(order(w, "k"), order(w, "k", other), order(w, "k"), order(w, "k", other))
        assert [answer.status_code for answer in answers] == [201, 422, 201, 422]
        assert {refused(answers[1]), refused(answers[3])} == {"idempotency-key-reused"}
        assert same(answers[0], answers[2])
        assert (await w.stock(1), await w.stock(2)) == ((1_000, 2, 0), (1_000, 0, 0))


@pytest.mark.parametrize("who", BUYERS)
async def test_another_body_beside_a_first_that_is_refused_came_too_early(tmp_path: Path, who: str) -> None:
    """The key is free again, so `reused` would be untrue; the client is told to try again, and that works."""
    short, good = b'{"lines":[{"product_id":4,"quantity":6}]}', b'{"lines":[{"product_id":4,"quantity":1}]}'
    async with shop(tmp_path, loops=False) as w:
        answers = await asyncio.gather(order(w, "k", short, who=who), order(w, "k", good, who=who))
        assert [refused(answer) for answer in answers] == ["out-of-stock", "idempotency-in-progress"]
        assert int(answers[1].headers["retry-after"]) >= 1
        assert (await counts(w))["orders"] == 0
        assert (await order(w, "k", good, who=who)).status_code == 201


async def test_a_short_basket_sent_twice_at_once_is_short_twice(tmp_path: Path) -> None:
    body = b'{"lines":[{"product_id":4,"quantity":6}]}'
    async with shop(tmp_path, loops=False) as w:
        answers = await asyncio.gather(*(order(w, "k", body) for _ in range(10)))
        assert {refused(answer) for answer in answers} == {"out-of-stock"}
        assert len({answer.content for answer in answers}) == 1


async def test_a_key_is_its_users_own(tmp_path: Path) -> None:
    """Else one buyer could read another's order by guessing a key, or block it."""
    async with shop(tmp_path, loops=False) as w:
        mine, yours = await order(w, "k"), await order(w, "k", who="stranger")
        assert {mine.status_code, yours.status_code} == {201}
        assert [answer.json()["user_id"] for answer in (mine, yours)] == [7, 8]
        assert same(mine, await order(w, "k", who="owner-seller")), "the user counts, not the role"


async def test_a_key_is_1_to_255_visible_characters(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        for key in ("k", "!", "~", "a" * 255, "ord_1:7:'\"--", "{}[]()<>@,;:\\/?="):
            assert same(await order(w, key), await order(w, key)), key


BAD: dict[str, list[bytes]] = {
    "empty": [b""],
    "256 characters": [b"a" * 256],
    "300 characters": [b"a" * 300],
    "10^6 characters": [b"a" * 10**6],
    "twice": [b"a", b"b"],
    "twice the same": [b"a", b"a"],
    "empty and good": [b"", b"a"],
    "a blank": [b"a b"],
    "a tab": [b"a\tb"],
    "DEL": [b"a\x7f"],
    "NUL": [b"a\x00"],
    "a line break": [b"a\r\nX-Id: 1"],
    "latin-1": ["é".encode("latin-1")],
    "UTF-8": ["키".encode()],
    "no-break space": [b"\xa0"],
}


async def test_any_other_key_is_refused_and_nothing_is_ordered(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        codes = {}
        for name, keys in BAD.items():
            headers = [(header.encode(), value.encode()) for header, value in w.auth().items()]
            headers += [(b"Content-Type", b"application/json"), *((b"Idempotency-Key", key) for key in keys)]
            codes[name] = refused(await w.http.post("/v1/orders", content=TWO_MILK, headers=headers))
        assert codes == dict.fromkeys(BAD, "invalid-request")
        assert (await counts(w))["orders"] == 0
