"""Migrations: each once, in order, whole; one that was edited after it was applied stops the start."""

from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from quickcommerce.kit import migrate
from quickcommerce.kit.db import Database, Tx
from quickcommerce.kit.migrate import Migration
from quickcommerce.parts import MIGRATIONS
from stores import EMBEDDED, EVERY, STORES, kinds

FIRST = Migration("test/0001", ("CREATE TABLE shelf (name VARCHAR(9))", "INSERT INTO shelf (name) VALUES ('a')"), "1")
SECOND = Migration("test/0002", ("INSERT INTO shelf (name) VALUES ('b')",), "2")


@pytest.fixture(params=EVERY)
async def db(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    store = STORES[request.param](tmp_path / "store.db")
    yield store.db
    await store.db.close()


async def names(db: Database) -> list[str]:
    return [name for (name,) in await db.read(lambda tx: tx.all("SELECT name FROM shelf ORDER BY name"))]


async def test_what_is_pending_is_applied_in_order_and_once(db: Database) -> None:
    assert await migrate.pending(db, [FIRST, SECOND]) == [FIRST, SECOND]
    assert await migrate.migrate(db, [FIRST]) == ["test/0001"]
    assert await migrate.migrate(db, [FIRST, SECOND]) == ["test/0002"]
    assert await migrate.migrate(db, [FIRST, SECOND]) == []
    assert await migrate.pending(db, [FIRST, SECOND]) == []
    assert await names(db) == ["a", "b"]


async def test_a_migration_that_was_edited_after_it_was_applied_stops_before_anything_is_applied(db: Database) -> None:
    await migrate.migrate(db, [FIRST])
    edited = replace(FIRST, checksum="other")
    for ask in (migrate.pending, migrate.migrate):
        with pytest.raises(ValueError, match=f"test/0001 of {db.name} was edited after it was applied"):
            await ask(db, [edited, SECOND])
    assert await names(db) == ["a"]
    assert await migrate.migrate(db, [FIRST, SECOND]) == ["test/0002"]


@pytest.mark.parametrize("db", EMBEDDED, indirect=True)
async def test_a_migration_that_fails_leaves_nothing_and_those_before_it_stay(db: Database) -> None:
    broken = replace(SECOND, statements=(*SECOND.statements, "INSERT INTO nowhere VALUES (1)"))
    with pytest.raises(Exception, match="nowhere"):
        await migrate.migrate(db, [FIRST, broken])
    assert await names(db) == ["a"]
    assert await migrate.migrate(db, [FIRST, SECOND]) == ["test/0002"]


@pytest.mark.parametrize("db", kinds("mariadb"), indirect=True)
async def test_a_migration_that_fails_goes_on_behind_the_statements_that_are_done(db: Database) -> None:
    """There each change of a schema commits by itself: what is done must neither be lost nor be done twice."""
    broken = replace(SECOND, statements=(*SECOND.statements, "INSERT INTO nowhere VALUES (1)"))
    for _ in range(2):
        with pytest.raises(Exception, match="nowhere"):
            await migrate.migrate(db, [FIRST, broken])
        assert await names(db) == ["a", "b"]
    assert await migrate.migrate(db, [FIRST, SECOND]) == ["test/0002"]
    assert await names(db) == ["a", "b"]


@pytest.mark.parametrize("name", list(MIGRATIONS))
async def test_the_schema_of_each_store_is_applied_once(db: Database, name: str) -> None:
    folders = MIGRATIONS[name]
    applied = await migrate.migrate(db, migrate.load(*folders, dialect=db.dialect))
    assert applied == sorted(applied, key=lambda entry: folders.index(entry.partition("/")[0]))
    assert {entry.partition("/")[0] for entry in applied} == set(folders)
    assert await migrate.migrate(db, migrate.load(*folders, dialect=db.dialect)) == []


async def test_money_that_moved_before_there_was_a_ledger_is_in_it(db: Database) -> None:
    every = migrate.load(*MIGRATIONS["payment"], dialect=db.dialect)
    at = [each.name for each in every].index("payment/0005_ledger")
    await migrate.migrate(db, every[:at])
    payment = "payment_id, order_id, user_id, amount, title, status, version, captured, refunded, expires_us, attempt,"
    payment += " tries, declines, unknown_us, due_us, lease_token, trace, created_us, updated_us, captured_us"
    refund = "refund_id, payment_id, seq, amount, reason, restock, status, cause, asked_by, attempt, tries, due_us,"
    refund += " lease_token, claimed_us, answered, transaction_key, trace, created_us, updated_us"

    async def fill(tx: Tx) -> None:
        for name, status, captured, refunded in (("a", "READY", 0, 0), ("b", "PARTLY_REFUNDED", 900, 300)):
            row = (
                name,
                name,
                7,
                900,
                "",
                status,
                1,
                captured,
                refunded,
                1,
                1,
                0,
                0,
                0,
                0,
                "",
                "",
                1,
                1,
                captured and 5,
            )
            await tx.insert("payment", payment, [row])
        for seq, status, amount in ((1, "DONE", 300), (2, "PENDING", 200)):
            owed = (f"r{seq}", "b", seq, amount, "", 0, status, f"r{seq}", 7, 1, 0, 0, "", 0, "", "", "", 1, 8)
            await tx.insert("refund", refund, [owed])

    await db.run(fill)
    await migrate.migrate(db, every)
    entries = await db.read(
        lambda tx: tx.all("SELECT payment_id, posting, account, amount, at_us FROM ledger_entry ORDER BY 1, 2, 3")
    )
    assert entries == [
        ("b", "b", "captured", -900, 5), ("b", "b", "receivable", 900, 5),
        ("b", "r1", "receivable", -300, 8), ("b", "r1", "refunded", 300, 8),
    ]  # fmt: skip


@pytest.mark.parametrize("dialect", ["sqlite", "mariadb"])
def test_each_dialect_gets_its_own_lines_and_no_other(dialect: str) -> None:
    for migration in migrate.load("events", "cursor", "shop", "payment", "history", dialect=dialect):
        text = "\n".join(migration.statements)
        assert "--" not in text
        assert all(statement and not statement.endswith(";") for statement in migration.statements)
        assert ("AUTOINCREMENT" in text) == (dialect == "sqlite" and migration.name == "events/0001_events")
        assert ("AUTO_INCREMENT" in text) == (dialect == "mariadb" and migration.name == "events/0001_events")


def test_a_text_is_cut_into_statements_at_semicolons_that_end_a_line() -> None:
    text = """-- a comment; with a semicolon
CREATE TABLE a (
--sqlite   one INTEGER,
--mariadb   one BIGINT,
  note TEXT DEFAULT ';'
);

INSERT INTO a (note) VALUES ('x; y');
--mariadb ALTER TABLE a ENGINE=InnoDB;
INSERT INTO a (note) VALUES ('last')"""
    sqlite = migrate._parse("x/0001", text, "sqlite")
    assert sqlite.statements == (
        "CREATE TABLE a (\n  one INTEGER,\n  note TEXT DEFAULT ';'\n)",
        "INSERT INTO a (note) VALUES ('x; y')",
        "INSERT INTO a (note) VALUES ('last')",
    )
    mariadb = migrate._parse("x/0001", text, "mariadb")
    assert mariadb.statements[0].splitlines()[1] == "  one BIGINT,"
    assert mariadb.statements[2] == "ALTER TABLE a ENGINE=InnoDB"


def test_any_change_of_a_file_counts_as_an_edit() -> None:
    checksums = {migrate._parse("x", text, "sqlite").checksum for text in ("A;\n", "A;\n-- why\n", "A;", "B;\n")}
    assert len(checksums) == 4


async def test_payments_of_before_refunds_may_be_refunded_from_the_day_they_were_captured(db: Database) -> None:
    payment = migrate.load("payment", dialect=db.dialect)
    await migrate.migrate(db, payment[:1])
    columns = (
        "payment_id, order_id, user_id, amount, title, status, version, captured, refunded, expires_us, attempt, tries,"
        " declines, unknown_us, due_us, lease_token, trace, created_us, updated_us"
    )
    paid = ("pay_1", "ord_1", 7, 5_800, "milk", "CAPTURED", 2, 5_800, 0, 9, 1, 0, 0, 0, 9, "", "", 1, 5)
    ready = ("pay_2", "ord_2", 7, 5_800, "milk", "READY", 0, 0, 0, 9, 0, 0, 0, 0, 9, "", "", 1, 5)
    await db.run(lambda tx: tx.insert("payment", columns, [paid, ready]))
    await migrate.migrate(db, payment)
    sql = "SELECT payment_id, captured_us, refunding FROM payment ORDER BY payment_id"
    assert await db.read(lambda tx: tx.all(sql)) == [("pay_1", 5, 0), ("pay_2", 0, 0)]


async def test_sales_of_before_gifts_are_kept_and_one_may_now_cost_nothing(db: Database) -> None:
    shop = migrate.load("shop", dialect=db.dialect)
    before = [each.name for each in shop].index("shop/0008_free_sale")
    await migrate.migrate(db, shop[:before])
    columns = "time_sale_id, product_id, price, quota, used, starts_us, ends_us, created_us"
    sales = [(f"sal_{n}", n, 1_000 * n, 10, n, 5, 9, 1) for n in (1, 2, 3)]
    await db.run(lambda tx: tx.insert("time_sale", columns, sales))
    await migrate.migrate(db, shop)
    sql = f"SELECT {columns} FROM time_sale ORDER BY time_sale_id"
    assert await db.read(lambda tx: tx.all(sql)) == sales
    await db.run(lambda tx: tx.insert("time_sale", columns, [("sal_4", 4, 0, 10, 0, 5, 9, 1)]))
    for wrong in (("sal_5", 5, -1, 10, 0, 5, 9, 1), ("sal_6", 6, 1, 10, 11, 5, 9, 1), ("sal_7", 7, 1, 0, 0, 5, 9, 1)):
        with pytest.raises(Exception, match=r"(?i)constraint"):
            await db.run(partial(_add_sale, columns, wrong))


async def _add_sale(columns: str, row: tuple[object, ...], tx: Tx) -> None:
    await tx.insert("time_sale", columns, [row])
