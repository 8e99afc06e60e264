"""The rows of reconciliation: one at a time at the mark, payments in short, and what does not fit, once each."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from quickcommerce.kit.db import Database, Tx
from quickcommerce.kit.ids import OrderId, PaymentId, RefundId
from quickcommerce.payment import attention_store, reconcile_store, refund_store, store
from quickcommerce.payment.model import Status
from quickcommerce.payment.reconcile_model import Kind, Mismatch, Span
from quickcommerce.payment.reconcile_store import Kept, Mark, State
from quickcommerce.payment.refund_model import RefundStatus
from quickcommerce.payment.refund_store import Refund
from quickcommerce.payment.store import NEVER_US, Payment
from stores import EVERY, opened

SEEN = Mismatch(
    Kind.ORPHAN, "T1", "foreign-0001", "", 1_500, payment_key="K1", transaction_key="T1", pg_won=5_000, note="한"
)
KEPT = Kept("mis_1", SEEN, State.LEFT, "nobody's", 2_000, 2_000, 0)


@pytest.fixture(params=EVERY)
async def db(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    async with opened(request.param, tmp_path / "payment.db", "events", "cursor", "payment") as found:
        yield found.db


def payment(number: int, **changes: object) -> Payment:
    made = Payment(
        PaymentId(f"pay_{number}"), OrderId(f"ord_{number}"), 7, 5_000, "우유", Status.CAPTURED, 2, 5_000, 0, 9_000,
        f"K{number}", 1, 0, 0, 0, NEVER_US, "", "", 1_000, 1_500, 1_500, 0,
    )  # fmt: skip
    return msgspec.structs.replace(made, **changes)


def refund(number: int, **changes: object) -> Refund:
    made = Refund(
        RefundId(f"ref_{number}"), PaymentId(f"pay_{number}"), 1, 1_000, "why", False, RefundStatus.DONE,
        f"ref_{number}", 0, 1, 0, NEVER_US, "", 0, "", "T9", None, None, "", 1_600, 1_700, 1_700,
    )  # fmt: skip
    return msgspec.structs.replace(made, **changes)


async def keep(db: Database, *every: Kept, new: bool = True) -> None:
    async def work(tx: Tx) -> None:
        for each in every:
            await reconcile_store.keep(tx, each, new=new)

    await db.run(work)


async def test_one_of_many_who_see_the_same_mark_gets_the_lease(db: Database) -> None:
    seen = await db.read(reconcile_store.mark)
    assert seen == Mark(0, 0, 0)

    async def claim(token: str) -> bool:
        return await db.run(lambda tx: reconcile_store.claim(tx, seen, token, 100))

    claimed = await asyncio.gather(*(claim(token) for token in "abcdef"))
    assert sum(claimed) == 1
    mine = "abcdef"[claimed.index(True)]
    assert await claim(mine), "a commit whose reply was lost is run again"
    assert await db.run(lambda tx: reconcile_store.hold(tx, mine, 200))
    assert not await db.run(lambda tx: reconcile_store.hold(tx, "z", 900))
    assert not await db.run(lambda tx: reconcile_store.finish(tx, "z", 900, 900))
    assert await db.read(reconcile_store.mark) == Mark(0, 0, 200)
    assert await db.run(lambda tx: reconcile_store.finish(tx, mine, 70, None))
    assert await db.read(reconcile_store.mark) == Mark(70, 0, 0)
    assert not await claim("late"), "whoever saw an older mark begins nothing"


async def test_a_finished_run_is_remembered(db: Database) -> None:
    assert await db.run(lambda tx: reconcile_store.claim(tx, Mark(0, 0, 0), "a", 100))
    assert await db.run(lambda tx: reconcile_store.finish(tx, "a", 70, 80))
    assert await db.read(reconcile_store.mark) == Mark(70, 80, 0)


async def test_payments_are_found_by_when_their_money_moved(db: Database) -> None:
    async def fill(tx: Tx) -> None:
        await store.insert(tx, [payment(1), payment(2, captured_us=999), payment(3, captured_us=0, captured=0)])
        await refund_store.insert(tx, refund(2))
        await refund_store.insert(tx, refund(3, ended_us=None, status=RefundStatus.PENDING))

    await db.run(fill)
    assert await db.scan(lambda tx: reconcile_store.moved(tx, Span(1_000, 2_000))) == {"pay_1", "pay_2"}
    assert await db.scan(lambda tx: reconcile_store.moved(tx, Span(999, 1_500))) == {"pay_2"}
    ids = [f"pay_{number}" for number in range(1_200)]
    one, two, three = await db.scan(lambda tx: reconcile_store.facts(tx, [*ids, "foreign-" + "x" * 56]))
    assert (one.payment_id, one.order_id, one.captured, one.payment_key, one.refunds) == (
        "pay_1",
        "ord_1",
        5_000,
        "K1",
        (),
    )
    [given] = two.refunds
    assert (given.refund_id, given.amount, given.done, given.transaction_key) == ("ref_2", 1_000, True, "T9")
    [owed] = three.refunds
    assert (owed.done, owed.ended_us) == (False, 0)


async def test_what_does_not_fit_is_kept_changed_and_dropped(db: Database) -> None:
    other = msgspec.structs.replace(KEPT, mismatch_id="mis_2", seen=msgspec.structs.replace(SEEN, kind=Kind.AMOUNT))
    await keep(db, KEPT, other)
    known = await db.read(lambda tx: reconcile_store.known(tx, [SEEN]))
    assert known == {(Kind.ORPHAN, "T1"): KEPT, (Kind.AMOUNT, "T1"): other}
    later = msgspec.structs.replace(KEPT, state=State.WAITS, detail="now", checked_us=3_000, told_us=2_500)
    await keep(db, later, new=False)
    assert (await db.read(lambda tx: reconcile_store.known(tx, [SEEN])))[Kind.ORPHAN, "T1"] == later
    assert await db.read(lambda tx: reconcile_store.within(tx, Span(1_500, 1_501))) == [other.seen, SEEN]
    assert await db.read(lambda tx: reconcile_store.within(tx, Span(0, 1_500))) == []
    assert await db.read(reconcile_store.left) == {"amount": 1}
    await db.run(lambda tx: reconcile_store.drop(tx, SEEN))
    assert list(await db.read(lambda tx: reconcile_store.known(tx, [SEEN]))) == [(Kind.AMOUNT, "T1")]


async def test_what_waits_is_looked_at_in_each_run_and_what_is_left_to_a_human_now_and_then(db: Database) -> None:
    waits = msgspec.structs.replace(
        KEPT, mismatch_id="mis_2", seen=msgspec.structs.replace(SEEN, subject="T2"), state=State.WAITS, checked_us=2_400
    )
    await keep(db, KEPT, waits)

    async def again(now_us: int, left_us: int, limit: int = 9) -> list[str]:
        found = await db.read(lambda tx: reconcile_store.again(tx, now_us, left_us, limit))
        return [each.seen.subject for each in found]

    assert await again(2_500, 1_000) == ["T2"]
    assert await again(2_400, 1_000) == [], "it was looked at in this very run"
    assert await again(2_500, 2_001) == ["T1", "T2"]
    assert await again(2_500, 2_001, 1) == ["T1"]


async def test_what_is_left_stands_among_what_needs_a_human(db: Database) -> None:
    mine = msgspec.structs.replace(
        KEPT, mismatch_id="mis_2", found_us=2_100,
        seen=msgspec.structs.replace(
            SEEN, kind=Kind.CANCEL_MISSING_THERE, subject="ref_1", payment_id="pay_1", order_id="ord_1",
            refund_id="ref_1", pg_won=0, our_won=1_000,
        ),
    )  # fmt: skip
    waits = msgspec.structs.replace(
        KEPT, mismatch_id="mis_3", seen=msgspec.structs.replace(SEEN, subject="T3"), state=State.WAITS
    )
    await db.run(lambda tx: store.insert(tx, [payment(1)]))
    await keep(db, KEPT, mine, waits)
    assert await db.scan(lambda tx: attention_store.count(tx, 0)) == 2
    orphan, refunded = await db.scan(lambda tx: attention_store.page(tx, 0, (0, ""), 9))
    assert (orphan.why, orphan.id, orphan.order_id, orphan.refund_id, orphan.amount, orphan.status, orphan.code) == (
        "mismatch", "mis_1", None, None, 5_000, "NONE", "orphan",
    )  # fmt: skip
    assert (refunded.payment_id, refunded.refund_id, refunded.order_id, refunded.amount, refunded.status) == (
        "pay_1", "ref_1", "ord_1", 1_000, "CAPTURED",
    )  # fmt: skip
    behind = await db.scan(lambda tx: attention_store.page(tx, 0, (orphan.since_us, orphan.id), 9))
    assert behind == [refunded]
