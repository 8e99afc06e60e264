"""A database that cannot be written says so in time, keeps what it has, and works again by itself."""

import asyncio
import random
import resource
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from quickcommerce.kit import db, mariadb_line, repeating
from quickcommerce.kit.db import Database, Duplicate, Lost, Repeatable, Tx
from quickcommerce.kit.policy import Backoff
from quickcommerce.kit.problem import Unavailable
from quickcommerce.kit.sqlite import Sqlite
from stores import EMBEDDED, STORES, Store, metric, opened, until

MIB = 1 << 20
COUNT = "SELECT COUNT(*) FROM note"
WRITER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute(f"PRAGMA locking_mode={sys.argv[2]}")
connection.execute("BEGIN IMMEDIATE")
connection.execute("INSERT INTO note (name, body) VALUES ('elsewhere', '')")
print("writing", flush=True)
sys.stdin.readline()
connection.execute("COMMIT")
"""


@pytest.fixture(params=EMBEDDED)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    async with opened(request.param, tmp_path / "store.db") as found:
        await found.db.run(lambda tx: tx.run("CREATE TABLE note (name VARCHAR(40) PRIMARY KEY, body BLOB NOT NULL)"))
        yield found


@pytest.fixture(autouse=True)
def _short_waits_between_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeating, "_BACKOFF", Backoff(base_s=0.0001, cap_s=0.0001))


async def write(tx: Tx, name: str, size: int = 0) -> str:
    await tx.insert("note", "name, body", [(name, b"x" * size)])
    return name


async def names(database: Database) -> list[str]:
    return [name for (name,) in await database.read(lambda tx: tx.all("SELECT name FROM note ORDER BY name"))]


@asynccontextmanager
async def another_process_writes(path: Path, *, locking: str = "NORMAL") -> AsyncIterator[asyncio.StreamWriter]:
    """It holds the write lock until it is told to commit; with EXCLUSIVE locking nobody may read meanwhile either."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WRITER, path, locking, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout
    assert process.stdin
    assert await process.stdout.readline() == b"writing\n"
    yield process.stdin
    process.stdin.close()
    assert await process.wait() == 0


def repeated() -> float:
    return metric("qc_db_transactions_total", db="store", end="repeated")


async def test_another_process_that_writes_is_waited_for(store: Store, tmp_path: Path) -> None:
    async with another_process_writes(tmp_path / "store.db") as other:
        before = repeated()
        mine = asyncio.create_task(store.db.run(lambda tx: write(tx, "mine")))
        await until(lambda: repeated() > before + 3)
        # Those who only read do not wait.
        assert await names(store.db) == []
        assert await store.db.scan(lambda tx: tx.one(COUNT)) == (0,)
        other.write(b"\n")
        assert await mine == "mine"
    assert await names(store.db) == ["elsewhere", "mine"]


async def test_another_process_that_writes_for_too_long_is_told_as_unavailable(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repeating, "BUSY_WAIT_S", 0.0)
    async with another_process_writes(tmp_path / "store.db"):
        with pytest.raises(Unavailable, match="busy"):
            await store.db.run(lambda tx: write(tx, "mine"))
        assert await names(store.db) == []
    assert await store.db.run(lambda tx: write(tx, "mine")) == "mine"
    assert await names(store.db) == ["elsewhere", "mine"]


