"""`qc doctor`: is each configured part there, and fit for its work?"""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from quickcommerce.app import MIGRATIONS, App, build
from quickcommerce.kit import migrate
from quickcommerce.kit.db import Database, path_of
from quickcommerce.kit.folders import probe
from quickcommerce.kit.problem import Unavailable
from quickcommerce.payment.model import Asked, Unreadable
from quickcommerce.settings import Settings


@dataclass(frozen=True)
class Finding:
    """What was found of one part."""

    part: str
    fit: bool
    detail: str


def examine(settings: Settings) -> list[Finding]:
    """Look at every part without changing any. Never raises for what is wrong with a part: that is a finding."""
    paths = {
        "shop": path_of(settings.database_url),
        "payment": path_of(settings.payment_database_url),
        "history": path_of(settings.history_database_url),
    }
    needed = (Path(settings.data_dir), *(path.parent for path in paths.values()))
    folders = {folder: _folder(folder) for folder in needed}
    reachable = {name: path for name, path in paths.items() if folders[path.parent].fit}
    absent = [name for name, path in reachable.items() if not path.exists()]
    findings = [Finding(f"database {name}", True, "not there yet; qc run makes it") for name in absent]
    return [*folders.values(), *findings, *asyncio.run(_examine(settings, reachable.keys() - absent))]


async def _examine(settings: Settings, present: set[str]) -> list[Finding]:
    app = build(settings)
    try:
        stores = {name: database for name, database in app.stores.every().items() if name in present}
        findings = [await _database(name, database) for name, database in stores.items()]
        return [*findings, await _pg(app)]
    finally:
        await app.stop()


def _folder(folder: Path) -> Finding:
    try:
        probe(folder)
    except Unavailable as unusable:
        return Finding("folder", False, unusable.detail)
    return Finding("folder", True, f"{folder} can be written")


async def _database(name: str, database: Database) -> Finding:
    try:
        pending = await migrate.pending(database, migrate.load(*MIGRATIONS[name]))
        broken = await database.scan(lambda tx: tx.one("PRAGMA quick_check(1)"))
    except Exception as error:  # noqa: BLE001 - a file that is no database at all raises whatever its driver does
        return Finding(f"database {name}", False, str(error))
    if broken != ("ok",):
        return Finding(f"database {name}", False, f"damaged: {broken}")
    if pending:
        return Finding(f"database {name}", False, f"{len(pending)} migrations are to be applied: qc migrate")
    return Finding(f"database {name}", True, "sound, up to date")


async def _pg(app: App) -> Finding:
    """Ask the PG for a payment that cannot exist: that it is missing shows address, TLS and keys to be right."""
    if app.flows.emulator:
        return Finding("PG", True, "the emulator, in the shop's own process")
    reading = await app.flows.toss.read(Asked("doctor_no_such_key", "doctor-no-such-payment", 1, ""))
    where = app.settings.pg_url
    if isinstance(reading, Unreadable):
        return Finding("PG", False, f"{where}: {reading.reason}")
    return Finding("PG", True, f"{where} answers and accepts our key")
