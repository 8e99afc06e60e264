"""What the tests on a real MariaDB do again and again."""

from typing import Any

from quickcommerce.kit.db import Tx, Work
from quickcommerce.kit.mariadb import MariaDb

COUNT = "SELECT COUNT(*) FROM pair"


def put(name: str) -> Work[str]:
    """Two rows, so that half of a transaction would show; a second run finds what the first stored."""

    async def work(tx: Tx) -> str:
        if not await tx.one("SELECT 1 FROM pair WHERE name = ?", (f"{name}.left",)):
            await tx.insert("pair", "name, n", [(f"{name}.left", 1)])
            await tx.insert("pair", "name, n", [(f"{name}.right", 1)])
        return name

    return work


async def rows(db: MariaDb) -> int:
    """How many rows there are."""
    row = await db.run(lambda tx: tx.one(COUNT))
    assert row
    return int(row[0])


def size(db: MariaDb, role: str = "writer") -> int:
    """How many connections of a pool are there for whoever comes next."""
    pool: Any = db._pools[role]
    return int(pool._turns._value)
