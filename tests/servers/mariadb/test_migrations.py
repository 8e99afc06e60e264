"""Schemas on MariaDB: a change commits by itself, so a crash may stand between any two statements."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import schemas
from quickcommerce.kit import idempotency, inbox, migrate, outbox
from quickcommerce.kit.db import Tx
from quickcommerce.kit.mariadb import MariaDb
from quickcommerce.order import store as orders
from quickcommerce.parts import MIGRATIONS, migrations
from quickcommerce.payment import refund_store
from quickcommerce.payment import store as payments
from quickcommerce.payment.waits import doubt_us, longest_us
from servers.mariadb.conftest import Opened
from servers.mariadb.shop import built


class Crash(BaseException):
    """The process ends here."""


async def described(schema: str) -> list[Any]:
    """Every column and index of a schema."""
    columns = schemas.sql(
        "SELECT table_name, column_name, column_type, is_nullable, collation_name FROM information_schema.columns"
        " WHERE table_schema = ? ORDER BY 1, 2",
        (schema,),
    )
    indexes = schemas.sql(
        "SELECT table_name, index_name, non_unique, seq_in_index, column_name FROM information_schema.statistics"
        " WHERE table_schema = ? ORDER BY 1, 2, 4",
        (schema,),
    )
    return [columns, indexes]


@pytest.mark.parametrize("store", ["shop", "payment"])
async def test_a_crash_behind_any_statement_of_a_migration_is_mended_by_the_next_one(
    opened: Opened, store: str
) -> None:
    wanted = migrations(store, "mariadb")
    db = opened()
    schemas.sql("DROP TABLE pair", schema=db.name)
    await migrate.migrate(db, wanted)
    right = await described(db.name)
    for (table,) in schemas.sql("SHOW TABLES", schema=db.name):
        schemas.sql(f"DROP TABLE `{table}`", schema=db.name)
    crashes = await crashing(db, wanted)
    assert crashes > sum(len(each.statements) for each in wanted)
    assert await described(db.name) == right
    assert await migrate.pending(db, wanted) == []


async def crashing(db: MariaDb, wanted: list[migrate.Migration]) -> int:
    """Migrate again and again, dying behind each statement that was never sent before. Returns how often it died."""
    ask = db._ask
    sent: set[str] = set()

    async def dying(role: str, connection: Any, flight: Sequence[str]) -> Any:
        answers = []
        for sql in flight:
            answers += await ask(role, connection, [sql])
            if not sql.startswith(("SET", "SELECT", "ROLLBACK")) and sql not in sent:
                sent.add(sql)
                connection.close()
                raise Crash
        return answers

    db._ask = dying  # type: ignore[method-assign]
    while True:
        try:
            await migrate.migrate(db, wanted)
        except Crash:
            continue
        db._ask = ask  # type: ignore[method-assign]
        return len(sent)


async def test_processes_that_migrate_at_once_do_it_once(opened: Opened) -> None:
    wanted = migrations("shop", "mariadb")
    applied = await asyncio.gather(*(migrate.migrate(opened(), wanted) for _ in range(4)))
    assert all(set(each) <= {one.name for one in wanted} for each in applied)
    for migration in wanted:
        assert schemas.sql("SELECT COUNT(*) FROM schema_migration", schema=opened().name) == [(len(wanted),)], migration
    assert schemas.sql("SELECT COUNT(*) FROM outbox_lease", schema=opened().name) == [(outbox.SHARDS,)]
    assert schemas.sql("SELECT COUNT(*) FROM schema_step", schema=opened().name) == [(0,)]


def test_a_change_that_could_not_be_made_twice_is_refused_before_it_is_made_once() -> None:
    for statement in ("ALTER TABLE a RENAME COLUMN b TO c", "RENAME TABLE a TO b", "ALTER TABLE a ADD CHECK (n > 0)"):
        with pytest.raises(ValueError, match="could not be mended"):
            migrate.repeatable(statement)
    for store in MIGRATIONS:
        for migration in migrations(store, "mariadb"):
            for statement in migration.statements:
                assert migrate.repeatable(migrate.repeatable(statement)) == migrate.repeatable(statement)


MANY_ORDERS = """
    INSERT INTO orders (order_id, user_id, status, version, total, discount, payable, paid, refunded, placed_us,
        expires_us, updated_us, lease_token, due_us, trace, placed)
    SELECT seq, seq % 500, IF(seq % 10, 'PAID', 'PLACED'), 1, 1, 0, 1, 0, 0, seq, seq, seq, '', seq, '', ''
    FROM seq_1_to_20000"""
MANY_EVENTS = """
    INSERT INTO outbox (shard, event_id, type, source, subject, time_us, trace, data)
    SELECT seq % 16, seq, '', '', seq, seq, '', '' FROM seq_1_to_20000"""
MANY_KEYS = """
    INSERT INTO idempotency (scoped_key, fingerprint, resource, at_us) SELECT seq, '', '', seq FROM seq_1_to_20000"""
MANY_TAKEN = "INSERT INTO inbox (consumer, event_id, at_us) SELECT seq % 3, seq, seq FROM seq_1_to_20000"
MANY_PAYMENTS = """
    INSERT INTO payment (payment_id, order_id, user_id, amount, title, status, version, captured, refunded, expires_us,
        payment_key, attempt, tries, declines, unknown_us, due_us, lease_token, trace, created_us, updated_us)
    SELECT seq, seq, 1, 1, '', IF(seq % 10, 'CAPTURED', 'UNKNOWN'), 1, 0, 0, 1, '', 1, 1, 0, 0, seq, '', '', 1, 1
    FROM seq_1_to_20000"""
MANY_REFUNDS = """
    INSERT INTO refund (refund_id, payment_id, seq, amount, reason, restock, status, cause, asked_by, attempt, tries,
        due_us, lease_token, claimed_us, answered, transaction_key, trace, created_us, updated_us)
    SELECT seq, seq, 1, 1, '', 0, IF(seq % 10, 'DONE', 'PENDING'), seq, 1, 1, 1, seq, '', 0, '', '', '', 1, 1
    FROM seq_1_to_20000"""


@pytest.fixture
async def stores(tmp_path: Path) -> AsyncIterator[tuple[MariaDb, MariaDb]]:
    """A shop and its payments with so many rows that an index matters."""
    app = built(tmp_path, 0)
    try:
        await app.migrate()
        shop, payment = app.stores.shop, app.stores.payment
        assert isinstance(shop, MariaDb)
        assert isinstance(payment, MariaDb)
        of_shop, of_payment = (MANY_ORDERS, MANY_EVENTS, MANY_KEYS, MANY_TAKEN), (MANY_PAYMENTS, MANY_REFUNDS)
        for database, filling in ((shop, of_shop), (payment, of_payment)):
            for statement in filling:
                schemas.sql(statement, schema=database.name)
        schemas.sql("ANALYZE TABLE outbox, orders, idempotency, inbox", schema=shop.name)
        schemas.sql("ANALYZE TABLE payment, refund", schema=payment.name)
        yield shop, payment
    finally:
        await app.stop()


async def examined(database: MariaDb, work: Any) -> int:
    """How many rows the statements of a unit of work may look at, as the server plans it; each by an index."""
    ask, most = database._ask, 0

    async def explained(role: str, connection: Any, flight: Sequence[str]) -> Any:
        nonlocal most
        for sql in flight:
            if not sql.startswith(("SELECT", "UPDATE", "DELETE")):
                continue
            [(plan, _)] = await ask(role, connection, [f"EXPLAIN {sql}"])
            for _, _, table, kind, _, key, _, _, rows, extra in plan:
                derived = not table or table.startswith(("<", "s"))
                assert derived or kind != "ALL" or "No tables" in str(extra), f"{sql} reads all of {table}"
                assert derived or key, f"{sql} uses no index of {table}"
                most = max(most, int(rows or 0) if not derived else 0)
        return await ask(role, connection, flight)

    database._ask = explained  # type: ignore[method-assign]
    try:
        await database.run(work)
    finally:
        database._ask = ask  # type: ignore[method-assign]
    return most


async def test_what_the_loops_ask_again_and_again_is_found_by_an_index(stores: tuple[MariaDb, MariaDb]) -> None:
    shop, payment = stores
    cursors = dict.fromkeys(range(outbox.SHARDS), 19_000)
    assert await examined(shop, lambda tx: outbox.after(tx, cursors, 100)) < 2_000
    assert await examined(shop, lambda tx: outbox.prune(tx, cursors, 500)) < 2_000
    assert await examined(shop, lambda tx: idempotency.prune(tx, 300, 500)) < 1_000
    assert await examined(shop, lambda tx: inbox.prune(tx, 300, 500)) < 1_000
    assert await examined(shop, lambda tx: orders.claim_due(tx, "token", 3_000, 3_001, 200)) < 1_000
    assert await examined(payment, lambda tx: payments.due(tx, 300, 50, longest_us(10.0))) < 2_000
    assert await examined(payment, lambda tx: refund_store.due(tx, 300, 50, longest_us=doubt_us(10.0))) < 2_000

    async def of_user(tx: Tx) -> None:
        await orders.page(tx, 7, None, 20)

    assert await examined(shop, of_user) < 100
