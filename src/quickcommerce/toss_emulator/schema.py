"""The tables of the ledger's file, and how one of an earlier version comes to have them."""

import sqlite3
from typing import Final

SCHEMA: Final = (
    """CREATE TABLE IF NOT EXISTS payment (
        payment_key TEXT PRIMARY KEY,
        order_id TEXT NOT NULL,
        order_name TEXT NOT NULL,
        amount INTEGER NOT NULL,
        method TEXT NOT NULL,
        status TEXT NOT NULL,
        secret TEXT NOT NULL,
        authenticated_at INTEGER NOT NULL,
        approved_at INTEGER,
        transaction_key TEXT,
        failure_code TEXT,
        customer_name TEXT NOT NULL DEFAULT '',
        valid_hours INTEGER,
        account_number TEXT,
        due_at INTEGER
    )""",
    "CREATE INDEX IF NOT EXISTS payment_order ON payment (order_id)",
    "CREATE INDEX IF NOT EXISTS payment_status ON payment (status)",
    # Money that moved, appended and never changed: what the shop's books are checked against. A reversal takes a
    # deposit back; a void ends what no money was paid for, and so moves none.
    """CREATE TABLE IF NOT EXISTS movement (
        transaction_key TEXT PRIMARY KEY,
        payment_key TEXT NOT NULL REFERENCES payment,
        kind TEXT NOT NULL CHECK (kind IN ('capture', 'cancel', 'reversal', 'void')),
        amount INTEGER NOT NULL CHECK (amount > 0),
        at INTEGER NOT NULL
    )""",
    "CREATE INDEX IF NOT EXISTS movement_payment ON movement (payment_key)",
    # What a cancel says beside its movement: why, and what could be cancelled after it.
    """CREATE TABLE IF NOT EXISTS cancel (
        transaction_key TEXT PRIMARY KEY REFERENCES movement,
        reason TEXT NOT NULL,
        left_over INTEGER NOT NULL CHECK (left_over >= 0)
    )""",
    """CREATE TABLE IF NOT EXISTS kept_answer (
        scope BLOB PRIMARY KEY,
        status INTEGER NOT NULL,
        media_type TEXT NOT NULL,
        body BLOB NOT NULL,
        at INTEGER NOT NULL
    )""",
    """CREATE TABLE IF NOT EXISTS call (
        id INTEGER PRIMARY KEY,
        kind TEXT NOT NULL,
        order_id TEXT,
        payment_key TEXT,
        outcome TEXT NOT NULL,
        at INTEGER NOT NULL
    )""",
    # News for the shop, written with what it tells of and kept after it was delivered.
    """CREATE TABLE IF NOT EXISTS webhook (
        id INTEGER PRIMARY KEY,
        transmission_id TEXT NOT NULL UNIQUE,
        event_type TEXT NOT NULL,
        payment_key TEXT NOT NULL REFERENCES payment,
        order_id TEXT NOT NULL,
        status TEXT NOT NULL,
        body BLOB NOT NULL,
        created_at INTEGER NOT NULL,
        due_at INTEGER NOT NULL,
        tries INTEGER NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('waiting', 'held', 'released', 'delivered', 'failed'))
    )""",
    "CREATE INDEX IF NOT EXISTS webhook_due ON webhook (state, due_at)",
    "CREATE TABLE IF NOT EXISTS webhook_target (id INTEGER PRIMARY KEY CHECK (id = 1), url TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS clock (id INTEGER PRIMARY KEY CHECK (id = 1), ahead_us INTEGER NOT NULL)",
)

_TO_ACCOUNTS: Final = (
    "ALTER TABLE payment ADD COLUMN customer_name TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE payment ADD COLUMN valid_hours INTEGER",
    "ALTER TABLE payment ADD COLUMN account_number TEXT",
    "ALTER TABLE payment ADD COLUMN due_at INTEGER",
    # A CHECK cannot be changed in place.
    """CREATE TABLE movement_now (
        transaction_key TEXT PRIMARY KEY,
        payment_key TEXT NOT NULL REFERENCES payment,
        kind TEXT NOT NULL CHECK (kind IN ('capture', 'cancel', 'reversal', 'void')),
        amount INTEGER NOT NULL CHECK (amount > 0),
        at INTEGER NOT NULL
    )""",
    """INSERT INTO movement_now (rowid, transaction_key, payment_key, kind, amount, at)
        SELECT rowid, transaction_key, payment_key, kind, amount, at FROM movement""",
    "DROP TABLE movement",
    "ALTER TABLE movement_now RENAME TO movement",
)
"""From the version that knew no virtual accounts."""


def prepare(connection: sqlite3.Connection) -> None:
    """Make the tables that are missing, and bring those of an earlier version to the present one."""
    columns = {row[1] for row in connection.execute("PRAGMA table_info(payment)")}
    if columns and "due_at" not in columns:
        for statement in _TO_ACCOUNTS:
            connection.execute(statement)
    for statement in SCHEMA:
        connection.execute(statement)
