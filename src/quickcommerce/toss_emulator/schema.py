"""The tables of the ledger's file."""

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
        failure_code TEXT
    )""",
    "CREATE INDEX IF NOT EXISTS payment_order ON payment (order_id)",
    "CREATE INDEX IF NOT EXISTS payment_status ON payment (status)",
    # Money that moved, appended and never changed: what the shop's books are checked against.
    """CREATE TABLE IF NOT EXISTS movement (
        transaction_key TEXT PRIMARY KEY,
        payment_key TEXT NOT NULL REFERENCES payment,
        kind TEXT NOT NULL CHECK (kind IN ('capture', 'cancel')),
        amount INTEGER NOT NULL CHECK (amount > 0),
        at INTEGER NOT NULL
    )""",
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
