"""Migrations: numbered plain SQL files, applied in order, once each, remembered with a checksum.

`NNNN_name.sql`, statements ended by a semicolon at a line's end. A line that starts with `--sqlite ` or `--mariadb `
is meant for that database alone; keep such lines for what neither can say in the other's words.
"""

import hashlib
from dataclasses import dataclass
from importlib.resources import files

from quickcommerce.kit.db import Database, Tx


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
    """Apply what is pending, each in a transaction of its own; returns the names applied."""
    todo = await pending(db, migrations)
    for migration in todo:
        await _apply(db, migration)
    return [migration.name for migration in todo]


async def _apply(db: Database, migration: Migration) -> None:
    async def work(tx: Tx) -> None:
        await tx.run(
            "CREATE TABLE IF NOT EXISTS schema_migration (name VARCHAR(100) PRIMARY KEY, checksum VARCHAR(64) NOT NULL)"
        )
        for statement in migration.statements:
            await tx.run(statement)
        await tx.insert("schema_migration", "name, checksum", [(migration.name, migration.checksum)])

    await db.run(work)
