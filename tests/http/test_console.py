"""The operator's page: it shows what is wrong, to operators only, and most of all while something is down."""

import asyncio
import re
from pathlib import Path
from typing import Any

import httpx2
import pytest

from quickcommerce.console import invariants
from quickcommerce.console.board import KEPT_S, SHOWN_MAX
from quickcommerce.kit import session
from quickcommerce.kit.auth import Role
from quickcommerce.kit.ids import OrderId
from world import World

from .browser import BROWSER, is_page, visit
from .routes import bury, find, scene, send
from .shop import counts, down, refused, shop
from .test_attention import misconfigured, refused_refund
from .test_operations import letters
from .test_session import FOREIGN, FORM, OWN, cookie

REPLAY = "/console/replay"
ENGLISH = {"Accept-Language": "en"}


async def page(w: World, who: str = "master", **headers: str) -> str:
    return is_page(await w.http.get("/console", headers=BROWSER | cookie(w, who) | headers))


async def press(w: World, letter_id: str, **headers: str) -> httpx2.Response:
    """What a browser sends when Replay is pressed."""
    sent = BROWSER | FORM | OWN | cookie(w, "master") | headers
    return await w.http.post(REPLAY, content=f"letter_id={letter_id}", headers=sent)


async def told(w: World, letter_id: str) -> str:
    """What the page says after Replay was pressed."""
    answer = await press(w, letter_id)
    assert (answer.status_code, answer.headers["location"]) == (303, "/console")
    flash = re.match(r"qc_told=[^;]+", answer.headers["set-cookie"])
    assert flash
    session_cookie = cookie(w, "master")["Cookie"]
    shown = await w.http.get("/console", headers=BROWSER | {"Cookie": f"{session_cookie}; {flash[0]}"})
    assert 'qc_told=""' in shown.headers["set-cookie"] or "qc_told=;" in shown.headers["set-cookie"]
    found = re.search(r'<p class="told[^>]*>(.*?)</p>', is_page(shown))
    assert found
    return found[1]


async def next_look(seconds: float = KEPT_S * 2) -> None:
    """Until what was measured is measured anew."""
    await asyncio.sleep(seconds)


async def row(w: World) -> Any:
    """An order, as a page that watches it has it."""
    order_id = OrderId((await w.order()).json()["order_id"])
    return (await w.app.flows.book.rows([order_id]))[order_id]


def part(text: str, name: str) -> str:
    """One part of the page."""
    found = re.search(rf'<section [^>]*data-part="{name}".*?</section>', text, re.DOTALL)
    assert found, name
    return found[0]


async def test_it_shows_how_the_shop_does(tmp_path: Path) -> None:
    async with shop(tmp_path) as w:
        await w.order([(1, 2)])
        await w.at_rest()
        text = await page(w, **ENGLISH)
        assert 'data-ready="yes"' in part(text, "ready")
        for name, figure in {
            "orders": 1,
            "payments": 1,
            "on_hand": "3,005",
            "reserved": 2,
            "outbox_pending": 0,
        }.items():
            assert re.search(rf'data-count="{name}"><dt>[^<]+</dt><dd>{figure}</dd>', text), name
        for group in ("payment", "order", "history"):
            assert f'data-group="{group}"><th scope="row">{group}</th><td>0</td>' in text
        states = dict(re.findall(r'data-loop="([\w-]+)" data-state="(\w+)"', text))
        assert states == dict.fromkeys(
            ["events-payment", "events-order", "events-history", "live", "expire", "payments-due", "refunds-due",
             "webhooks", "prune", "invariants"], "running",
        )  # fmt: skip
        assert "Every event was handled." in part(text, "letters")
        assert "Nothing waits for you here." in part(text, "needing")
        for link in ("/docs", "/metrics", "/asyncapi.json"):
            assert f'href="{link}"' in text
        for address in set(re.findall(r'(?:href|src)="(/[^"?]*)"', text)) - {"/"}:
            assert (await w.http.get(address, headers=BROWSER | cookie(w, "master"))).status_code == 200, address


