"""The PG's error codes with their HTTP statuses and texts (the error code pages of Toss's core API reference)."""

from typing import Final

import msgspec

CODE: Final = r"\A[A-Z0-9_]{1,100}\Z"
"""What an error code looks like."""

REFUSED_BY_ISSUER: Final = frozenset(
    {
        "EXCEED_MAX_AMOUNT",
        "EXCEED_MAX_AUTH_COUNT",
        "EXCEED_MAX_CARD_INSTALLMENT_PLAN",
        "EXCEED_MAX_DAILY_PAYMENT_COUNT",
        "EXCEED_MAX_MONTHLY_PAYMENT_AMOUNT",
        "EXCEED_MAX_ONE_DAY_AMOUNT",
        "EXCEED_MAX_ONE_DAY_WITHDRAW_AMOUNT",
        "EXCEED_MAX_ONE_TIME_WITHDRAW_AMOUNT",
        "EXCEED_MAX_PAYMENT_AMOUNT",
        "FDS_ERROR",
        "INVALID_ACCOUNT_INFO_RE_REGISTER",
        "INVALID_CARD_EXPIRATION",
        "INVALID_CARD_INSTALLMENT_PLAN",
        "INVALID_CARD_LOST_OR_STOLEN",
        "INVALID_CARD_NUMBER",
        "INVALID_PASSWORD",
        "INVALID_REJECT_CARD",
        "INVALID_STOPPED_CARD",
        "NOT_ALLOWED_POINT_USE",
        "NOT_SUPPORTED_INSTALLMENT_PLAN_CARD_OR_MERCHANT",
        "NOT_SUPPORTED_MONTHLY_INSTALLMENT_PLAN",
        "REJECT_ACCOUNT_PAYMENT",
        "REJECT_CARD_COMPANY",
        "REJECT_CARD_PAYMENT",
        "REJECT_TOSSPAY_INVALID_ACCOUNT",
        "RESTRICTED_TRANSFER_ACCOUNT",
    }
)
"""The buyer's bank or card said no: the payment is ABORTED and carries the code as its `failure` from then on."""

_STATUSES: Final = {
    401: ("UNAUTHORIZED_KEY",),
    403: (
        "EXCEED_CANCEL_AMOUNT_DISCOUNT_AMOUNT",
        "EXCEED_MAX_AUTH_COUNT",
        "EXCEED_MAX_ONE_DAY_AMOUNT",
        "EXCEED_MAX_REFUND_DUE",
        "FDS_ERROR",
        "FORBIDDEN_BANK_REFUND_REQUEST",
        "FORBIDDEN_CONSECUTIVE_REQUEST",
        "FORBIDDEN_REQUEST",
        "INCORRECT_BASIC_AUTH_FORMAT",
        "INVALID_PASSWORD",
        "NOT_ALLOWED_PARTIAL_REFUND",
        "NOT_ALLOWED_PARTIAL_REFUND_WAITING_DEPOSIT",
        "NOT_AVAILABLE_BANK",
        "NOT_CANCELABLE_AMOUNT",
        "NOT_CANCELABLE_PAYMENT",
        "NOT_CANCELABLE_PAYMENT_FOR_DORMANT_USER",
        "REJECT_ACCOUNT_PAYMENT",
        "REJECT_CARD_COMPANY",
        "REJECT_CARD_PAYMENT",
        "REJECT_TOSSPAY_INVALID_ACCOUNT",
    ),
    404: ("NOT_FOUND", "NOT_FOUND_PAYMENT", "NOT_FOUND_PAYMENT_SESSION"),
    405: ("METHOD_NOT_ALLOWED",),
    409: ("IDEMPOTENT_REQUEST_PROCESSING",),
    413: ("PAYLOAD_TOO_LARGE",),
    500: (
        "COMMON_ERROR",
        "FAILED_INTERNAL_SYSTEM_PROCESSING",
        "FAILED_METHOD_HANDLING_CANCEL",
        "FAILED_PARTIAL_REFUND",
        "FAILED_PAYMENT_INTERNAL_SYSTEM_PROCESSING",
        "FAILED_REFUND_PROCESS",
        "UNKNOWN_PAYMENT_ERROR",
    ),
}
_STATUS_OF: Final = {code: status for status, codes in _STATUSES.items() for code in codes}

