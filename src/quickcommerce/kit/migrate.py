"""Migrations: numbered plain SQL files, applied in order, once each, remembered with a checksum.

`NNNN_name.sql`, statements ended by a semicolon at a line's end. A line that starts with `--sqlite ` or `--mariadb `
is meant for that database alone; keep such lines for what neither can say in the other's words.

On SQLite a migration is one transaction. On MariaDB each statement that changes the schema commits by itself, and a
process may die between any two. So there a statement is remembered when it is done, a change of the schema is written
so that doing it again changes nothing, and a change of rows commits together with what remembers it.
"""

import hashlib
import re
from dataclasses import dataclass
from importlib.resources import files

from quickcommerce.kit.db import Busy, Database, Tx

LOCK_WAIT_S = 1
"""How long one try waits for another process that migrates, in seconds; `Busy` is tried again."""
_AGAIN = (
    (re.compile(r"CREATE (TABLE|INDEX|UNIQUE INDEX) (?!IF )"), r"CREATE \1 IF NOT EXISTS "),
    (re.compile(r"(ALTER TABLE \w+ ADD COLUMN) (?!IF )"), r"\1 IF NOT EXISTS "),
    (re.compile(r"(ALTER TABLE \w+ DROP COLUMN) (?!IF )"), r"\1 IF EXISTS "),
)
"""Changes of a schema that MariaDB lets pass where they are made already."""
_SAME_AGAIN = re.compile(
    r"(CREATE|DROP) (TABLE|INDEX|UNIQUE INDEX)\b|ALTER TABLE \w+ (ADD COLUMN|DROP COLUMN|MODIFY)\b"
)
_ROWS = re.compile(r"(INSERT INTO|UPDATE|DELETE FROM) ")

_TABLES = {
    "schema_migration": "name VARCHAR(100) PRIMARY KEY, checksum VARCHAR(64) NOT NULL",
    "schema_step": "name VARCHAR(100) NOT NULL, step BIGINT NOT NULL, PRIMARY KEY (name, step)",
}


@dataclass(frozen=True)
class Migration:
    """One file: its name, its statements for one dialect, and the checksum of its text."""

    name: str
    statements: tuple[str, ...]
    checksum: str


def load(*folders: str, dialect: str = "sqlite") -> list[Migration]:
    """The migrations in these folders of `quickcommerce/migrations`, folder by folder, each in order."""
    return [migration for folder in folders for migration in _folder(folder, dialect)]


def _folder(folder: str, dialect: str) -> list[Migration]:
    entries = files("quickcommerce").joinpath("migrations", folder).iterdir()
    found = {entry.name.removesuffix(".sql"): entry for entry in entries if entry.name.endswith(".sql")}
    return [_parse(f"{folder}/{name}", found[name].read_text("utf-8"), dialect) for name in sorted(found)]


def _parse(name: str, text: str, dialect: str) -> Migration:
    mine = f"--{dialect} "
    lines = [line.removeprefix(mine) for line in text.splitlines() if line.startswith(mine) or line[:2] != "--"]
    statements = [part.strip() for part in ("\n".join(lines) + "\n").split(";\n")]
    return Migration(name, tuple(filter(None, statements)), hashlib.sha256(text.encode()).hexdigest())


async def pending(db: Database, migrations: list[Migration]) -> list[Migration]:
    """Those not applied yet. Raises ValueError when one that was applied has been edited since."""

    async def work(tx: Tx) -> dict[str, str]:
        try:
            return dict(await tx.all("SELECT name, checksum FROM schema_migration"))
        except Exception as error:
            if "schema_migration" in str(error):
                return {}
            raise

    applied = await db.read(work)
    for migration in migrations:
        if applied.get(migration.name, migration.checksum) != migration.checksum:
            raise ValueError(f"the migration {migration.name} of {db.name} was edited after it was applied")
    return [migration for migration in migrations if migration.name not in applied]


async def migrate(db: Database, migrations: list[Migration]) -> list[str]:
    """Apply what is pending, one after the other; returns their names."""
    todo = await pending(db, migrations)
    for migration in todo:
        await (_apply_in_steps if db.dialect == "mariadb" else _apply)(db, migration)
    return [migration.name for migration in todo]


async def _apply(db: Database, migration: Migration) -> None:
    async def work(tx: Tx) -> None:
        await tx.run(f"CREATE TABLE IF NOT EXISTS schema_migration ({_TABLES['schema_migration']})")
        for statement in migration.statements:
            await tx.run(statement)
        await tx.insert("schema_migration", "name, checksum", [(migration.name, migration.checksum)])

    await db.run(work)


async def _apply_in_steps(db: Database, migration: Migration) -> None:
    """Apply a migration where each change of the schema commits by itself, beside others who may be doing the same."""

    async def work(tx: Tx) -> None:
        await _locked(tx)
        for table, columns in _TABLES.items():
            await tx.run(f"CREATE TABLE IF NOT EXISTS {table} ({columns})")
        if not await tx.one("SELECT 1 FROM schema_migration WHERE name = ?", (migration.name,)):
            await _steps(tx, migration)
        await tx.one("SELECT RELEASE_LOCK(CONCAT('migrate ', DATABASE()))")

    await db.run(work)


async def _locked(tx: Tx) -> None:
    """Keep other processes out. The lock is the connection's: a process that dies lets go of it. Raises Busy."""
    taken = await tx.one("SELECT GET_LOCK(CONCAT('migrate ', DATABASE()), ?)", (LOCK_WAIT_S,))
    if taken != (1,):
        raise Busy("another process is migrating")


async def _steps(tx: Tx, migration: Migration) -> None:
    done = {step for (step,) in await tx.all("SELECT step FROM schema_step WHERE name = ?", (migration.name,))}
    for step, statement in enumerate(migration.statements):
        if step not in done:
            await tx.run(repeatable(statement))
            await tx.insert("schema_step", "name, step", [(migration.name, step)])
            await tx.run("COMMIT")
    await tx.insert("schema_migration", "name, checksum", [(migration.name, migration.checksum)])
    await tx.run("DELETE FROM schema_step WHERE name = ?", (migration.name,))
    await tx.run("COMMIT")


def repeatable(statement: str) -> str:
    """The statement so that MariaDB may be given it twice. Raises ValueError where it cannot be said so."""
    for pattern, again in _AGAIN:
        statement = pattern.sub(again, statement, count=1)
    if not _SAME_AGAIN.match(statement) and not _ROWS.match(statement):
        raise ValueError(f"a crash in the middle of this could not be mended: {statement}")
    return statement
