"""How a document stands in Elasticsearch, and how it is asked for: plain objects, as its API takes them.

A word of a keyword must begin a word of the document: words are kept as keywords and found by their prefix, so the
answer is that of the embedded index. Korean writes compounds without a space; where the server has the Nori plugin, a
Korean word is also found inside of one. Where a document has no such field, asking for it finds nothing.
"""

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from quickcommerce.history.flow import Document, Query

LAYOUT = 1
"""Raised when the mapping changes: an index of an older one is replaced by the next rebuild."""
NORI = "nori"
_HANGUL = re.compile("[\uac00-\ud7a3]")

SETTINGS: dict[str, Any] = {
    "number_of_shards": 1,
    # A copy where there is a second node; on one node the index is whole as it is.
    "auto_expand_replicas": "0-1",
    # Said, since an index that leaves it open is refreshed only once somebody searches.
    "refresh_interval": "1s",
}


def made_as(*, korean: bool) -> dict[str, Any]:
    """What tells two mappings apart."""
    return {"layout": LAYOUT, "korean": korean}


def mappings(korean: str | None) -> dict[str, Any]:
    """The fields of a document, and of no other; `korean` is the analyzer for it, if there is one."""
    words: dict[str, Any] = {"type": "keyword"}
    if korean:
        words["fields"] = {"korean": {"type": "text", "analyzer": korean, "norms": False}}
    return {
        "dynamic": "strict",
        "_meta": made_as(korean=korean is not None),
        "properties": {
            "order_id": {"type": "keyword"},
            "user_id": {"type": "long"},
            "status": {"type": "keyword"},
            "placed_us": {"type": "long"},
            "words": words,
            "body": {"type": "keyword", "index": False, "doc_values": False},
        },
    }


def action(document: Document, index: str) -> dict[str, Any]:
    """Write it there, unless the version that is there is as new."""
    return {
        "index": {
            "_index": index,
            "_id": document.order_id,
            "version": document.version,
            "version_type": "external",
        }
    }


def source(document: Document) -> dict[str, Any]:
    """A document's fields. Its version is that of Elasticsearch's own record."""
    return {
        "order_id": document.order_id,
        "user_id": document.user_id,
        "status": document.status,
        "placed_us": document.placed_us,
        "words": sorted(document.words),
        "body": document.body.decode(),
    }


def conditions(query: Query) -> dict[str, Any]:
    """All that must hold of a document."""
    every: list[dict[str, Any]] = [
        {"term": {field: value}}
        for field, value in (("order_id", query.order_id), ("user_id", query.user_id), ("status", query.status))
        if value is not None
    ]
    every += [
        {"range": {"placed_us": {bound: value}}}
        for bound, value in (("gte", query.from_us), ("lt", query.to_us))
        if value is not None
    ]
    return {"bool": {"filter": [*every, *map(_word, query.words)]}}


def between(after: str, upto: str) -> dict[str, Any]:
    """Order ids behind `after` up to `upto`."""
    return {"range": {"order_id": {"gt": after, "lte": upto}}}


def _word(word: str) -> dict[str, Any]:
    begins = {"prefix": {"words": word}}
    if not _HANGUL.search(word):
        return begins
    # As a phrase: its parts stand beside each other, in one word of the document.
    inside = {"match_phrase": {"words.korean": word}}
    return {"bool": {"should": [begins, inside], "minimum_should_match": 1}}


class Sent(msgspec.Struct, frozen=True):
    """What became of documents that were written: how many are new, how many newer, and by order what was refused."""

    created: int
    updated: int
    refused: dict[str, str]

    def with_these(self, items: Sequence[dict[str, Any]]) -> "Sent":
        """And of these: items of a bulk answer."""
        ends = [item.get("result") for item in items]
        # 409: one as new was there. That is what the version is for.
        refused = {
            item["_id"]: f"{item['error']['type']}: {item['error']['reason']}"
            for item in items
            if "error" in item and item["status"] != 409
        }
        return Sent(self.created + ends.count("created"), self.updated + ends.count("updated"), self.refused | refused)
