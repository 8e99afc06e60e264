"""How the API shows a payment: the Payment object, which answers and webhooks carry alike."""

from collections.abc import Sequence
from typing import Any

from quickcommerce.toss_emulator.cancel import Cancel, left_of, shown_cancels
from quickcommerce.toss_emulator.clock import seoul
from quickcommerce.toss_emulator.errors import text_of
from quickcommerce.toss_emulator.payment import Payment, shown_method, status_at
from quickcommerce.toss_emulator.virtual_account import shown_account


def shown(payment: Payment, cancels: Sequence[Cancel], now_us: int, *, english: bool = False) -> dict[str, Any]:
    """The Payment object of the API (version 2022-11-16), with the payment's cancels in order.

    What an emulated payment never has is null.
    """
    left = left_of(payment, cancels)
    status = status_at(payment, now_us)
    done = payment.approved_at is not None
    vat = (left + 5) // 11  # a tenth on top, so an eleventh of the whole, to the nearest won
    failure = payment.failure_code
    return {
        "version": "2022-11-16",
        "paymentKey": payment.payment_key,
        "type": "NORMAL",
        "orderId": payment.order_id,
        "orderName": payment.order_name,
        "mId": "emulator",
        "currency": "KRW",
        "method": shown_method(payment.method),
        "totalAmount": payment.amount,
        "balanceAmount": left,
        "suppliedAmount": left - vat,
        "vat": vat,
        "taxFreeAmount": 0,
        "taxExemptionAmount": 0,
        "status": status,
        "requestedAt": seoul(payment.authenticated_at),
        "approvedAt": seoul(payment.approved_at) if payment.approved_at is not None else None,
        "useEscrow": False,
        "cultureExpense": False,
        "lastTransactionKey": cancels[-1].transaction_key if cancels else payment.transaction_key,
        "secret": payment.secret,
        "country": "KR",
        "isPartialCancelable": True,
        "cancels": shown_cancels(cancels),
        "card": _card(payment, done=done) if payment.method in ("CARD", "CARD_REFUSED") else None,
        "transfer": {"bankCode": "92", "settlementStatus": "INCOMPLETED"} if payment.method == "TRANSFER" else None,
        "easyPay": _easy_pay(payment) if payment.method == "EASY_PAY" else None,
        "virtualAccount": shown_account(payment, expired=status == "EXPIRED"),
        "mobilePhone": None,
        "giftCertificate": None,
        "cashReceipt": None,
        "cashReceipts": None,
        "discount": None,
        "metadata": None,
        "receipt": None,
        "checkout": None,
        "failure": {"code": failure, "message": text_of(failure, english=english)} if failure else None,
    }


def _card(payment: Payment, *, done: bool) -> dict[str, Any]:
    return {
        "amount": payment.amount,
        "issuerCode": "61",
        "acquirerCode": "31",
        "number": "94100000****000*",
        "installmentPlanMonths": 0,
        "approveNo": "00000000" if done else "",
        "useCardPoint": False,
        "cardType": "신용",
        "ownerType": "개인",
        "acquireStatus": "READY",
        "isInterestFree": False,
        "interestPayer": None,
    }


def _easy_pay(payment: Payment) -> dict[str, Any]:
    return {"provider": "토스페이", "amount": payment.amount, "discountAmount": 0}
