"""A PG for development and tests that speaks the Toss Payments API over its own durable ledger.

It stands apart from the shop and meets it over HTTP only: in process through `AppTransport`, mounted under a prefix,
or alone (`quickcommerce.toss_emulator.server`). What it imitates is Toss's public API reference; what it adds for
people and tests lives under `/emulator/`.
"""

from quickcommerce.toss_emulator.emulator import Emulator
from quickcommerce.toss_emulator.transport import AppTransport

__all__ = ["AppTransport", "Emulator"]
