"""The searchable history: every order once, newest first, found by what it holds, with a total that is right."""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from indices import EVERY, opened_index
from quickcommerce.history.flow import Document, Index, Query, words_of

EVERYTHING = Query(limit=1000)


@pytest.fixture(params=EVERY)
async def index(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Index]:
    async with opened_index(request.param, tmp_path) as index:
        yield index


def order(number: int = 1, version: int = 1, *, names: str = "우유 1L Milk 1L", **facts: Any) -> Document:
    order_id = f"ord_{number:026d}"
    facts = {"user_id": 7, "status": "PLACED", "placed_us": 1_000 + number, **facts}
    words = frozenset(words_of(names))
    return Document(order_id, version, words=words, body=b"%d at %d" % (number, version), **facts)


def change(document: Document, version: int, status: str) -> Document:
    body = b"%s at %d" % (document.body.split()[0], version)
    return msgspec.structs.replace(document, version=version, status=status, body=body)


async def bodies(index: Index, **conditions: Any) -> list[str]:
    return [body.decode() for _, _, body in (await index.search(Query(limit=100, **conditions))).hits]


# Versions


async def test_an_older_version_loses_whichever_comes_first(index: Index) -> None:
    first, second, third = order(), change(order(), 2, "PAYING"), change(order(), 3, "PAID")
    for arrivals in itertools.permutations([first, second, third]):
        number = arrivals[0].order_id
        for document in arrivals:
            await index.write([document])
        assert await bodies(index, order_id=number) == ["1 at 3"]
        assert await bodies(index, status="PAID") == ["1 at 3"]
        assert await bodies(index, status="PLACED") == []
        assert (await index.search(EVERYTHING)).total == 1


async def test_the_same_version_again_changes_nothing_and_repeats_are_harmless(index: Index) -> None:
    first = order()
    await index.write([first])
    await index.write([msgspec.structs.replace(first, status="FAILED", body=b"another")])
    assert await bodies(index) == ["1 at 1"]
    documents = [first, change(first, 2, "PAID"), order(2), order(3)]
    for _ in range(3):
        await index.write(documents)
        await index.write(list(reversed(documents)))
    assert await bodies(index) == ["3 at 1", "2 at 1", "1 at 2"]
    assert await index.count() == 3
    assert await bodies(index, words=("milk",)) == ["3 at 1", "2 at 1", "1 at 2"]


async def test_versions_of_one_order_in_one_list_leave_the_newest(index: Index) -> None:
    document = order()
    await index.write([change(document, 2, "PAYING"), document, change(document, 4, "REFUNDED"), document])
    await index.write([change(document, 3, "PAID"), document])
    assert await bodies(index) == ["1 at 4"]
    await index.write([])
    assert await index.count() == 1


# Pages

PLACES = (5_000, 5_001, 5_002)


def many(seed: int, count: int = 60) -> list[Document]:
    """Orders of three moments, so that most share theirs."""
    rng = random.Random(seed)
    names = ("우유 1L Milk", "서울우유 Seoul milk", "한우 등심 Beef", "BANANA 바나나")
    return [
        order(
            number,
            names=rng.choice(names),
            user_id=rng.choice((7, 8)),
            status=rng.choice(("PLACED", "PAID")),
            placed_us=rng.choice(PLACES),
        )
        for number in rng.sample(range(1000), count)
    ]


def matching(documents: Sequence[Document], query: Query) -> list[str]:
    """The ids that a query should find, worked out the slow way."""

    def holds(one: Document) -> bool:
        return (
            query.order_id in (None, one.order_id)
            and query.user_id in (None, one.user_id)
            and query.status in (None, one.status)
            and (query.from_us is None or one.placed_us >= query.from_us)
            and (query.to_us is None or one.placed_us < query.to_us)
            and all(any(mine.startswith(word) for mine in one.words) for word in query.words)
        )

    found = sorted(((one.placed_us, one.order_id) for one in documents if holds(one)), reverse=True)
    return [order_id for _, order_id in found]


async def paged(index: Index, query: Query) -> tuple[list[str], set[int]]:
    """Every id over all pages, and the totals that the pages told."""
    ids: list[str] = []
    totals = set()
    while True:
        page = await index.search(query)
        totals.add(page.total)
        assert len(page.hits) <= query.limit
        assert len(ids) < 1000, "the pages never end"
        ids += [order_id for _, order_id, _ in page.hits]
        if len(page.hits) < query.limit:
            return ids, totals
        query = msgspec.structs.replace(query, before=page.hits[-1][:2])


@pytest.mark.parametrize("limit", [1, 2, 7, 19, 20, 59, 60, 61])
async def test_pages_show_every_order_once_though_many_share_their_moment(index: Index, limit: int) -> None:
    documents = many(limit)
    await index.write(documents)
    ids, totals = await paged(index, Query(limit=limit))
    assert ids == matching(documents, EVERYTHING)
    assert len(set(ids)) == 60
    assert totals == {60}


