"""What a refund is: its states, what can come of a cancel, and what a reading of the PG proves about it. Pure."""

from enum import StrEnum

import msgspec

from quickcommerce.payment.model import MISMATCH, Asked, Found, Later, Missing, Reading, Unknown, Unreadable


class RefundStatus(StrEnum):
    """Where a refund stands. Both ends are final."""

    PENDING = "PENDING"
    """Owed, and worked on until it is known what came of it. It counts against what was captured."""
    DONE = "DONE"
    """The PG gave the money back."""
    FAILED = "FAILED"
    """The PG refuses for good: somebody must look. It counts no more."""


class Tried(StrEnum):
    """How one request for a refund ended, in its journal."""

    DONE = "done"
    FAILED = "failed"
    LATER = "later"
    """The PG answered, and moved no money; another request is made at a time."""
    MISCONFIGURED = "misconfigured"
    """The PG refused us; another request is made at a time, and somebody must look."""


class Means(StrEnum):
    """What an error answer to a cancel says. None of them is believed before the payment was read back."""

    TRANSIENT = "transient"
    """It did not work now."""
    MOVED = "moved"
    """Money has gone back that the request did not know of: perhaps this very refund."""
    FINAL = "final"
    """It will never work."""
    RUNNING = "running"
    """The first request under this key is still being worked on."""
    OURS = "ours"
    """Our keys or our contract are wrong, and the PG did not look at the payment."""


class Refunded(msgspec.Struct, frozen=True):
    """The PG gave exactly this money back. `transaction_key` is its name for that, empty where it tells none."""

    transaction_key: str


class Refused(msgspec.Struct, frozen=True):
    """The PG did not give the money back and will not, or what it did is not what was asked: somebody must look."""

    code: str
    message: str


class Said(msgspec.Struct, frozen=True):
    """The PG answered a cancel with an error. Read back before anything else."""

    code: str
    message: str
    means: Means


RefundOutcome = Refunded | Refused | Later | Unknown
CancelReply = Refunded | Later | Unknown | Said


class Cancel(msgspec.Struct, frozen=True):
    """One refund as it is asked of the PG.

    `captured` won were paid; `before` of them are there now as far as we know, and `amount` of those go back.
    `known`: the PG's keys of the refunds of this payment that are done.
    """

    payment_key: str
    payment_id: str
    captured: int
    before: int
    amount: int
    reason: str
    idempotency_key: str
    known: frozenset[str]

    @property
    def payment(self) -> Asked:
        """The payment that is read back."""
        return Asked(self.payment_key, self.payment_id, self.captured, self.idempotency_key)


def conclude_cancel(reading: Reading, cancel: Cancel, *, said: Said | None) -> RefundOutcome:
    """What a reading of the PG proves about a refund.

    `said` is the error that the PG answered with, if it gave one. Where it gave none the request may still be on its
    way, so "not given back yet" proves nothing. The refunds of a payment are asked for one at a time, so what is left
    at the PG tells of this one alone; anything else that moved there is for a human.
    """
    code, message = (said.code, said.message) if said else ("NO_ANSWER", "the PG did not answer")
    match reading:
        case Unreadable(reason):
            return Unknown(code, reason)
        case Missing():
            return Unknown(code, "the PG does not know the payment")
        case Found() if _facts(reading) != (cancel.payment_key, cancel.payment_id, cancel.captured, "KRW"):
            return Unknown(MISMATCH.code, "the PG shows another payment")
        case Found() if reading.left is None or reading.left > cancel.before:
            return Unknown(code, "the reading is older than an earlier refund")
        case Found() if reading.left == cancel.before and said is None:
            return Unknown(code, message)
        case Found() if reading.left == cancel.before:
            final = said is not None and said.means is Means.FINAL
            return Refused(code, message) if final else Later(code, message, ours=False, sent=True)
    new = [each for each in reading.cancels if each.transaction_key not in cancel.known]
    mine = [each.transaction_key for each in new if each.amount == cancel.amount]
    if reading.left == cancel.before - cancel.amount and (mine or not reading.cancels):
        return Refunded(mine[-1] if mine else "")
    return Refused(
        MISMATCH.code, f"{reading.left} won are left at the PG, where {cancel.before - cancel.amount} should be"
    )


def not_given_back(reading: Reading, cancel: Cancel) -> bool:
    """Whether the PG can be read and shows that this refund did not happen, so that asking makes sense."""
    if not isinstance(reading, Found) or reading.left != cancel.before:
        return False
    return _facts(reading) == (cancel.payment_key, cancel.payment_id, cancel.captured, "KRW")


def _facts(found: Found) -> tuple[str, str, int, str]:
    return found.payment_key, found.payment_id, found.amount, found.currency
