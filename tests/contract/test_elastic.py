"""What Elasticsearch adds and does wrong: outages are waited for, refusals are their event's own, nothing is told."""

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.typing import EventDict

from indices import NO_NORI, AtOnce, Between, between, elastic, new_name, order_event, wipe
from quickcommerce import events
from quickcommerce.history import elastic as door
from quickcommerce.history import elastic_index, mapping
from quickcommerce.history.elastic_index import ElasticIndex
from quickcommerce.history.flow import Document, Projection, Query, document, words_of
from quickcommerce.kit.bus import Subscription
from quickcommerce.kit.ids import EventId
from quickcommerce.kit.inbox import DeadLetters
from quickcommerce.kit.outbox import Message, append
from quickcommerce.kit.problem import Unavailable
from stores import Clock, Store, drain, opened

pytestmark = [pytest.mark.servers, pytest.mark.usefixtures("at_once")]


@dataclass
class Far:
    """An index whose server is reached through something that a test can break."""

    index: ElasticIndex
    there: Between


@pytest.fixture
async def far() -> AsyncIterator[Far]:
    async with elastic() as direct, between() as there, elastic(direct.name, url=there.url, made=False) as index:
        yield Far(index, there)


def of(*numbers: int, version: int = 1) -> list[Document]:
    return [document(order_event(number, version)) for number in numbers]


async def acts_are_told_to_wait(index: ElasticIndex, reason: str) -> None:
    for act in (
        lambda: index.write(of(1)), lambda: index.search(Query(limit=1)), index.count, index.missing, index.begin,
        index.about, lambda: index.versions("", "~"),
    ):  # fmt: skip
        with pytest.raises(Unavailable, match=reason):
            await act()


# Outages


async def test_a_server_that_is_stopped_is_waited_for_and_used_again_once_it_is_back(far: Far) -> None:
    await far.index.write(of(1))
    await far.there.stop()
    await acts_are_told_to_wait(far.index, "does not answer")
    await far.there.start()
    await far.index.write(of(2))
    await far.index.refresh()
    assert await far.index.count() == 2


@pytest.mark.parametrize("status", [401, 403, 408, 429, 500, 502, 503, 504])
async def test_a_server_that_refuses_for_now_is_waited_for(far: Far, status: int) -> None:
    far.there.does = {"/": status}
    await acts_are_told_to_wait(far.index, str(status))
    far.there.does = {}
    await far.index.write(of(1))


async def test_a_server_that_never_answers_is_given_up_in_time(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "WRITE_S", 0.3)
    quick = elastic_index.connect(far.there.url, far.index.name)
    slow = ElasticIndex(door.Elastic(quick.server.client.options(request_timeout=0.3), ""), far.index.name)
    far.there.does = {"/_bulk": "hang", "/_search": "hang"}
    async with asyncio.timeout(20):
        for act in (lambda: slow.write(of(1)), slow.count):
            with pytest.raises(Unavailable, match="does not answer"):
                await act()
    far.there.does = {}
    await slow.write(of(1))
    await quick.close()


async def test_a_search_that_meets_the_replacing_of_its_index_is_answered_all_the_same(far: Far) -> None:
    await far.index.write(of(1))
    await far.index.refresh()
    for status in (404, 503):
        far.there.once = {"/_search": status}
        assert (await far.index.search(Query(limit=1))).total == 1
        assert far.there.once == {}
    far.there.does, searches = {"/_search": 503}, len(far.there.asked)
    with pytest.raises(Unavailable):
        await far.index.search(Query(limit=1))
    assert len(far.there.asked) == searches + 2, "a server that is down is not asked again and again"


async def test_whoever_is_told_to_wait_learns_no_address(far: Far) -> None:
    await far.there.stop()
    with pytest.raises(Unavailable) as refused:
        await far.index.search(Query(limit=1))
    assert refused.value.detail == "Elasticsearch does not answer"


async def test_one_document_that_finds_a_full_queue_makes_its_whole_list_wait(far: Far) -> None:
    far.there.does = {"/_bulk": "items"}
    with pytest.raises(Unavailable, match="es_rejected_execution_exception"):
        await far.index.write(of(1, 2, 3))
    far.there.does = {}
    await far.index.write(of(1, 2, 3))
    await far.index.refresh()
    assert await far.index.count() == 3


