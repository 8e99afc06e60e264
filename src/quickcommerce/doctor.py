"""`qc doctor`: is each configured part there, and fit for its work?"""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from quickcommerce.app import App, build
from quickcommerce.history.sql import SqlIndex
from quickcommerce.kit import migrate
from quickcommerce.kit.auth import KeySet
from quickcommerce.kit.clock import system_clock
from quickcommerce.kit.db import Database
from quickcommerce.kit.folders import probe
from quickcommerce.kit.problem import Unavailable
from quickcommerce.kit.sqlite import SCHEME, path_of
from quickcommerce.parts import migrations
from quickcommerce.payment.attention import Attentions
from quickcommerce.payment.model import Asked, Unreadable
from quickcommerce.settings import BadSetting, Settings
from quickcommerce.toss_emulator.emulator import LEDGER_FILE
from quickcommerce.toss_emulator.store import LedgerError, examined

SQLITE = "sqlite:///"


@dataclass(frozen=True)
class Finding:
    """What was found of one part. `look`: it is fit, and somebody must look all the same."""

    part: str
    fit: bool
    detail: str
    look: bool = False

    @property
    def verdict(self) -> str:
        """In a word."""
        return ("look" if self.look else "yes") if self.fit else "NO"


def examine(settings: Settings) -> list[Finding]:
    """Look at every part without changing any. Never raises for what is wrong with a part: that is a finding."""
    urls = {
        "shop": settings.database_url,
        "payment": settings.payment_database_url,
        "history": settings.history_database_url,
    }
    paths = {name: path_of(url) for name, url in urls.items() if url.startswith(SCHEME)}
    needed = (Path(settings.data_dir), *(path.parent for path in paths.values()))
    folders = {folder: _folder(folder) for folder in needed}
    reachable = {name: path for name, path in paths.items() if folders[path.parent].fit}
    absent = [name for name, path in reachable.items() if not path.exists()]
    findings = [Finding(f"database {name}", True, "not there yet; qc run makes it") for name in absent]
    ledger = Path(settings.data_dir, LEDGER_FILE)
    servers = urls.keys() - paths
    looked = _examine(settings, (reachable.keys() - absent) | servers, ledger if ledger.exists() else None)
    return [*folders.values(), *findings, *asyncio.run(looked)]


def there(settings: Settings) -> Settings:
    """Raises BadSetting where a file of orders or payments is missing: a command would make an empty shop of it."""
    for url in (settings.database_url, settings.payment_database_url):
        path = Path(url.removeprefix(SQLITE))
        if url.startswith(SQLITE) and not path.exists():
            raise BadSetting(f"there is no shop: {path} does not exist; is --data-dir right?")
    return settings


async def _examine(settings: Settings, present: set[str], ledger: Path | None) -> list[Finding]:
    app = build(settings)
    try:
        stores = {name: database for name, database in app.stores.every().items() if name in present}
        findings = [await _database(name, database) for name, database in stores.items()]
        if any(finding.part == "database payment" and finding.fit for finding in findings):
            findings.append(await _money(app.operations.attentions))
        return [
            *findings,
            await _bus(app),
            *await _index(app),
            await _pg(app, ledger),
            *await _keys(settings),
            *await _gate(app),
        ]
    finally:
        await app.stop()


def _folder(folder: Path) -> Finding:
    try:
        probe(folder)
    except Unavailable as unusable:
        return Finding("folder", False, unusable.detail)
    found = "can be written" if folder.exists() else "is not there, and can be made"
    return Finding("folder", True, f"{folder} {found}")


async def _database(name: str, database: Database) -> Finding:
    try:
        pending = await migrate.pending(database, migrations(name, database.dialect))
        wrong = await _wrong(database)
    except Exception as error:  # noqa: BLE001 - a file that is no database at all raises whatever its driver does
        return Finding(f"database {name}", False, str(error))
    if wrong:
        return Finding(f"database {name}", False, wrong)
    if pending:
        return Finding(f"database {name}", False, f"{len(pending)} migrations are to be applied: qc migrate")
    return Finding(f"database {name}", True, "sound, up to date")


