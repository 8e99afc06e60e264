"""What Toss's error codes mean for us.

Codes are those of Toss's error list (https://docs.tosspayments.com/reference/error-codes); what each means for us is
our own classification. A code that is in no list means that nothing is known.
"""

from collections.abc import Mapping

import msgspec

from quickcommerce.payment.model import Declined, Doubtful, Later, Reply, Unknown
from quickcommerce.payment.refund_model import CancelReply, Means, Said

REFUSED = frozenset(
    """
    REJECT_CARD_PAYMENT REJECT_CARD_COMPANY REJECT_ACCOUNT_PAYMENT REJECT_TOSSPAY_INVALID_ACCOUNT EXCEED_MAX_AUTH_COUNT
    EXCEED_MAX_ONE_DAY_AMOUNT INVALID_PASSWORD FDS_ERROR INVALID_REJECT_CARD INVALID_STOPPED_CARD
    INVALID_CARD_EXPIRATION INVALID_CARD_NUMBER INVALID_CARD_LOST_OR_STOLEN EXCEED_MAX_DAILY_PAYMENT_COUNT
    EXCEED_MAX_PAYMENT_AMOUNT EXCEED_MAX_AMOUNT EXCEED_MAX_MONTHLY_PAYMENT_AMOUNT EXCEED_MAX_ONE_DAY_WITHDRAW_AMOUNT
    EXCEED_MAX_ONE_TIME_WITHDRAW_AMOUNT RESTRICTED_TRANSFER_ACCOUNT INVALID_ACCOUNT_INFO_RE_REGISTER
    NOT_ALLOWED_POINT_USE EXCEED_MAX_CARD_INSTALLMENT_PLAN NOT_SUPPORTED_INSTALLMENT_PLAN_CARD_OR_MERCHANT
    INVALID_CARD_INSTALLMENT_PLAN NOT_SUPPORTED_MONTHLY_INSTALLMENT_PLAN NOT_AVAILABLE_PAYMENT NOT_AVAILABLE_BANK
    """.split()
)
"""The buyer or the issuer refused, or it is the wrong time of day: the attempt is over."""

OURS = frozenset(
    """
    INVALID_API_KEY INVALID_AUTHORIZE_AUTH UNAPPROVED_ORDER_ID NOT_FOUND_TERMINAL_ID NOT_REGISTERED_BUSINESS
    INVALID_UNREGISTERED_SUBMALL INVALID_IDEMPOTENCY_KEY UNAUTHORIZED_KEY INCORRECT_BASIC_AUTH_FORMAT FORBIDDEN_REQUEST
    """.split()
)
"""Our keys or our contract are wrong; the buyer is not to blame, and the PG did not look at the payment."""

REFUSED_REQUEST = frozenset({"INVALID_REQUEST", "BELOW_MINIMUM_AMOUNT"})
"""What was sent does not fit what the buyer authenticated, or what the PG takes: this key can never be captured for
this payment. The buyer may have caused it, or we have: the attempt is over, and somebody must look.
"""

ABSENT = frozenset({"NOT_FOUND_PAYMENT_SESSION", "NOT_FOUND_PAYMENT", "NOT_FOUND"})
"""The key or the session is not there (any more): read back once, then the attempt is over."""

TAKEN = frozenset({"ALREADY_PROCESSED_PAYMENT"})
"""The payment is paid, under this key or another: read back by its order id."""
AT_WORK = frozenset({"IDEMPOTENT_REQUEST_PROCESSING"})
"""The first request under this key is still being worked on, and its answer is yet to come: asked again as it is. Any
other error is the answer, and given again to whoever asks with the key.
"""
_NO_CODE = "HTTP_"
"""What the code begins with where an answer has none; its status follows."""
REFUSALS = range(400, 500)
"""Of the statuses of an error, those with which the PG says no; any other may come from something before it."""

CANCEL: Mapping[str, Means] = {
    code: means
    for means, codes in {
        Means.TRANSIENT: """
            PROVIDER_ERROR FORBIDDEN_CONSECUTIVE_REQUEST NOT_AVAILABLE_BANK FAILED_REFUND_PROCESS FAILED_PARTIAL_REFUND
            FAILED_METHOD_HANDLING_CANCEL COMMON_ERROR FAILED_PAYMENT_INTERNAL_SYSTEM_PROCESSING
            FAILED_INTERNAL_SYSTEM_PROCESSING
            """,
        Means.MOVED: "ALREADY_CANCELED_PAYMENT ALREADY_REFUND_PAYMENT NOT_MATCHES_REFUNDABLE_AMOUNT",
        Means.FINAL: """
            NOT_CANCELABLE_AMOUNT NOT_CANCELABLE_PAYMENT EXCEED_MAX_REFUND_DUE NOT_ALLOWED_PARTIAL_REFUND
            NOT_ALLOWED_PARTIAL_REFUND_WAITING_DEPOSIT EXCEED_CANCEL_AMOUNT_DISCOUNT_AMOUNT REFUND_REJECTED
            EXCEED_CANCEL_LIMIT NOT_CANCELABLE_PAYMENT_FOR_DORMANT_USER INVALID_REFUND_ACCOUNT_INFO
            INVALID_REFUND_ACCOUNT_NUMBER INVALID_BANK FORBIDDEN_BANK_REFUND_REQUEST INVALID_REQUEST
            """,
        Means.RUNNING: "IDEMPOTENT_REQUEST_PROCESSING",
        Means.OURS: " ".join(sorted(OURS | ABSENT)),
    }.items()
    for code in codes.split()
}
"""What an error answer to a cancel says. A code that stands here nowhere is `Means.TRANSIENT`: read back."""


NEVER_NOW = frozenset(code for code, means in CANCEL.items() if means in (Means.FINAL, Means.OURS))
"""What is refused until somebody mends it: by what we are, or by what the payment is."""
ANSWERS = frozenset(REFUSED | REFUSED_REQUEST | OURS | ABSENT | TAKEN | AT_WORK) | {
    code for code, means in CANCEL.items() if means is not Means.TRANSIENT
}
"""What is said of the payment or of our request, by a PG that does its work."""


def trouble(code: str) -> bool:
    """Whether an error says that the PG, or what stands behind it, could not do its work, or has had too much of it; so
    does one whose code is not known, or that has none.
    """
    return code not in ANSWERS


class TossError(msgspec.Struct):
    """Toss's error body."""

    code: str = ""
    message: str = ""


def classify(status: int, error: TossError) -> Reply:
    """What an error answer to a confirm means."""
    refused = status in REFUSALS
    if refused and (error.code in REFUSED or error.code in REFUSED_REQUEST):
        return Declined(error.code, error.message)
    if error.code in AT_WORK:
        return Unknown(error.code, error.message)
    if refused and error.code in OURS:
        return Later(error.code, error.message, ours=True, sent=False)
    return Doubtful(
        error.code or f"{_NO_CODE}{status}",
        error.message,
        absent=refused and error.code in ABSENT,
        taken=refused and error.code in TAKEN,
    )


def classify_cancel(status: int, error: TossError) -> CancelReply:
    """What an error answer to a cancel means. A 5xx may come from something before the PG: it refuses nothing."""
    code = error.code or f"{_NO_CODE}{status}"
    means = CANCEL.get(error.code, Means.TRANSIENT) if status in REFUSALS else Means.TRANSIENT
    match means:
        case Means.OURS:
            return Later(code, error.message, ours=True, sent=False)
        case Means.RUNNING:
            return Unknown(code, error.message)
        case _:
            return Said(code, error.message, means)
