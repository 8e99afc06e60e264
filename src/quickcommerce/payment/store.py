"""The payments of store B as rows: every statement of the payment feature."""

from collections.abc import Collection, Iterable, Mapping

import msgspec

from quickcommerce.kit.db import LOCK, Params, Tx, marks
from quickcommerce.kit.ids import OrderId, PaymentId
from quickcommerce.kit.sql import both
from quickcommerce.payment.model import Asked, Ended, Status

NEVER_US = 2**62
"""A due time that does not come: nothing is to be done by itself."""


class Payment(msgspec.Struct, frozen=True):
    """A payment as stored. Money is won; times are microseconds UTC.

    `due_us` is when the due loop may take it: the end of a lease while CAPTURING, the next try while UNKNOWN or RETRY.
    `unknown_us` is since when money may be on its way without our knowing, 0 if that cannot be. `version`
    counts its events. `deposit_us` is until when goods are held for a deposit, 0 where none was awaited.
    `captured_us` is when the money came, 0 before. `refunding` won are owed back and not known to be
    back yet; `refunded` are back.
    """

    payment_id: PaymentId
    order_id: OrderId
    user_id: int
    amount: int
    title: str
    status: Status
    version: int
    captured: int
    refunded: int
    expires_us: int
    payment_key: str | None
    attempt: int
    tries: int
    declines: int
    unknown_us: int
    due_us: int
    lease_token: str
    trace: str
    created_us: int
    updated_us: int
    captured_us: int
    refunding: int
    deposit_us: int = 0


class Attempt(msgspec.Struct, frozen=True):
    """One attempt to capture. `outcome` is None until it is over. `secret` is what the PG gave with the capture, and
    says again in each webhook of it; empty where it has told none.
    """

    payment_id: PaymentId
    attempt: int
    payment_key: str
    idempotency_key: str
    outcome: Ended | None
    code: str | None
    message: str | None
    started_us: int
    ended_us: int | None
    secret: str = ""

    def asked(self, amount: int) -> Asked:
        """What the PG is asked, the same each time it is asked."""
        return Asked(self.payment_key, self.payment_id, amount, self.idempotency_key)


Whole = tuple[Payment, list[Attempt]]
"""A payment, and its attempts in order."""

_COLUMNS = ", ".join(Payment.__struct_fields__)
_ATTEMPT = ", ".join(Attempt.__struct_fields__)
_CHANGING = (
    "status", "version", "captured", "refunded", "payment_key", "attempt", "tries", "declines", "unknown_us", "due_us",
    "lease_token", "trace", "updated_us", "captured_us", "refunding",
    "deposit_us",
)  # fmt: skip
_MOVE = (
    f"UPDATE payment SET {', '.join(f'{name} = ?' for name in _CHANGING)}"
    " WHERE payment_id = ? AND status = ? AND version = ? AND lease_token = ?"
)
DUE = (Status.CAPTURING, Status.UNKNOWN, Status.RETRY, Status.AWAITING_DEPOSIT)
_DUE = "('" + "', '".join(DUE) + "')"


def _payment(row: tuple[object, ...]) -> Payment:
    return msgspec.convert(dict(zip(Payment.__struct_fields__, row, strict=True)), Payment)


async def insert(tx: Tx, payments: Iterable[Payment]) -> None:
    """Store new payments. One for an order that has one already is refused by the unique index on the order."""
    await tx.insert("payment", _COLUMNS, [msgspec.structs.astuple(payment) for payment in payments])


async def of_orders(tx: Tx, order_ids: Collection[OrderId], *, locked: bool = False) -> dict[OrderId, Payment]:
    """Payments by order id; `locked` keeps them as read until the transaction's end."""
    ids = sorted(order_ids)
    if not ids:
        return {}
    if locked:
        found = await tx.all(f"SELECT payment_id FROM payment WHERE order_id IN ({marks(ids)})", ids)
        payments = await _named(tx, [payment_id for (payment_id,) in found], locked=True)
    else:
        rows = await tx.all(f"SELECT {_COLUMNS} FROM payment WHERE order_id IN ({marks(ids)}) ORDER BY order_id", ids)
        payments = list(map(_payment, rows))
    return {payment.order_id: payment for payment in payments}


async def _named(tx: Tx, payment_ids: Iterable[PaymentId], *, locked: bool) -> list[Payment]:
    """Payments; locked in the order of their ids, as by everybody: another index would give another order."""
    ids = sorted(payment_ids)
    if not ids:
        return []
    where = f"payment_id IN ({marks(ids)}) ORDER BY payment_id {LOCK if locked else ''}"
    return list(map(_payment, await tx.all(f"SELECT {_COLUMNS} FROM payment WHERE {where}", ids)))


async def lock(tx: Tx, payment_ids: Iterable[PaymentId]) -> None:
    """Keep payments for this transaction, in the order of their ids."""
    ids = sorted(set(payment_ids))
    await tx.all(f"SELECT payment_id FROM payment WHERE payment_id IN ({marks(ids)}) ORDER BY payment_id {LOCK}", ids)


async def get(tx: Tx, payment_id: PaymentId, *, locked: bool = False) -> Payment | None:
    """A payment, or None."""
    row = await tx.one(f"SELECT {_COLUMNS} FROM payment WHERE payment_id = ? {LOCK if locked else ''}", (payment_id,))
    return _payment(row) if row else None


async def attempts(tx: Tx, payment_id: PaymentId) -> list[Attempt]:
    """The attempts of a payment, in order."""
    return (await attempts_of(tx, [payment_id]))[payment_id]


