"""Toss's Payment object, as it stands in the answers to confirms, readings and cancels."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from quickcommerce.payment.codes import TossError
from quickcommerce.payment.deposit_model import Account
from quickcommerce.payment.model import Cancelled, Found, Unreadable
from quickcommerce.payment.toss_json import decoded, whole
from quickcommerce.payment.toss_transactions import SEOUL

SECRET_MAX = 64
"""Characters that the secret of a payment may have; Toss promises at most 50."""


class TossPayment(msgspec.Struct, rename="camel"):
    """The fields of Toss's Payment that we rely on; new ones may appear at any time and are ignored."""

    payment_key: str
    order_id: str
    status: str
    total_amount: Any
    currency: str | None = None
    failure: Any = None
    balance_amount: Any = None
    cancels: Any = None
    secret: Any = None
    virtual_account: Any = None
    approved_at: Any = None
    """These are read leniently: a capture does not depend on them."""


def payment_of(content: bytes) -> Found | Unreadable:
    """A payment as an answer of Toss tells it."""
    try:
        payment = msgspec.convert(decoded(content), TossPayment)
    except ValueError as error:
        return Unreadable(f"not a payment: {error}")
    amount = whole(payment.total_amount)
    if amount is None:
        return Unreadable("not a payment: its totalAmount is no whole number")
    failure = error_of(payment.failure)
    cancels = _cancels(payment.cancels)
    given_back = sum(each.amount for each in cancels)
    left = whole(payment.balance_amount)
    return Found(
        payment.payment_key, payment.order_id, amount, payment.currency or "KRW", payment.status,
        failure.code, failure.message, amount - given_back if left is None else left, cancels,
        payment.secret if isinstance(payment.secret, str) and len(payment.secret) <= SECRET_MAX else "",
        _account(payment.virtual_account) if payment.status == "WAITING_FOR_DEPOSIT" else None,
        isinstance(payment.virtual_account, dict) and not payment.approved_at,
    )  # fmt: skip


def error_of(told: Any) -> TossError:
    """What an error, or the failure of a payment, tells; whatever it does not tell in a text is empty."""
    texts = [told.get(name) if isinstance(told, dict) else None for name in ("code", "message")]
    code, message = (text if isinstance(text, str) else "" for text in texts)
    return TossError(code, message)


def _cancels(told: Any) -> tuple[Cancelled, ...]:
    """The cancels that can be read; what is none is left out."""
    found = []
    for each in told if isinstance(told, list) else []:
        names = ("cancelAmount", "transactionKey", "cancelReason")
        amount, key, reason = (each.get(name) for name in names) if isinstance(each, dict) else (None, None, None)
        won = whole(amount)
        if won is not None:
            key, reason = (text if isinstance(text, str) else "" for text in (key, reason))
            found.append(Cancelled(won, key, reason))
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
