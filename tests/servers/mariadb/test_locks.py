"""Transactions that want each other's rows: each ends, and nothing is lost between a look and a write."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from asyncmy.constants import CLIENT
from asyncmy.errors import OperationalError

from quickcommerce.kit import mariadb_line, repeating
from quickcommerce.kit.db import LOCK, Duplicate, Tx, Work
from quickcommerce.kit.mariadb import MariaDb
from quickcommerce.kit.mariadb_errors import meaning
from quickcommerce.kit.problem import Unavailable
from servers.mariadb.acts import put, rows
from servers.mariadb.conftest import Opened
from stores import metric, until

FIRST = "/* first */ "
LOOK = "SELECT COUNT(*) FROM pair"
ADD = "UPDATE pair SET n = n + 1 WHERE name = ?"


@asynccontextmanager
async def stopping(shop: MariaDb, at: str, go_on: Callable[[int], bool]) -> AsyncIterator[list[int]]:
    """The first run of whoever has sent this statement waits behind it until `go_on` (how many have) is true."""
    ask, sent = shop._ask, [0]
    opened = asyncio.Event()

    async def held(role: str, connection: Any, flight: Sequence[str]) -> Any:
        answer = await ask(role, connection, flight)
        if any(sql.startswith(at) for sql in flight):
            sent[0] += 1
            if go_on(sent[0]):
                opened.set()
            await opened.wait()
        return answer

    shop._ask = held  # type: ignore[method-assign]
    yield sent
    shop._ask = ask  # type: ignore[method-assign]


async def crossing(shop: MariaDb) -> int:
    """Two transactions that each have a row and want the other's. Returns how many runs it took.

    What fails has statements in front of it and behind it in its flight.
    """
    await shop.run(put("order"))
    await shop.run(put("apart"))
    runs = 0

    def adding(one: str, other: str) -> Work[None]:
        async def work(tx: Tx) -> None:
            nonlocal runs
            runs += 1
            await tx.run(FIRST + ADD, (one,))
            await tx.gather([tx.one(LOOK), tx.run(ADD, (other,)), tx.run(ADD, ("apart.left",))])

        return work

    async with stopping(shop, FIRST, lambda sent: sent >= 2):
        left, right = "order.left", "order.right"
        await asyncio.gather(shop.run(adding(left, right)), shop.run(adding(right, left)))
    return runs


async def test_of_two_that_lock_crosswise_both_end(opened: Opened) -> None:
    shop = opened()
    assert await crossing(shop) == 3
    found = await shop.run(lambda tx: tx.all("SELECT name, n FROM pair ORDER BY name"))
    assert found == [("apart.left", 3), ("apart.right", 1), ("order.left", 3), ("order.right", 3)]


async def test_control_without_a_second_run_one_of_them_fails(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeating, "REPEATS_MAX", 0)
    with pytest.raises(Unavailable, match="1213"):
        await crossing(opened())


async def test_a_row_that_another_process_holds_is_waited_for_and_asked_again(
    opened: Opened, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mariadb_line, "LOCK_WAIT_S", 1)
    # Whoever holds it does nothing meanwhile, and would be put out while a slow machine waits for the row.
    monkeypatch.setattr(mariadb_line, "IDLE_S", 60)
    shop, other = opened(), opened()
    await shop.run(put("beef"))
    holding = await other._open("writer")
    await other._ask("writer", holding, ["UPDATE pair SET n = 5 WHERE name = 'beef.left'"])
    before = metric("qc_db_transactions_total", db=schema, end="repeated")
    adding = asyncio.create_task(shop.run(lambda tx: tx.run(ADD, ("beef.left",))))
    await until(lambda: metric("qc_db_transactions_total", db=schema, end="repeated") > before)
    await other._ask("writer", holding, ["COMMIT"])
    assert await adding == 1
    assert await shop.run(lambda tx: tx.one("SELECT n FROM pair WHERE name = 'beef.left'")) == (6,)
    holding.close()


async def lost_update(shop: MariaDb, look: str) -> int:
    """Two transactions look at a number, then write one more than they saw. Returns the number at the end."""
    await shop.run(put("beef"))

    async def work(tx: Tx) -> None:
        seen = await tx.one(look)
        assert seen
        await tx.run("UPDATE pair SET n = ? WHERE name = 'beef.left'", (seen[0] + 1,))

    await asyncio.gather(*(shop.run(work) for _ in range(20)))
    row = await shop.run(lambda tx: tx.one(look))
    assert row
    return int(row[0])


async def test_a_locked_look_is_still_true_when_it_is_written(opened: Opened) -> None:
    assert await lost_update(opened(), f"SELECT n FROM pair WHERE name = 'beef.left' {LOCK}") == 21


async def test_control_a_look_without_a_lock_is_not(opened: Opened) -> None:
    assert await lost_update(opened(), "SELECT n FROM pair WHERE name = 'beef.left'") < 21


async def test_two_who_store_the_same_key_at_once_have_one_row_and_the_same_answer(opened: Opened) -> None:
    shop = opened()
    answers = await asyncio.gather(*(shop.run(put("tap")) for _ in range(40)))
    assert set(answers) == {"tap"}
    assert await rows(shop) == 2


async def test_control_without_a_second_run_a_double_tap_is_told_as_an_error(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repeating, "REPEATS_MAX", 0)
    shop = opened()
    async with stopping(shop, "SELECT 1 FROM pair", lambda sent: sent >= 2):
        answers = await asyncio.gather(*(shop.run(put("tap")) for _ in range(2)), return_exceptions=True)
    assert sum(isinstance(answer, Duplicate) for answer in answers) == 1


@pytest.mark.parametrize("code", [1020, 1205, 1213, 1062, 2013])
async def test_what_the_server_undoes_at_any_statement_is_run_again_whole(opened: Opened, code: int) -> None:
    """Errors as another version, or another moment, would send them, in the place of each statement in turn."""
    shop = opened()
    for at in range(4):
        ask, sent = shop._ask, 0

        async def undone(role: str, connection: Any, flight: Any, *, at: int = at, ask: Any = ask) -> Any:
            nonlocal sent
            before, sent = sent, sent + len(flight)
            if before <= at < sent:
                if run := flight[: at - before]:
                    await ask(role, connection, run)
                raise meaning(shop.name, OperationalError(code, "injected"))
            return await ask(role, connection, flight)

        shop._ask = undone  # type: ignore[method-assign]
        assert await shop.run(put(f"order {at}")) == f"order {at}"
        shop._ask = ask  # type: ignore[method-assign]
    assert await rows(shop) == 8


async def test_what_swallows_the_news_that_it_was_undone_commits_nothing_all_the_same(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repeating, "REPEATS_MAX", 0)
    shop = opened()
    await shop.run(put("tap"))

    async def swallowing(tx: Tx) -> str:
        await tx.insert("pair", "name, n", [("half", 1)])
        try:
            await tx.run("INSERT INTO pair (name, n) VALUES ('tap.left', 1)")
        except Duplicate:
            return "as if nothing had been"
        return "stored"

    with pytest.raises(Duplicate):
        await shop.run(swallowing)
    assert await rows(shop) == 2


async def test_control_without_found_rows_a_change_to_the_same_value_looks_like_a_lost_lease(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = opened()
    await shop.run(put("order"))
    same = "UPDATE pair SET n = 1 WHERE name = 'order.left' AND n = 1"
    assert await shop.run(lambda tx: tx.run(same)) == 1
    monkeypatch.setattr(mariadb_line, "CLIENT_FLAGS", CLIENT.MULTI_STATEMENTS)
    assert await opened().run(lambda tx: tx.run(same)) == 0


async def test_of_statements_that_travel_together_the_first_that_fails_is_the_last_that_is_run(opened: Opened) -> None:
    shop = opened()
    await shop.run(put("order"))

    async def work(tx: Tx) -> None:
        await tx.insert("pair", "name, n", [("before", 1)])
        await tx.insert("pair", "name, n", [("order.left", 1)])
        await tx.insert("pair", "name, n", [("behind", 1)])

    with pytest.raises(Duplicate):
        await shop.run(work)
    assert await shop.read(lambda tx: tx.all("SELECT name FROM pair")) == [("order.left",), ("order.right",)]


async def test_a_list_larger_than_the_server_takes_at_once_is_stored_whole(opened: Opened) -> None:
    shop = opened()
    await shop.run(lambda tx: tx.run("CREATE TABLE large (n BIGINT PRIMARY KEY, body MEDIUMBLOB NOT NULL)"))
    await shop.run(lambda tx: tx.insert("large", "n, body", ((n, b"'\x00%?" * 100_000) for n in range(60))))
    stored = await shop.scan(lambda tx: tx.one("SELECT COUNT(*), SUM(LENGTH(body)), MIN(body) FROM large"))
    assert stored == (60, 24_000_000, b"'\x00%?" * 100_000)
