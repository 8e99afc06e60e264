"""The Toss emulator in a process of its own, as the settings have it."""

from pathlib import Path

from quickcommerce.kit import folders
from quickcommerce.kit.problem import Unavailable
from quickcommerce.kit.telemetry import configure_logs
from quickcommerce.settings import Settings
from quickcommerce.toss_emulator.server import serve
from quickcommerce.toss_emulator.store import LedgerError


def emulate(settings: Settings, host: str, port: int) -> None:
    """Serve it until a signal to stop. Raises Unavailable when its ledger cannot be used."""
    configure_logs(settings.log_level, machine=settings.log_format == "json")
    folders.make(Path(settings.data_dir))
    try:
        serve(
            host,
            port,
            Path(settings.data_dir),
            settings.pg_secret_key,
            controls=settings.profile in ("local", "test"),
            webhook_url=settings.pg_webhook_url or None,
        )
    except LedgerError as unusable:
        raise Unavailable(str(unusable)) from unusable
