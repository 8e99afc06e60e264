"""Webhooks: which news there is of a payment, what each says, and when one that failed is sent again.

The events, bodies and times are those of Toss's webhook guide. A payment's events carry no signature.
"""

from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec

from quickcommerce.toss_emulator.cancel import Cancel
from quickcommerce.toss_emulator.clock import MINUTE_US, local
from quickcommerce.toss_emulator.payment import Payment
from quickcommerce.toss_emulator.shown import shown

ANSWER_WITHIN_S: Final = 10
"""A webhook is delivered when it is answered 200 within so many seconds."""

RETRY_AFTER_US: Final = tuple(minutes * MINUTE_US for minutes in (1, 4, 16, 64, 256, 1024, 4096))
"""How long after a failed try the next one is due; after the last of them it is given up."""

_STATUSES: Final = ("DONE", "ABORTED", "EXPIRED", "CANCELED", "PARTIAL_CANCELED")
"""Those that PAYMENT_STATUS_CHANGED tells of; READY, IN_PROGRESS and WAITING_FOR_DEPOSIT it does not."""
_DEPOSIT_STATUSES: Final = ("WAITING_FOR_DEPOSIT", "DONE", "CANCELED", "PARTIAL_CANCELED")

State = Literal["waiting", "held", "released", "delivered", "failed"]
"""What has become of a webhook. `held`: by a script, until another one is delivered; `released`: that has happened."""


class News(msgspec.Struct, frozen=True):
    """An event and the body that tells of it."""

    event_type: str
    body: bytes


class Webhook(msgspec.Struct, frozen=True):
    """A webhook that is to be sent. `tries`: how often it was tried in vain; times in microseconds UTC."""

    id: int
    transmission_id: str
    payment_key: str
    order_id: str
    body: bytes
    due_at: int
    tries: int
    state: State


def news(payment: Payment, cancels: Sequence[Cancel], at_us: int) -> list[News]:
    """What a shop is told when a payment has come to its present status; a virtual account's deposit is told twice."""
    told = []
    if payment.method == "VIRTUAL_ACCOUNT" and payment.status in _DEPOSIT_STATUSES:
        told.append(_news("DEPOSIT_CALLBACK", _deposit(payment, cancels, at_us)))
    if payment.status in _STATUSES:
        event_type = "PAYMENT_STATUS_CHANGED"
        data = shown(payment, cancels, at_us)
        told.append(_news(event_type, {"eventType": event_type, "createdAt": local(at_us), "data": data}))
    return told


def _news(event_type: str, body: dict[str, Any]) -> News:
    return News(event_type, msgspec.json.encode(body))


def _deposit(payment: Payment, cancels: Sequence[Cancel], at_us: int) -> dict[str, Any]:
    return {
        "createdAt": local(at_us),
        "secret": payment.secret,
        "status": payment.status,
        "transactionKey": cancels[-1].transaction_key if cancels else payment.transaction_key,
        "orderId": payment.order_id,
    }
