"""What reconciliation reads and keeps in store B, as rows: payments in short, its mark, and what does not fit."""

from collections import defaultdict
from collections.abc import Collection, Iterable
from enum import StrEnum

import msgspec

from quickcommerce.kit.db import LOCK, Tx, marks
from quickcommerce.payment.reconcile_model import Kind, Mismatch, PaymentFact, RefundFact, Span

LIST_MAX = 500
"""Payments that are read with one statement."""


class State(StrEnum):
    """What becomes of a mismatch that is kept."""

    LEFT = "left"
    """A human must look."""
    WAITS = "waits"
    """It is worked on, or could not be read: it is looked at again."""
    TOLD = "told"
    """Its order was told again, and has time to take it."""


class Mark(msgspec.Struct, frozen=True):
    """Up to when all was compared; when that was last done whole; until when somebody is at it."""

    upto_us: int
    done_us: int
    until_us: int


class Kept(msgspec.Struct, frozen=True):
    """A mismatch that is kept until it is none any more. `told_us`: when its order was told again, 0 if never."""

    mismatch_id: str
    seen: Mismatch
    state: State
    detail: str
    found_us: int
    checked_us: int
    told_us: int


_SEEN = ", ".join(Mismatch.__struct_fields__)
_KEPT = f"mismatch_id, {_SEEN}, state, detail, found_us, checked_us, told_us"
_PAYMENT = tuple(name for name in PaymentFact.__struct_fields__ if name != "refunds")


async def moved(tx: Tx, span: Span) -> set[str]:
    """The payments that were captured, or of which a refund ended, within a span. Reads them by their indices."""
    times = (span.from_us, span.before_us)
    rows = [
        *await tx.all("SELECT payment_id FROM payment WHERE captured_us >= ? AND captured_us < ?", times),
        *await tx.all("SELECT payment_id FROM refund WHERE ended_us >= ? AND ended_us < ?", times),
    ]
    return {payment_id for (payment_id,) in rows}


async def facts(tx: Tx, payment_ids: Collection[str]) -> list[PaymentFact]:
    """These payments with their refunds, of those that exist."""
    ids = sorted(payment_ids)
    found: list[PaymentFact] = []
    for part in (ids[at : at + LIST_MAX] for at in range(0, len(ids), LIST_MAX)):
        rows = await tx.all(
            f"SELECT {', '.join(_PAYMENT)} FROM payment WHERE payment_id IN ({marks(part)}) ORDER BY payment_id", part
        )
        refunds: dict[str, list[RefundFact]] = defaultdict(list)
        for row in await tx.all(
            "SELECT refund_id, payment_id, amount, status, transaction_key, COALESCE(ended_us, 0) FROM refund"
            f" WHERE payment_id IN ({marks(part)}) ORDER BY payment_id, seq",
            part,
        ):
            refunds[row[1]].append(RefundFact(*row))
        found += [PaymentFact(*(*row, tuple(refunds[row[0]]))) for row in rows]
    return found


async def mark(tx: Tx) -> Mark:
    """How far reconciliation is."""
    row = await tx.one("SELECT upto_us, done_us, until_us FROM reconcile_mark WHERE id = 1")
    if row is None:
        raise AssertionError("the mark is made with its table")
    return Mark(*row)


async def claim(tx: Tx, seen: Mark, token: str, until_us: int) -> bool:
    """Take the lease, if the mark still is as it was seen."""
    row = await tx.one(f"SELECT token FROM reconcile_mark WHERE id = 1 {LOCK}")
    if row == (token,):
        return True  # an earlier run of this transaction did, and its reply was lost
    sql = (
        "UPDATE reconcile_mark SET token = ?, until_us = ?"
        " WHERE id = 1 AND upto_us = ? AND done_us = ? AND until_us = ?"
    )
    return await tx.run(sql, (token, until_us, seen.upto_us, seen.done_us, seen.until_us)) == 1


