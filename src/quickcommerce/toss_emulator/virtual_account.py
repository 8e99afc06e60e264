"""Virtual accounts: an account of one payment's own, into which the buyer pays until its due date."""

import hashlib
import re
from typing import Any, Final

import msgspec

from quickcommerce.toss_emulator.clock import MINUTE_US, seoul
from quickcommerce.toss_emulator.payment import Payment

METHOD: Final = "VIRTUAL_ACCOUNT"
VALID_HOURS: Final = 168
VALID_HOURS_MAX: Final = 2_160

_HOUR_US: Final = 60 * MINUTE_US
_BANK: Final = "20"
_NUMBER: Final = re.compile(r"\A[0-9]{1,20}\Z")
_HOLDER_MAX: Final = 60


def issued(payment: Payment, now_us: int) -> Payment:
    """The payment once its account is open. Accounts of tests begin with an X, as Toss's do."""
    digits = int.from_bytes(hashlib.blake2s(payment.payment_key.encode(), digest_size=8).digest()) % 10**13
    due_at = now_us + (payment.valid_hours or VALID_HOURS) * _HOUR_US
    return msgspec.structs.replace(
        payment, status="WAITING_FOR_DEPOSIT", account_number=f"X{digits:013}", due_at=due_at
    )


def shown_account(payment: Payment, *, expired: bool) -> dict[str, Any] | None:
    """The `virtualAccount` of the API's Payment object; null until confirming has opened one."""
    if payment.account_number is None or payment.due_at is None:
        return None
    given_back = payment.approved_at is not None and payment.status in ("CANCELED", "PARTIAL_CANCELED")
    return {
        "accountType": "일반",
        "accountNumber": payment.account_number,
        "bankCode": _BANK,
        "customerName": payment.customer_name,
        "depositorName": payment.customer_name if payment.approved_at is not None else None,
        "dueDate": seoul(payment.due_at),
        "expired": expired,
        "settlementStatus": "INCOMPLETED",
        "refundStatus": "COMPLETED" if given_back else "NONE",
        "refundReceiveAccount": None,
    }


def account_fault(account: object) -> str | None:
    """The error code for a `refundReceiveAccount` to which no money can be sent back, or None."""
    if not isinstance(account, dict):
        return "INVALID_REFUND_ACCOUNT_INFO"
    bank, number, holder = (account.get(name) for name in ("bank", "accountNumber", "holderName"))
    if not (isinstance(holder, str) and 1 <= len(holder) <= _HOLDER_MAX):
        return "INVALID_REFUND_ACCOUNT_INFO"
    if not (isinstance(bank, str) and bank):
        return "INVALID_BANK"
    return None if isinstance(number, str) and _NUMBER.match(number) else "INVALID_REFUND_ACCOUNT_NUMBER"
