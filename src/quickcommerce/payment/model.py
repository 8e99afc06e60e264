"""What a payment is: its states, what can come of an attempt, and what a reading of the PG proves. Pure."""

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from quickcommerce.payment.deposit_model import Account, Awaiting

DECLINES_MAX = 10
"""So many declined attempts end a payment, and with it the order."""


class Status(StrEnum):
    """Where a payment stands."""

    READY = "READY"
    """Waiting for the buyer."""
    CAPTURING = "CAPTURING"
    """A capture was sent, or is about to be; its row was committed before."""
    CAPTURED = "CAPTURED"
    """The PG has the money."""
    DECLINED = "DECLINED"
    """The last attempt was refused; the buyer may try again while the order lives."""
    UNKNOWN = "UNKNOWN"
    """Neither success nor failure: it is read back until it is known. The order keeps its stock."""
    RETRY = "RETRY"
    """Not captured when last read; tried again at a time."""
    AWAITING_DEPOSIT = "AWAITING_DEPOSIT"
    """The buyer is to pay into an account of this payment's own, until its due date."""
    FAILED = "FAILED"
    """Too many declines."""
    CLOSED = "CLOSED"
    """The order has ended: never to be captured."""
    PARTLY_REFUNDED = "PARTLY_REFUNDED"
    REFUNDED = "REFUNDED"


NEXT: Mapping[Status, frozenset[Status]] = {
    Status.READY: frozenset({Status.CAPTURING, Status.CLOSED}),
    Status.CAPTURING: frozenset(
        {Status.CAPTURED, Status.DECLINED, Status.UNKNOWN, Status.RETRY, Status.FAILED, Status.AWAITING_DEPOSIT}
    ),
    Status.CAPTURED: frozenset({Status.PARTLY_REFUNDED, Status.REFUNDED}),
    Status.DECLINED: frozenset({Status.CAPTURING, Status.CLOSED, Status.CAPTURED}),
    Status.UNKNOWN: frozenset(
        {Status.CAPTURED, Status.DECLINED, Status.UNKNOWN, Status.RETRY, Status.FAILED, Status.AWAITING_DEPOSIT}
    ),
    Status.AWAITING_DEPOSIT: frozenset({Status.CAPTURED, Status.DECLINED, Status.UNKNOWN, Status.FAILED}),
    Status.RETRY: frozenset({Status.CAPTURING, Status.UNKNOWN, Status.CLOSED, Status.CAPTURED}),
    Status.FAILED: frozenset({Status.CAPTURED}),
    Status.CLOSED: frozenset({Status.CAPTURED}),
    Status.PARTLY_REFUNDED: frozenset({Status.REFUNDED}),
    Status.REFUNDED: frozenset(),
}
"""Every status and those it may become. Checked here in code, and again by each UPDATE, which names the old status.

Whatever was believed becomes CAPTURED when the PG's own answer says so, however late it comes.
"""

MONEY_TAKEN = frozenset({Status.CAPTURED, Status.PARTLY_REFUNDED, Status.REFUNDED})
CLOSABLE = frozenset({Status.READY, Status.DECLINED, Status.RETRY})
"""Of these no money can come, unless an earlier request may still be worked on at the PG (`Later.sent`)."""
UNDER_WAY = frozenset({Status.CAPTURING, Status.UNKNOWN, Status.RETRY})
HELD = UNDER_WAY | {Status.AWAITING_DEPOSIT}
"""While a payment is one of these, no other key may pay it."""


class Ended(StrEnum):
    """How an attempt ended, in its journal."""

    CAPTURED = "captured"
    DECLINED = "declined"
    LATER = "later"
    """It took no money; another is made at a time."""
    MISCONFIGURED = "misconfigured"
    """The PG refused us, not the buyer; another is made at a time, and somebody must look."""


class Cancelled(msgspec.Struct, frozen=True):
    """Money that the PG says it gave back, in won; the PG's key of that movement, and the reason that it was told,
    where it tells them.
    """

    amount: int
    transaction_key: str
    reason: str = ""