async def test_a_reader_that_stands_still_is_seen_to_be_behind(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        for _ in range(3):
            await w.order()
        [payment, _, _] = w.app.parts.subscriptions
        text = part(await page(w), "events")
        assert re.search(r'data-count="outbox_pending"><dt>[^<]+</dt><dd>3</dd>', text)
        assert dict(re.findall(r'data-group="(\w+)">.*?<td>(\d+)</td>', text)) == {
            "payment": "3", "order": "0", "history": "3"
        }  # fmt: skip
        await payment.step()
        await next_look()
        assert dict(re.findall(r'data-group="(\w+)">.*?<td>(\d+)</td>', part(await page(w), "events"))) == {
            "payment": "0", "order": "0", "history": "3"
        }  # fmt: skip


async def test_it_shows_what_the_watch_saw_and_looks_at_nothing_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looking at everything is dear: it must not be done for each who opens the page."""
    looks: list[int] = []
    look = invariants.Audit.look

    async def counted(audit: invariants.Audit) -> invariants.Invariants:
        looks.append(w.clock())
        return await look(audit)

    monkeypatch.setattr(invariants.Audit, "look", counted)
    async with shop(tmp_path, loops=False) as w:
        assert "Not looked at yet" in part(await page(w, **ENGLISH), "invariants")
        assert looks == []
        await w.get("/v1/ops/invariants", role=Role.MASTER)
        w.clock.jump(3_600)
        await next_look()
        for _ in range(3):
            text = part(await page(w, **ENGLISH), "invariants")
        assert "All hold" in text
        assert "Last looked at 09:00:0" in text, "its own time, an hour ago"
        assert re.findall(r'data-invariant="(I\d)"', text) == list(invariants.NAMES)
        assert len(looks) == 1


async def test_a_broken_promise_is_shown_with_its_figure(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        await w.app.stores.shop.run(lambda tx: tx.run("UPDATE product SET reserved = 3 WHERE product_id = 1"))
        await w.get("/v1/ops/invariants", role=Role.MASTER)
        text = part(await page(w, **ENGLISH), "invariants")
        assert "1 do not hold" in text
        assert re.search(r'class="is-bad" data-invariant="I2">.*<span class="ops-figure">3<', text)


async def test_however_many_look_it_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with shop(tmp_path, loops=False) as w:
        measured: list[int] = []
        board = w.app.routes.state.board
        measure = board._measure

        async def count() -> Any:
            measured.append(1)
            return await measure()

        monkeypatch.setattr(board, "_measure", count)
        for _ in range(5):
            await page(w)
        assert len(measured) == 1
        await next_look()
        await page(w)
        assert len(measured) == 2


@pytest.mark.parametrize(
    ("store", "silent", "still"),
    [
        ("shop", {"counts", "events", "letters"}, {"needing"}),
        ("payment", {"counts", "events", "letters", "needing"}, set()),
        ("history", {"counts"}, {"letters", "needing"}),
    ],
)
async def test_a_store_that_is_down_leaves_a_gap_and_takes_nothing_else_from_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str, silent: set[str], still: set[str]
) -> None:
    async with shop(tmp_path, loops=False) as w:
        down(monkeypatch, w, store)
        text = await page(w, **ENGLISH)
        assert "the database cannot be reached" in part(text, "ready")
        assert 'data-ready="no"' in part(text, "ready")
        for name in silent:
            assert "does not answer" in part(text, name), name
        for name in {*still, "loops", "invariants"}:
            assert "does not answer" not in part(text, name), name


async def test_a_loop_that_waits_and_one_that_was_started_again_are_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with shop(tmp_path) as w:
        defects = [RuntimeError("a defect"), RuntimeError("another")]
        facts = w.app.flows.live.book.facts

        async def crash(order_ids: Any) -> Any:
            if defects:
                raise defects.pop()
            return await facts(order_ids)

        with w.app.flows.live._watching(await row(w)), monkeypatch.context() as patch:
            patch.setattr(type(w.app.flows.book), "facts", lambda _book, order_ids: crash(order_ids))
            await next_look(10)
            text = part(await page(w, **ENGLISH), "loops")
        lively = re.search(r'data-loop="live" data-state="running">(.*?)</tr>', text)
        assert lively
        assert lively[1].endswith("<td>2</td>"), "it was started again, twice"
        down(monkeypatch, w, "payment")
        await next_look(10)
        text = part(await page(w, **ENGLISH), "loops")
        waiting = re.search(r'data-loop="payments-due" data-state="waiting" class="is-bad">(.*?)</tr>', text)
        assert waiting
        assert "the database cannot be reached" in waiting[1]
        await w.app.supervisor.stop(drain_s=1)
        await next_look()
        assert 'data-state="running"' not in part(await page(w), "loops"), "one that stands still is no running loop"


async def test_a_letter_is_replayed_by_its_button_and_gone(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        letter_id = await bury(w, "payment", "OrderChanged", "ord_" + "0" * 26)
        text = part(await page(w), "letters")
        assert f'name="letter_id" value="{letter_id}"' in text
        assert 'method="post" action="/console/replay"' in text
        assert f"처리했습니다: {letter_id}" in await told(w, letter_id)
        assert letter_id not in part(await page(w), "letters"), "the page is measured anew at once"
        assert await letters(w) == []
        assert "이미 데드 레터가 아닙니다" in await told(w, letter_id)


async def test_a_letter_that_fails_again_is_told_with_its_reason_and_stays(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        letter_id = await bury(w, "payment", "OrderTeleported", "no order at all")
        said = await told(w, letter_id)
        assert "이번에도" in said
        assert "unknown event type OrderTeleported" in said
        assert letter_id in part(await page(w), "letters")


async def test_what_came_of_a_replay_is_told_once_and_no_link_can_say_it(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        for bad in ("x", "!!", "WyJyZXBsYXllZCJd", "%ff", "eyJhIjoxfQ"):
            answer = await w.http.get(
                "/console?told=replayed&end=replayed",
                headers=BROWSER | {"Cookie": f"{cookie(w, 'master')['Cookie']}; qc_told={bad}"},
            )
            assert 'class="told' not in is_page(answer), bad


async def test_another_site_replays_nothing(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        letter_id = await bury(w, "payment", "OrderChanged", "ord_" + "0" * 26)
        for origin in FOREIGN:
            sent = FORM | cookie(w, "master") | origin
            answer = await w.http.post(REPLAY, content=f"letter_id={letter_id}", headers=sent)
            assert refused(answer) == "forbidden", origin
        assert len(await letters(w)) == 1


async def test_without_the_look_at_the_origin_another_site_replays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control."""
    async with shop(tmp_path, loops=False) as w:
        letter_id = await bury(w, "payment", "OrderChanged", "ord_" + "0" * 26)
        monkeypatch.setattr(session, "is_own", lambda _request: True)
        await press(w, letter_id, Origin="http://evil.test")
        assert await letters(w) == []


async def test_a_form_that_is_none_of_this_page_replays_nothing(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        letter_id = await bury(w, "payment", "OrderChanged", "ord_" + "0" * 26)
        sent = cookie(w, "master") | OWN
        for form in ("", "letter_id=", "letter=1", f"letter_id={letter_id}&x=1", "letter_id=" + "a" * 201, "%ff"):
            assert refused(await w.http.post(REPLAY, content=form, headers=sent | FORM)) == "invalid-request", form
        for kind in ("application/json", "text/plain", "multipart/form-data; boundary=x"):
            answer = await w.http.post(REPLAY, content=f"letter_id={letter_id}", headers=sent | {"Content-Type": kind})
            assert refused(answer) == "unsupported-media-type", kind
        answer = await w.http.post(REPLAY, content="letter_id=" + "a" * 5_000, headers=sent | FORM)
        assert refused(answer) == "payload-too-large"
        assert "읽을 수 없습니다" in is_page(await w.http.post(REPLAY, content="", headers=sent | FORM | BROWSER), 400)
        assert len(await letters(w)) == 1


async def test_who_is_no_operator_learns_nothing(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        at = await scene(w)
        for who in ("user", "seller"):
            answer = await w.http.get("/console", headers=BROWSER | cookie(w, who))
            text = is_page(answer, 403)
            assert "운영자를 위한 화면입니다" in text
            assert at.letter_id not in text
            assert 'href="/sign-in?next=%2Fconsole"' in text


async def test_who_is_not_signed_in_is_sent_there_and_comes_back(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        for method, path in (("GET", "/console"), ("POST", REPLAY)):
            for stale in ({}, {"Cookie": "qc_session=stale"}):
                answer = await w.http.request(method, path, headers=BROWSER | stale)
                assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in?next=%2Fconsole")
        ask = is_page(await visit(w, "/sign-in?next=%2Fconsole"))
        assert 'name="next" value="/console"' in ask
        assert 'value="ROLE_MASTER" checked' in ask
        assert 'value="ROLE_USER" checked' in is_page(await visit(w, "/sign-in"))
        assert refused(await send(w, find("GET /console"), await scene(w), "nobody")) == "unauthorized"
        signed = await w.http.post("/sign-in", content="user=1&role=ROLE_MASTER&next=%2Fconsole", headers=FORM | OWN)
        assert signed.headers["location"] == "/console"


async def test_where_nobody_chooses_who_they_are_it_takes_a_session_of_an_operator(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False, profile="dev", jwt_secret="x" * 32, pg_secret_key="y") as w:
        assert "/sign-in" not in is_page(await w.http.get("/console", headers=BROWSER), 401)
        assert "/console" not in is_page(await w.http.get("/", headers=BROWSER)), "buyers are not led here"


async def test_the_shop_has_a_link_for_whoever_tries_it_out(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        assert 'href="/console"' in is_page(await visit(w, "/"))


async def test_money_that_needs_a_human_is_shown_with_its_order_and_its_reason(tmp_path: Path) -> None:
    async with shop(tmp_path) as w:
        payment, refund_id = await refused_refund(w)
        waiting = await misconfigured(w)
        text = part(await page(w, **ENGLISH), "needing")
        for shown in (
            "Refund refused", "REFUND_REJECTED", refund_id, payment["payment_id"],
            f'href="/orders/{payment["order_id"]}"', "The PG refuses us", "INVALID_API_KEY", waiting["payment_id"],
        ):  # fmt: skip
            assert shown in text, shown
        assert is_page(await visit(w, f"/orders/{payment['order_id']}", "master"))


async def test_a_long_list_says_where_the_rest_is(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        for _ in range(SHOWN_MAX + 1):
            await bury(w, "payment", "OrderChanged", "ord_1")
        text = part(await page(w), "letters")
        assert text.count("data-letter=") == SHOWN_MAX
        assert "/v1/ops/dead-letters" in text


async def test_what_others_wrote_is_shown_and_never_run(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        evil = "</script><img src=x onerror=alert(1)>"
        letter_id = await bury(w, "payment", evil[:40], evil)
        text = await page(w)
        assert "<img src=x" not in text
        assert "&lt;img src=x" in text
        assert "<img" not in await told(w, letter_id)


async def test_both_languages_say_everything(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        at = await scene(w)
        for spoken, word in (("ko", "데드 레터"), ("en", "Dead letters")):
            answer = await w.http.get(f"/console?lang={spoken}", headers=BROWSER | cookie(w, "master"))
            text = is_page(answer)
            assert f'<html lang="{spoken}">' in text
            assert word in text
            assert at.letter_id in text
            assert f"qc_lang={spoken}" in answer.headers["set-cookie"]


async def test_looking_changes_nothing(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        await scene(w)
        before = await counts(w)
        await page(w)
        assert await counts(w) == before
