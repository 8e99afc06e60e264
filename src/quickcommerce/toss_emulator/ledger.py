"""The PG's books: every statement that reads or writes the ledger. Callers run them inside `Store.run`."""

import sqlite3
from collections import defaultdict
from typing import Any, Final, Literal

import msgspec

from quickcommerce.toss_emulator.cancel import Cancel
from quickcommerce.toss_emulator.clock import utc
from quickcommerce.toss_emulator.payment import CONFIRM_WITHIN_US, Payment, lapses_at, status_at
from quickcommerce.toss_emulator.transactions import Transaction
from quickcommerce.toss_emulator.webhook_store import Webhooks
from quickcommerce.toss_emulator.webhooks import news

Kind = Literal["confirm", "get", "cancel", "transactions", "webhook"]

_WAITING: Final = "status = 'WAITING_FOR_DEPOSIT' AND due_at > ?"
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

    def payment_of(self, order_id: str, now_us: int) -> Payment | None:
        """The order's payment: the captured one, else one that waits for its deposit, else the last authenticated."""
        row = self._execute(
            f"SELECT {_COLUMNS} FROM payment WHERE order_id = ?"
            f" ORDER BY approved_at IS NULL, NOT ({_WAITING}), rowid DESC LIMIT 1",
            (order_id, now_us),
        ).fetchone()
        return Payment(*row) if row else None

    def order_paid(self, order_id: str, now_us: int) -> bool:
        """Whether any payment of the order has captured, or waits for its deposit."""
        row = self._execute(
            f"SELECT 1 FROM payment WHERE order_id = ? AND (approved_at IS NOT NULL OR {_WAITING})", (order_id, now_us)
        )
        return row.fetchone() is not None

    def add(self, payment: Payment) -> bool:
        """Enter a new payment; False when its key is taken."""
        places = ", ".join("?" * len(payment.__struct_fields__))
        statement = f"INSERT OR IGNORE INTO payment ({_COLUMNS}) VALUES ({places})"
        return self._execute(statement, msgspec.structs.astuple(payment)).rowcount == 1

    def open_account(self, issued: Payment) -> None:
        """Enter that a payment in progress has a virtual account; it is given as it is now."""
        self._execute(
            "UPDATE payment SET status = ?, account_number = ?, due_at = ? WHERE payment_key = ?",
            (issued.status, issued.account_number, issued.due_at, issued.payment_key),
        )

    def capture(self, captured: Payment, at_us: int) -> None:
        """Enter that a payment was captured, or a deposit made; it is given as it is now."""
        self._move(captured, "capture", at_us)

    def turn_around(self, waiting: Payment, at_us: int) -> None:
        """Enter that a deposit was taken back; the payment is given as it is now."""
        self._move(waiting, "reversal", at_us)

    def moves(self, payment_key: str) -> int:
        """How often money moved for a payment."""
        row = self._execute("SELECT COUNT(*) FROM movement WHERE payment_key = ?", (payment_key,)).fetchone()
        return int(row[0])

    def _move(self, payment: Payment, kind: str, at_us: int) -> None:
        self._execute(
            "UPDATE payment SET status = ?, approved_at = ?, transaction_key = ? WHERE payment_key = ?",
            (payment.status, payment.approved_at, payment.transaction_key, payment.payment_key),
        )
        self._execute(
            "INSERT INTO movement (transaction_key, payment_key, kind, amount, at) VALUES (?, ?, ?, ?, ?)",
            (payment.transaction_key, payment.payment_key, kind, payment.amount, at_us),
        )
        self._tell(payment, at_us)

    def cancels(self, payment_key: str) -> list[Cancel]:
        """What went back of a payment, in order."""
        rows = self._execute(
            "SELECT transaction_key, amount, reason, left_over, at FROM movement JOIN cancel USING (transaction_key)"
            " WHERE payment_key = ? ORDER BY movement.rowid",
            (payment_key,),
        )
        return [Cancel(*row) for row in rows]

    def cancel(self, cancelled: Payment, cancel: Cancel) -> None:
        """Enter that money went back, or that none is to come; the payment is given as it is after that."""
        kind = "void" if cancelled.approved_at is None else "cancel"
        self._execute("UPDATE payment SET status = ? WHERE payment_key = ?", (cancelled.status, cancelled.payment_key))
        self._execute(
            "INSERT INTO movement (transaction_key, payment_key, kind, amount, at) VALUES (?, ?, ?, ?, ?)",
            (cancel.transaction_key, cancelled.payment_key, kind, cancel.amount, cancel.at),
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
            "SELECT movement.transaction_key, payment_key, order_id, method, kind, movement.amount, left_over, at"
            " FROM movement JOIN payment USING (payment_key)"
            " LEFT JOIN cancel ON cancel.transaction_key = movement.transaction_key"
            " WHERE kind <> 'void' AND movement.rowid > ? AND at >= ? AND at < ? ORDER BY movement.rowid LIMIT ?",
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
            " OR status = 'WAITING_FOR_DEPOSIT' AND due_at <= ? ORDER BY authenticated_at, rowid",
            (now_us - CONFIRM_WITHIN_US, now_us),
        ).fetchall()
        for row in rows:
            lapsed = Payment(*row)
            expired = msgspec.structs.replace(lapsed, status="EXPIRED")
            self._execute("UPDATE payment SET status = 'EXPIRED' WHERE payment_key = ?", (expired.payment_key,))
            moved_us = self._execute(
                "SELECT COALESCE(MAX(at), 0) FROM movement WHERE payment_key = ?", (expired.payment_key,)
            ).fetchone()[0]
            # A deposit may be taken back after the due date: it ends then, not before.
            self._tell(expired, max(lapses_at(lapsed) or now_us, moved_us))

    def next_expiry(self) -> int | None:
        """When the next payment's time will have passed."""
        row = self._execute(
            "SELECT MIN(CASE status WHEN 'IN_PROGRESS' THEN authenticated_at + ? ELSE due_at END) FROM payment"
            " WHERE status IN ('IN_PROGRESS', 'WAITING_FOR_DEPOSIT')",
            (CONFIRM_WITHIN_US,),
        ).fetchone()
        return None if row[0] is None else int(row[0])

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
            if kind == "reversal":
                # What was taken back was no capture, and is not to be counted as one.
                mistaken = moved[key, "capture"].pop()
                moved[key, kind].append({"amount": amount, "capturedAt": mistaken["at"], "at": utc(at)})
            else:
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
                | ({"reversals": taken_back} if (taken_back := moved[payment.payment_key, "reversal"]) else {})
                for payment in payments
            ],
            "calls": [
                {"kind": kind, "orderId": order_id, "paymentKey": key, "outcome": outcome, "at": utc(at)}
                for kind, order_id, key, outcome, at in calls
            ],
        }
