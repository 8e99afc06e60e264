"""The PG's books: every statement that reads or writes the ledger. Callers run them inside `Store.run`."""

import sqlite3
from collections import defaultdict
from typing import Any, Final, Literal

import msgspec

from quickcommerce.toss_emulator.cancel import Cancel
from quickcommerce.toss_emulator.clock import utc
from quickcommerce.toss_emulator.payment import CONFIRM_WITHIN_US, Payment, status_at
from quickcommerce.toss_emulator.transactions import Transaction
from quickcommerce.toss_emulator.webhook_store import Webhooks
from quickcommerce.toss_emulator.webhooks import news

Kind = Literal["confirm", "get", "cancel", "transactions", "webhook"]

_COLUMNS: Final = ", ".join(Payment.__struct_fields__)


class Books:
    """The ledger behind one open connection; times in microseconds UTC, amounts in won.

    Whatever gives a payment a new status also enters the webhooks that tell of it.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._execute = connection.execute
        self.webhooks = Webhooks(connection)

    def payment(self, payment_key: str) -> Payment | None:
        """The payment with this key."""
        row = self._execute(f"SELECT {_COLUMNS} FROM payment WHERE payment_key = ?", (payment_key,)).fetchone()
        return Payment(*row) if row else None

    def payment_of(self, order_id: str) -> Payment | None:
        """The order's payment: the captured one, else the one authenticated last."""
        row = self._execute(
            f"SELECT {_COLUMNS} FROM payment WHERE order_id = ? ORDER BY approved_at IS NULL, rowid DESC LIMIT 1",
            (order_id,),
        ).fetchone()
        return Payment(*row) if row else None

    def order_paid(self, order_id: str) -> bool:
        """Whether any payment of the order ever captured."""
        row = self._execute("SELECT 1 FROM payment WHERE order_id = ? AND approved_at IS NOT NULL", (order_id,))
        return row.fetchone() is not None

    def add(self, payment: Payment) -> bool:
        """Enter a new payment; False when its key is taken."""
        places = ", ".join("?" * len(payment.__struct_fields__))
        statement = f"INSERT OR IGNORE INTO payment ({_COLUMNS}) VALUES ({places})"
        return self._execute(statement, msgspec.structs.astuple(payment)).rowcount == 1

    def capture(self, captured: Payment, at_us: int) -> None:
        """Enter that a payment in progress was captured; it is given as it is now."""
        key = captured.transaction_key
        self._execute(
            "UPDATE payment SET status = ?, approved_at = ?, transaction_key = ? WHERE payment_key = ?",
            (captured.status, at_us, key, captured.payment_key),
        )
        self._execute(
            "INSERT INTO movement (transaction_key, payment_key, kind, amount, at) VALUES (?, ?, 'capture', ?, ?)",
            (key, captured.payment_key, captured.amount, at_us),
        )
        self._tell(captured, at_us)

    def cancels(self, payment_key: str) -> list[Cancel]:
        """What went back of a payment, in order."""
        rows = self._execute(
            "SELECT transaction_key, amount, reason, left_over, at FROM movement JOIN cancel USING (transaction_key)"
            " WHERE payment_key = ? AND kind = 'cancel' ORDER BY movement.rowid",
            (payment_key,),
        )
        return [Cancel(*row) for row in rows]

    def cancel(self, cancelled: Payment, cancel: Cancel) -> None:
        """Enter that money went back; the payment is given as it is after that."""
        self._execute("UPDATE payment SET status = ? WHERE payment_key = ?", (cancelled.status, cancelled.payment_key))
        self._execute(
            "INSERT INTO movement (transaction_key, payment_key, kind, amount, at) VALUES (?, ?, 'cancel', ?, ?)",
            (cancel.transaction_key, cancelled.payment_key, cancel.amount, cancel.at),
        )
        self._execute(
            "INSERT INTO cancel (transaction_key, reason, left_over) VALUES (?, ?, ?)",
            (cancel.transaction_key, cancel.reason, cancel.left),
        )
        self._tell(cancelled, cancel.at)

    def place_of(self, transaction_key: str, from_us: int, before_us: int) -> int | None:
        """Where a transaction of a span of time stands in the order in which all were booked."""
        row = self._execute(
            "SELECT rowid FROM movement WHERE transaction_key = ? AND at >= ? AND at < ?",
            (transaction_key, from_us, before_us),
        ).fetchone()
        return int(row[0]) if row else None

    def transactions(self, from_us: int, before_us: int, after: int, limit: int) -> list[Transaction]:
        """So many transactions of a span of time behind a place, in the order in which they were booked."""
        rows = self._execute(
            "SELECT movement.transaction_key, payment_key, order_id, method, movement.amount, left_over, at"
            " FROM movement JOIN payment USING (payment_key)"
            " LEFT JOIN cancel ON cancel.transaction_key = movement.transaction_key"
            " WHERE movement.rowid > ? AND at >= ? AND at < ? ORDER BY movement.rowid LIMIT ?",
            (after, from_us, before_us, limit),
        )
        return [Transaction(*row) for row in rows]

    def abort(self, payment: Payment, code: str, at_us: int) -> None:
        """Close a payment that is in progress as refused for good."""
        aborted = msgspec.structs.replace(payment, status="ABORTED", failure_code=code)
        self._execute(
            "UPDATE payment SET status = 'ABORTED', failure_code = ? WHERE payment_key = ?", (code, payment.payment_key)
        )
        self._tell(aborted, at_us)

    def expire(self, now_us: int) -> None:
        """Enter the end of payments whose time has passed. `status_at` tells of it before it is entered."""
        rows = self._execute(
            f"SELECT {_COLUMNS} FROM payment WHERE status = 'IN_PROGRESS' AND authenticated_at <= ?"
            " ORDER BY authenticated_at, rowid",
            (now_us - CONFIRM_WITHIN_US,),
        ).fetchall()
        for row in rows:
            expired = msgspec.structs.replace(Payment(*row), status="EXPIRED")
            self._execute("UPDATE payment SET status = 'EXPIRED' WHERE payment_key = ?", (expired.payment_key,))
            self._tell(expired, expired.authenticated_at + CONFIRM_WITHIN_US)

    def next_expiry(self) -> int | None:
        """When the next payment's time will have passed."""
        row = self._execute("SELECT MIN(authenticated_at) FROM payment WHERE status = 'IN_PROGRESS'").fetchone()
        return None if row[0] is None else int(row[0]) + CONFIRM_WITHIN_US

    def _tell(self, payment: Payment, at_us: int) -> None:
        """Enter the webhooks that tell of a payment's new status, if anybody wants them."""
        if self.webhooks.target() is not None:
            for each in news(payment, self.cancels(payment.payment_key), at_us):
                self.webhooks.add(each, payment, at_us)

    def kept_answer(self, scope: bytes, since_us: int) -> tuple[int, str, bytes] | None:
        """The first answer given under an idempotency scope after a time: status, media type, body."""
        row = self._execute(
            "SELECT status, media_type, body FROM kept_answer WHERE scope = ? AND at > ?", (scope, since_us)
        ).fetchone()
        return (row[0], row[1], row[2]) if row else None

    def keep_answer(self, scope: bytes, status: int, media_type: str, body: bytes, at_us: int) -> None:
        """Keep an answer for repeats; an older one whose time has passed is replaced."""
        self._execute(
            "INSERT OR REPLACE INTO kept_answer (scope, status, media_type, body, at) VALUES (?, ?, ?, ?, ?)",
            (scope, status, media_type, body, at_us),
        )

    def note(self, kind: Kind, order_id: str | None, payment_key: str | None, outcome: str, at_us: int) -> None:
        """Note a call that arrived at a time, and what came of it."""
        self._execute(
            "INSERT INTO call (kind, order_id, payment_key, outcome, at) VALUES (?, ?, ?, ?, ?)",
            (kind, order_id, payment_key, outcome, at_us),
        )

    def ahead_us(self) -> int:
        """How far the clock has been moved ahead."""
        row = self._execute("SELECT ahead_us FROM clock").fetchone()
        return int(row[0]) if row else 0

    def set_ahead_us(self, ahead_us: int) -> None:
        """Remember how far the clock has been moved ahead."""
        self._execute("INSERT OR REPLACE INTO clock (id, ahead_us) VALUES (1, ?)", (ahead_us,))

    def clear(self) -> None:
        """Forget everything."""
        for table in ("webhook", "webhook_target", "cancel", "movement", "payment", "kept_answer", "call", "clock"):
            self._execute(f"DELETE FROM {table}")

    def everything(self, now_us: int) -> dict[str, Any]:
        """The truth as `GET /emulator/ledger` shows it: payments with their movements, and every call."""
        moved: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
        for key, kind, amount, at in self._execute("SELECT payment_key, kind, amount, at FROM movement ORDER BY rowid"):
            moved[key, kind].append({"amount": amount, "at": utc(at)})
        payments = [Payment(*row) for row in self._execute(f"SELECT {_COLUMNS} FROM payment ORDER BY rowid")]
        calls = self._execute("SELECT kind, order_id, payment_key, outcome, at FROM call ORDER BY at, id")
        return {
            "payments": [
                {
                    "paymentKey": payment.payment_key,
                    "orderId": payment.order_id,
                    "status": status_at(payment, now_us),
                    "amount": payment.amount,
                    "captures": moved[payment.payment_key, "capture"],
                    "cancels": moved[payment.payment_key, "cancel"],
                }
                for payment in payments
            ],
            "calls": [
                {"kind": kind, "orderId": order_id, "paymentKey": key, "outcome": outcome, "at": utc(at)}
                for kind, order_id, key, outcome, at in calls
            ],
        }
