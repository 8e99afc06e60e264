"""The Toss Payments client: one call, one meaning. The only place that speaks HTTP to the PG.

Codes are those of Toss's error list (https://docs.tosspayments.com/reference/error-codes); what each means for us is
our own classification. A code that is in no list means that nothing is known.
"""

import asyncio
import base64
import re
from typing import Any
from urllib.parse import quote

import httpx2
import msgspec

from quickcommerce.payment.model import (
    Asked,
    Captured,
    Declined,
    Doubtful,
    Found,
    Later,
    Missing,
    Reading,
    Reply,
    Unknown,
    Unreadable,
    conclude,
)  # fmt: skip

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
"""What was sent does not fit what the buyer authenticated: this key can never be captured for this payment."""

ABSENT = frozenset({"NOT_FOUND_PAYMENT_SESSION", "NOT_FOUND_PAYMENT", "NOT_FOUND"})
"""The key or the session is not there (any more): read back once, then the attempt is over."""

TAKEN = frozenset({"ALREADY_PROCESSED_PAYMENT"})
"""The payment is paid, under this key or another: read back by its order id."""
AT_WORK = frozenset({"IDEMPOTENT_REQUEST_PROCESSING", "FORBIDDEN_CONSECUTIVE_REQUEST"})
"""An earlier request for this payment is still being worked on: nothing is known yet."""
REFUSALS = range(400, 500)
"""Of the statuses of an error, those with which the PG says no; any other may come from something before it."""

CONNECT_S = 5.0
"""How long a call waits for a connection."""

CONNECTIONS_MAX = 128
"""Connections to the PG, for captures and for readings each."""

KEY = re.compile(r"(?!(?:confirm|orders|key-in)$)[A-Za-z0-9_=-]+")
"""What may stand in a path as a payment key. A buyer's client brings the key, and must not choose what is read."""


class TossError(msgspec.Struct):
    """Toss's error body."""

    code: str = ""
    message: str = ""


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


class Toss:
    """The client. `transport` is the network, or the emulator in this process."""

    def __init__(
        self,
        url: str,
        secret_key: str,
        *,
        confirm_deadline_s: float,
        read_deadline_s: float,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        credentials = base64.b64encode(f"{secret_key}:".encode()).decode()
        self._confirm_deadline_s = confirm_deadline_s
        self._read_deadline_s = read_deadline_s

        def client() -> httpx2.AsyncClient:
            return httpx2.AsyncClient(
                base_url=url,
                headers={"Authorization": f"Basic {credentials}", "Accept-Language": "en-US"},
                transport=transport,
                # Each step of a call; the whole call has a deadline of its own.
                timeout=httpx2.Timeout(confirm_deadline_s, connect=CONNECT_S, pool=CONNECT_S),
                limits=httpx2.Limits(max_connections=CONNECTIONS_MAX, max_keepalive_connections=16),
            )

        # A crowd of slow captures leaves connections for those who must know what became of theirs.
        self._http, self._reading = client(), client()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()
        await self._reading.aclose()

    async def confirm(self, asked: Asked) -> Reply:
        """Capture. Money moves here. Never raises for what the network or the PG does: that is an outcome."""
        body = {"paymentKey": asked.payment_key, "orderId": asked.payment_id, "amount": asked.amount}
        headers = {"Idempotency-Key": asked.idempotency_key}
        try:
            async with asyncio.timeout(self._confirm_deadline_s):
                answer = await self._http.post("/v1/payments/confirm", json=body, headers=headers)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
            return Later("NOT_SENT", type(error).__name__, ours=False, sent=False)
        except (httpx2.HTTPError, TimeoutError) as error:
            return Unknown("NO_ANSWER", type(error).__name__)
        if answer.status_code == httpx2.codes.OK:
            # The answer is held to the same comparisons as any reading.
            outcome = conclude(_payment(answer.content), asked, answered=None)
            same = outcome == Captured(asked.payment_key)
            return outcome if same else Doubtful("UNEXPECTED_ANSWER", "200, but not as asked")
        return classify(answer.status_code, _error(answer.content))

    async def read(self, asked: Asked) -> Reading:
        """Read a payment back, by its key or, where that names nothing, by its order id."""
        if not KEY.fullmatch(asked.payment_key):
            return await self.read_order(asked)
        by_key = await self._read(f"/v1/payments/{quote(asked.payment_key, safe='')}")
        return by_key if not isinstance(by_key, Missing) else await self.read_order(asked)

    async def read_order(self, asked: Asked) -> Reading:
        """Read what the PG has for the payment, under whichever key."""
        return await self._read(f"/v1/payments/orders/{asked.payment_id}")

    async def _read(self, path: str) -> Reading:
        try:
            async with asyncio.timeout(self._read_deadline_s):
                answer = await self._reading.get(path)
        except (httpx2.HTTPError, TimeoutError) as error:
            return Unreadable(type(error).__name__)
        if answer.status_code == httpx2.codes.OK:
            return _payment(answer.content)
        told = _error(answer.content)
        if answer.status_code == httpx2.codes.NOT_FOUND and told.code in ABSENT:
            return Missing()
        return Unreadable(f"HTTP {answer.status_code} {told.code}")


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
        error.code or f"HTTP_{status}",
        error.message,
        absent=refused and error.code in ABSENT,
        taken=refused and error.code in TAKEN,
    )


def _payment(content: bytes) -> Found | Unreadable:
    try:
        payment = msgspec.json.decode(content, type=TossPayment)
    except msgspec.DecodeError as error:
        return Unreadable(f"not a payment: {error}")
    failure = payment.failure or TossFailure()
    return Found(
        payment.payment_key, payment.order_id, payment.total_amount, payment.currency, payment.status,
        failure.code, failure.message,
    )  # fmt: skip


def _error(content: bytes) -> TossError:
    try:
        body: Any = msgspec.json.decode(content)
        return msgspec.convert(body, TossError)
    except msgspec.MsgspecError:
        return TossError()
