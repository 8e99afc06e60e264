"""Webhooks in the ledger: every statement about where they go and which are still to be sent."""

import hashlib
import sqlite3
from typing import Any, Final

from quickcommerce.toss_emulator.clock import utc
from quickcommerce.toss_emulator.payment import Payment
from quickcommerce.toss_emulator.webhooks import RETRY_AFTER_US, News, Webhook

_COLUMNS: Final = ", ".join(Webhook.__struct_fields__)
_OPEN: Final = "state IN ('waiting', 'released')"


class Webhooks:
    """The webhooks behind one open connection; times in microseconds UTC."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._execute = connection.execute

    def target(self) -> str | None:
        """The address to which webhooks go; None: nobody wants any."""
        row = self._execute("SELECT url FROM webhook_target").fetchone()
        return row[0] if row else None

    def set_target(self, url: str | None) -> None:
        """Where webhooks go from now on, those too that are still to be sent; None forgets these."""
        if url is None:
            self._execute("DELETE FROM webhook_target")
            self._execute("DELETE FROM webhook WHERE state NOT IN ('delivered', 'failed')")
        else:
            self._execute("INSERT OR REPLACE INTO webhook_target (id, url) VALUES (1, ?)", (url,))

    def add(self, news: News, payment: Payment, at_us: int) -> None:
        """Have news of a payment sent."""
        row = self._execute("SELECT COALESCE(MAX(id), 0) + 1 FROM webhook").fetchone()
        name = f"{payment.payment_key}/{row[0]}"
        self._execute(
            "INSERT INTO webhook (id, transmission_id, event_type, payment_key, order_id, status, body, created_at,"
            " due_at, tries, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 'waiting')",
            (
                row[0],
                hashlib.blake2s(name.encode(), digest_size=16).hexdigest(),
                news.event_type,
                payment.payment_key,
                payment.order_id,
                payment.status,
                news.body,
                at_us,
                at_us,
            ),
        )

    def due(self, now_us: int, most: int) -> list[Webhook]:
        """So many of those that are to be sent now, in the order in which they became due."""
        rows = self._execute(
            f"SELECT {_COLUMNS} FROM webhook WHERE {_OPEN} AND due_at <= ? ORDER BY due_at, id LIMIT ?", (now_us, most)
        )
        return [Webhook(*row) for row in rows]

    def next_at(self, now_us: int) -> int | None:
        """When the next one after those becomes due."""
        row = self._execute(f"SELECT MIN(due_at) FROM webhook WHERE {_OPEN} AND due_at > ?", (now_us,)).fetchone()
        return None if row[0] is None else int(row[0])

    def hold(self, webhook: Webhook) -> bool:
        """Hold one back until another is delivered; False, and nothing is changed, when one is held back already."""
        if self._execute("SELECT 1 FROM webhook WHERE state = 'held'").fetchone():
            return False
        self._execute("UPDATE webhook SET state = 'held' WHERE id = ?", (webhook.id,))
        return True

    def delivered(self, webhook: Webhook, at_us: int) -> None:
        """Enter that one was delivered; one that waited for that is due now."""
        self._execute("UPDATE webhook SET state = 'delivered', tries = ? WHERE id = ?", (webhook.tries + 1, webhook.id))
        self._execute("UPDATE webhook SET state = 'released', due_at = ? WHERE state = 'held'", (at_us,))

    def failed(self, webhook: Webhook) -> None:
        """Enter a try that failed: the next is due after its time, or there is none any more.

        The time counts from when this try was due, so that moving the clock ahead makes all happen that lies between.
        """
        again = webhook.tries < len(RETRY_AFTER_US)
        due_at = webhook.due_at + RETRY_AFTER_US[webhook.tries] if again else webhook.due_at
        self._execute(
            "UPDATE webhook SET state = ?, tries = ?, due_at = ? WHERE id = ?",
            ("waiting" if again else "failed", webhook.tries + 1, due_at, webhook.id),
        )

    def catch_up(self, now_us: int) -> None:
        """Count what became due while nobody was there as due now: its later tries are still spread over days."""
        self._execute(f"UPDATE webhook SET due_at = ? WHERE {_OPEN} AND due_at < ?", (now_us, now_us))

    def everything(self) -> dict[str, Any]:
        """Where webhooks go, and each of them, as `GET /emulator/webhook` shows it."""
        rows = self._execute(
            "SELECT transmission_id, event_type, payment_key, order_id, status, created_at, state, tries, due_at"
            " FROM webhook ORDER BY id"
        )
        return {
            "url": self.target(),
            "webhooks": [
                {
                    "transmissionId": transmission_id,
                    "eventType": event_type,
                    "paymentKey": key,
                    "orderId": order_id,
                    "status": status,
                    "createdAt": utc(created_at),
                    "state": state,
                    "tries": tries,
                    "nextAt": utc(due_at) if state in ("waiting", "released") else None,
                }
                for transmission_id, event_type, key, order_id, status, created_at, state, tries, due_at in rows
            ],
        }
