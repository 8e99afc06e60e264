"""Which payments are due: those whose time has come, and those whose time no clock of now can have set."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from quickcommerce.kit.clock import SECOND_US
from quickcommerce.kit.db import Database
from quickcommerce.kit.ids import OrderId, PaymentId
from quickcommerce.payment import store
from quickcommerce.payment.model import Status
from quickcommerce.payment.store import NEVER_US, Payment
from quickcommerce.payment.waits import longest_us
from stores import EVERY, opened

NOW_US = 10_000 * SECOND_US
LONGEST = longest_us(74)


@pytest.fixture(params=EVERY)
async def db(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    async with opened(request.param, tmp_path / "payment.db", "events", "cursor", "payment") as found:
        yield found.db


async def due(db: Database, limit: int = 20) -> list[str]:
    found = await db.run(lambda tx: store.due(tx, NOW_US, limit, LONGEST))
    return [each.payment_id for each in found]


async def add(db: Database, name: str, status: Status, due_us: int) -> None:
    made = Payment(
        PaymentId(name), OrderId(f"ord_{name}"), 7, 5_000, "우유", status, 2, 0, 0, 9_000, "key", 1, 0, 0, 1, due_us,
        "", "", 1_000, 1_500, 0, 0,
    )  # fmt: skip
    await db.run(lambda tx: store.insert(tx, [made]))


async def test_what_is_due_later_than_anybody_waits_is_due_now_and_last(db: Database) -> None:
    for name, status, ahead_s in (
        ("set", Status.UNKNOWN, 91),
        ("lease", Status.CAPTURING, 74),
        ("look", Status.AWAITING_DEPOSIT, 600),
        ("deposit", Status.AWAITING_DEPOSIT, 601),
        ("again", Status.RETRY, 90),
        ("paid", Status.CAPTURED, 91),
        ("now", Status.UNKNOWN, 0),
    ):
        await add(db, name, status, NOW_US + ahead_s * SECOND_US)
    await add(db, "over", Status.RETRY, NEVER_US)
    assert await due(db) == ["now", "set", "deposit"]
    assert await due(db, 1) == ["now"], "they keep nobody waiting whose time has come"
