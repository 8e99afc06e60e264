"""Cancelling a payment: what is asked, what the PG refuses, and what a cancel looks like afterwards."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from quickcommerce.toss_emulator.clock import seoul
from quickcommerce.toss_emulator.payment import MAX_AMOUNT, Payment, Status, status_at
from quickcommerce.toss_emulator.virtual_account import METHOD, account_fault

REASON_MAX: Final = 200


class Cancel(msgspec.Struct, frozen=True):
    """Money that went back; `left` is what could still be cancelled after it. Won; microseconds UTC."""

    transaction_key: str
    amount: int
    reason: str
    left: int
    at: int


class CancelAsk(msgspec.Struct, frozen=True):
    """A cancel request. `amount` None: all that is left; `refundable` None: whatever is left; `to_account`: it names an
    account to which a virtual account's money is to be sent back; `account_fault`: the error code for that.
    """

    reason: str
    amount: int | None
    refundable: int | None
    to_account: bool
    account_fault: str | None


def read_cancel(raw: bytes) -> CancelAsk | None:
    """Read a cancel body, leniently as Toss does: unknown fields are ignored; None where a known one is wrong."""
    try:
        body = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return None
    if not isinstance(body, dict):
        return None
    reason, amount, refundable = (body.get(name) for name in ("cancelReason", "cancelAmount", "refundableAmount"))
    if not (isinstance(reason, str) and 1 <= len(reason) <= REASON_MAX and reason.strip()):
        return None
    # bool is an int to Python, and `true` is not an amount.
    if not all(value is None or (type(value) is int and 0 <= value <= MAX_AMOUNT) for value in (amount, refundable)):
        return None
    if amount == 0 or body.get("currency") not in (None, "KRW"):
        return None
    account = body.get("refundReceiveAccount")
    return CancelAsk(reason, amount, refundable, account is not None, account_fault(account))


def left_of(payment: Payment, cancels: Sequence[Cancel]) -> int:
    """What can still be cancelled, in won."""
    return payment.amount - sum(cancel.amount for cancel in cancels)


def cancel_refusal(payment: Payment, ask: CancelAsk, left: int, now_us: int) -> str | None:
    """The error code with which the PG refuses to cancel, or None."""
    status = status_at(payment, now_us)
    if status == "CANCELED":
        return "ALREADY_CANCELED_PAYMENT"
    if status not in ("WAITING_FOR_DEPOSIT", "DONE", "PARTIAL_CANCELED"):
        return "NOT_CANCELABLE_PAYMENT"
    if ask.to_account and payment.method != METHOD:
        return "INVALID_REQUEST"
    if ask.refundable is not None and ask.refundable != left:
        return "NOT_MATCHES_REFUNDABLE_AMOUNT"
    if ask.amount is not None and ask.amount > left:
        return "NOT_CANCELABLE_AMOUNT"
    if status == "WAITING_FOR_DEPOSIT":
        return None if ask.amount in (None, left) else "NOT_ALLOWED_PARTIAL_REFUND_WAITING_DEPOSIT"
    return ask.account_fault if payment.method == METHOD else None


def status_after(left: int) -> Status:
    """The status of a payment of which something was cancelled."""
    return "PARTIAL_CANCELED" if left else "CANCELED"


def shown_cancels(cancels: Sequence[Cancel]) -> list[dict[str, Any]] | None:
    """The `cancels` of the API's Payment object, in order; null where there are none."""
    return [
        {
            "transactionKey": cancel.transaction_key,
            "cancelReason": cancel.reason,
            "cancelAmount": cancel.amount,
            "refundableAmount": cancel.left,
            "canceledAt": seoul(cancel.at),
            "cancelStatus": "DONE",
            "cancelRequestId": None,
            "receiptKey": None,
            "taxFreeAmount": 0,
            "taxExemptionAmount": 0,
            "cardDiscountAmount": 0,
            "transferDiscountAmount": 0,
            "easyPayDiscountAmount": 0,
        }
        for cancel in cancels
    ] or None