async def test_what_is_no_elasticsearch_is_waited_for(far: Far) -> None:
    """As while a proxy in front of it shows a page of its own."""
    far.there.server = far.there.url + "/nothing"
    far.there.does = {"/nothing": 404}
    with pytest.raises(Unavailable):
        await far.index.write(of(1))


# Refusals


@dataclass
class History:
    shop: Store
    index: ElasticIndex
    letters: DeadLetters
    reader: Subscription

    async def publish(self, *told: events.OrderEvent) -> None:
        messages = [
            Message(
                EventId(f"evt_{one.order.order_id}_{one.order.version}"), type(one).__name__, "shop",
                one.order.order_id, 1, "", events.encode(one),
            )
            for one in told
        ]  # fmt: skip
        await self.shop.db.run(lambda tx: append(tx, messages))


@pytest.fixture
async def history(far: Far, tmp_path: Path) -> AsyncIterator[History]:
    async with opened("sqlite", tmp_path / "shop.db", "events", "cursor") as shop:
        letters = DeadLetters(shop.db, Clock())
        # As it is wired where the history has no database of its own.
        projection = Projection("history", shop.db, AtOnce(far.index), letters, random.Random(1))
        yield History(shop, far.index, letters, Subscription(shop.db, projection, 4))


async def test_an_order_that_the_server_refuses_is_put_aside_with_its_reason_and_the_others_are_shown(
    history: History,
) -> None:
    refused = order_event(2, user_id=2**63)
    await history.publish(order_event(1), refused, order_event(3), order_event(4))
    await drain(history.reader)
    assert await history.index.count() == 3
    [letter] = await history.letters.list()
    assert letter.order_id == refused.order.order_id
    assert "document_parsing_exception" in letter.reason
    assert "user_id" in letter.reason


async def test_outages_put_nothing_aside_and_the_list_goes_on_where_it_was(history: History, far: Far) -> None:
    await history.publish(*(order_event(number) for number in range(10)))
    for fault in ({"/_bulk": 429}, {"/_bulk": "items"}, {"/_alias": 503}):
        far.there.does = dict(fault)
        for _ in range(7):
            with pytest.raises(Unavailable):
                await history.reader.step()
    far.there.does = {}
    await drain(history.reader)
    assert await history.index.count() == 10
    assert await history.letters.list() == []


async def test_a_list_of_events_is_as_many_requests_whatever_their_number(history: History, far: Far) -> None:
    took = []
    for numbers in ([20], range(30, 34)):
        await history.publish(*(order_event(number) for number in numbers))
        far.there.asked.clear()
        await history.reader.step()
        took.append([path.partition("?")[0].rpartition("/")[2] for path, _ in far.there.asked])
    # The last one is of `AtOnce`.
    assert took == [["_alias", "_bulk", "_refresh"]] * 2
    assert await history.index.count() == 5


