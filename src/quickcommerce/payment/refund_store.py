"""The refunds of store B as rows."""

import msgspec

from quickcommerce.kit.db import LOCK, Tx, marks
from quickcommerce.kit.ids import PaymentId, RefundId
from quickcommerce.payment.refund_model import RefundStatus, Tried
from quickcommerce.payment.store import NEVER_US


class Refund(msgspec.Struct, frozen=True):
    """Money owed back, as stored. `amount` is won; times are microseconds UTC.

    The refunds of a payment are worked on in the order of `seq`: `due_us` of all but the first that is PENDING never
    comes. `cause` is the event that asks for it, or the refund's own id; `asked_by` the user who does, 0 for the shop
    and for what the PG gave back without being asked.
    `answered` is the status that a request with an Idempotency-Key was answered with, empty until then; until
    `claimed_us` that request may still be running.
    """

    refund_id: RefundId
    payment_id: PaymentId
    seq: int
    amount: int
    reason: str
    restock: bool
    status: RefundStatus
    cause: str
    asked_by: int
    attempt: int
    tries: int
    due_us: int
    lease_token: str
    claimed_us: int
    answered: str
    transaction_key: str
    code: str | None
    message: str | None
    trace: str
    created_us: int
    updated_us: int
    ended_us: int | None


class RefundAttempt(msgspec.Struct, frozen=True):
    """One request to the PG for a refund. `outcome` is None while no answer has said what came of it."""

    refund_id: RefundId
    attempt: int
    idempotency_key: str
    outcome: Tried | None
    code: str | None
    message: str | None
    started_us: int
    ended_us: int | None


_COLUMNS = ", ".join(Refund.__struct_fields__)
_ATTEMPT = ", ".join(RefundAttempt.__struct_fields__)
_CHANGING = (
    "amount", "status", "attempt", "tries", "due_us", "lease_token", "transaction_key", "code", "message", "updated_us",
    "ended_us",
)  # fmt: skip


def _refund(row: tuple[object, ...]) -> Refund:
    facts = dict(zip(Refund.__struct_fields__, row, strict=True))
    return msgspec.convert(facts | {"restock": bool(facts["restock"])}, Refund)


async def insert(tx: Tx, refund: Refund) -> None:
    """Store a new refund. A second one for the same cause, or with the same number, is refused by its index."""
    await tx.insert("refund", _COLUMNS, [msgspec.structs.astuple(refund)])


async def get(tx: Tx, refund_id: RefundId, *, locked: bool = False) -> Refund | None:
    """A refund, or None."""
    row = await tx.one(f"SELECT {_COLUMNS} FROM refund WHERE refund_id = ? {LOCK if locked else ''}", (refund_id,))
    return _refund(row) if row else None


async def of_payment(tx: Tx, payment_id: PaymentId) -> list[Refund]:
    """The refunds of a payment, in order."""
    rows = await tx.all(f"SELECT {_COLUMNS} FROM refund WHERE payment_id = ? ORDER BY seq", (payment_id,))
    return [_refund(row) for row in rows]


async def existing(tx: Tx, refund_id: RefundId, *, locked: bool = False) -> Refund:
    """A refund that is there."""
    refund = await get(tx, refund_id, locked=locked)
    if refund is None:
        raise AssertionError(f"there is no {refund_id}")
    return refund


