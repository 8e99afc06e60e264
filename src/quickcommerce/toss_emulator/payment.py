"""A payment as the PG knows it: what it is, and what may be done with it."""

import hashlib
import re
from typing import Final, Literal

import msgspec

from quickcommerce.toss_emulator.clock import MINUTE_US

Status = Literal["IN_PROGRESS", "WAITING_FOR_DEPOSIT", "DONE", "PARTIAL_CANCELED", "CANCELED", "ABORTED", "EXPIRED"]
Method = Literal[
    "CARD", "CARD_REFUSED", "TRANSFER", "EASY_PAY", "VIRTUAL_ACCOUNT", "카드", "계좌이체", "간편결제", "가상계좌"
]
"""How a buyer authenticated; `CARD_REFUSED` is a card that its issuer will refuse when the shop confirms."""

CONFIRM_WITHIN_US: Final = 10 * MINUTE_US
"""A payment not confirmed this long after the buyer authenticated is EXPIRED (Toss's payment flow guide)."""

MAX_AMOUNT: Final = 2**53 - 1
"""Won; beyond this a JSON number is not exact everywhere."""

ORDER_ID: Final = r"\A[A-Za-z0-9_-]{6,64}\Z"
PAYMENT_KEY: Final = r"\A[!-~]{1,200}\Z"
_ORDER_ID: Final = re.compile(ORDER_ID)
_PAYMENT_KEY: Final = re.compile(PAYMENT_KEY)

_SHOWN_METHOD: Final = {
    "CARD": "카드",
    "CARD_REFUSED": "카드",
    "TRANSFER": "계좌이체",
    "EASY_PAY": "간편결제",
    "VIRTUAL_ACCOUNT": "가상계좌",
}
_MINIMUM: Final = {"TRANSFER": 200, "VIRTUAL_ACCOUNT": 200}
_MINIMUM_ELSE: Final = 100


class Payment(msgspec.Struct, frozen=True):
    """One authentication by a buyer, and what became of it; times in microseconds UTC, amounts in won."""

    payment_key: str
    order_id: str
    order_name: str
    amount: int
    method: str
    status: Status
    secret: str
    authenticated_at: int
    approved_at: int | None = None
    transaction_key: str | None = None
    failure_code: str | None = None
    customer_name: str = ""
    valid_hours: int | None = None
    """How long the virtual account will be open that confirming opens."""
    account_number: str | None = None
    due_at: int | None = None


class Ask(msgspec.Struct, frozen=True):
    """A confirm request; a field that is absent or not acceptable is None."""

    payment_key: str | None = None
    order_id: str | None = None
    amount: int | None = None


def known_order_id(value: object) -> str | None:
    """The value if it can be an orderId: 6-64 letters, digits, `-` and `_`."""
    return value if isinstance(value, str) and _ORDER_ID.match(value) else None


def known_payment_key(value: object) -> str | None:
    """The value if it can be a paymentKey: at most 200 visible ASCII characters."""
    return value if isinstance(value, str) and _PAYMENT_KEY.match(value) else None


def read_ask(raw: bytes) -> Ask:
    """Read a confirm body, leniently as Toss does: unknown fields are ignored, bad ones are left out."""
    try:
        body = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return Ask()
    if not isinstance(body, dict):
        return Ask()
    amount = body.get("amount")
    # bool is an int to Python, and `true` is not an amount.
    payable = type(amount) is int and 1 <= amount <= MAX_AMOUNT
    return Ask(
        known_payment_key(body.get("paymentKey")),
        known_order_id(body.get("orderId")),
        amount if payable else None,
    )


def lapses_at(payment: Payment) -> int | None:
    """When a payment expires that nobody confirms, or into whose virtual account nobody pays."""
    match payment.status:
        case "IN_PROGRESS":
            return payment.authenticated_at + CONFIRM_WITHIN_US
        case "WAITING_FOR_DEPOSIT":
            return payment.due_at
    return None


def status_at(payment: Payment, now_us: int) -> Status:
    """The status at a time: a payment whose time has passed has expired without anybody writing it down."""
    lapses_us = lapses_at(payment)
    return "EXPIRED" if lapses_us is not None and now_us >= lapses_us else payment.status


def refusal(payment: Payment, amount: int, *, order_paid: bool, now_us: int) -> str | None:
    """The error code with which the PG itself refuses to confirm, or None when it is for the buyer's bank to say.

    `order_paid` says whether any payment of the same order has captured, or waits for its deposit.
    """
    if payment.amount != amount:
        return "INVALID_REQUEST"
    if order_paid:
        return "ALREADY_PROCESSED_PAYMENT"
    if payment.failure_code is not None:
        return payment.failure_code
    status = status_at(payment, now_us)
    if status != "IN_PROGRESS":
        return "NOT_FOUND_PAYMENT_SESSION" if status == "EXPIRED" else "ALREADY_PROCESSED_PAYMENT"
    if payment.amount < _MINIMUM.get(payment.method, _MINIMUM_ELSE):
        return "BELOW_MINIMUM_AMOUNT"
    return None


def transaction_key(payment_key: str, movement: str) -> str:
    """The key of one movement of a payment's money: unique as the payment's own key is."""
    return hashlib.blake2s(f"{payment_key}/{movement}".encode(), digest_size=16).hexdigest().upper()


def method_of(method: Method) -> str:
    """The method under the one name the ledger keeps it by."""
    return next((name for name, shown in _SHOWN_METHOD.items() if shown == method), method)


def shown_method(method: str) -> str:
    """The method as the API shows it."""
    return _SHOWN_METHOD[method]