async def test_fields_that_nobody_declared_are_refused(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the server would guess their types, from whatever comes first."""
    source = mapping.source
    monkeypatch.setattr(mapping, "source", lambda one: source(one) | {"guess": "2026-01-01"})
    with pytest.raises(Exception, match="strict_dynamic_mapping_exception"):
        await far.index.write(of(1))


# Guards switched off


async def test_control_without_external_versions_an_older_state_overwrites_a_newer_one(
    far: Far, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unversioned(one: Document, index: str) -> dict[str, Any]:
        return {"index": {"_index": index, "_id": one.order_id}}

    async def ends() -> str:
        for version in (3, 1):
            await far.index.write(of(1, version=version))
        await far.index.refresh()
        [(_, _, body)] = (await far.index.search(Query(limit=10))).hits
        return str(msgspec.json.decode(body)["status"])

    assert await ends() == "PAID"
    monkeypatch.setattr(mapping, "action", unversioned)
    assert await ends() == "PLACED"


async def test_control_pages_that_go_on_by_time_alone_lose_orders(far: Far) -> None:
    same = [msgspec.structs.replace(one, placed_us=5) for one in of(*range(10))]
    await far.index.write(same)
    await far.index.refresh()
    first = await far.index.server.search(far.index.name, {"match_all": {}}, sort=[{"placed_us": "desc"}], size=4)
    last = first["hits"][-1]["sort"]
    rest = await far.index.server.search(
        far.index.name, {"match_all": {}}, sort=[{"placed_us": "desc"}], search_after=last, size=10
    )
    assert len(rest["hits"]) < 6
    page = await far.index.search(Query(limit=4))
    assert len((await far.index.search(Query(limit=10, before=page.hits[-1][:2]))).hits) == 6


# Korean

SHELF = {1: "서울우유 나100%", 2: "딸기우유 200ml", 3: "서울 사과", 4: "Seoul Milk", 5: "커피믹스 100T"}
FOUND: list[tuple[str, set[int], set[int]]] = [
    ("우유", set(), {1, 2}),
    ("믹스", set(), {5}),
    ("서울", {1, 3}, {1, 3}),
    ("서울우유", {1}, {1}),
    ("딸기 우유", set(), {2}),
    ("서", {1, 3}, {1, 3}),
    ("서울사과", set(), set()),
    ("우유서울", set(), set()),
    ("우", set(), set()),
    ("100", {5}, {5}),
    ("ilk", set(), set()),
    ("200", {2}, {2}),
]
"""A keyword, what is found without Nori, and what with it."""


@pytest.mark.parametrize("korean", [NO_NORI, mapping.NORI])
async def test_korean_words_are_found_inside_compounds_where_the_server_can_and_by_their_beginnings_elsewhere(
    korean: str, logged: list[EventDict]
) -> None:
    async with elastic(korean=korean) as index:
        await index.write([document(order_event(number, name=name)) for number, name in SHELF.items()])
        await index.refresh()
        for keyword, without, found in FOUND:
            page = await index.search(Query(limit=10, words=words_of(keyword)))
            expected = found if korean == mapping.NORI else without
            assert ({int(order_id[4:]) for _, order_id, _ in page.hits}, page.total) == (expected, len(expected)), (
                keyword
            )
        lacking = [line for line in logged if line["event"] == "history.no_korean"]
        assert len(lacking) == (korean == NO_NORI)
        assert ("no Nori" in await index.about()) == (korean == NO_NORI)


async def test_a_server_that_has_learned_korean_says_that_the_index_is_to_be_made_anew(far: Far) -> None:
    learned = ElasticIndex(far.index.server, far.index.name)
    assert "qc rebuild history" in await learned.about()
    await (await learned.begin()).finish()
    assert "Korean compounds by Nori" in await learned.about()
    assert "qc rebuild history" not in await learned.about()


# What is told


async def test_user_and_password_are_sent_and_never_told(
    far: Far, logged: list[EventDict], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    url = far.there.url.replace("http://", "http://shop:s%40cret-password@")
    index = elastic_index.connect(url, far.index.name)
    await index.write(of(1))
    assert {user for _, user in far.there.asked} == {"Basic c2hvcDpzQGNyZXQtcGFzc3dvcmQ="}
    told = [repr(index), await index.about()]
    far.there.does = {"/": 401}
    for stop in (False, True):
        if stop:
            await far.there.stop()
        with pytest.raises(Unavailable) as refused:
            await index.count()
        told += [str(refused.value), repr(refused.value.__cause__)]
    everything = "\n".join([*told, caplog.text, repr(logged)])
    assert "cret-password" not in everything
    assert "c2hvcDpz" not in everything
    await index.close()


async def test_doctor_tells_of_no_index_and_of_a_rebuild_that_was_broken_off(far: Far) -> None:
    assert f"{far.index.name}-1, 0 documents" in await far.index.about()
    await far.index.begin()
    assert "broken off" in await far.index.about()
    await wipe(far.index)
    assert f"has no index {far.index.name} yet" in await far.index.about()


async def test_what_is_written_is_found_soon_without_a_refresh(far: Far) -> None:
    await far.index.write(of(1))
    give_up = time.monotonic() + 30
    while not await far.index.count():
        assert time.monotonic() < give_up
        await asyncio.sleep(0.05)


async def test_an_index_whose_name_begins_with_ours_is_another(far: Far) -> None:
    async with elastic(f"{far.index.name}2") as other:
        await other.write(of(1, 2))
        await other.refresh()
        await far.index.write(of(3))
        await far.index.refresh()
        assert (await other.count(), await far.index.count()) == (2, 1)
        await (await far.index.begin()).finish()
        assert await other.count() == 2
        assert new_name() != new_name()
