"""A MariaDB that undoes transactions as a busy one does, at a share of the statements that write."""

import asyncio
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from asyncmy.errors import OperationalError

from quickcommerce.kit import db
from quickcommerce.kit.addresses import Server, server_of
from quickcommerce.kit.db import Database, Limits
from quickcommerce.kit.mariadb import MariaDb
from quickcommerce.kit.mariadb_errors import DUPLICATE, UNDONE, meaning
from quickcommerce.kit.mariadb_tx import Answer
from quickcommerce.parts import Connect
from world import VirtualLoop

_steady: list[None] = []


@contextmanager
def steady() -> Iterator[None]:
    """Meanwhile nothing is undone."""
    _steady.append(None)
    try:
        yield
    finally:
        _steady.pop()


@dataclass
class Faults:
    """Which statements fail: a `share` of those that write, lock or commit, as the seed has it."""

    rng: random.Random
    share: float = 0.0
    seen: Counter[int] = field(default_factory=Counter)

    def of(self, sql: str) -> int:
        """The number of the error that this statement meets; 0 for none."""
        writes = sql.startswith(("INSERT", "UPDATE", "DELETE", "COMMIT")) or "FOR UPDATE" in sql
        # Where none is to fail, none is drawn: what was migrated before changes nothing of what comes.
        if _steady or not self.share or not writes or self.rng.random() >= self.share:
            return 0
        # The key of an outbox is the server's own, and comes never twice.
        keyed = sql.startswith("INSERT") and not sql.startswith("INSERT INTO outbox")
        code = DUPLICATE if keyed and self.rng.random() < 0.5 else self.rng.choice(sorted(UNDONE))
        self.seen[code] += 1
        return code


def connecting(faults: Faults, limits: Limits) -> Connect:
    """Opens schemas on such a server, and files as they are."""

    def connect(url: str, *, rng: random.Random, inline: bool = False, threaded: bool = False) -> Database:
        if url.startswith("mariadb:"):
            return Unsteady(server_of(url), rng=rng, limits=limits, faults=faults)
        return db.connect(url, rng=rng, inline=inline, threaded=threaded)

    return connect


class Unsteady(MariaDb):
    """A schema on such a server. In virtual time the clock stands still while it is asked."""

    def __init__(self, server: Server, *, rng: random.Random, limits: Limits, faults: Faults) -> None:
        super().__init__(server, rng=rng, limits=limits)
        self._faults = faults
        self._checks = True

    def unchecked(self) -> None:
        """From now on no table checks itself."""
        self._checks = False
        self._pools["writer"].forget()

    async def _ask(self, role: str, connection: Any, flight: Sequence[str]) -> list[Answer]:
        for at, sql in enumerate(flight):
            code = self._faults.of(sql) if role == "writer" else 0
            if not code:
                continue
            undone = meaning(self.name, OperationalError(code, "injected")) if code in UNDONE else None
            # What is in front of it, and itself unless it is the commit that fails; what is behind it is never run.
            run = flight[:at] if undone and sql == "COMMIT" else flight[: at + 1]
            with _abroad():
                if run:
                    await super()._ask(role, connection, run)
                if code == DUPLICATE:
                    # It is sent twice: that the key is there already is the server's own word.
                    await super()._ask(role, connection, [sql])
                    raise AssertionError(f"no key forbids a second {sql}")
            assert undone
            raise undone
        with _abroad():
            return await super()._ask(role, connection, flight)

    async def _open(self, role: str) -> Any:
        with _abroad():
            connection = await super()._open(role)
            if not self._checks:
                await super()._ask(role, connection, ["SET SESSION check_constraint_checks = 0"])
            return connection


def _abroad() -> AbstractContextManager[None]:
    loop = asyncio.get_running_loop()
    return loop.abroad() if isinstance(loop, VirtualLoop) else nullcontext()