class Captured(msgspec.Struct, frozen=True):
    """The PG has exactly this money for exactly this payment; every fact was compared.

    `payment_key` is the key it was captured under: of this attempt, or of another one of the same payment. `back`: what
    somebody at the PG gave back of it before it became known here. `secret`: see `Found`.
    """

    payment_key: str
    back: tuple[Cancelled, ...] = ()
    secret: str = ""


class Declined(msgspec.Struct, frozen=True):
    """This attempt is over and took no money."""

    code: str
    message: str


class Later(msgspec.Struct, frozen=True):
    """This attempt took no money so far, for a reason that is not the buyer's; another is made at a time.

    `ours`: the PG refuses us, not the buyer (keys, contract): somebody must look. `sent`: the PG has seen the request,
    so that it may still be worked on there; a new attempt is safe (the PG captures a payment key once), but until the
    PG says that the payment has ended, the order may not end. `rests_s`: so long the PG is not asked by anybody.
    """

    code: str
    message: str
    ours: bool
    sent: bool
    rests_s: float = 0


class Unknown(msgspec.Struct, frozen=True):
    """Money may have moved or may yet move. Never a failure: read back until it is known."""

    code: str
    message: str


class Doubtful(msgspec.Struct, frozen=True):
    """The PG answered with an error that does not say whether money moved. Read back before anything else.

    `absent`: it says that it knows no such payment. `taken`: it says that this payment is paid already, without
    saying under which key.
    """

    code: str
    message: str
    absent: bool = False
    taken: bool = False


NO_REPLY = "NO_ANSWER"
"""The code where the PG was asked, and did not answer."""
NOT_SENT = "NOT_SENT"
"""The code where it could not be asked."""

Outcome = Captured | Awaiting | Declined | Later | Unknown
Reply = Outcome | Doubtful


class Asked(msgspec.Struct, frozen=True):
    """One attempt as it was sent. `payment_id` is what the PG calls orderId; `amount` is won. `again`: an earlier
    request may still be worked on at the PG, which was read and shows no money.
    """

    payment_key: str
    payment_id: str
    amount: int
    idempotency_key: str
    again: bool = False


class Found(msgspec.Struct, frozen=True):
    """A payment as the PG tells it. `status` is in the PG's own words (Toss); `left` is what was not given back, in won
    (None: not told). `secret` is what the PG says again in each webhook of this payment, empty where it tells none.
    `account`: into which a buyer is to pay; `unpaid`: it had one, and no deposit ever came.
    """

    payment_key: str
    payment_id: str
    amount: int
    currency: str
    status: str
    code: str
    message: str
    left: int | None = None
    cancels: tuple[Cancelled, ...] = ()
    secret: str = ""
    account: Account | None = None
    unpaid: bool = False


class Missing(msgspec.Struct, frozen=True):
    """The PG knows no such payment."""


class Unreadable(msgspec.Struct, frozen=True):
    """The PG could not be read now. `refused`: it does its work, and says no to what it was asked."""

    reason: str
    refused: bool = False


Reading = Found | Missing | Unreadable

MISMATCH = Unknown("MISMATCH", "the PG captured something else than was asked")
"""Somebody must look; until then the payment stays unknown, and its order keeps what it holds."""

NO_ACCOUNTS = Declined("METHOD_NOT_ACCEPTED", "deposits into accounts are not taken here")

PAID_OTHERWISE = "PAID_OTHERWISE"
"""The code of an attempt whose payment turned out to be paid under another key."""

ACCOUNT_OPEN = "WAITING_FOR_DEPOSIT"
OPEN = frozenset({"READY", "IN_PROGRESS", ACCOUNT_OPEN})
"""What the PG calls a payment that is not captured, but may be."""
ENDED_UNPAID = frozenset({"ABORTED", "EXPIRED"})
TAKEN = frozenset({"DONE", "PARTIAL_CANCELED", "CANCELED"})
"""What it calls one that was captured, whatever went back of it."""