async def test_every_one_of_very_many_is_shown_once_and_counted(index: Index) -> None:
    documents = [order(number, placed_us=PLACES[number % 3]) for number in range(1_234)]
    for start in range(0, len(documents), 400):
        await index.write(documents[start : start + 400])
    ids: list[str] = []
    query = Query(limit=101)
    while page := (found := await index.search(query)).hits:
        assert found.total == 1_234
        ids += [order_id for _, order_id, _ in page]
        query = msgspec.structs.replace(query, before=page[-1][:2])
    assert ids == matching(documents, EVERYTHING)
    assert await index.count() == 1_234


async def test_versions_that_are_written_side_by_side_in_any_order_leave_the_newest(index: Index) -> None:
    rng = random.Random(1)
    every = [change(order(number), version, "PAID") for number in range(40) for version in (1, 2, 3, 4, 5)]
    writes = [rng.sample(every, len(every)) for _ in range(4)]
    lists = [some[start : start + 25] for some in writes for start in range(0, len(some), 25)]
    await asyncio.gather(*(index.write(each) for each in lists))
    assert sorted(await bodies(index)) == sorted(f"{number} at 5" for number in range(40))


async def test_an_order_that_comes_while_somebody_pages_disturbs_no_later_page(index: Index) -> None:
    documents = many(1)
    await index.write(documents)
    first = await index.search(Query(limit=25))
    await index.write([order(2000, placed_us=PLACES[2] + 1)])
    rest, totals = await paged(index, Query(limit=25, before=first.hits[-1][:2]))
    assert [order_id for _, order_id, _ in first.hits] + rest == matching(documents, EVERYTHING)
    assert totals == {61}


CONDITIONS: dict[str, list[Any]] = {
    "user_id": [None, 7, 9],
    "status": [None, "PAID", "EXPIRED"],
    "words": [(), ("우유",), ("milk", "서울")],
    "from_us": [None, PLACES[1], PLACES[2] + 1],
    "to_us": [None, PLACES[1], PLACES[2]],
}


async def test_conditions_hold_together_in_every_combination_on_every_page(index: Index) -> None:
    documents = many(4)
    await index.write(documents)
    found = 0
    for values in itertools.product(*CONDITIONS.values()):
        query = Query(limit=7, **dict(zip(CONDITIONS, values, strict=True)))
        expected = matching(documents, query)
        assert await paged(index, query) == (expected, {len(expected)}), query
        found += bool(expected)
    assert found > 20


async def test_an_order_id_finds_that_order_and_only_together_with_the_other_conditions(index: Index) -> None:
    await index.write([order(1), order(2, user_id=8)])
    wanted = order(2, user_id=8).order_id
    assert await bodies(index, order_id=wanted) == ["2 at 1"]
    assert await bodies(index, order_id=wanted, user_id=8) == ["2 at 1"]
    assert await bodies(index, order_id=wanted, user_id=7) == []
    for other in ("", wanted[:-1], wanted + "0", wanted.upper(), "%", "ord_" + "_" * 26):
        assert await bodies(index, order_id=other) == []


# Words

SHELF = {
    1: "서울우유 나100% 1L Seoul Milk, fat 3.5",
    2: "제주 감귤 1.5kg Jeju tangerines",
    3: "CAFÉ Straße 커피믹스 100T",
    4: "한우 등심 200g Korean beef sirloin",
}


FOUND: list[tuple[str, set[int]]] = [
    ("서울우유", {1}),
    ("서울", {1}),
    ("우유", set()),
    ("서", {1}),
    ("서욹", set()),
    ("seoul milk", {1}),
    ("milk seoul", {1}),
    ("MILK", {1}),
    ("mil", {1}),
    ("milks", set()),
    ("seoul beef", set()),
    ("1", {1, 2, 3}),
    ("100", {3}),
    ("나100", {1}),
    ("200", {4}),
    ("3 5", {1}),
    ("3.5", {1}),
    ("café", {3}),
    ("cafe\u0301", {3}),
    ("CAFE\u0301", {3}),
    ("cafe", set()),
    ("STRASSE", {3}),
    ("straße", {3}),
    ("커피", {3}),
    ("\u110f\u1165\u1111\u1175", {3}),
    ("한우 200G sir", {4}),
    ("%", {1, 2, 3, 4}),
    ("_", {1, 2, 3, 4}),
    ("' OR 1=1 --", set()),
]


async def test_every_word_of_a_keyword_must_begin_a_word_of_the_order(index: Index) -> None:
    await index.write([order(number, names=names) for number, names in SHELF.items()])
    for keyword, found in FOUND:
        page = await index.search(Query(limit=10, words=tuple(words_of(keyword))))
        assert ({int(order_id[4:]) for _, order_id, _ in page.hits}, page.total) == (found, len(found)), keyword


async def test_a_word_of_an_order_is_found_by_every_beginning_of_it(index: Index) -> None:
    await index.write([order(1, names="서울우유 Milk \U0002000b")])
    for word in ("서울우유", "milk", "\U0002000b"):
        for end in range(1, len(word) + 1):
            assert await bodies(index, words=(word[:end],)) == ["1 at 1"]
        for other in (word + "x", word[:-1] + "\U0010fffd", "x" + word):
            assert await bodies(index, words=(other,)) == []
