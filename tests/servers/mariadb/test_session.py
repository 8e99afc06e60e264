"""Sessions are as the house needs them, whatever the server was told; and answers are those of what was asked."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from quickcommerce.kit import mariadb_line, mariadb_sql, repeating
from quickcommerce.kit.db import Limits, Tx, Unmatched, connect
from quickcommerce.kit.mariadb import MariaDb
from quickcommerce.kit.problem import Unavailable
from servers.mariadb.acts import put, rows
from servers.mariadb.conftest import PAIR, Opened
from servers.mariadb.proxy import Proxy
from servers.mariadb.server import server
from stores import TEXTS

ODD = (
    "--skip-character-set-client-handshake", "--character-set-server=gbk", "--collation-server=gbk_chinese_ci",
    "--sql-mode=NO_BACKSLASH_ESCAPES,ANSI_QUOTES",
)  # fmt: skip
"""In GBK the last byte of a Korean syllable in UTF-8 and a backslash are one character: the quote behind it is free."""
NAMED = "SELECT name FROM pair WHERE name = ?"


@asynccontextmanager
async def on(folder: Path, *options: str) -> AsyncIterator[MariaDb]:
    """The shop's schema on a server that was told these."""
    async with server(folder / "mariadb", *options) as one:
        shop = connect(f"mariadb://root:@127.0.0.1:{one.port}/shop", rng=random.Random(1), limits=Limits())
        assert isinstance(shop, MariaDb)
        try:
            yield shop
        finally:
            await shop.close()


async def stolen(shop: MariaDb, text: str) -> bool:
    """Whether who asks for the row of this name is told of all others."""
    await shop.run(lambda tx: tx.run(PAIR.replace("TABLE", "TABLE IF NOT EXISTS")))
    await shop.run(lambda tx: tx.run("REPLACE INTO pair (name, n) VALUES ('secret', -1)"))
    return await shop.read(lambda tx: tx.all(NAMED, (f"{text}' OR 1 = 1 -- ",))) == [("secret",)]


async def test_a_text_is_itself_whatever_the_server_was_told_of_characters_and_quotes(tmp_path: Path) -> None:
    async with on(tmp_path, *ODD) as shop:
        assert not await stolen(shop, "각\\")
        await shop.run(lambda tx: tx.insert("pair", "name, n", [(text, n) for n, text in enumerate(TEXTS)]))
        assert await shop.read(lambda tx: tx.all("SELECT name FROM pair WHERE n >= 0 ORDER BY n")) == [
            (text,) for text in TEXTS
        ]


async def test_control_in_the_characters_of_such_a_server_a_name_is_sql(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    charset = "character_set_client = 'utf8mb4', character_set_results = 'utf8mb4', "
    assert charset in mariadb_line._SESSION
    monkeypatch.setattr(mariadb_line, "_SESSION", mariadb_line._SESSION.replace(charset, ""))
    async with on(tmp_path, *ODD) as shop:
        assert await stolen(shop, "각\\")


async def test_control_with_a_backslash_as_it_is_a_name_is_sql(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = opened()
    assert not await stolen(shop, "\\")
    monkeypatch.setitem(mariadb_sql._LITERALS, str, lambda text: "'" + text.replace("'", "''") + "'")
    assert await stolen(shop, "\\")


async def test_a_server_that_takes_too_little_at_once_is_refused_with_what_to_set(tmp_path: Path) -> None:
    async with on(tmp_path, "--max-allowed-packet=1M") as shop:
        with pytest.raises(Unavailable, match="takes 1,048,576 bytes at once, and 16,777,216 are needed"):
            await shop.run(lambda tx: tx.one("SELECT 1"))


async def test_what_holds_a_second_statement_does_nothing(opened: Opened) -> None:
    shop = opened()
    await shop.run(put("beef"))
    with pytest.raises(AssertionError, match="more answers than statements"):
        await shop.run(lambda tx: tx.all("SELECT 1; DELETE FROM pair"))
    with pytest.raises(Exception, match="nowhere"):
        await shop.run(lambda tx: tx.all("SELECT 1; SELECT 2 FROM nowhere"))
    assert await rows(shop) == 2


async def test_a_statement_that_hides_the_one_behind_it_is_not_told_as_both(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repeating, "REPEATS_MAX", 0)
    shop = opened()
    await shop.run(put("beef"))

    async def work(tx: Tx) -> list[int]:
        return await tx.gather([tx.run("UPDATE pair SET n = 5 -- all"), tx.run("UPDATE pair SET n = 6")])

    with pytest.raises(Unavailable, match="the connection was lost"):
        await shop.run(work)
    assert set(await shop.run(lambda tx: tx.all("SELECT n FROM pair"))) == {(1,)}


async def test_a_line_that_breaks_among_answers_has_changed_nothing(opened: Opened, line: Proxy) -> None:
    shop = opened(line)
    await shop.run(put("beef"))
    line.halves = True

    async def work(tx: Tx) -> list[int]:
        add = "UPDATE pair SET n = n + 1 WHERE name = ?"
        return await tx.gather([tx.run(add, (name,)) for name in ("beef.left", "beef.right")])

    assert await shop.run(work) == [1, 1]
    assert line.cuts == 1
    assert await shop.run(lambda tx: tx.all("SELECT n FROM pair")) == [(2,), (2,)], "once for each, and not twice"


async def test_an_error_says_which_of_several_statements_it_was_and_none_of_its_values(opened: Opened) -> None:
    async def work(tx: Tx) -> None:
        await tx.insert("pair", "name, n", [("beef", 1)])
        await tx.insert("nowhere", "name, n", [("a secret", 1)])
        await tx.run("UPDATE pair SET n = 7")

    with pytest.raises(Exception, match="nowhere") as failed:
        await opened().run(work)
    assert failed.value.__notes__ == ["statement 2 of 3: INSERT INTO nowhere"]


async def test_a_change_that_met_other_rows_is_told_by_its_table_and_none_of_its_values(opened: Opened) -> None:
    async def work(tx: Tx) -> None:
        await tx.insert("pair", "name, n", [("beef", 1)])
        await tx.write("UPDATE pair SET n = 7 WHERE name = ?", ("a secret",), rows=1)

    with pytest.raises(Unmatched, match="UPDATE pair SET n met other rows than it was to meet") as failed:
        await opened().run(work)
    assert failed.value.__notes__ == ["statement 2 of 4: UPDATE pair SET n"]
    assert "secret" not in repr(failed.value)