@pytest.fixture(params=EMBEDDED)
async def unopened(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """A database that nobody has looked at yet: another process may still have the file for itself."""
    async with opened(request.param, tmp_path / "store.db") as made:
        await made.db.run(lambda tx: tx.run("CREATE TABLE note (name VARCHAR(40) PRIMARY KEY, body BLOB NOT NULL)"))
    found = STORES[request.param](tmp_path / "store.db")
    yield found
    await found.db.close()


@pytest.mark.parametrize("ask", ["run", "read", "look", "scan"])
async def test_another_process_that_has_the_file_for_itself_is_waited_for(
    unopened: Store, tmp_path: Path, ask: str
) -> None:
    async with another_process_writes(tmp_path / "store.db", locking="EXCLUSIVE") as other:
        before = repeated()
        looking = asyncio.create_task(getattr(unopened.db, ask)(lambda tx: tx.one(COUNT)))
        await until(lambda: repeated() > before + 3)
        other.write(b"\n")
        assert await looking == (1,)


async def test_another_process_that_keeps_the_file_for_itself_is_told_as_unavailable(
    unopened: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repeating, "BUSY_WAIT_S", 0.0)
    async with another_process_writes(tmp_path / "store.db", locking="EXCLUSIVE"):
        for ask in (unopened.db.run, unopened.db.read, unopened.db.scan):
            with pytest.raises(Unavailable, match="busy"):
                await ask(lambda tx: tx.one(COUNT))
    assert await names(unopened.db) == ["elsewhere"]


async def test_a_key_that_the_other_process_took_is_looked_up_again_however_long_it_was_waited_for(
    store: Store, tmp_path: Path
) -> None:
    looked: list[str] = []

    async def work(tx: Tx) -> str:
        if looked and await tx.one("SELECT 1 FROM note WHERE name = 'elsewhere'"):
            return "found"
        looked.append("too early")
        return await write(tx, "elsewhere")

    async with another_process_writes(tmp_path / "store.db") as other:
        before = repeated()
        mine = asyncio.create_task(store.db.run(work))
        await until(lambda: repeated() > before + repeating.REPEATS_MAX + 1)
        other.write(b"\n")
        assert await mine == "found"


@pytest.mark.parametrize("undone", [Repeatable("error 1213"), Lost("the connection was lost")], ids=["lock", "line"])
async def test_a_work_that_is_undone_each_time_is_told_as_unavailable_so_that_it_is_asked_again(
    store: Store, undone: Exception
) -> None:
    """Its caller did nothing wrong: a buyer hears 503 and comes again, and a consumer waits with its event."""
    runs = 0

    async def work(tx: Tx) -> None:
        nonlocal runs
        runs += 1
        await write(tx, "mine")
        raise undone

    with pytest.raises(Unavailable, match="9 times in a row"):
        await store.db.run(work)
    assert runs == 1 + repeating.REPEATS_MAX
    assert await names(store.db) == []


async def test_a_key_that_stays_taken_is_not_tried_for_ever(store: Store) -> None:
    await store.db.run(lambda tx: write(tx, "mine"))
    with pytest.raises(Duplicate):
        await store.db.run(lambda tx: write(tx, "mine"))


@contextmanager
def disk_full(at: int) -> Iterator[None]:
    """No file of this process grows beyond `at` bytes: the write fails as on a full disk, and at the commit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (at, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_disk_that_is_full_refuses_the_commit_and_takes_orders_again_when_there_is_space(store: Store) -> None:
    await store.db.run(lambda tx: write(tx, "before"))
    with disk_full(2 * MIB):
        for _ in range(2):
            with pytest.raises(Unavailable, match="cannot be written") as refused:
                await store.db.run(lambda tx: write(tx, "large", 4 * MIB))
            assert refused.value.retry_after_s == 5
        # What was stored can be read meanwhile, by us and by others, and what still fits is taken.
        assert await names(store.db) == ["before"]
        assert await store.db.scan(lambda tx: tx.one(COUNT)) == (1,)
        assert await store.db.run(lambda tx: write(tx, "small")) == "small"
    assert await store.db.run(lambda tx: write(tx, "large", 4 * MIB)) == "large"
    assert await names(store.db) == ["before", "large", "small"]


async def test_a_file_that_may_grow_no_more_refuses_the_statement_and_works_again(store: Store) -> None:
    async def pages(tx: Tx, at_most: int) -> None:
        await tx.one(f"PRAGMA max_page_count = {at_most}")

    await store.db.run(lambda tx: pages(tx, 1))
    for _ in range(2):
        with pytest.raises(Unavailable, match="full"):
            await store.db.run(lambda tx: write(tx, "large", MIB))
    assert await names(store.db) == []
    await store.db.run(lambda tx: pages(tx, 1 << 30))
    assert await store.db.run(lambda tx: write(tx, "large", MIB)) == "large"


@pytest.mark.parametrize("inline", [True, False])
async def test_a_folder_that_is_not_there_is_unavailable_until_it_is(tmp_path: Path, inline: bool) -> None:
    folder = tmp_path / "volume"
    database = Sqlite(folder / "shop.db", rng=random.Random(1), inline=inline)
    for ask in (database.run, database.read, database.scan):
        with pytest.raises(Unavailable, match="cannot be written"):
            await ask(lambda tx: tx.one("SELECT 1"))
    folder.mkdir()
    for ask in (database.run, database.read, database.scan):
        assert await ask(lambda tx: tx.one("SELECT 1")) == (1,)
    await database.close()


async def test_a_line_that_is_gone_before_it_is_set_up_is_a_database_that_is_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So a server that has no connection left hangs up, now and then."""

    driver: Any = vars(mariadb_line)["Connection"]

    class Gone(driver):  # type: ignore[misc]
        async def connect(self) -> None:
            raise RuntimeError("Transport does not expose socket instance")

    monkeypatch.setattr(mariadb_line, "Connection", Gone)
    shop = db.connect("mariadb://shop:secret@127.0.0.1:1/shop", rng=random.Random(1))
    with pytest.raises(Unavailable, match="the database shop cannot be reached: it ends the connection"):
        await shop.read(lambda tx: tx.one("SELECT 1"))
    await shop.close()


@pytest.mark.parametrize("end", ["orderly", "reset"])
async def test_a_proxy_whose_mariadb_is_gone_is_a_database_that_is_down(end: str) -> None:
    """Else buyers would be told of a defect, 500, and not to come again, as long as the server starts."""

    async def hang_up(_: asyncio.StreamReader, line: asyncio.StreamWriter) -> None:
        if end == "reset":
            line.transport.abort()
        line.close()

    proxy = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    shop = db.connect(f"mariadb://shop:secret@127.0.0.1:{proxy.sockets[0].getsockname()[1]}/shop", rng=random.Random(1))
    for ask in (shop.run, shop.read, shop.scan):
        with pytest.raises(Unavailable, match="the database shop cannot be reached"):
            await ask(lambda tx: tx.one("SELECT 1"))
    await shop.close()
    proxy.close()