async def due(
    tx: Tx, now_us: int, limit: int, payment_id: PaymentId | None = None, longest_us: int = NEVER_US
) -> list[Refund]:
    """Refunds (of one payment, or of any) to be worked on now, the longest due first, locked.

    Also those that are due later than in `longest_us`, and were put off at a time that is yet to come: by a clock that
    has been set back since.
    """
    late_us = now_us + longest_us
    mine, names = ("AND payment_id = ?", [payment_id]) if payment_id else ("", [])
    found = await tx.all(
        "SELECT refund_id FROM refund WHERE status = ?"
        f" AND (due_us <= ? OR (due_us > ? AND due_us < ? AND updated_us > ?)) {mine} ORDER BY due_us LIMIT ?",
        [RefundStatus.PENDING, now_us, late_us, NEVER_US, now_us, *names, limit],
    )
    # Locked by their ids, as by everybody; and somebody may have taken one between the look and the lock.
    ids = sorted(refund_id for (refund_id,) in found)
    rows = await tx.all(
        f"SELECT {_COLUMNS} FROM refund WHERE refund_id IN ({marks(ids)}) ORDER BY refund_id {LOCK}", ids
    )

    def still(refund: Refund) -> bool:
        ahead = late_us < refund.due_us < NEVER_US and refund.updated_us > now_us
        return refund.status is RefundStatus.PENDING and (refund.due_us <= now_us or ahead)

    return sorted(filter(still, map(_refund, rows)), key=lambda refund: refund.due_us)


async def move(tx: Tx, new: Refund, lease_token: str) -> bool:
    """Change a refund, if it is still owed and its lease is this one. Returns whether it was."""
    sets = ", ".join(f"{name} = ?" for name in _CHANGING)
    return (
        await tx.run(
            f"UPDATE refund SET {sets} WHERE refund_id = ? AND status = ? AND lease_token = ?",
            [*(getattr(new, name) for name in _CHANGING), new.refund_id, RefundStatus.PENDING, lease_token],
        )
        == 1
    )


async def wake_next(tx: Tx, payment_id: PaymentId, now_us: int) -> None:
    """The first refund of a payment that is still owed is due from now on."""
    row = await tx.one(
        "SELECT MIN(seq) FROM refund WHERE payment_id = ? AND status = ?", (payment_id, RefundStatus.PENDING)
    )
    if row and row[0] is not None:
        await tx.write(
            "UPDATE refund SET due_us = ? WHERE payment_id = ? AND seq = ? AND due_us = ?",
            (now_us, payment_id, row[0], NEVER_US),
        )


async def hurry(tx: Tx, payment_id: PaymentId, now_us: int) -> None:
    """What is owed of a payment and waits for its time is due now; what is worked on, or waits for another, is not."""
    await tx.write(
        "UPDATE refund SET due_us = ? WHERE payment_id = ? AND status = ? AND lease_token = '' AND due_us > ?"
        " AND due_us < ?",
        (now_us, payment_id, RefundStatus.PENDING, now_us, NEVER_US),
    )


async def claim(tx: Tx, refund_id: RefundId, until_us: int) -> None:
    """A request works under this refund's key until then."""
    await tx.write("UPDATE refund SET claimed_us = ? WHERE refund_id = ? AND answered = ''", (until_us, refund_id))


async def answer(tx: Tx, refund_id: RefundId, status: RefundStatus) -> None:
    """Keep what a request is answered with, if no other was answered before."""
    await tx.write("UPDATE refund SET answered = ? WHERE refund_id = ? AND answered = ''", (status, refund_id))


async def attempts(tx: Tx, refund_id: RefundId) -> list[RefundAttempt]:
    """The requests for a refund, in order."""
    rows = await tx.all(f"SELECT {_ATTEMPT} FROM refund_attempt WHERE refund_id = ? ORDER BY attempt", (refund_id,))
    return [
        msgspec.convert(dict(zip(RefundAttempt.__struct_fields__, row, strict=True)), RefundAttempt) for row in rows
    ]


async def start(tx: Tx, attempt: RefundAttempt) -> None:
    """Commit to a request before the PG is called."""
    await tx.insert("refund_attempt", _ATTEMPT, [msgspec.structs.astuple(attempt)])


async def end(tx: Tx, refund: Refund, outcome: Tried) -> None:
    """Write what came of a refund's last request. One that moved no money when last seen may have after all."""
    await tx.write(
        "UPDATE refund_attempt SET outcome = ?, code = ?, message = ?, ended_us = ?"
        " WHERE refund_id = ? AND attempt = ? AND (outcome IS NULL OR ? = ?)",
        (
            outcome, refund.code, refund.message, refund.updated_us, refund.refund_id, refund.attempt,
            outcome, Tried.DONE,
        ),
    )  # fmt: skip
