"""A part that is down, or too much at once: the answer is `later`, soon, with nothing half done."""

import asyncio
from pathlib import Path

import pytest

from .routes import STORED, STRANGERS, Route, find, scene, send, visited
from .shop import counts, down, refused, shop


@visited(STORED)
async def test_a_store_that_is_down_is_told_and_what_needs_it_works_again_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, route: Route, people: tuple[str, ...]
) -> None:
    async with shop(tmp_path, loops=False) as w:
        for who in people:
            at = await scene(w)
            before = await counts(w)
            # A stranger is told from an owner by one store of several, so for them all of those are down.
            for stores in [route.stores] if who in STRANGERS else [(store,) for store in route.stores]:
                with monkeypatch.context() as patch:
                    down(patch, w, *stores)
                    answer = await send(w, route, at, who)
                    assert refused(answer) == "unavailable", f"{who}, without {stores}"
                    assert int(answer.headers["retry-after"]) >= 1
                assert await counts(w) == before, f"something was stored without {stores}"
            assert (await send(w, route, at, who)).status_code == (404 if who in STRANGERS else route.status)


async def test_the_link_to_the_pay_page_says_later_while_a_store_is_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with shop(tmp_path, loops=False) as w:
        link = (await scene(w)).order["checkout_url"]
        for store in ("shop", "payment"):
            with monkeypatch.context() as patch:
                down(patch, w, store)
                assert refused(await w.http.get(link)) == "unavailable"
                page = await w.http.get(link, headers={"Accept": "text/html"})
                assert (page.status_code, page.headers["content-type"]) == (503, "text/html; charset=utf-8")
                assert int(page.headers["retry-after"]) >= 1
        assert (await w.http.get(link)).status_code == 200


@pytest.mark.parametrize("path", ["/healthz", "/metrics", "/openapi.json", "/static/shop.css"])
async def test_what_needs_no_store_is_served_without_any(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    async with shop(tmp_path, loops=False) as w:
        down(monkeypatch, w)
        assert (await w.http.get(path)).status_code == 200


async def test_a_stranger_and_a_bad_body_are_still_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with shop(tmp_path, loops=False) as w:
        at = await scene(w)
        down(monkeypatch, w)
        orders = find("POST /v1/orders")
        assert refused(await send(w, orders, at, "nobody")) == "unauthorized"
        assert refused(await send(w, orders, at, "user", json={"lines": []})) == "invalid-request"


async def test_more_orders_than_may_wait_are_told_at_once_and_can_be_sent_again(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False, order_list_max=5, order_queue_max=10) as w:
        answers = await asyncio.gather(*(w.order([(1, 1)], key=f"k{at}") for at in range(40)))
        turned_away = [at for at, answer in enumerate(answers) if answer.status_code != 201]
        assert turned_away, "the queue was never full"
        assert {refused(answers[at]) for at in turned_away} == {"unavailable"}
        assert (await counts(w))["reserved"] == 40 - len(turned_away)
        for at in turned_away:
            again = await w.order([(1, 1)], key=f"k{at}")
            assert (again.status_code, again.headers.get("idempotency-replayed")) == (201, None)
        assert await w.stock(1) == (1_000, 40, 0)


async def test_while_too_many_wait_whoever_comes_is_told_so_before_anything_else_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flash sale's flood costs what it must: the thousands who are turned away are kept off those who are served."""
    async with shop(tmp_path, loops=False, order_list_max=5, order_queue_max=10) as w:
        run, opened = w.app.stores.shop.run, asyncio.Event()

        async def hold(work: object) -> object:
            await opened.wait()
            return await run(work)  # type: ignore[arg-type]

        with monkeypatch.context() as patch:
            patch.setattr(w.app.stores.shop, "run", hold)
            waiting = [asyncio.create_task(w.order([(1, 1)], key=f"k{at}")) for at in range(5)]
            await asyncio.sleep(1)  # a list of five is in flight
            waiting += [asyncio.create_task(w.order([(1, 1)], key=f"k{at}")) for at in range(5, 15)]
            await asyncio.sleep(1)
            assert refused(await w.http.post("/v1/orders", json={"lines": []})) == "unavailable"
            opened.set()
            assert {answer.status_code for answer in await asyncio.gather(*waiting)} == {201}
        assert refused(await w.http.post("/v1/orders", json={"lines": []})) == "unauthorized"


async def test_an_answer_that_was_lost_is_found_by_its_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """503 after the commit: the order is there, and asking again with the key gives it, once."""
    async with shop(tmp_path, loops=False) as w:
        run = w.app.stores.shop.run

        async def lose(work: object) -> None:
            await run(work)  # type: ignore[arg-type]
            await asyncio.sleep(3600)

        with monkeypatch.context() as patch:
            patch.setattr(w.app.stores.shop, "run", lose)
            assert refused(await w.order(key="k")) == "unavailable"
        await asyncio.sleep(3600)
        again = await w.order(key="k")
        assert again.status_code == 201
        assert again.headers["idempotency-replayed"] == "true"
        assert (await counts(w))["orders"] == 1