async def hold(tx: Tx, token: str, until_us: int) -> bool:
    """Keep the lease for longer. False where it is another's by now."""
    return await tx.run("UPDATE reconcile_mark SET until_us = ? WHERE id = 1 AND token = ?", (until_us, token)) == 1


async def finish(tx: Tx, token: str, upto_us: int, done_us: int | None) -> bool:
    """Remember how far all was compared, and give the lease back; `done_us` where that was the whole."""
    sets, values = ("done_us = ?,", [done_us]) if done_us is not None else ("", [])
    sql = f"UPDATE reconcile_mark SET {sets} upto_us = ?, token = '', until_us = 0 WHERE id = 1 AND token = ?"
    return await tx.run(sql, [*values, upto_us, token]) == 1


async def known(tx: Tx, seen: Iterable[Mismatch]) -> dict[tuple[Kind, str], Kept]:
    """Those of these mismatches that are kept, by kind and subject."""
    subjects = sorted({each.subject for each in seen})
    rows = await tx.all(f"SELECT {_KEPT} FROM mismatch WHERE subject IN ({marks(subjects)})", subjects)
    return {(each.seen.kind, each.seen.subject): each for each in map(_kept, rows)}


async def within(tx: Tx, span: Span) -> list[Mismatch]:
    """Those that are kept of a span."""
    rows = await tx.all(
        f"SELECT {_KEPT} FROM mismatch WHERE at_us >= ? AND at_us < ? ORDER BY at_us, subject, kind",
        (span.from_us, span.before_us),
    )
    return [each.seen for each in map(_kept, rows)]


async def again(tx: Tx, now_us: int, left_before_us: int, limit: int) -> list[Kept]:
    """Those to be looked at again that were not yet: what a human must look at less often. The longest ago first."""
    rows = await tx.all(
        f"SELECT {_KEPT} FROM mismatch WHERE checked_us < ? AND (state <> ? OR checked_us < ?)"
        " ORDER BY checked_us LIMIT ?",
        (now_us, State.LEFT, left_before_us, limit),
    )
    return list(map(_kept, rows))


async def keep(tx: Tx, kept: Kept, *, new: bool) -> None:
    """Store a mismatch, or what is known of it now."""
    if new:
        seen = msgspec.structs.astuple(kept.seen)
        row = (kept.mismatch_id, *seen, kept.state, kept.detail, kept.found_us, kept.checked_us, kept.told_us)
        await tx.insert("mismatch", _KEPT, [row])
        return
    await tx.write(
        "UPDATE mismatch SET at_us = ?, pg_won = ?, our_won = ?, state = ?, detail = ?, checked_us = ?, told_us = ?"
        " WHERE subject = ? AND kind = ?",
        (
            kept.seen.at_us, kept.seen.pg_won, kept.seen.our_won, kept.state, kept.detail, kept.checked_us,
            kept.told_us, kept.seen.subject, kept.seen.kind,
        ),
    )  # fmt: skip


async def drop(tx: Tx, seen: Mismatch) -> None:
    """It is a mismatch no more."""
    await tx.write("DELETE FROM mismatch WHERE subject = ? AND kind = ?", (seen.subject, seen.kind))


async def left(tx: Tx) -> dict[str, int]:
    """How many a human must look at, by kind."""
    rows = await tx.all("SELECT kind, COUNT(*) FROM mismatch WHERE state = ? GROUP BY kind", (State.LEFT,))
    return dict(rows)


def _kept(row: tuple[object, ...]) -> Kept:
    mismatch_id, *seen, state, detail, found_us, checked_us, told_us = row
    facts = dict(zip(Mismatch.__struct_fields__, seen, strict=True))
    return msgspec.convert(
        {
            "mismatch_id": mismatch_id, "seen": facts, "state": state, "detail": detail, "found_us": found_us,
            "checked_us": checked_us, "told_us": told_us,
        },
        Kept,
    )  # fmt: skip
