"""Elasticsearch 8, as far as the history needs it: a method for each thing asked. The only door to its client.

Nothing is asked twice by itself: whoever asks decides that. What means "not now" is Unavailable, whatever it is.
"""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from elasticsearch import (
    ApiError,
    AsyncElasticsearch,
    BadRequestError,
    ConnectionTimeout,
    ElasticsearchWarning,
    NotFoundError,
    SSLError,
)
from elasticsearch import TransportError as NoAnswer

from quickcommerce.kit.problem import Unavailable

READ_S, WRITE_S = 5.0, 30.0
"""How long an answer is waited for. Nobody waits for writes but the next list of events."""
SHARD_WAIT = "10s"
"""How long the server waits for a shard that is not there yet before it says so."""
WALK_MAX = 1_000
"""Documents in one page of a walk."""
NOT_NOW = frozenset({401, 403, 408, 429})
"""Beside 5xx: refusals that are no fault of what was asked. A key, or a disk that is full, is put right by people."""


@dataclass(frozen=True)
class Elastic:
    """A server, and what is said where there is no index."""

    client: AsyncElasticsearch
    no_index: str

    async def version(self) -> str:
        """The server's own. Raises Unavailable, as all that follow."""
        with self._asked():
            return str((await self.client.info())["version"]["number"])

    async def analyzes(self, index: str, analyzer: str) -> bool:
        """Whether the server has this analyzer. Asked of an index, whose user may be no more than that."""
        try:
            with self._asked():
                await self.client.indices.analyze(index=index, analyzer=analyzer, text="가")
        except BadRequestError:
            return False
        return True

    async def aliases(self, pattern: str) -> dict[str, set[str]]:
        """The indices of such names, and the aliases of each."""
        with self._asked():
            answer = await self.client.indices.get_alias(index=pattern)
        return {index: set(found["aliases"]) for index, found in answer.items()}

    async def create(self, index: str, alias: str, settings: dict[str, Any], mappings: dict[str, Any]) -> bool:
        """Make an index and an alias for it, in one step; where it is there already, nothing.

        Returns False for a mapping that the server does not know how to serve.
        """
        try:
            with self._asked():
                await self._patient.indices.create(
                    index=index, aliases={alias: {}}, settings=settings, mappings=mappings
                )  # fmt: skip
        except BadRequestError as refused:
            if refused.error not in ("resource_already_exists_exception", "mapper_parsing_exception"):
                raise
            return refused.error == "resource_already_exists_exception"
        return True

    async def meta(self, index: str) -> dict[str, Any]:
        """What an index was made with to be remembered."""
        with self._asked():
            answer = await self.client.indices.get_mapping(index=index)
        found: dict[str, Any] = answer[index]["mappings"].get("_meta", {})
        return found

    async def refresh(self, index: str) -> None:
        """Make all that was written be found."""
        with self._asked():
            await self._patient.indices.refresh(index=index)

    async def show(self, index: str, alias: str, old: Sequence[str]) -> None:
        """Put the alias on this index, and remove old indices: in one step."""
        with self._asked():
            await self._patient.indices.update_aliases(
                actions=[
                    {"add": {"index": index, "alias": alias}},
                    *({"remove_index": {"index": each}} for each in old),
                ]
            )

    async def bulk(self, lines: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Do all, through aliases only, and tell what became of each. Raises Unavailable where any is not done now."""
        with self._asked():
            answer = await self._patient.bulk(operations=lines, require_alias=True, timeout=SHARD_WAIT)
        items = [next(iter(item.values())) for item in answer["items"]]
        for item in items:
            if "error" in item and item["status"] == 404:
                raise Unavailable(self.no_index)
            if item["status"] in NOT_NOW or item["status"] >= 500:
                raise Unavailable(f"Elasticsearch takes no documents now: {item['error']['type']}")
        return items

    async def search(self, index: str, query: dict[str, Any], **paging: Any) -> dict[str, Any]:
        """The hits of a query, and how many match in all: exactly."""
        for again in (True, False):
            try:
                with self._asked():
                    # A total of some of the shards would be wrong and look right.
                    answer = await self.client.search(
                        index=index, query=query, track_total_hits=True, allow_partial_search_results=False, **paging
                    )
                break
            except Unavailable as gone:
                # The alias may have moved in the middle of it, and the index it stood on be gone: no reason to refuse.
                if not again or isinstance(gone.__cause__, NoAnswer):
                    raise
        hits: dict[str, Any] = answer["hits"]
        return hits

    async def versions(self, index: str, query: dict[str, Any]) -> dict[str, int]:
        """The versions of all that match, by id, as of one moment however many there are."""
        found: dict[str, int] = {}
        with self._asked():
            moment = (await self.client.open_point_in_time(index=index, keep_alive="1m"))["id"]
            try:
                last: list[Any] | None = None
                while True:
                    page = await self.client.search(
                        pit={"id": moment, "keep_alive": "1m"},
                        query=query,
                        sort=[{"order_id": "asc"}],
                        search_after=last,
                        size=WALK_MAX,
                        source=False,
                        version=True,
                        track_total_hits=False,
                        allow_partial_search_results=False,
                    )
                    hits = page["hits"]["hits"]
                    found |= {hit["_id"]: hit["_version"] for hit in hits}
                    if len(hits) < WALK_MAX:
                        return found
                    last = hits[-1]["sort"]
            finally:
                await self.client.close_point_in_time(id=moment)

    async def close(self) -> None:
        """Let go of the connections."""
        await self.client.close()

    @property
    def _patient(self) -> AsyncElasticsearch:
        return self.client.options(request_timeout=WRITE_S)

    @contextmanager
    def _asked(self) -> Iterator[None]:
        """Around every call. What was asked wrongly stays an ApiError, and is a defect."""
        try:
            yield
        except NotFoundError as missing:
            raise Unavailable(self.no_index) from missing
        except ApiError as refused:
            if refused.status_code in NOT_NOW or not 400 <= refused.status_code < 500:
                raise Unavailable(f"Elasticsearch answers {refused.status_code}: {refused.error}") from refused
            raise
        except NoAnswer as silent:
            raise Unavailable(f"Elasticsearch does not answer{_how(silent)}") from silent


def _how(silent: NoAnswer) -> str:
    """How somebody did not answer. The client's own words name addresses, and buyers read this."""
    if isinstance(silent, ConnectionTimeout):
        return " in time"
    if isinstance(silent, SSLError):
        return ": its certificate is not trusted"
    return ""


def connect(url: str, no_index: str) -> Elastic:
    """The server behind an http(s) URL, which may hold a user and a password. Nothing is asked yet."""
    parts = urlsplit(url)
    user = (unquote(parts.username), unquote(parts.password or "")) if parts.username else None
    # A server without passwords says so in every answer; and each request would be a line in our log.
    warnings.simplefilter("ignore", ElasticsearchWarning)
    logging.getLogger("elastic_transport").setLevel(logging.ERROR)
    address = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    return Elastic(AsyncElasticsearch(address, basic_auth=user, max_retries=0, request_timeout=READ_S), no_index)
