"""Which payments and refunds are due: those whose time has come, and those whose time no clock of now can have set."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from quickcommerce.kit.clock import SECOND_US
from quickcommerce.kit.db import Database
from quickcommerce.kit.ids import OrderId, PaymentId, RefundId
from quickcommerce.payment import refund_store, store
from quickcommerce.payment.model import Status
from quickcommerce.payment.refund_model import RefundStatus
from quickcommerce.payment.refund_store import Refund
from quickcommerce.payment.store import NEVER_US, Payment
from quickcommerce.payment.waits import doubt_us, longest_us
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


async def test_a_long_lease_that_another_process_has_just_taken_by_its_clock_is_left_to_it(db: Database) -> None:
    lease_s = 134
    await add(db, "theirs", Status.CAPTURING, NOW_US + (lease_s + 5) * SECOND_US)
    await add(db, "set", Status.CAPTURING, NOW_US + (lease_s + 11) * SECOND_US)
    found = await db.run(lambda tx: store.due(tx, NOW_US, 20, longest_us(lease_s)))
    assert [each.payment_id for each in found] == ["set"]


async def test_a_refund_that_was_put_off_at_a_time_to_come_is_due_now_and_one_that_waits_long_is_not(
    db: Database,
) -> None:
    async def owe(seq: int, due_us: int, put_off_us: int) -> None:
        made = Refund(
            RefundId(f"rfd_{seq}"), PaymentId("pay"), seq, 100, "", False, RefundStatus.PENDING, f"rfd_{seq}", 0, 1, 0,
            due_us, "", 0, "", "", None, None, "", 1_000, put_off_us, None,
        )  # fmt: skip
        await db.run(lambda tx: refund_store.insert(tx, made))

    ahead_us = NOW_US + 3_600 * SECOND_US
    await owe(1, NOW_US, 1_000)
    await owe(2, ahead_us, ahead_us - SECOND_US)
    await owe(3, ahead_us, NOW_US)
    await owe(4, NOW_US + 90 * SECOND_US, NOW_US + SECOND_US)
    await owe(5, NEVER_US, ahead_us)
    found = await db.run(lambda tx: refund_store.due(tx, NOW_US, 20, None, doubt_us(74)))
    assert [each.seq for each in found] == [1, 2]
