"""What every database promises: whole or not at all, once, and an honest answer."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from quickcommerce.kit import db, repeating
from quickcommerce.kit.db import LOCK, Duplicate, Lost, Repeatable, Tx, Unmatched, WaitedInTransaction, marks
from quickcommerce.kit.problem import Unavailable
from quickcommerce.order.model import Status
from stores import EMBEDDED, EVERY, TEXTS, Store, opened

TABLE = "CREATE TABLE pair (name VARCHAR(40) PRIMARY KEY, n BIGINT NOT NULL, CHECK (n >= 0))"
pytestmark = pytest.mark.usefixtures("at_once")
COUNT = "SELECT COUNT(*) FROM pair"
TAKEN = "UNIQUE|Duplicate"
"""What databases say of a key that is there already."""


@pytest.fixture(params=EVERY)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    async with opened(request.param, tmp_path / f"{request.param}.db") as found:
        await found.db.run(lambda tx: tx.run(TABLE))
        yield found


async def put(tx: Tx, name: str) -> str:
    """Two rows, so that half of a transaction would show."""
    await tx.insert("pair", "name, n", [(f"{name}.left", 1)])
    await tx.insert("pair", "name, n", [(f"{name}.right", 1)])
    return name


async def count(store: Store) -> int:
    row = await store.db.read(lambda tx: tx.one(COUNT))
    assert row
    return int(row[0])


async def test_what_a_unit_of_work_did_is_there_for_every_kind_of_reader_and_outside(store: Store) -> None:
    assert await store.db.run(lambda tx: put(tx, "milk")) == "milk"
    for ask in (store.db.run, store.db.read, store.db.scan):
        assert await ask(lambda tx: tx.all("SELECT name, n FROM pair ORDER BY name")) == [
            ("milk.left", 1),
            ("milk.right", 1),
        ]
        assert await ask(lambda tx: tx.one("SELECT n FROM pair WHERE name = ?", ("eggs.left",))) is None
    with pytest.raises(Exception, match=TAKEN):
        store.elsewhere("INSERT INTO pair (name, n) VALUES ('milk.left', 1)")


@pytest.mark.parametrize("failure", [ValueError("no"), asyncio.CancelledError(), KeyboardInterrupt()])
async def test_a_unit_of_work_that_raises_leaves_nothing_and_its_own_exception(
    store: Store, failure: BaseException
) -> None:
    async def work(tx: Tx) -> None:
        await put(tx, "milk")
        raise failure

    with pytest.raises(type(failure)) as raised:
        await store.db.run(work)
    assert raised.value is failure
    assert await count(store) == 0
    await store.db.run(lambda tx: put(tx, "milk"))
    assert await count(store) == 2


async def test_a_rule_of_the_schema_that_is_broken_undoes_everything_and_is_not_tried_again(store: Store) -> None:
    runs = 0

    async def work(tx: Tx) -> None:
        nonlocal runs
        runs += 1
        await put(tx, "milk")
        await tx.run("UPDATE pair SET n = n - 2")

    with pytest.raises(Exception, match=r"CHECK|CONSTRAINT"):
        await store.db.run(work)
    assert (runs, await count(store)) == (1, 0)


@pytest.mark.parametrize("store", EMBEDDED, indirect=True)
async def test_a_rule_that_only_the_commit_checks_leaves_no_transaction_open(store: Store) -> None:
    reference = "name VARCHAR(40) REFERENCES pair (name) DEFERRABLE INITIALLY DEFERRED"
    await store.db.run(lambda tx: tx.run(f"CREATE TABLE child ({reference})"))
    with pytest.raises(Exception, match="FOREIGN KEY"):
        await store.db.run(lambda tx: tx.insert("child", "name", [("nobody",)]))
    store.elsewhere("INSERT INTO pair (name, n) VALUES ('elsewhere', 1)")
    await store.db.run(lambda tx: put(tx, "milk"))
    assert await count(store) == 3


async def test_a_duplicate_key_of_a_parallel_transaction_is_run_again_and_then_seen(store: Store) -> None:
    """The first run looked before the other one had committed; the second finds what the other one stored."""
    await store.db.run(lambda tx: put(tx, "order"))
    looked: list[str] = []

    async def work(tx: Tx) -> str:
        if looked and await tx.one("SELECT 1 FROM pair WHERE name = 'order.left'"):
            return "found"
        looked.append("too early")
        await tx.insert("pair", "name, n", [("mine", 1)])
        await put(tx, "order")
        return "stored"

    assert await store.db.run(work) == "found"
    assert looked == ["too early"]
    assert await count(store) == 2


async def test_a_duplicate_key_that_stays_is_told_after_a_bounded_number_of_runs(store: Store) -> None:
    await store.db.run(lambda tx: put(tx, "order"))
    runs = 0

    async def work(tx: Tx) -> None:
        nonlocal runs
        runs += 1
        await put(tx, "order")

    with pytest.raises(Duplicate):
        await store.db.run(work)
    assert runs == repeating.REPEATS_MAX + 1
    assert await count(store) == 2


@pytest.mark.parametrize("first", [Repeatable("error 1205"), Lost("the line broke")])
async def test_what_is_undone_to_the_end_did_not_happen_unless_a_line_broke(store: Store, first: Exception) -> None:
    """Behind a line that broke it may have: whoever asks again must look first."""
    failures = itertools.chain([first], itertools.repeat(Repeatable("error 1213")))

    async def work(tx: Tx) -> None:
        await put(tx, "order")
        raise next(failures)

    with pytest.raises(Unavailable, match="9 times in a row") as raised:
        await store.db.run(work)
    assert isinstance(raised.value, repeating.Undone) == (not isinstance(first, Lost))
    assert await count(store) == 0


class Elsewhere:
    """Something else to wait for: a network, a timer, a lock."""

    def __await__(self) -> Any:
        yield


async def test_a_network_call_inside_a_transaction_is_an_error_and_not_a_slow_lock(store: Store) -> None:
    async def writing(tx: Tx) -> None:
        await put(tx, "milk")
        await Elsewhere()

    async def reading(tx: Tx) -> None:
        await tx.one(COUNT)
        await Elsewhere()

    for ask, work in ((store.db.run, writing), (store.db.read, reading), (store.db.scan, reading)):
        with pytest.raises(WaitedInTransaction):
            await ask(work)
    assert await count(store) == 0
    await store.db.run(lambda tx: put(tx, "milk"))
    assert await count(store) == 2


async def test_what_a_reader_writes_is_refused_and_not_forgotten_without_a_word(store: Store) -> None:
    for ask in (store.db.read, store.db.scan):
        with pytest.raises(Exception, match=r"readonly|READ ONLY"):
            await ask(lambda tx: put(tx, "milk"))
        assert await ask(lambda tx: tx.one(COUNT)) == (0,)


async def test_a_transaction_inside_a_transaction_is_an_error_and_not_a_deadlock(store: Store) -> None:
    # On a thread there is no event loop to wait with, which is a RuntimeError of its own.
    with pytest.raises(RuntimeError):
        await store.db.run(lambda _: store.db.run(lambda tx: put(tx, "milk")))
    await store.db.run(lambda tx: put(tx, "milk"))
    assert await count(store) == 2


async def test_an_update_tells_the_rows_it_matched_even_where_nothing_came_out_different(store: Store) -> None:
    await store.db.run(lambda tx: put(tx, "milk"))
    assert await store.db.run(lambda tx: tx.run("UPDATE pair SET n = 1 WHERE n = 1")) == 2
    assert await store.db.run(lambda tx: tx.run("UPDATE pair SET n = 5 WHERE name = 'milk.left' AND n = 1")) == 1
    assert await store.db.run(lambda tx: tx.run("UPDATE pair SET n = 5 WHERE name = 'milk.left' AND n = 1")) == 0
    assert await store.db.run(lambda tx: tx.run("DELETE FROM pair")) == 2


async def test_what_is_written_is_there_for_what_is_asked_behind_it(store: Store) -> None:
    async def work(tx: Tx) -> list[Any]:
        await put(tx, "milk")
        await tx.write("UPDATE pair SET n = 1", rows=2)  # which they are already
        await tx.write("UPDATE pair SET n = n + ? WHERE name = ?", (4, "milk.left"), rows=1)
        await tx.write("UPDATE pair SET n = 7 WHERE name = 'eggs.left'")
        await tx.write("DELETE FROM pair WHERE name = ?", ("milk.right",), rows=1)
        found = await tx.all("SELECT name, n FROM pair")
        await tx.write("UPDATE pair SET n = n + 1")
        return found

    assert await store.db.run(work) == [("milk.left", 5)]
    assert await store.db.read(lambda tx: tx.all("SELECT name, n FROM pair")) == [("milk.left", 6)]


@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize("rows", [0, 1, 3])
async def test_a_change_that_meets_other_rows_than_it_was_to_meet_leaves_nothing_of_the_work_whoever_swallows_it(
    store: Store, rows: int, asked: bool
) -> None:
    await store.db.run(lambda tx: put(tx, "milk"))
    runs = 0

    async def work(tx: Tx) -> str:
        nonlocal runs
        runs += 1
        await put(tx, "eggs")
        with suppress(Unmatched):
            await tx.write("UPDATE pair SET n = 5 WHERE name LIKE 'milk%'", rows=rows)
            await tx.write("UPDATE pair SET n = 6 WHERE name = 'eggs.left'", rows=1)
            if asked:
                await tx.one(COUNT)
        return "as if it had met them"

    with pytest.raises(Unmatched):
        await store.db.run(work)
    assert runs == 1
    assert await store.db.read(lambda tx: tx.all("SELECT name, n FROM pair ORDER BY name")) == [
        ("milk.left", 1),
        ("milk.right", 1),
    ]
    await store.db.run(lambda tx: put(tx, "eggs"))
    assert await count(store) == 4


@pytest.mark.parametrize("rows", [0, 1, 2, 127, 128, 129, 300])
async def test_a_bulk_insert_stores_every_row_whatever_their_number(store: Store, rows: int) -> None:
    await store.db.run(lambda tx: tx.insert("pair", "name, n", ((f"row {n}", n) for n in range(rows))))
    stored = await store.db.scan(lambda tx: tx.all("SELECT name, n FROM pair ORDER BY n"))
    assert stored == [(f"row {n}", n) for n in range(rows)]


async def test_a_read_that_locks_its_rows_is_accepted(store: Store) -> None:
    await store.db.run(lambda tx: put(tx, "milk"))
    assert await store.db.run(lambda tx: tx.all(f"SELECT n FROM pair ORDER BY name {LOCK}")) == [(1,), (1,)]


async def test_an_empty_list_of_keys_finds_nothing(store: Store) -> None:
    await store.db.run(lambda tx: put(tx, "milk"))
    assert await store.db.run(lambda tx: tx.all(f"SELECT n FROM pair WHERE name IN ({marks([])})", [])) == []
    names = ["milk.left", "milk.right"]
    assert await store.db.run(lambda tx: tx.run(f"DELETE FROM pair WHERE name IN ({marks(names)})", names)) == 2


async def test_text_bytes_and_large_numbers_come_back_as_they_were(store: Store) -> None:
    values = ("한우 등심 🥩 'x' ?", b"\x00\xff", 2**63 - 1, None)
    assert await store.db.run(lambda tx: tx.one("SELECT ?, ?, ?, ?", values)) == values


async def test_no_value_is_read_as_anything_but_itself(store: Store) -> None:
    await store.db.run(lambda tx: tx.run("CREATE TABLE thing (n BIGINT PRIMARY KEY, name VARCHAR(99), data BLOB)"))
    rows = [
        *((n, text, text.encode()) for n, text in enumerate(TEXTS)),
        (-1, None, None), (2**62, "", b""), (-(2**62), Status.PLACED, bytes(range(256))),
    ]  # fmt: skip
    await store.db.run(lambda tx: tx.insert("thing", "n, name, data", rows))
    by_each = "SELECT n, name, data FROM thing WHERE n = ? AND (name = ? OR ? IS NULL) AND (data = ? OR ? IS NULL)"

    async def found(tx: Tx) -> list[Any]:
        return [await tx.one(by_each, (n, name, name, data, data)) for n, name, data in rows]

    assert await store.db.read(found) == rows
    assert await store.db.run(lambda tx: tx.one("SELECT COUNT(*) FROM thing")) == (len(rows),)


async def test_parts_of_the_work_have_their_effects_and_their_results_in_their_order(store: Store) -> None:
    async def part(tx: Tx, name: str) -> tuple[Any, int]:
        await tx.insert("pair", "name, n", [(name, 1)])
        seen = await tx.one("SELECT n FROM pair WHERE name = ?", (name,))
        return seen, await tx.run("UPDATE pair SET n = n + 1 WHERE name = ?", (name,))

    async def work(tx: Tx) -> Any:
        both = [part(tx, name) for name in ("milk", "eggs")]
        return await tx.gather([tx.gather(both), tx.gather([part(tx, "beef")]), tx.gather([])])

    assert await store.db.run(work) == [[((1,), 1), ((1,), 1)], [((1,), 1)], []]
    found = await store.db.read(lambda tx: tx.all("SELECT name, n FROM pair ORDER BY name"))
    assert found == [("beef", 2), ("eggs", 2), ("milk", 2)]


async def test_what_one_part_raises_leaves_nothing_of_the_work_whoever_swallows_it(store: Store) -> None:
    async def refusing(tx: Tx) -> None:
        await tx.one(COUNT)
        raise LookupError("sold out")

    async def work(tx: Tx) -> str:
        await put(tx, "milk")
        with suppress(LookupError):
            await tx.gather([tx.insert("pair", "name, n", [("eggs", 1)]), refusing(tx)])
        return "as if all had been stored"

    with pytest.raises(LookupError, match="sold out"):
        await store.db.run(work)
    assert await count(store) == 0


async def test_a_look_asks_once_or_once_in_each_of_its_parts(store: Store) -> None:
    await store.db.run(lambda tx: put(tx, "milk"))

    async def side_by_side(tx: Tx) -> list[Any]:
        return await tx.gather([tx.one(COUNT), tx.gather([tx.one(COUNT), tx.all("SELECT name FROM pair")])])

    async def twice(tx: Tx) -> Any:
        return await tx.one(COUNT), await tx.one(COUNT)

    async def twice_in_a_part(tx: Tx) -> Any:
        return await tx.gather([twice(tx)])

    async def and_again(tx: Tx) -> Any:
        return await side_by_side(tx), await tx.one(COUNT)

    async def swallowing(tx: Tx) -> str:
        with suppress(Exception):
            await tx.one("SELECT 1 FROM nowhere")
        return "as if it were there"

    assert await store.db.look(lambda tx: tx.one(COUNT)) == (2,)
    names = [("milk.left",), ("milk.right",)]
    first, (second, found) = await store.db.look(side_by_side)
    assert (first, second, sorted(found)) == ((2,), (2,), names)
    for work in (twice, twice_in_a_part, and_again):
        with pytest.raises(AssertionError, match="all that it wants at once"):
            await store.db.look(work)
    if store.db.dialect == "mariadb":
        with pytest.raises(Exception, match="nowhere"):
            await store.db.look(swallowing)
    assert await count(store) == 2


async def test_a_reader_sees_one_moment_however_long_it_takes(store: Store) -> None:
    """A page and its total, read in two statements, must not disagree because somebody ordered in between."""
    await store.db.run(lambda tx: put(tx, "milk"))

    async def work(tx: Tx) -> list[Any]:
        before = await tx.one(COUNT)
        store.elsewhere("INSERT INTO pair (name, n) VALUES (?, 1)", (f"row {before}",))
        return [before, await tx.one(COUNT)]

    for ask, seen in ((store.db.read, 2), (store.db.scan, 3)):
        assert await ask(work) == [(seen,), (seen,)]
    assert await count(store) == 4


async def test_parallel_work_is_all_done_and_no_reader_sees_half_of_any(store: Store) -> None:
    async def reader(ask: Any) -> set[int]:
        return {(await ask(lambda tx: tx.one(COUNT)))[0] for _ in range(25)}

    answers = await asyncio.gather(
        *(store.db.run(lambda tx, name=f"order {n}": put(tx, name)) for n in range(50)),  # type: ignore[misc]
        reader(store.db.read),
        reader(store.db.scan),
    )
    assert answers[:50] == [f"order {n}" for n in range(50)]
    assert all(int(str(seen)) % 2 == 0 for each in answers[50:] for seen in each)
    assert await count(store) == 100


async def test_listeners_hear_of_a_commit_that_announced_something_and_of_no_other(store: Store) -> None:
    heard: list[str] = []
    store.db.listen(lambda: heard.append("first"))
    store.db.listen(lambda: heard.append("second"))
    runs = 0

    async def announcing(tx: Tx) -> None:
        nonlocal runs
        runs += 1
        tx.announce()
        assert heard == []
        await put(tx, "milk")
        if runs == 1:
            raise Duplicate("a parallel transaction was faster")

    async def failing(tx: Tx) -> None:
        tx.announce()
        raise ValueError

    await store.db.run(lambda tx: put(tx, "quiet"))
    with pytest.raises(ValueError, match=r"^$"):
        await store.db.run(failing)
    await store.db.run(announcing)
    assert (runs, heard) == (2, ["first", "second"])


async def test_what_is_told_after_a_commit_is_told_once_and_never_of_what_was_undone(store: Store) -> None:
    told: list[str] = []
    store.db.listen(lambda: told.append("woken"))
    runs = 0

    async def telling(tx: Tx) -> str:
        nonlocal runs
        runs += 1
        tx.after_commit(lambda: told.append(f"run {runs}"))
        tx.announce()
        tx.announce()
        tx.after_commit(lambda: told.append("last"))
        assert told == []
        if runs < 3:
            raise Duplicate("a parallel transaction was faster")
        return await put(tx, "milk")

    async def failing(tx: Tx) -> None:
        tx.after_commit(lambda: told.append("never"))
        raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        await store.db.run(failing)
    assert await store.db.run(telling) == "milk"
    assert told == ["run 3", "woken", "last"]


async def test_a_listener_that_breaks_does_not_make_a_commit_look_failed(store: Store) -> None:
    told: list[str] = []

    def breaking() -> None:
        raise ValueError

    async def telling(tx: Tx) -> str:
        tx.after_commit(breaking)
        tx.after_commit(lambda: told.append("told"))
        return await put(tx, "milk")

    assert await store.db.run(telling) == "milk"
    assert (told, await count(store)) == (["told"], 2)


async def test_a_database_that_was_closed_says_so_whatever_is_asked(store: Store) -> None:
    await store.db.scan(lambda tx: tx.one(COUNT))
    closing = asyncio.create_task(store.db.close())
    late = [asyncio.create_task(store.db.run(lambda tx: put(tx, "late")))]
    await closing
    for ask in (store.db.run, store.db.read, store.db.scan):
        with pytest.raises(Unavailable, match="closed"):
            await ask(lambda tx: tx.one(COUNT))
    with pytest.raises(Unavailable, match="closed"):
        await late[0]
    await store.db.close()


def test_a_database_that_is_not_installed_is_refused_at_the_start(tmp_path: Path) -> None:
    for url in ("mysql://user@host/shop", "shop.db", "sqlite:///", "postgres:///x"):
        with pytest.raises(ValueError, match="sqlite:///PATH"):
            db.connect(url, rng=None)  # type: ignore[arg-type]
    found = db.connect(f"sqlite:///{tmp_path}/new/folder/shop.db", rng=None)  # type: ignore[arg-type]
    assert found.name == "shop"
