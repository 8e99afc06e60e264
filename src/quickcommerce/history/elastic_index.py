"""The index in Elasticsearch.

`qc-orders` (a setting) is an alias for the index that is searched, say `qc-orders-7`. A rebuild fills the next one,
`qc-orders-8`, and then moves the alias. Each index has an alias of its own for writing, `qc-orders-write-7`, and
whoever writes asks first which there are: so a rebuild need not tell anybody that it has begun. Writing through an
alias also keeps the server from making an index of its own accord where ours was deleted.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

from quickcommerce.history import elastic, mapping
from quickcommerce.history.elastic import Elastic
from quickcommerce.history.flow import Document, Found, Query
from quickcommerce.history.mapping import Sent
from quickcommerce.history.rebuild import Mended
from quickcommerce.kit.inbox import Poison
from quickcommerce.kit.problem import Unavailable
from quickcommerce.kit.telemetry import log

BULK_MAX = 500
"""Documents in one request: about a megabyte."""


class Standing(NamedTuple):
    """Whether an index has the alias to be written by, and the one to be searched by."""

    written: bool
    searched: bool


@dataclass(frozen=True)
class ElasticIndex:
    """`Index` and `rebuild.Rebuildable` in Elasticsearch. `korean` is the analyzer that Korean needs."""

    server: Elastic
    name: str
    korean: str = mapping.NORI

    async def write(self, documents: Sequence[Document]) -> None:
        """See `Index.write`. Raises Poison for what the server refuses; the others are written then."""
        newest: dict[str, Document] = {}
        for one in documents:
            if one.order_id not in newest or newest[one.order_id].version < one.version:
                newest[one.order_id] = one
        if not newest:
            return
        # Asked anew each time. An event that is in hand now was committed before this question: an index that the
        # answer does not name begins to be filled later, and from what the order is then.
        numbers = [number for number, standing in (await self.standings()).items() if standing.written]
        if not numbers:
            raise Unavailable(self.server.no_index)
        sent = await self.send(numbers, list(newest.values()))
        if sent.refused:
            raise Poison("; ".join(f"Elasticsearch refuses {each}: {why}" for each, why in sent.refused.items()))

    async def search(self, query: Query) -> Found:
        """See `Index.search`. What was written is found within a second or so."""
        found = await self.server.search(
            self.name,
            mapping.conditions(query),
            sort=[{"placed_us": "desc"}, {"order_id": "desc"}],
            search_after=list(query.before) if query.before else None,
            size=query.limit,
            source_includes=["body"],
        )
        hits = [(*hit["sort"], hit["_source"]["body"].encode()) for hit in found["hits"]]
        return Found(hits, found["total"]["value"])

    async def count(self) -> int:
        """See `Index.count`. Where there is no index there are none: that keeps nobody from the other counts."""
        return 0 if await self.missing() else (await self.search(Query(limit=0))).total

    async def versions(self, after: str, upto: str) -> dict[str, int]:
        """The versions of the documents whose order ids are behind `after` up to `upto`. Raises Unavailable."""
        return await self.server.versions(self.name, mapping.between(after, upto))

    async def missing(self) -> bool:
        """See `rebuild.Rebuildable`."""
        return Standing(written=True, searched=True) not in (await self.standings()).values()

    async def begin(self) -> "Filling":
        """See `rebuild.Rebuildable`. An index that another rebuild has begun, and not ended, is filled on."""
        standings = await self.standings()
        last = max(standings, default=0)
        if standings.get(last) != Standing(written=True, searched=False) or not await self._is_present(last):
            last += 1
            await self._create(last)
        return Filling(self, last)

    async def refresh(self) -> None:
        """Make what was written be found now. Raises Unavailable."""
        await self.server.refresh(self.name)

    async def about(self) -> str:
        """What operators want to know. Raises Unavailable."""
        server = f"Elasticsearch {await self.server.version()}"
        standings = await self.standings()
        searched = [number for number, standing in standings.items() if standing.searched]
        if not searched:
            return f"{server} has no index {self.name} yet: the process of the history makes it"
        made = await self.server.meta(self.index(searched[0]))
        words = "Korean compounds by Nori" if made.get("korean") else "no Nori: Korean words by their beginnings"
        if not await self._is_present(searched[0]):
            words += "; one made now would be another: qc rebuild history"
        if len(standings) > 1:
            words += "; a rebuild is under way, or was broken off: qc rebuild history ends it"
        return f"{server}, {self.index(searched[0])}, {await self.count()} documents, {words}"

    async def close(self) -> None:
        """Let go of the connections."""
        await self.server.close()

    async def standings(self) -> dict[int, Standing]:
        """Every index there is, by number. Raises Unavailable."""
        found = {}
        for index, aliases in (await self.server.aliases(f"{self.name}-*")).items():
            name, _, number = index.rpartition("-")
            if name == self.name and number.isdecimal():
                found[int(number)] = Standing(self.door(int(number)) in aliases, self.name in aliases)
        return found

    async def send(self, numbers: Collection[int], documents: Sequence[Document]) -> Sent:
        """Write documents to these indices. One whose version is not newer than the one there changes nothing."""
        sent = Sent(0, 0, {})
        for start in range(0, len(documents), BULK_MAX):
            lines = [
                (mapping.action(one, self.door(number)), mapping.source(one))
                for number in numbers
                for one in documents[start : start + BULK_MAX]
            ]
            sent = sent.with_these(await self.server.bulk(list(chain.from_iterable(lines))))
        return sent

    async def _is_present(self, number: int) -> bool:
        """Whether this index is as one that were made now."""
        index = self.index(number)
        return await self.server.meta(index) == mapping.made_as(korean=await self.server.analyzes(index, self.korean))

    async def _create(self, number: int) -> None:
        index, door = self.index(number), self.door(number)
        if not await self.server.create(index, door, mapping.SETTINGS, mapping.mappings(self.korean)):
            log.warning("history.no_korean", index=index, analyzer=self.korean)
            await self.server.create(index, door, mapping.SETTINGS, mapping.mappings(None))

    def index(self, number: int) -> str:
        """An index."""
        return f"{self.name}-{number}"

    def door(self, number: int) -> str:
        """The alias through which an index is written."""
        return f"{self.name}-write-{number}"


@dataclass(frozen=True)
class Filling:
    """`rebuild.Documents`: an index that is being filled, and written by everybody, and not searched yet."""

    of: ElasticIndex
    number: int

    async def mend(self, documents: Sequence[Document]) -> Mended:
        """See `rebuild.Documents`. What the server refuses is told by the log; its event is a dead letter."""
        sent = await self.of.send([self.number], documents)
        for order_id, why in sent.refused.items():
            log.error("history.refused", order_id=order_id, reason=why)
        return Mended(sent.created, sent.updated)

    async def versions(self, after: str, upto: str) -> dict[str, int]:
        """See `rebuild.Documents`."""
        return await self.of.server.versions(self.of.index(self.number), mapping.between(after, upto))

    async def remove(self, order_ids: Sequence[str]) -> None:
        """See `rebuild.Documents`."""
        door = self.of.door(self.number)
        if order_ids:
            await self.of.server.bulk([{"delete": {"_index": door, "_id": order_id}} for order_id in order_ids])

    async def finish(self) -> None:
        """See `rebuild.Documents`. In one step this index is searched, and those before it are gone."""
        index = self.of.index(self.number)
        await self.of.server.refresh(index)
        before = await self._before()
        try:
            await self.of.server.show(index, self.of.name, before)
        except Unavailable:
            # Another rebuild may have ended in between: then it has removed what this one was to remove.
            if (left := await self._before()) == before:
                raise
            await self.of.server.show(index, self.of.name, left)

    async def _before(self) -> list[str]:
        return [self.of.index(each) for each in await self.of.standings() if each < self.number]


def connect(url: str, name: str) -> ElasticIndex:
    """The index of this name behind an http(s) URL. Nothing is asked yet."""
    no_index = f"Elasticsearch has no index {name}: the process of the history makes it anew, or `qc rebuild history`"
    return ElasticIndex(elastic.connect(url, no_index), name)
