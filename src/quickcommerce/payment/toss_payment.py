"""Toss's Payment object, as it stands in the answers to confirms, readings and cancels."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from quickcommerce.payment.deposit_model import Account
from quickcommerce.payment.model import Cancelled, Found, Unreadable
from quickcommerce.payment.toss_transactions import SEOUL

SECRET_MAX = 64
"""Characters that the secret of a payment may have; Toss promises at most 50."""


class TossFailure(msgspec.Struct):
    """Why a payment failed, in a read payment."""

    code: str = ""
    message: str = ""


class TossPayment(msgspec.Struct, rename="camel"):
    """The fields of Toss's Payment that we rely on; new ones may appear at any time and are ignored."""

    payment_key: str
    order_id: str
    status: str
    total_amount: int
    currency: str = "KRW"
    failure: TossFailure | None = None
    balance_amount: Any = None
    cancels: Any = None
    secret: Any = None
    virtual_account: Any = None
    approved_at: Any = None
    """These are read leniently: a capture does not depend on them."""


def payment_of(content: bytes) -> Found | Unreadable:
    """A payment as an answer of Toss tells it."""
    try:
        payment = msgspec.json.decode(content, type=TossPayment)
    except msgspec.DecodeError as error:
        return Unreadable(f"not a payment: {error}")
    failure = payment.failure or TossFailure()
    cancels = _cancels(payment.cancels)
    given_back = sum(each.amount for each in cancels)
    left = payment.balance_amount
    return Found(
        payment.payment_key, payment.order_id, payment.total_amount, payment.currency, payment.status,
        failure.code, failure.message, left if type(left) is int else payment.total_amount - given_back, cancels,
        payment.secret if isinstance(payment.secret, str) and len(payment.secret) <= SECRET_MAX else "",
        _account(payment.virtual_account) if payment.status == "WAITING_FOR_DEPOSIT" else None,
        isinstance(payment.virtual_account, dict) and not payment.approved_at,
    )  # fmt: skip


def _cancels(told: Any) -> tuple[Cancelled, ...]:
    """The cancels that can be read; what is none is left out."""
    found = []
    for each in told if isinstance(told, list) else []:
        names = ("cancelAmount", "transactionKey", "cancelReason")
        amount, key, reason = (each.get(name) for name in names) if isinstance(each, dict) else (None, None, None)
        if type(amount) is int:
            key, reason = (text if isinstance(text, str) else "" for text in (key, reason))
            found.append(Cancelled(amount, key, reason))
    return tuple(found)


def _account(told: Any) -> Account | None:
    """A virtual account that can be told to a buyer, None where there is none."""
    told = told if isinstance(told, dict) else {}
    texts = [told.get(name) for name in ("bankCode", "accountNumber", "customerName")]
    bank, number, holder = (text if isinstance(text, str) else "" for text in texts)
    try:
        due = datetime.fromisoformat(told.get("dueDate") or "")
    except (TypeError, ValueError):
        return None
    due = due if due.tzinfo else due.replace(tzinfo=SEOUL)
    due_us = (due - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    return Account(bank[:20], number[:40], holder[:100], due_us) if number else None
