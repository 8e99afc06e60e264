"""The webhooks of store B as rows: each transmission once, until it is forgotten."""

from collections import Counter
from collections.abc import Collection, Iterable
from enum import StrEnum

import msgspec

from quickcommerce.kit.db import LOCK, Tx, marks
from quickcommerce.kit.ids import PaymentId
from quickcommerce.payment.store import NEVER_US


class State(StrEnum):
    """What became of a webhook."""

    WAITING = "waiting"
    """The payment is to be read."""
    KNOWN = "known"
    """It said what is known here, so that nothing was read."""
    READ = "read"
    """The payment was read after it came, and what that proves is written down."""
    FORGED = "forged"
    """It had not the secret of its payment. Nothing was read."""


class Webhook(msgspec.Struct, frozen=True):
    """A webhook as stored. Times are microseconds UTC, 0 where it never happened.

    `due_us` is when it may be taken: the end of a lease, or the next try; never once it has ended.
    """

    transmission_id: str
    payment_id: PaymentId
    attempt: int
    event_type: str
    status: str
    transaction_key: str
    state: State
    tries: int
    due_us: int
    lease_token: str
    came_us: int
    ended_us: int


class Key(msgspec.Struct, frozen=True):
    """A key under which the PG was asked: in which attempt, and the secret that it gave (empty: none yet)."""

    payment_id: PaymentId
    attempt: int
    payment_key: str
    secret: str


_COLUMNS = ", ".join(Webhook.__struct_fields__)
_KEY = ", ".join(Key.__struct_fields__)


async def keys(tx: Tx, payment_ids: Collection[str]) -> list[Key]:
    """The keys of these payments, in the order of their attempts."""
    ids = sorted(payment_ids)
    rows = await tx.all(
        f"SELECT {_KEY} FROM payment_attempt WHERE payment_id IN ({marks(ids)}) ORDER BY payment_id, attempt", ids
    )
    return [Key(*row) for row in rows]


async def known(tx: Tx, transmission_ids: Collection[str]) -> set[str]:
    """Those of these transmissions that came before."""
    ids = sorted(transmission_ids)
    rows = await tx.all(f"SELECT transmission_id FROM webhook WHERE transmission_id IN ({marks(ids)})", ids)
    return {transmission_id for (transmission_id,) in rows}


async def counts(tx: Tx, payment_ids: Collection[str]) -> Counter[tuple[str, bool]]:
    """How many are kept of each of these payments: those that are forged (True), and the others."""
    ids = sorted(payment_ids)
    rows = await tx.all(
        f"SELECT payment_id, state, COUNT(*) FROM webhook WHERE payment_id IN ({marks(ids)})"
        " GROUP BY payment_id, state",
        ids,
    )
    found = Counter[tuple[str, bool]]()
    for payment_id, state, many in rows:
        found[payment_id, state == State.FORGED] += many
    return found


async def insert(tx: Tx, webhooks: Iterable[Webhook]) -> None:
    """Store new ones. A transmission that came before is refused by its key."""
    await tx.insert("webhook", _COLUMNS, [msgspec.structs.astuple(webhook) for webhook in webhooks])


async def get(tx: Tx, transmission_id: str) -> Webhook | None:
    """A webhook, or None."""
    row = await tx.one(f"SELECT {_COLUMNS} FROM webhook WHERE transmission_id = ?", (transmission_id,))
    return _webhook(row) if row else None


async def take(tx: Tx, now_us: int, limit: int, token: str, until_us: int) -> list[Webhook]:
    """Take what is due under a lease: of the `limit` attempts that wait longest, all that tells of them."""
    waits = "state = ? AND due_us <= ?"
    asked = await tx.all(
        f"SELECT payment_id, attempt, MIN(due_us) AS longest FROM webhook WHERE {waits}"
        " GROUP BY payment_id, attempt ORDER BY longest, payment_id LIMIT ?",
        (State.WAITING, now_us, limit),
    )
    wanted = {(payment_id, attempt) for payment_id, attempt, _ in asked}
    payments = sorted({payment_id for payment_id, _ in wanted})
    found = await tx.all(
        f"SELECT transmission_id, payment_id, attempt FROM webhook WHERE {waits} AND payment_id IN ({marks(payments)})",
        [State.WAITING, now_us, *payments],
    )
    # Locked by their keys, as by everybody; and somebody may have taken one between the look and the lock.
    ids = sorted(transmission_id for transmission_id, *about in found if tuple(about) in wanted)
    rows = await tx.all(
        f"SELECT {_COLUMNS} FROM webhook WHERE transmission_id IN ({marks(ids)}) ORDER BY transmission_id {LOCK}", ids
    )
    due = [each for each in map(_webhook, rows) if each.state is State.WAITING and each.due_us <= now_us]
    mine = [each.transmission_id for each in due]
    if mine:
        sql = f"UPDATE webhook SET lease_token = ?, due_us = ? WHERE transmission_id IN ({marks(mine)})"
        await tx.write(sql, [token, until_us, *mine])
    return [msgspec.structs.replace(each, lease_token=token, due_us=until_us) for each in due]


async def end(tx: Tx, webhooks: Collection[Webhook], state: State, at_us: int) -> int:
    """They are done with. Returns how many; those whose lease is another's by now are not."""
    ids = sorted(each.transmission_id for each in webhooks)
    return await tx.run(
        "UPDATE webhook SET state = ?, due_us = ?, lease_token = '', ended_us = ?"
        f" WHERE transmission_id IN ({marks(ids)}) AND state = ? AND lease_token = ?",
        [state, NEVER_US, at_us, *ids, State.WAITING, _token(webhooks)],
    )


async def again(tx: Tx, webhooks: Collection[Webhook], due_us: int) -> None:
    """They are tried again at a time, where their lease still is this one."""
    ids = sorted(each.transmission_id for each in webhooks)
    await tx.write(
        "UPDATE webhook SET tries = tries + 1, due_us = ?, lease_token = ''"
        f" WHERE transmission_id IN ({marks(ids)}) AND state = ? AND lease_token = ?",
        [due_us, *ids, State.WAITING, _token(webhooks)],
    )


async def prune(tx: Tx, older_than_us: int, limit: int) -> int:
    """Forget those that came before a moment; at most `limit`. Returns how many."""
    rows = await tx.all(
        "SELECT transmission_id FROM webhook WHERE came_us < ? ORDER BY came_us LIMIT ?", (older_than_us, limit)
    )
    ids = [transmission_id for (transmission_id,) in rows]
    if ids:
        await tx.write(f"DELETE FROM webhook WHERE transmission_id IN ({marks(ids)})", ids)
    return len(ids)


def _webhook(row: tuple[object, ...]) -> Webhook:
    return msgspec.convert(dict(zip(Webhook.__struct_fields__, row, strict=True)), Webhook)


def _token(webhooks: Collection[Webhook]) -> str:
    """The lease under which all of these were taken."""
    return next((each.lease_token for each in webhooks), "")
