"""An index is made anew beside a shop that writes and searches it: afterwards it is whole, and nobody saw a gap."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from indices import EVERY, elastic, order_event, wipe
from quickcommerce.events import OrderEvent
from quickcommerce.history import rebuild
from quickcommerce.history.elastic_index import ElasticIndex, Standing
from quickcommerce.history.flow import Document, Query, document
from quickcommerce.history.rebuild import Rebuild, Upkeep
from quickcommerce.history.sql import SqlIndex
from quickcommerce.kit.ids import OrderId
from quickcommerce.kit.problem import Unavailable
from stores import Store, opened, until

Meanwhile = Callable[[], Awaitable[None]]
KEPT = 40


@pytest.fixture(autouse=True)
def _short_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuild, "PAGE", 16)


@dataclass
class Shop:
    """The orders of a shop that goes on. `meanwhile`: what happens right after each page of them was read."""

    told: dict[str, OrderEvent] = field(default_factory=dict)
    meanwhile: list[Meanwhile] = field(default_factory=list)
    forgets: bool = False

    def commits(self, event: OrderEvent) -> Document:
        self.told[event.order.order_id] = event
        return document(event)

    async def after(self, order_id: str, limit: int) -> Sequence[OrderEvent]:
        page = [self.told[each] for each in sorted(self.told) if each > order_id][:limit]
        if self.meanwhile:
            await self.meanwhile.pop(0)()
        return page

    async def rows(self, order_ids: Collection[OrderId]) -> Mapping[OrderId, object]:
        return {each: None for each in order_ids if each in self.told and not self.forgets}


@dataclass
class History:
    """An index, kept by a shop and made anew."""

    shop: Shop
    index: SqlIndex | ElasticIndex

    async def rebuilt(self) -> rebuild.Rebuilt:
        return await Rebuild(self.shop, self.index).run(lambda _: None)

    async def places(self, *numbers: int, version: int = 1) -> None:
        """Orders are committed, and then folded."""
        await self.index.write([self.shop.commits(order_event(number, version)) for number in numbers])

    async def settles(self) -> None:
        """What was written is found."""
        if isinstance(self.index, ElasticIndex):
            await self.index.refresh()

    async def is_whole(self) -> None:
        """Every order is found as it is, and nothing else."""
        await self.settles()
        found = await self.index.search(Query(limit=1000))
        expected = [document(event) for event in self.shop.told.values()]
        assert {order_id: body for _, order_id, body in found.hits} == {one.order_id: one.body for one in expected}
        assert await self.index.versions("", "ord_~") == {one.order_id: one.version for one in expected}
        assert await self.index.count() == len(expected)
        assert (await self.index.search(Query(limit=0, words=("milk", "우유")))).total == len(expected)


@pytest.fixture(params=EVERY)
async def history(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[History]:
    if request.param == "elastic":
        async with elastic() as index:
            yield History(Shop(), index)
    else:
        store: Store
        kind = request.param.partition("-")[2]
        async with opened(kind, tmp_path / "history.db", "cursor", "history") as store:
            yield History(Shop(), SqlIndex(store.db))


@pytest.mark.parametrize("orders", [0, 1, 15, 16, 17, KEPT])
async def test_a_history_that_was_empty_is_whole(history: History, orders: int) -> None:
    for number in range(orders):
        history.shop.commits(order_event(number, 1 + number % 3))
    done = await history.rebuilt()
    assert (done.orders, done.added, done.removed) == (orders, orders, 0)
    await history.is_whole()


async def test_what_is_old_or_of_no_order_is_right_afterwards(history: History) -> None:
    await history.places(*range(KEPT))
    for number in range(0, KEPT, 3):
        history.shop.commits(order_event(number, 3))
    await history.index.write([document(order_event(KEPT + number)) for number in range(20)])
    await history.settles()
    assert await history.index.count() == KEPT + 20
    await history.rebuilt()
    await history.is_whole()
    await history.rebuilt()
    await history.is_whole()


async def test_orders_that_come_and_change_meanwhile_are_there_as_they_are(history: History) -> None:
    await history.places(*range(KEPT))
    history.shop.meanwhile = [
        lambda: history.places(0, 20, 39, version=2),
        lambda: history.places(1, 20, 100, version=3),
        lambda: history.places(101),
    ]
    await history.rebuilt()
    assert history.shop.meanwhile == []
    await history.is_whole()


async def test_an_order_that_is_folded_before_the_shop_is_asked_again_stays(history: History) -> None:
    await history.places(*range(10))

    async def places() -> None:
        await history.places(11)
        if isinstance(history.index, ElasticIndex):
            for number in await history.index.standings():
                await history.index.server.refresh(history.index.index(number))

    history.shop.meanwhile = [places]
    assert (await history.rebuilt()).removed == 0
    await history.is_whole()


async def test_control_an_order_that_is_folded_before_the_shop_is_asked_again(history: History) -> None:
    await history.places(*range(10))

    async def places() -> None:
        await history.places(11)
        if isinstance(history.index, ElasticIndex):
            for number in await history.index.standings():
                await history.index.server.refresh(history.index.index(number))

    history.shop.meanwhile, history.shop.forgets = [places], True
    assert (await history.rebuilt()).removed == 1
    with pytest.raises(AssertionError):
        await history.is_whole()


async def test_whoever_searches_meanwhile_finds_every_order_all_the_time(history: History) -> None:
    await history.places(*range(KEPT))
    await history.settles()
    totals: list[int] = []

    async def searching() -> None:
        while True:
            totals.append((await history.index.search(Query(limit=10, words=("milk",)))).total)
            await asyncio.sleep(0)

    task = asyncio.create_task(searching())
    for _ in range(3):
        seen = len(totals)
        await until(lambda seen=seen: len(totals) > seen or task.done())  # type: ignore[misc]
        await history.rebuilt()
    seen = len(totals)
    await until(lambda: len(totals) > seen + 2 or task.done())
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert set(totals) == {KEPT}


class Broken(Exception):
    pass


async def test_a_rebuild_that_was_broken_off_is_ended_by_the_next(history: History) -> None:
    await history.places(*range(KEPT))

    async def breaks() -> None:
        raise Broken

    history.shop.meanwhile = [lambda: history.places(100), breaks]
    with pytest.raises(Broken):
        await history.rebuilt()
    await history.is_whole()
    await history.places(5, 101, version=2)
    await history.rebuilt()
    await history.is_whole()
    if isinstance(history.index, ElasticIndex):
        assert len(await history.index.standings()) == 1, "what was begun and left is written for ever"


async def test_two_rebuilds_side_by_side_are_both_right(history: History) -> None:
    await history.places(*range(KEPT))
    for number in range(0, KEPT, 2):
        history.shop.commits(order_event(number, 2))
    await asyncio.gather(history.rebuilt(), history.rebuilt())
    await history.is_whole()


# What only a server does


@pytest.fixture
async def served() -> AsyncIterator[History]:
    """A shop with orders whose index is in Elasticsearch."""
    async with elastic() as index:
        history = History(Shop(), index)
        await history.places(*range(KEPT))
        yield history


@dataclass(frozen=True)
class Remembers(ElasticIndex):
    """The guard switched off: it asked once which indices there are."""

    asked: dict[int, Standing] = field(default_factory=dict)

    async def standings(self) -> dict[int, Standing]:
        if not self.asked:
            self.asked.update(await super().standings())
        return self.asked


@pytest.mark.servers
async def test_control_a_writer_that_does_not_ask_each_time_where_to_write(served: History) -> None:
    assert isinstance(served.index, ElasticIndex)
    writer = Remembers(served.index.server, served.index.name)
    await writer.write([served.shop.commits(order_event(100))])

    async def changes() -> None:
        await writer.write([served.shop.commits(order_event(0, 3))])

    served.shop.meanwhile = [changes]
    await served.rebuilt()
    await served.settles()
    versions = await served.index.versions("", "ord_~")
    assert versions[order_event(0).order.order_id] == 1, "nothing would ever show what became of this order"


@pytest.mark.servers
async def test_a_history_that_was_deleted_says_so_and_writes_nothing_into_the_void(served: History) -> None:
    index = served.index
    assert isinstance(index, ElasticIndex)
    await wipe(index)
    acts = (
        lambda: index.write([document(order_event(1, 2))]),
        lambda: index.search(Query(limit=1)),
        lambda: index.versions("", "~"),
    )
    for act in acts:
        with pytest.raises(Unavailable, match="qc rebuild history"):
            await act()
    assert await index.count() == 0
    assert await index.missing()
    assert await index.server.client.indices.get(index=f"{index.name}*") == {}
    await served.rebuilt()
    await served.is_whole()


@pytest.mark.servers
async def test_a_history_that_is_deleted_between_the_question_and_the_writing_is_not_made_by_the_server(
    served: History,
) -> None:
    index = served.index
    assert isinstance(index, ElasticIndex)
    late = Remembers(index.server, index.name)
    await late.standings()
    await wipe(index)
    with pytest.raises(Unavailable, match="qc rebuild history"):
        await late.write([document(order_event(1, 2))])
    assert await index.server.client.indices.get(index=f"{index.name}*") == {}
    # The guard switched off: the server makes an index as it thinks fit, under the name that is to be an alias.
    await index.server.client.index(index=index.door(1), id="ord_1", document={"anything": 1})
    assert set(await index.server.client.indices.get(index=f"{index.name}*")) == {index.door(1)}


@pytest.mark.servers
async def test_a_history_that_is_deleted_is_made_anew_while_orders_go_on() -> None:
    async with elastic(made=False) as index:
        history = History(Shop(), index)
        upkeep = Upkeep(Rebuild(history.shop, index))
        with pytest.raises(Unavailable):
            await history.places(*range(KEPT))
        await upkeep.step()
        await history.is_whole()
        await wipe(index)
        history.shop.meanwhile = [lambda: history.places(3, 100, version=2), lambda: history.places(4, version=3)]
        await upkeep.step()
        await history.is_whole()
        await upkeep.step()
        assert list(await index.standings()) == [1], "an index that is there is left alone"


@pytest.mark.servers
async def test_an_index_of_another_layout_is_replaced_and_one_that_was_begun_so_is_not_filled(
    served: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = served.index
    assert isinstance(index, ElasticIndex)
    await index.begin()
    monkeypatch.setattr("quickcommerce.history.mapping.LAYOUT", 2)
    assert "qc rebuild history" in await index.about()
    await served.rebuilt()
    await served.is_whole()
    assert await index.standings() == {3: Standing(written=True, searched=True)}
    assert "qc rebuild history" not in await index.about()


@pytest.mark.servers
async def test_an_index_that_lost_its_aliases_is_replaced(served: History) -> None:
    """As one that came back from a snapshot without them."""
    index = served.index
    assert isinstance(index, ElasticIndex)
    for alias in (index.door(1), index.name):
        await index.server.client.indices.delete_alias(index=index.index(1), name=alias)
        assert await index.missing()
        await Upkeep(Rebuild(served.shop, index)).step() if alias == index.name else None
    await served.is_whole()
    assert list(await index.standings()) == [2]
