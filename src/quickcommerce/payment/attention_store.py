"""What needs a human in store B, as rows: one list of payments, refunds and mismatches."""

from enum import StrEnum

import msgspec

from quickcommerce.kit.db import Tx
from quickcommerce.kit.ids import OrderId, PaymentId, RefundId
from quickcommerce.payment.model import Ended, Status
from quickcommerce.payment.reconcile_store import State
from quickcommerce.payment.refund_model import RefundStatus, Tried
from quickcommerce.payment.store import NEVER_US


class Why(StrEnum):
    """Why somebody must look."""

    REFUSED = "refused"
    """The PG refuses a refund for good. Either nobody asked for it again since, or it is still owed (PENDING) and asked
    for again by itself.
    """
    MISCONFIGURED = "misconfigured"
    """The PG refuses us: our keys or our contract are wrong. It is tried again by itself."""
    UNKNOWN = "unknown"
    """For long it has not been known whether a payment took money. It is read back by itself."""
    LATE = "late"
    """A refund has been owed for long. It is worked on by itself."""
    MISMATCH = "mismatch"
    """PG, payments and orders do not agree, and nothing that is safe would mend it, or has for long. `code` is the
    kind.
    """


class Attention(msgspec.Struct, frozen=True):
    """A payment, or a refund of one, that needs a human. `amount` is won; `code` and `message` are mostly the PG's
    words. `since_us`: since when it is so, or may be. `id` is the refund's where there is one, else the payment's, or
    that of the mismatch. `order_id` is None for money at the PG that belongs to no order.
    """

    why: Why
    id: str
    payment_id: PaymentId
    refund_id: RefundId | None
    order_id: OrderId | None
    amount: int
    status: str
    code: str | None
    message: str | None
    since_us: int


# One `?` in each part: the latest moment that is long ago.
_FOUND = f"""
SELECT CASE WHEN a.outcome = '{Ended.MISCONFIGURED}' THEN '{Why.MISCONFIGURED}' ELSE '{Why.UNKNOWN}' END AS why,
  p.payment_id AS id, p.payment_id AS payment_id, NULL AS refund_id, p.order_id AS order_id, p.amount AS amount,
  p.status AS status, a.code AS code, a.message AS message,
  CASE WHEN p.unknown_us > 0 THEN p.unknown_us ELSE (
    SELECT MIN(f.started_us) FROM payment_attempt f
    WHERE f.payment_id = p.payment_id AND f.outcome = '{Ended.MISCONFIGURED}'
  ) END AS since_us
FROM payment p JOIN payment_attempt a ON a.payment_id = p.payment_id AND a.attempt = p.attempt
WHERE p.status IN ('{Status.CAPTURING}', '{Status.UNKNOWN}', '{Status.RETRY}', '{Status.AWAITING_DEPOSIT}')
  AND (a.outcome = '{Ended.MISCONFIGURED}' OR p.unknown_us BETWEEN 1 AND ?)
UNION ALL
SELECT CASE WHEN r.status = '{RefundStatus.FAILED}' OR a.outcome = '{Tried.REFUSED}' THEN '{Why.REFUSED}'
    WHEN a.outcome = '{Tried.MISCONFIGURED}' THEN '{Why.MISCONFIGURED}' ELSE '{Why.LATE}' END,
  r.refund_id, r.payment_id, r.refund_id, p.order_id, r.amount, r.status, r.code, r.message,
  CASE WHEN r.status = '{RefundStatus.FAILED}' THEN r.ended_us ELSE r.created_us END
FROM refund r JOIN payment p ON p.payment_id = r.payment_id
  LEFT JOIN refund_attempt a ON a.refund_id = r.refund_id AND a.attempt = r.attempt
WHERE (r.status = '{RefundStatus.FAILED}' AND p.captured - p.refunded - p.refunding > 0 AND NOT EXISTS (
    SELECT 1 FROM refund later WHERE later.payment_id = r.payment_id AND later.seq > r.seq AND later.amount >= r.amount
  ))
  OR (r.status = '{RefundStatus.PENDING}' AND r.due_us < {NEVER_US}
    AND (a.outcome IN ('{Tried.MISCONFIGURED}', '{Tried.REFUSED}') OR r.created_us <= ?))
UNION ALL
SELECT '{Why.MISMATCH}', m.mismatch_id, m.payment_id, NULLIF(m.refund_id, ''), NULLIF(m.order_id, ''),
  CASE WHEN m.pg_won > m.our_won THEN m.pg_won ELSE m.our_won END, COALESCE(p.status, 'NONE'), m.kind, m.detail,
  m.found_us
FROM mismatch m LEFT JOIN payment p ON p.payment_id = m.payment_id
WHERE m.state = '{State.LEFT}' OR m.found_us <= ?
"""


async def page(tx: Tx, long_ago_us: int, after: tuple[int, str], limit: int) -> list[Attention]:
    """At most `limit` behind `after`, the longest first."""
    at, last = after
    columns = ", ".join(Attention.__struct_fields__)
    rows = await tx.all(
        f"SELECT {columns} FROM ({_FOUND}) AS found WHERE since_us > ? OR (since_us = ? AND id > ?)"
        " ORDER BY since_us, id LIMIT ?",
        (long_ago_us, long_ago_us, long_ago_us, at, at, last, limit),
    )
    return [msgspec.convert(dict(zip(Attention.__struct_fields__, row, strict=True)), Attention) for row in rows]


async def count(tx: Tx, long_ago_us: int) -> int:
    """How many there are."""
    row = await tx.one(f"SELECT COUNT(*) FROM ({_FOUND}) AS found", (long_ago_us, long_ago_us, long_ago_us))
    return row[0] if row else 0
