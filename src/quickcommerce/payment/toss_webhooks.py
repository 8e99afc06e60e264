"""Toss's webhooks: what one tells of a payment. Read leniently, since Toss adds fields; nothing of it is believed."""

import hashlib
import re
from typing import Annotated, Any, TypeVar

import msgspec

from quickcommerce.kit import strict
from quickcommerce.kit.ids import PaymentId
from quickcommerce.kit.problem import InvalidRequest

S = TypeVar("S")

TRANSMISSION_ID = "tosspayments-webhook-transmission-id"
OF_PAYMENT = frozenset({"PAYMENT_STATUS_CHANGED", "CANCEL_STATUS_CHANGED"})
"""Events whose `data` is a payment. Others, but for deposits, are none of ours."""
DEPOSIT = "DEPOSIT_CALLBACK"
_ID = re.compile(r"[!-~]{1,100}")
_NAME_MAX, _KEY_MAX = 40, 100


class Notice(msgspec.Struct, frozen=True, rename="camel"):
    """A webhook as Toss sends it: an event with its `data`, or a deposit's, which is flat and names no event."""

    event_type: str | None = None
    data: Annotated[Any, msgspec.Meta(description="The payment, as the PG tells it.")] = None
    order_id: Annotated[Any, msgspec.Meta(description="Of a deposit: what the PG calls orderId.")] = None
    status: Annotated[Any, msgspec.Meta(description="Of a deposit.")] = None
    secret: Annotated[Any, msgspec.Meta(description="Of a deposit: what the PG gave with the payment.")] = None
    transaction_key: Annotated[Any, msgspec.Meta(description="Of a deposit.")] = None


class Told(msgspec.Struct, frozen=True):
    """What a webhook tells of a payment. Whatever it does not tell is empty.

    `transmission_id` is the same each time that it is sent; `payment_id` is what the PG calls orderId.
    """

    transmission_id: str
    event_type: str
    payment_id: PaymentId
    payment_key: str
    status: str
    transaction_key: str
    secret: str


class _Payment(msgspec.Struct, rename="camel"):
    order_id: str
    payment_key: str = ""
    status: str = ""
    secret: str | None = None
    last_transaction_key: str | None = None


class _Deposit(msgspec.Struct, rename="camel"):
    order_id: str
    status: str
    secret: str | None = None
    transaction_key: str | None = None


def told(body: bytes, transmission_id: str) -> Told | None:
    """What a webhook tells; None for an event that is none of ours. Raises InvalidRequest where it cannot be read.

    One without a usable id is known by what it says: it is the same text each time that it is sent.
    """
    notice = strict.decode(body, Notice)
    transmission_id = transmission_id if _ID.fullmatch(transmission_id) else hashlib.sha256(body).hexdigest()
    if notice.event_type in OF_PAYMENT:
        paid = _fits(notice.data, _Payment, "/data")
        return Told(
            transmission_id, notice.event_type, PaymentId(paid.order_id), paid.payment_key, paid.status[:_NAME_MAX],
            (paid.last_transaction_key or "")[:_KEY_MAX], paid.secret or "",
        )  # fmt: skip
    if notice.event_type not in (None, DEPOSIT):
        return None
    flat = {
        "orderId": notice.order_id, "status": notice.status, "secret": notice.secret,
        "transactionKey": notice.transaction_key,
    }  # fmt: skip
    deposit = _fits(flat, _Deposit, "")
    return Told(
        transmission_id, DEPOSIT, PaymentId(deposit.order_id), "", deposit.status[:_NAME_MAX],
        (deposit.transaction_key or "")[:_KEY_MAX], deposit.secret or "",
    )  # fmt: skip


def _fits(value: Any, shape: type[S], pointer: str) -> S:
    try:
        return msgspec.convert(value, shape)
    except msgspec.ValidationError as error:
        faults = [{"pointer": pointer, "detail": "it tells of no payment"}]
        raise InvalidRequest("the webhook cannot be read", errors=faults) from error
