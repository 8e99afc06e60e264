"""The way every call of the Toss API takes: fault script, credentials, idempotency key, books, answer."""

import base64
import hashlib
import hmac
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import msgspec
from litestar import Request
from litestar.response.base import ASGIResponse

from quickcommerce.toss_emulator.cancel import Cancel
from quickcommerce.toss_emulator.clock import DAY_US, Clock
from quickcommerce.toss_emulator.cut import CutResponse
from quickcommerce.toss_emulator.errors import CODE, error_body, status_of, text_of
from quickcommerce.toss_emulator.faults import DropAfter, DropBefore, Error, Fault, Http, Script, Slow
from quickcommerce.toss_emulator.ledger import Books, Kind
from quickcommerce.toss_emulator.payment import Payment
from quickcommerce.toss_emulator.shown import shown
from quickcommerce.toss_emulator.store import Store

ANSWERS_KEPT_US: Final = 15 * DAY_US
"""How long a repeat of an Idempotency-Key gets the first answer again (Toss's page on authorization and headers)."""

_LONGEST_KEY: Final = 300
_CODE: Final = re.compile(CODE)
_RUNNING: Final = "error:IDEMPOTENT_REQUEST_PROCESSING"
"""What is never kept: it says that another answer, to the first request with the key, is yet to come."""
_BODILESS: Final = (204, 205, 304)

AnyRequest = Request[Any, Any, Any]


class Call(msgspec.Struct, frozen=True):
    """An arriving call and what it says it is about; what cannot be an order id or a key is None."""

    kind: Kind
    order_id: str | None = None
    payment_key: str | None = None


class Moment(msgspec.Struct, frozen=True):
    """When a call is decided, and the language it is answered in."""

    now_us: int
    english: bool


class Answer(msgspec.Struct, frozen=True):
    """What is sent back, and how the ledger notes the call."""

    status: int
    media_type: str
    body: bytes
    outcome: str
    payment: Payment | None = None


Work = Callable[[Books, Moment, str | None], Answer]
"""What a call does to the books; the text is the error code the script wants it to end with, if it wants one."""


def done(payment: Payment, cancels: Sequence[Cancel], moment: Moment) -> Answer:
    """The call did what it was asked to do, and this is the payment now, with its cancels in order."""
    facts = shown(payment, cancels, moment.now_us, english=moment.english)
    return Answer(200, "application/json", msgspec.json.encode(facts), "done", payment)


def listed(items: Sequence[dict[str, Any]]) -> Answer:
    """The call asked for a list, and this is it."""
    return Answer(200, "application/json", msgspec.json.encode(items), "done")


def refused(code: str, moment: Moment) -> Answer:
    """The call is refused with an error code."""
    body = error_body(code, text_of(code, english=moment.english))
    return Answer(status_of(code), "application/json", body, f"error:{code}")


class Gateway:
    """Answers the calls of all endpoints alike, and notes each in the ledger together with what it did.

    `moved`: told after each, since money may have moved.
    """

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        script: Script,
        secret_key: str,
        sleep: Callable[[float], Awaitable[None]],
        moved: Callable[[], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._script = script
        self._secret_key = secret_key.encode()
        self._sleep = sleep
        self._moved = moved
        self._running: set[bytes] = set()

    async def answer(self, request: AnyRequest, call: Call, work: Work) -> ASGIResponse:
        """Answer a call. Raises sqlite3.Error when the books cannot be written; then nothing has happened."""
        at_us = self._clock.now()
        fault = self._script.take(call.kind)
        if isinstance(fault, DropBefore):
            await self._store.run(lambda books: _note(books, call, None, "dropped-before", at_us))
            return CutResponse()
        scope, stop = self._admit(request)
        if scope is not None:
            self._running.add(scope)
        try:
            if isinstance(fault, Slow):
                await self._sleep(fault.ms / 1000)
            moment = Moment(self._clock.now(), request.headers.get("accept-language", "").startswith("en"))

            def settle(books: Books) -> Answer:
                kept = books.kept_answer(scope, moment.now_us - ANSWERS_KEPT_US) if scope is not None else None
                if kept is not None:
                    answer = Answer(*kept, "replayed")
                elif stop is not None:
                    answer = refused(stop, moment)
                else:
                    answer = _act(books, moment, work, fault)
                if scope is not None and kept is None and answer.outcome != _RUNNING:
                    books.keep_answer(scope, answer.status, answer.media_type, answer.body, moment.now_us)
                outcome = "dropped-after" if isinstance(fault, DropAfter) else answer.outcome
                _note(books, call, answer.payment, outcome, at_us)
                return answer

            answer = await self._store.run(settle)
            self._moved()
        finally:
            if scope is not None:
                self._running.discard(scope)
        if isinstance(fault, DropAfter):
            return CutResponse()
        body = b"" if answer.status in _BODILESS else answer.body
        return ASGIResponse(body=body, status_code=answer.status, media_type=answer.media_type)

    def _admit(self, request: AnyRequest) -> tuple[bytes | None, str | None]:
        """The scope to keep the answer under, if it is to be kept, and the code to refuse with at once, if any.

        A call that is turned away at the door keeps nothing: it never was the first with its key.
        """
        stop = self._check_credentials(request.headers.get("authorization", ""))
        key = request.headers.get("idempotency-key") if request.method == "POST" else None
        if stop is not None:
            return None, stop
        scope = None
        if key is not None:
            if not 1 <= len(key) <= _LONGEST_KEY:
                return None, "INVALID_IDEMPOTENCY_KEY"
            parts = (key.encode(), self._secret_key, request.scope["path"].encode(), request.method.encode())
            scope = hashlib.sha256(b"\n".join(parts)).digest()
            if scope in self._running:
                return None, "IDEMPOTENT_REQUEST_PROCESSING"
        return scope, self._test_code(request)

    def _check_credentials(self, header: str) -> str | None:
        scheme, _, encoded = header.partition(" ")
        if scheme.lower() != "basic":
            return "UNAUTHORIZED_KEY"
        try:
            user, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
        except ValueError:
            return "INCORRECT_BASIC_AUTH_FORMAT"
        if not colon or password:
            return "INCORRECT_BASIC_AUTH_FORMAT"
        return None if hmac.compare_digest(user, self._secret_key) else "UNAUTHORIZED_KEY"

    def _test_code(self, request: AnyRequest) -> str | None:
        """The error a developer asks for by header; with a live key, or if it cannot be a code, it is ignored."""
        code = request.headers.get("tosspayments-test-code", "")
        return code if self._secret_key.startswith(b"test_") and _CODE.match(code) else None


def _act(books: Books, moment: Moment, work: Work, fault: Fault) -> Answer:
    if isinstance(fault, Http):
        return Answer(fault.status, fault.media_type, fault.content, f"http:{fault.status}")
    return work(books, moment, fault.code if isinstance(fault, Error) else None)


def _note(books: Books, call: Call, payment: Payment | None, outcome: str, at_us: int) -> None:
    """Note a call with the payment that it is about; whoever names only a key means the order that the key is of."""
    if payment is None and call.order_id is None and call.payment_key is not None:
        payment = books.payment(call.payment_key)
    about = (payment.order_id, payment.payment_key) if payment else (call.order_id, call.payment_key)
    books.note(call.kind, *about, outcome, at_us)
