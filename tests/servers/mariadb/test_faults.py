"""Lines that break, stand still or lead nowhere: nothing is done twice or lost, and it works again by itself."""

import asyncio
import random
from collections import Counter

import pytest

import schemas
from quickcommerce.kit import mariadb, mariadb_line, repeating
from quickcommerce.kit.addresses import server_of
from quickcommerce.kit.db import Tx, connect
from quickcommerce.kit.problem import Unavailable
from servers.mariadb.acts import COUNT, put, rows, size
from servers.mariadb.conftest import Opened
from servers.mariadb.proxy import Proxy


@pytest.mark.parametrize("orders", [100, pytest.param(1_000, marks=pytest.mark.full)])
@pytest.mark.parametrize("where", ["before", "after"])
async def test_a_line_that_breaks_at_every_other_commit_doubles_nothing_and_loses_nothing(
    line: Proxy, opened: Opened, where: str, orders: int
) -> None:
    shop = opened(line)
    line.cut_at = lambda commit: where if commit % 2 == 0 else ""
    answers = [await shop.run(put(f"order {n}")) for n in range(orders)]
    assert answers == [f"order {n}" for n in range(orders)]
    assert line.cuts >= orders
    line.cut_at = lambda _: ""
    assert await rows(shop) == 2 * orders
    assert size(shop) == 8


async def test_many_at_once_over_a_line_that_breaks_around_commits_are_each_done_once(
    line: Proxy, opened: Opened
) -> None:
    shop = opened(line, wait_s=60)
    rng = random.Random(3)
    line.cut_at = lambda _: rng.choice(("before", "after", "", "", "", "", ""))
    answers: list[object] = []
    for hundred in range(3):
        some = (shop.run(put(f"order {hundred} {n}")) for n in range(100))
        answers += await asyncio.gather(*some, return_exceptions=True)
    line.cut_at = lambda _: ""
    lost = Counter(type(answer).__name__ for answer in answers if not isinstance(answer, str))
    assert line.cuts > 50
    assert not lost, lost
    assert await rows(shop) == 600
    assert size(shop) == 8


async def test_control_without_a_second_run_a_lost_reply_looks_like_a_failure(
    line: Proxy, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repeating, "REPEATS_MAX", 0)
    shop = opened(line)
    line.cut_at = lambda _: "after"
    with pytest.raises(Unavailable, match="the connection was lost"):
        await shop.run(put("order"))
    line.cut_at = lambda _: ""
    assert await rows(shop) == 2, "the buyer hears of a failure, and has an order"


async def test_a_line_that_stands_still_is_told_in_time_and_left_for_another(line: Proxy, opened: Opened) -> None:
    shop = opened(line, statement_s=0.2, writers=2)
    await shop.run(put("before"))
    line.freeze()
    for _ in range(3):
        with pytest.raises(Unavailable, match="does not answer"):
            await shop.run(put("frozen"))
    assert size(shop) == 2
    line.thaw()
    line.cut()
    assert await shop.run(put("after")) == "after"
    assert await rows(shop) == 4


async def test_lines_that_all_broke_while_they_were_idle_are_replaced_at_once(line: Proxy, opened: Opened) -> None:
    shop = opened(line)
    await asyncio.gather(*(shop.run(put(f"early {n}")) for n in range(20)))
    assert line.opened > 1
    line.cut()
    answers = await asyncio.gather(*(shop.run(put(f"late {n}")) for n in range(20)))
    assert len(answers) == 20
    assert await rows(shop) == 80


async def test_a_server_that_is_not_there_is_unavailable_and_the_password_is_not_told() -> None:
    url = "mariadb://shop:a-secret-password@127.0.0.1:1/shop"
    shop = connect(url, rng=random.Random(1))
    for ask in (shop.run, shop.read, shop.scan):
        with pytest.raises(Unavailable, match=r"the database shop cannot be reached \(error 2003\)") as refused:
            await ask(lambda tx: tx.one("SELECT 1"))
        seen: BaseException | None = refused.value
        while seen:
            assert "a-secret-password" not in f"{seen} {seen!r}"
            seen = seen.__cause__ or seen.__context__
    await shop.close()
    assert "a-secret-password" not in repr(server_of(url))


async def test_a_wrong_password_is_unavailable_and_names_what_to_look_at() -> None:
    server = schemas.admin()
    url = f"mariadb://nobody:wrong-password@{server.host}:{server.port}/shop"
    shop = connect(url, rng=random.Random(1))
    with pytest.raises(Unavailable, match="user, password, schema or grants"):
        await shop.run(lambda tx: tx.one("SELECT 1"))
    await shop.close()


