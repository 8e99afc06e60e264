"""The embedded index: documents and their words as rows of a SQLite file of its own, which a rebuild can remake."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from quickcommerce.history.flow import Document, Found, Query
from quickcommerce.history.rebuild import Mended
from quickcommerce.kit.db import Database, Tx, marks

LAST_CHAR = "\U0010ffff"
"""Sorts behind every character that a word can hold, so `word >= p AND word < p + LAST_CHAR` are those that begin p."""


@dataclass(frozen=True)
class SqlIndex:
    """`Index` in SQL."""

    db: Database

    async def write(self, documents: Sequence[Document]) -> None:
        """See `Index.write`."""
        newest: dict[str, Document] = {}
        for one in documents:
            if one.order_id not in newest or newest[one.order_id].version < one.version:
                newest[one.order_id] = one
        if newest:
            await self.db.run(lambda tx: _write(tx, newest))

    async def begin(self) -> "SqlIndex":
        """See `rebuild.Rebuildable`. It is made right where it is."""
        return self

    async def finish(self) -> None:
        """See `rebuild.Documents`. There is nothing left to do."""

    async def missing(self) -> bool:
        """See `rebuild.Rebuildable`. A migration made it."""
        return False

    async def mend(self, documents: Sequence[Document]) -> Mended:
        """See `rebuild.Documents`."""
        return await self.db.run(lambda tx: _mend(tx, {one.order_id: one for one in documents}))

    async def remove(self, order_ids: Sequence[str]) -> None:
        """See `rebuild.Documents`. The words have no index by order: they are looked through once for each call."""

        async def work(tx: Tx) -> None:
            for table in ("word", "document"):
                await tx.write(f"DELETE FROM {table} WHERE order_id IN ({marks(order_ids)})", order_ids)

        await self.db.run(work)

    async def search(self, query: Query) -> Found:
        """See `Index.search`."""
        return await self.db.scan(lambda tx: _search(tx, query))

    async def versions(self, after: str, upto: str) -> dict[str, int]:
        """See `rebuild.Documents`."""
        sql = "SELECT order_id, version FROM document WHERE order_id > ? AND order_id <= ?"
        return dict(await self.db.scan(lambda tx: tx.all(sql, (after, upto))))

    async def count(self) -> int:
        """See `Index.count`."""
        row = await self.db.scan(lambda tx: tx.one("SELECT COUNT(*) FROM document"))
        return row[0] if row else 0


async def _write(tx: Tx, newest: dict[str, Document]) -> None:
    rows = await tx.all(
        f"SELECT order_id, version FROM document WHERE order_id IN ({marks(list(newest))})", list(newest)
    )
    kept: dict[str, int] = dict(rows)
    await _insert(tx, [one for one in newest.values() if one.order_id not in kept])
    # The words of an order are those of its lines, which never change: they are written once.
    await tx.insert(
        "word",
        "word, order_id",
        [(word, one.order_id) for one in newest.values() if one.order_id not in kept for word in sorted(one.words)],
    )
    for one in newest.values():
        if one.order_id in kept:
            await tx.write(
                "UPDATE document SET version = ?, status = ?, body = ? WHERE order_id = ? AND version < ?",
                (one.version, one.status, one.body, one.order_id, one.version),
            )


async def _insert(tx: Tx, documents: Iterable[Document]) -> None:
    await tx.insert(
        "document",
        "order_id, version, user_id, status, placed_us, body",
        [(one.order_id, one.version, one.user_id, one.status, one.placed_us, one.body) for one in documents],
    )


async def _mend(tx: Tx, wanted: dict[str, Document]) -> Mended:
    rows = await tx.all(
        f"SELECT order_id, version, body FROM document WHERE order_id IN ({marks(list(wanted))})", list(wanted)
    )
    # One that is newer was written by the running shop after the order was read.
    kept = {order_id: (version, body) for order_id, version, body in rows}
    old = [one for one in wanted.values() if kept.get(one.order_id, (0, b""))[0] <= one.version]
    wrong = {one.order_id: one for one in old if kept.get(one.order_id) != (one.version, one.body)}
    if wrong:
        await tx.write(f"DELETE FROM document WHERE order_id IN ({marks(list(wrong))})", list(wrong))
        await _insert(tx, wrong.values())
    lost = [(word, one.order_id) for one in old for word in sorted(one.words - await _words(tx, one))]
    await tx.insert("word", "word, order_id", lost)
    renewed = {order_id for order_id in (*wrong, *(order_id for _, order_id in lost)) if order_id in kept}
    return Mended(len(wrong.keys() - kept.keys()), len(renewed))


async def _words(tx: Tx, one: Document) -> set[str]:
    """Those of its words that are kept."""
    words = sorted(one.words)
    rows = await tx.all(
        f"SELECT word FROM word WHERE word IN ({marks(words)}) AND order_id = ?", [*words, one.order_id]
    )
    return {word for (word,) in rows}


async def _search(tx: Tx, query: Query) -> Found:
    where, params = _conditions(query)
    total = await tx.one(f"SELECT COUNT(*) FROM document d WHERE {where}", params)
    if query.before:
        where += " AND (d.placed_us < ? OR (d.placed_us = ? AND d.order_id < ?))"
        params += [query.before[0], *query.before]
    hits = await tx.all(
        f"SELECT d.placed_us, d.order_id, d.body FROM document d WHERE {where}"
        " ORDER BY d.placed_us DESC, d.order_id DESC LIMIT ?",
        [*params, query.limit],
    )
    return Found([(at, order_id, body) for at, order_id, body in hits], total[0] if total else 0)


def _conditions(query: Query) -> tuple[str, list[object]]:
    tests: list[tuple[str, list[object]]] = [("1 = 1", [])]
    for test, value in (
        ("d.order_id = ?", query.order_id),
        ("d.user_id = ?", query.user_id),
        ("d.status = ?", query.status),
        ("d.placed_us >= ?", query.from_us),
        ("d.placed_us < ?", query.to_us),
    ):
        if value is not None:
            tests.append((test, [value]))
    tests += [
        ("d.order_id IN (SELECT w.order_id FROM word w WHERE w.word >= ? AND w.word < ?)", [word, word + LAST_CHAR])
        for word in query.words
    ]
    return " AND ".join(test for test, _ in tests), [value for _, values in tests for value in values]