_TEXTS: Final = {
    "ALREADY_CANCELED_PAYMENT": ("이미 취소된 결제입니다.", "This payment has already been cancelled."),
    "ALREADY_PROCESSED_PAYMENT": ("이미 처리된 결제입니다.", "This payment has already been processed."),
    "BELOW_MINIMUM_AMOUNT": ("최소 결제 금액보다 적은 금액입니다.", "The amount is below the minimum."),
    "FAILED_INTERNAL_SYSTEM_PROCESSING": ("내부 시스템 처리에 실패했습니다.", "Internal processing failed."),
    "FORBIDDEN_REQUEST": ("허용되지 않은 요청입니다.", "This request is not allowed."),
    "IDEMPOTENT_REQUEST_PROCESSING": (
        "같은 멱등키의 이전 요청을 처리하고 있습니다.",
        "The first request with this idempotency key is still being processed.",
    ),
    "INCORRECT_BASIC_AUTH_FORMAT": (
        "인증 헤더의 시크릿 키 뒤에 콜론(:)이 있어야 합니다.",
        "The secret key in the Authorization header must be followed by a colon (:).",
    ),
    "INVALID_BANK": ("유효하지 않은 은행입니다.", "The bank is not valid."),
    "INVALID_IDEMPOTENCY_KEY": ("멱등키는 1자 이상 300자 이하입니다.", "An idempotency key has 1 to 300 characters."),
    "INVALID_REFUND_ACCOUNT_INFO": (
        "환불 계좌 정보가 올바르지 않습니다.",
        "The account to refund to is missing or not valid.",
    ),
    "INVALID_REFUND_ACCOUNT_NUMBER": (
        "잘못된 환불 계좌번호입니다.",
        "The number of the account to refund to is wrong.",
    ),
    "INVALID_REQUEST": ("잘못된 요청입니다.", "The request is invalid."),
    "INVALID_TRANSACTION_KEY": ("잘못된 페이징 키 입니다.", "The paging key is not valid."),
    "NOT_ALLOWED_PARTIAL_REFUND_WAITING_DEPOSIT": (
        "입금 대기중인 결제는 부분 환불이 불가합니다.",
        "A payment that waits for its deposit can only be cancelled whole.",
    ),
    "NOT_CANCELABLE_AMOUNT": ("취소할 수 없는 금액입니다.", "This amount cannot be cancelled."),
    "NOT_CANCELABLE_PAYMENT": ("취소할 수 없는 결제입니다.", "This payment cannot be cancelled."),
    "NOT_FOUND": ("존재하지 않는 정보입니다.", "Not found."),
    "NOT_FOUND_PAYMENT": ("존재하지 않는 결제입니다.", "There is no such payment."),
    "NOT_FOUND_PAYMENT_SESSION": (
        "결제 시간이 지나 결제 정보를 찾을 수 없습니다.",
        "There is no such payment session, or its time has passed.",
    ),
    "NOT_MATCHES_REFUNDABLE_AMOUNT": (
        "잔액 결과가 일치하지 않습니다.",
        "What can be cancelled is not what the request says.",
    ),
    "PAY_PROCESS_CANCELED": ("구매자가 결제를 취소했습니다.", "The buyer cancelled the payment."),
    "PROVIDER_ERROR": ("잠시 후 다시 시도해 주세요.", "The provider failed for a moment; try again later."),
    "REJECT_CARD_COMPANY": ("카드사가 결제를 거절했습니다.", "The card company refused the payment."),
    "REJECT_CARD_PAYMENT": ("한도초과 또는 잔액부족입니다.", "Over the limit or short of balance."),
    "UNAUTHORIZED_KEY": ("인증되지 않은 시크릿 키입니다.", "The secret key is not known."),
}
_ANY_TEXT: Final = ("요청을 처리하지 못했습니다.", "The request could not be processed.")


def status_of(code: str) -> int:
    """The HTTP status that goes with a code: 400 unless the table says otherwise."""
    return _STATUS_OF.get(code, 400)


def text_of(code: str, *, english: bool = False) -> str:
    """What the PG says to a person about a code, in Korean unless English was asked for."""
    return _TEXTS.get(code, _ANY_TEXT)[english]


def error_body(code: str, message: str) -> bytes:
    """The JSON body of every refusal."""
    return msgspec.json.encode({"code": code, "message": message})