async def attempts_of(tx: Tx, payment_ids: Iterable[PaymentId]) -> dict[PaymentId, list[Attempt]]:
    """The attempts of each of these payments, in order."""
    found: dict[PaymentId, list[Attempt]] = {payment_id: [] for payment_id in sorted(payment_ids)}
    if not found:
        return {}
    where = f"payment_id IN ({marks(list(found))}) ORDER BY payment_id, attempt"
    for row in await tx.all(f"SELECT {_ATTEMPT} FROM payment_attempt WHERE {where}", list(found)):
        attempt = msgspec.convert(dict(zip(Attempt.__struct_fields__, row, strict=True)), Attempt)
        found[attempt.payment_id].append(attempt)
    return found


async def whole(tx: Tx, payment_ids: Collection[PaymentId], *, locked: bool = False) -> dict[PaymentId, Whole]:
    """Payments with their attempts in order; those that do not exist are left out."""
    # The attempts behind the lock: whoever has it is the only one who begins or ends any.
    payments, found = await both(tx, _named(tx, payment_ids, locked=locked), attempts_of(tx, payment_ids))
    return {payment.payment_id: (payment, found[payment.payment_id]) for payment in payments}


async def start(tx: Tx, begun: Iterable[Attempt]) -> None:
    """Commit to attempts before the PG is called."""
    await tx.insert("payment_attempt", _ATTEMPT, [msgspec.structs.astuple(attempt) for attempt in begun])


async def end(
    tx: Tx, payment_id: PaymentId, attempt: int, outcome: Ended, code: str | None, message: str | None, at_us: int,
    secret: str = "",
) -> None:  # fmt: skip
    """Write what came of an attempt. One that took no money when last seen may still be captured, never the reverse.

    A later reading that says the same does not move the end. `secret`: of the capture, where the PG told it.
    """
    await tx.write(
        # `ended_us` first: MariaDB sets one after another, and each sees those before it.
        "UPDATE payment_attempt SET ended_us = CASE WHEN outcome = ? THEN ended_us ELSE ? END,"
        " outcome = ?, code = ?, message = ?, secret = ?"
        " WHERE payment_id = ? AND attempt = ? AND (outcome IS NULL OR outcome <> ?)",
        (
            outcome, at_us, outcome, code and code[:100], message and message[:600], secret, payment_id, attempt,
            Ended.CAPTURED,
        ),
    )  # fmt: skip


async def move(tx: Tx, old: Payment, new: Payment) -> None:
    """Change a payment. It must still be as `old` was read: same status, same version, same lease."""
    await tx.write(_MOVE, _moved(old, new), rows=1)


async def move_if_same(tx: Tx, old: Payment, new: Payment) -> bool:
    """As `move`; returns whether it still was as `old` was read."""
    return await tx.run(_MOVE, _moved(old, new)) == 1


def _moved(old: Payment, new: Payment) -> Params:
    return [*(getattr(new, name) for name in _CHANGING), old.payment_id, old.status, old.version, old.lease_token]


async def hurry(tx: Tx, payment_id: PaymentId, now_us: int) -> None:
    """A payment that is unknown or awaits a deposit, and waits for its time, is due now; what is worked on is not."""
    await tx.write(
        "UPDATE payment SET due_us = ? WHERE payment_id = ? AND status IN (?, ?) AND lease_token = '' AND due_us > ?",
        (now_us, payment_id, Status.UNKNOWN, Status.AWAITING_DEPOSIT, now_us),
    )


async def learn(tx: Tx, payment_id: PaymentId, attempt: int, secret: str) -> None:
    """Remember the secret that came with an attempt which has no end yet."""
    await tx.write(
        "UPDATE payment_attempt SET secret = ? WHERE payment_id = ? AND attempt = ?", (secret, payment_id, attempt)
    )


async def owe(tx: Tx, payment_id: PaymentId, amount: int) -> bool:
    """Count `amount` won as owed back, if so much of the captured money is neither back nor owed already."""
    return (
        await tx.run(
            "UPDATE payment SET refunding = refunding + ?"
            " WHERE payment_id = ? AND captured - refunded - refunding >= ?",
            (amount, payment_id, amount),
        )
        == 1
    )


async def due(tx: Tx, now_us: int, limit: int, longest_us: Mapping[Status, int] | None = None) -> list[Payment]:
    """Payments to be looked at now, the longest due first, locked.

    `longest_us`: the longest that a payment may wait in a status; one that is due later than that is due now.
    """
    longest = longest_us or {}
    sql, values = f"status IN {_DUE} AND due_us <= ?", list[object]([now_us])
    for status, us in longest.items():
        sql += " OR status = ? AND due_us > ? AND due_us < ?"
        values += [status, now_us + us, NEVER_US]
    found = await tx.all(f"SELECT payment_id FROM payment WHERE {sql} ORDER BY due_us LIMIT ?", [*values, limit])
    payments = await _named(tx, [payment_id for (payment_id,) in found], locked=True)

    def still(payment: Payment) -> bool:
        # Somebody may have taken one between the look and the lock.
        ahead = now_us + longest.get(payment.status, NEVER_US) < payment.due_us < NEVER_US
        return payment.status in DUE and (payment.due_us <= now_us or ahead)

    return sorted(filter(still, payments), key=lambda payment: payment.due_us)


async def count(tx: Tx) -> int:
    """How many payments there are."""
    row = await tx.one("SELECT COUNT(*) FROM payment")
    return row[0] if row else 0
