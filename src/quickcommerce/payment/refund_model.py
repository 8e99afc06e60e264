"""What a refund is: its states, what can come of a cancel, and what a reading of the PG proves about it. Pure."""

from enum import StrEnum

import msgspec

from quickcommerce.payment.model import (
    MISMATCH,
    NO_REPLY,
    Asked,
    Cancelled,
    Found,
    Later,
    Missing,
    Reading,
    Unknown,
    Unreadable,
)  # fmt: skip

REASON_MAX = 200
"""Characters of the reason that the PG is told."""
RUNS_S = 600
"""So long, we assume, may the PG still work on a request that was answered with an error (by a gateway that did not
wait for it, say): ten times what we wait for one. Until then no refusal of a later request is the last word."""


NO_ANSWER = Unknown(NO_REPLY, "the PG did not answer")


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
    REFUSED = "refused"
    """The PG refuses for good, and the money is owed all the same; another is made at a time, somebody must look."""


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
    """The PG did not give the money back and will not: somebody must look."""

    code: str
    message: str


class Withheld(msgspec.Struct, frozen=True):
    """The PG says that it will not give the money back, and that is not the last word: an earlier request may still be
    worked on there, or the shop owes the money whatever the PG says. Another is made at a time; somebody must look.
    """

    code: str
    message: str


class Foreign(msgspec.Struct, frozen=True):
    """The PG gave money back that nobody here asked for: at its own console, say. It is written down, and then this
    refund is looked at again. `beside`: what this refund asked for has happened as well.
    """

    cancels: tuple[Cancelled, ...]
    beside: bool


class Said(msgspec.Struct, frozen=True):
    """The PG answered a cancel with an error. Read back before anything else."""

    code: str
    message: str
    means: Means


RefundOutcome = Refunded | Refused | Withheld | Foreign | Later | Unknown
CancelReply = Refunded | Later | Unknown | Said


class Cancel(msgspec.Struct, frozen=True):
    """One refund as it is asked of the PG.

    `captured` won were paid; `before` of them are there now as far as we know, and `amount` of those go back.
    `known`: the PG's keys of what went back of this payment and is written down. `may_fail`: a refusal for good ends
    this refund.
    """

    refund_id: str
    payment_key: str
    payment_id: str
    captured: int
    before: int
    amount: int
    reason: str
    idempotency_key: str
    known: frozenset[str]
    may_fail: bool = True

    @property
    def payment(self) -> Asked:
        """The payment that is read back."""
        return Asked(self.payment_key, self.payment_id, self.captured, self.idempotency_key)

    @property
    def told(self) -> str:
        """The reason that the PG is told. It shows reasons when it is read, so the refund's id in it says whose a
        cancel is, whichever reply was lost.
        """
        return f"{self.refund_id}: {self.reason}"[:REASON_MAX]


def conclude_cancel(reading: Reading, cancel: Cancel, *, said: Said | None) -> RefundOutcome:
    """What a reading of the PG proves about a refund.

    `said` is the error that the PG answered with, if it gave one. Where it gave none the request may still be on its
    way, so "not given back yet" proves nothing. A cancel is this refund's if it has its sum and names it; any other
    that is not written down is somebody else's. Where what is left is not what the cancels leave, nothing is believed.
    """
    code = said.code if said else NO_ANSWER.code
    match reading:
        case Unreadable(reason):
            return Unknown(code, reason)
        case Missing():
            return Unknown(code, "the PG does not know the payment")
        case Found() if _facts(reading) != (cancel.payment_key, cancel.payment_id, cancel.captured, "KRW"):
            return Unknown(MISMATCH.code, "the PG shows another payment")
        case Found() if reading.left is None or reading.left > cancel.before:
            return Unknown(code, "the reading is older than an earlier refund")
        case Found() if reading.left == cancel.before:
            return _nothing_moved(cancel, said)
    return _moved(reading, cancel)


def not_given_back(reading: Reading, cancel: Cancel) -> bool:
    """Whether the PG can be read and shows that this refund did not happen, so that asking makes sense."""
    if not isinstance(reading, Found) or reading.left != cancel.before:
        return False
    return _facts(reading) == (cancel.payment_key, cancel.payment_id, cancel.captured, "KRW")


def _nothing_moved(cancel: Cancel, said: Said | None) -> RefundOutcome:
    if said is None:
        return NO_ANSWER
    if said.means is not Means.FINAL:
        return Later(said.code, said.message, ours=False, sent=True)
    return Refused(said.code, said.message) if cancel.may_fail else Withheld(said.code, said.message)


def _moved(found: Found, cancel: Cancel) -> RefundOutcome:
    """Less is left than before: this refund, somebody else's cancels, both, or what makes no sense."""
    after = cancel.before - cancel.amount
    new = [each for each in found.cancels if each.transaction_key not in cancel.known]
    mine = [each for each in new if each.amount == cancel.amount and _names(each, cancel)][:1]
    others = [each for each in new if each not in mine]
    if found.left == after and not others:
        return Refunded(mine[0].transaction_key if mine else "")
    told = all(each.transaction_key and each.reason for each in others)
    if others and told and found.left == cancel.before - sum(each.amount for each in new):
        return Foreign(tuple(others), beside=bool(mine))
    return Unknown(MISMATCH.code, f"{found.left} won are left at the PG, where {after} should be")


def _names(each: Cancelled, cancel: Cancel) -> bool:
    """Whether a cancel names this refund. One without a reason names nobody: then its sum has to do."""
    return not each.reason or cancel.refund_id in each.reason


def _facts(found: Found) -> tuple[str, str, int, str]:
    return found.payment_key, found.payment_id, found.amount, found.currency