async def _wrong(database: Database) -> str:
    """What is wrong with a database that answers; empty where nothing is."""
    if database.dialect == "sqlite":
        broken = await database.scan(lambda tx: tx.one("PRAGMA quick_check(1)"))
        return "" if broken == ("ok",) else f"damaged: {broken}"
    kept = await database.run(lambda tx: tx.one("SELECT @@tx_isolation, @@innodb_flush_log_at_trx_commit"))
    if kept == ("READ-COMMITTED", 1):
        return ""
    return f"isolation and innodb_flush_log_at_trx_commit are {kept}: a power cut may lose what was acknowledged"


async def _money(attentions: Attentions) -> Finding:
    """Whether money waits for a human: no fault of a part, and nothing that a start would mend."""
    part = "money"
    try:
        total = (await attentions.look(None, 1)).total
    except Unavailable as down:
        return Finding(part, True, f"not looked at: {down.detail}", look=True)
    if not total:
        return Finding(part, True, "no payment or refund needs a human")
    return Finding(
        part, True, f"payments and refunds that need a human: {total}; see /console or /v1/ops/attention", look=True
    )


async def _index(app: App) -> list[Finding]:
    """The history's index, where it is not in a database."""
    if isinstance(app.flows.index, SqlIndex):
        return []
    try:
        return [Finding("search", True, await app.flows.index.about())]
    except Unavailable as unfit:
        return [Finding("search", False, unfit.detail)]


async def _bus(app: App) -> Finding:
    """Whether the brokers answer and have our topics."""
    if not app.parts.wire:
        return Finding("bus", True, "the outboxes, in this process")
    try:
        found = await app.parts.wire.topics.found()
    except Unavailable as down:
        return Finding("bus", False, down.detail)
    missing = [name for name in app.parts.wire.topics.names if name not in found]
    if missing:
        return Finding("bus", False, f"no topic {', '.join(missing)}: qc migrate")
    told = ", ".join(f"{name} of {partitions} partitions" for name, partitions in found.items())
    return Finding("bus", True, f"{app.settings.bus_url} has {told}")


def _ledger(path: Path | None) -> Finding:
    """The emulator in the shop's own process is as fit as its ledger. While a shop runs, the file is that shop's."""
    part, where = "PG", "the emulator, in the shop's own process"
    if path is None:
        return Finding(part, True, where)
    try:
        return Finding(part, True, where if examined(path) else f"{where}, which is running")
    except LedgerError as unfit:
        return Finding(part, False, f"{where}: {unfit}")


async def _keys(settings: Settings) -> list[Finding]:
    """Whether the keys that verify tokens can be read, where they are elsewhere."""
    if not settings.jwks_url:
        return []
    try:
        count = await KeySet(settings.jwks_url, system_clock, on_read=lambda: None).count()
    except Unavailable:
        return [Finding("keys", False, f"{settings.jwks_url}: no keys can be read there; the log says why")]
    return [Finding("keys", count > 0, f"{settings.jwks_url} gives {count} keys")]


async def _gate(app: App) -> list[Finding]:
    if app.flows.gate is None:
        return []
    try:
        await app.flows.gate.ping()
    except Unavailable as down:
        return [Finding("gate", False, f"{down.detail}; until it answers, the database is asked about every basket")]
    return [Finding("gate", True, "answers")]


async def _pg(app: App, ledger: Path | None) -> Finding:
    """Ask the PG for a payment that cannot exist: that it is missing shows address, TLS and keys to be right."""
    if app.flows.emulator:
        return _ledger(ledger)
    reading = await app.flows.toss.read(Asked("doctor_no_such_key", "doctor-no-such-payment", 1, ""))
    where = app.settings.pg_url
    if isinstance(reading, Unreadable):
        return Finding("PG", False, f"{where}: {reading.reason}")
    return Finding("PG", True, f"{where} answers and accepts our key")
