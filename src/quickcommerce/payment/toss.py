"""The Toss Payments client: one call, one meaning. The only place that speaks HTTP to the PG.

What its error codes mean is in `codes.py`.
"""

import asyncio
import base64
import re
from collections.abc import Awaitable, Mapping
from urllib.parse import quote
from uuid import uuid4

import httpx2
import msgspec

from quickcommerce.payment.codes import ABSENT, REFUSALS, TossError, classify, classify_cancel, trouble
from quickcommerce.payment.deposit_model import Awaiting
from quickcommerce.payment.line import Line
from quickcommerce.payment.model import (
    NO_REPLY,
    NOT_SENT,
    Asked,
    Captured,
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
from quickcommerce.payment.reconcile_model import Span
from quickcommerce.payment.refund_model import Cancel, CancelReply, Means, Refunded, Said, conclude_cancel
from quickcommerce.payment.toss_json import decoded
from quickcommerce.payment.toss_payment import error_of, payment_of
from quickcommerce.payment.toss_transactions import NoSuchPage, Page, page, seoul

AGENT = "quickcommerce"
"""Who asks; which library of which version asks for us is nobody's business."""
CONNECTIONS_MAX = 128
"""Connections to the PG, for captures and for readings each."""
LIST_MAX_BYTES = 2**24
"""What a page of the list may have: 16 thousand for each of 1,000 rows."""
NO_SUCH_PAGE = "INVALID_TRANSACTION_KEY"
_NO_LINE = (httpx2.ConnectError, httpx2.ConnectTimeout)

KEY = re.compile(r"(?!(?:confirm|orders|key-in)$)[A-Za-z0-9_=-]+")
"""What may stand in a path as a payment key. A buyer's client brings the key, and must not choose what is read."""


class Toss:
    """The client. `transport` is the network, or the emulator in this process. `accounts`: whether deposits into
    virtual accounts are waited for; else no account is told.
    """

    def __init__(
        self,
        url: str,
        secret_key: str,
        *,
        confirm_deadline_s: float,
        read_deadline_s: float,
        list_deadline_s: float = 60.0,
        accounts: bool = False,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        credentials = base64.b64encode(f"{secret_key}:".encode()).decode()
        headers = {"User-Agent": AGENT, "Authorization": f"Basic {credentials}", "Accept-Language": "en-US"}
        self._confirm_deadline_s = confirm_deadline_s
        self._read_deadline_s = read_deadline_s
        self._list_deadline_s = list_deadline_s
        self._accounts = accounts
        # A crowd of slow captures leaves connections for those who must know what became of theirs.
        self._paying, self._reading = (Line(url, headers, transport or _tcp(url)) for _ in range(2))

    async def close(self) -> None:
        """Close the connections."""
        await self._paying.close()
        await self._reading.close()

    def rests_s(self) -> float:
        """It is asked whenever somebody wants to (`breaker.Sparing` holds back)."""
        return 0

    async def confirm(self, asked: Asked) -> Reply:
        """Capture. Money moves here. Never raises for what the network or the PG does: that is an outcome."""
        body = {"paymentKey": asked.payment_key, "orderId": asked.payment_id, "amount": asked.amount}
        headers = {"Idempotency-Key": asked.idempotency_key}
        try:
            async with asyncio.timeout(self._confirm_deadline_s):
                answer = await self._paying.ask("POST", "/v1/payments/confirm", json=body, headers=headers)
        except _NO_LINE as error:
            return Later(NOT_SENT, type(error).__name__, ours=False, sent=False)
        except (httpx2.HTTPError, TimeoutError) as error:
            return Unknown(NO_REPLY, type(error).__name__)
        if answer.status == httpx2.codes.OK:
            # The answer is held to the same comparisons as any reading.
            outcome = conclude(self._payment(answer.content), asked, answered=None)
            same = isinstance(outcome, Captured) and (outcome.payment_key, outcome.back) == (asked.payment_key, ())
            if same or isinstance(outcome, Awaiting):
                return outcome
            return Doubtful("UNEXPECTED_ANSWER", "200, but not as asked")
        return classify(answer.status, _error(answer.content))

    async def cancel(self, cancel: Cancel) -> CancelReply:
        """Give money back. Never raises for what the network or the PG does: that is an outcome."""
        body = {"cancelReason": cancel.told, "cancelAmount": cancel.amount, "refundableAmount": cancel.before}
        headers = {"Idempotency-Key": cancel.idempotency_key}
        path = f"/v1/payments/{quote(cancel.payment_key, safe='')}/cancel"
        try:
            async with asyncio.timeout(self._confirm_deadline_s):
                answer = await self._paying.ask("POST", path, json=body, headers=headers)
        except _NO_LINE as error:
            return Later(NOT_SENT, type(error).__name__, ours=False, sent=False)
        except (httpx2.HTTPError, TimeoutError) as error:
            return Unknown(NO_REPLY, type(error).__name__)
        if answer.status == httpx2.codes.OK:
            outcome = conclude_cancel(self._payment(answer.content), cancel, said=None)
            if isinstance(outcome, Refunded):
                return outcome
            return Said("UNEXPECTED_ANSWER", "200, but not as asked", Means.TRANSIENT)
        return classify_cancel(answer.status, _error(answer.content))

    async def read(self, asked: Asked) -> Reading:
        """Read a payment back, by its key or, where that names nothing, by its order id: both within one deadline."""
        return await self._in_time(self._read_either(asked))

    async def _read_either(self, asked: Asked) -> Reading:
        if KEY.fullmatch(asked.payment_key):
            by_key = await self._read(f"/v1/payments/{quote(asked.payment_key, safe='')}")
            if not isinstance(by_key, Missing):
                return by_key
        return await self._read_by_order(asked)

    async def read_order(self, asked: Asked) -> Reading:
        """Read what the PG has for the payment, under whichever key."""
        return await self._in_time(self._read_by_order(asked))

    async def _read_by_order(self, asked: Asked) -> Reading:
        return await self._read(f"/v1/payments/orders/{quote(asked.payment_id, safe='')}")

    async def withdraw(self, asked: Asked) -> Reading:
        """Close an account into which no deposit has come.

        Each time it is asked for under another Idempotency-Key: one that is closed or paid into refuses (money goes
        back only to an account that is named), and a refusal that is kept would be given again for ever. To close it
        twice is no harm.
        """
        path = f"/v1/payments/{quote(asked.payment_key, safe='')}/cancel"
        body = {"cancelReason": "no deposit came in time", "refundableAmount": asked.amount}
        return await self._in_time(self._read(path, body, {"Idempotency-Key": str(uuid4())}))

    async def transactions(self, span: Span, after: str | None, limit: int) -> Page | NoSuchPage | Unreadable:
        """At most `limit` of what moved in a span, widened to whole seconds, behind a transaction."""
        asked = {"startDate": seoul(span.from_us), "endDate": seoul(span.before_us), "limit": str(limit)}
        query = asked | ({"startingAfter": after} if after else {})
        try:
            async with asyncio.timeout(self._list_deadline_s):
                answer = await self._reading.ask("GET", "/v1/transactions", most=LIST_MAX_BYTES, params=query)
        except (httpx2.HTTPError, TimeoutError) as error:
            return Unreadable(type(error).__name__)
        if answer.status == httpx2.codes.OK:
            found = page(answer.content)
            return Unreadable(found) if isinstance(found, str) else found
        told = _error(answer.content)
        if after and told.code == NO_SUCH_PAGE:
            return NoSuchPage()
        return Unreadable(f"HTTP {answer.status} {told.code}")

    async def _in_time(self, reading: Awaitable[Reading]) -> Reading:
        """What is read before the deadline of readings."""
        try:
            async with asyncio.timeout(self._read_deadline_s):
                return await reading
        except (httpx2.HTTPError, TimeoutError) as error:
            return Unreadable(type(error).__name__)

    async def _read(
        self, path: str, body: Mapping[str, object] | None = None, headers: Mapping[str, str] | None = None
    ) -> Reading:
        """What a GET says, or a POST of a body. Raises httpx2.HTTPError."""
        answer = await self._reading.ask("POST" if body else "GET", path, json=body, headers=headers)
        if answer.status == httpx2.codes.OK:
            return self._payment(answer.content)
        told = _error(answer.content)
        if answer.status == httpx2.codes.NOT_FOUND and told.code in ABSENT:
            return Missing()
        refused = answer.status in REFUSALS and not trouble(told.code)
        return Unreadable(f"HTTP {answer.status} {told.code}", refused)

    def _payment(self, content: bytes) -> Found | Unreadable:
        found = payment_of(content)
        if self._accounts or isinstance(found, Unreadable):
            return found
        return msgspec.structs.replace(found, account=None)


def _tcp(url: str) -> httpx2.AsyncBaseTransport:
    # Imported where it is asked for: a shop with its PG in the same process starts sooner without it.
    from quickcommerce.payment.tcp import Tcp  # noqa: PLC0415

    return Tcp(url, connections=CONNECTIONS_MAX)


def _error(content: bytes) -> TossError:
    try:
        return error_of(decoded(content))
    except ValueError:
        return TossError()