def conclude(reading: Reading, asked: Asked, *, answered: Doubtful | None) -> Outcome:
    """What a reading of the PG proves about an attempt.

    `answered` is the error that the PG gave to the attempt, if it gave one. Where it gave none the request may still
    be on its way, so "not captured yet" proves nothing; where it gave one, the attempt is over.
    Money counts only if payment, amount, currency and status all agree; whether the key is one that was asked for is
    for the attempts' journal to say.
    """
    code = answered.code if answered else NO_REPLY
    match reading:
        case Unreadable(reason):
            return Unknown(code, reason)
        case Missing():
            # A reading may lag behind; two answers that agree do not.
            absent = answered is not None and answered.absent
            return Declined(code, "the PG knows no such payment") if absent else Unknown(code, "not found when read")
        case Found() if reading.payment_id != asked.payment_id:
            return Declined("NOT_FOUND_PAYMENT_SESSION", "the payment key belongs to another payment")
        case Found() if reading.status in OPEN | ENDED_UNPAID:
            return _unpaid(reading, asked, answered)
        case Found() if reading.status == "CANCELED" and reading.unpaid:
            return Declined("DEPOSIT_CANCELED", "the account was closed before a deposit came")
        case Found() if reading.status in TAKEN:
            captured = Captured(reading.payment_key, reading.cancels, reading.secret)
            return captured if _adds_up(reading, asked) else MISMATCH
    return Unknown(MISMATCH.code, f"the PG says {reading.status}")


def _unpaid(found: Found, asked: Asked, answered: Doubtful | None) -> Outcome:
    """What a payment proves of which the PG has no money."""
    code, message = (answered.code, answered.message) if answered else (NO_REPLY, "the PG did not answer")
    asked_for = (found.payment_key, found.amount, found.currency) == (asked.payment_key, asked.amount, "KRW")
    if asked_for and found.status == ACCOUNT_OPEN:
        return Awaiting(found.account, found.secret)
    if answered and answered.taken:
        # It says that this is paid already, and does not show it. Answers are kept under their keys: ask anew.
        return Later(code, message, ours=False, sent=True)
    if found.payment_key != asked.payment_key:
        # Found by its order id: another key of the same payment, as where the one asked for is missing.
        if answered and answered.absent:
            return Declined(code, "the PG knows no such payment key")
        return Later(code, message, ours=False, sent=True) if answered else Unknown(code, "not found when read")
    if found.status in ENDED_UNPAID:
        return Declined(found.code or found.status, found.message or f"the PG says {found.status}")
    return Later(code, message, ours=False, sent=True) if answered else Unknown(code, message)


def _adds_up(found: Found, asked: Asked) -> bool:
    """Whether the PG captured what was asked, and can say of every won of it whether it is there or went back."""
    if (found.amount, found.currency) != (asked.amount, "KRW"):
        return False
    left = found.amount - sum(each.amount for each in found.cancels)
    fits = {"DONE": left == found.amount, "CANCELED": left == 0}.get(found.status, 0 < left < found.amount)
    return fits and found.left in (None, left) and all(each.transaction_key for each in found.cancels)


def let_go(unknown_us: int, now_us: int, hold_us: int) -> bool:
    """Whether an outcome has been unknown (since `unknown_us`; 0: it is not) for longer than it holds its order."""
    return unknown_us > 0 and now_us - unknown_us >= hold_us


def may_ask_again(reading: Reading, asked: Asked) -> bool:
    """Whether the PG can be read and shows no money for this attempt, so that the same request again makes sense."""
    if isinstance(reading, Missing):
        return True
    if not isinstance(reading, Found) or reading.payment_id != asked.payment_id:
        return False
    if reading.payment_key != asked.payment_key:
        # The key asked for is not found, and what is found under another has no money either.
        return reading.status in OPEN | ENDED_UNPAID
    return reading.status in OPEN - {ACCOUNT_OPEN}