async def test_a_schema_in_which_keys_that_differ_in_case_are_one_is_refused(tmp_path: object) -> None:
    name = schemas.make(f"loose_{abs(hash(str(tmp_path))) % 10**8}", collation="utf8mb4_general_ci")
    shop = connect(schemas.url_of(name), rng=random.Random(1))
    with pytest.raises(Unavailable, match=r"utf8mb4_general_ci.*COLLATE utf8mb4_bin"):
        await shop.run(lambda tx: tx.one("SELECT 1"))
    await shop.close()


async def test_a_statement_that_takes_too_long_is_ended_and_its_connection_serves_again(opened: Opened) -> None:
    shop = opened(statement_s=0.2, writers=1)
    with pytest.raises(Unavailable, match="too long"):
        await shop.run(lambda tx: tx.one("SELECT COUNT(*) FROM seq_1_to_1000000000 WHERE seq % 7 = 3"))
    assert await shop.run(put("next")) == "next"


async def test_a_connection_that_an_operator_kills_is_replaced_and_its_work_run_again(
    opened: Opened, schema: str
) -> None:
    shop = opened(writers=1)
    runs = 0

    async def killed(tx: Tx) -> str:
        nonlocal runs
        runs += 1
        row = await tx.one("SELECT CONNECTION_ID()")
        if runs == 1 and row:
            schemas.sql(f"KILL {row[0]}", schema=schema)
        return await put("order")(tx)

    assert await shop.run(killed) == "order"
    assert (runs, await rows(shop)) == (2, 2)


async def test_a_crowd_before_a_slow_query_is_refused_quickly_and_served_when_it_is_over(opened: Opened) -> None:
    shop = opened(writers=2, wait_s=0.1)
    begun = asyncio.Event()

    async def slow(tx: Tx) -> None:
        begun.set()
        await tx.one("SELECT SLEEP(2)")

    slowest = [asyncio.create_task(shop.run(slow)) for _ in range(2)]
    await begun.wait()
    crowd = [asyncio.create_task(shop.run(put(f"order {n}"))) for n in range(1000)]
    answers = await asyncio.gather(*crowd, return_exceptions=True)
    assert all(isinstance(answer, Unavailable) for answer in answers)
    assert not any(each.done() for each in slowest), "the crowd was told before the slow query had ended"
    # What only reads has connections of its own, and a probe is answered meanwhile.
    assert await shop.read(lambda tx: tx.one(COUNT)) == (0,)
    await asyncio.gather(*slowest)
    assert await shop.run(put("after")) == "after"
    assert size(shop) == 2


async def test_a_process_that_stands_still_in_its_transaction_lets_go_of_its_rows(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mariadb_line, "IDLE_S", 1)
    shop, frozen = opened(), opened()
    await shop.run(put("beef"))
    async with _holding(frozen):
        # Nothing is sent on the line of the frozen one any more, and the line stays open.
        changed = await shop.run(lambda tx: tx.run("UPDATE pair SET n = n + 1 WHERE name = 'beef.left'"))
    assert changed == 1
    assert await shop.run(lambda tx: tx.one("SELECT n FROM pair WHERE name = 'beef.left'")) == (2,)


async def test_control_without_an_end_to_idle_transactions_a_frozen_process_stops_the_sale(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mariadb_line, "IDLE_S", 600)
    monkeypatch.setattr(mariadb_line, "LOCK_WAIT_S", 1)
    monkeypatch.setattr(repeating, "REPEATS_MAX", 2)
    shop, frozen = opened(), opened()
    await shop.run(put("beef"))
    async with _holding(frozen):
        with pytest.raises(Unavailable, match="1205"):
            await shop.run(lambda tx: tx.run("UPDATE pair SET n = n + 1 WHERE name = 'beef.left'"))


class _holding:  # noqa: N801 - read as a word of the sentence
    """A connection with an open transaction that holds a row, whose process then does nothing."""

    def __init__(self, frozen: mariadb.MariaDb) -> None:
        self._frozen = frozen

    async def __aenter__(self) -> None:
        self._connection = await self._frozen._open("writer")
        await self._frozen._ask("writer", self._connection, ["UPDATE pair SET n = 9 WHERE name = 'beef.left'"])

    async def __aexit__(self, *_: object) -> None:
        self._connection.close()
