"""The endpoints of the Toss API: what each reads from its request, and what it does to the books."""

import msgspec
from litestar import get, post
from litestar.exceptions import ClientException
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from litestar.response.base import ASGIResponse

from quickcommerce.toss_emulator.cancel import (
    Cancel,
    CancelAsk,
    cancel_refusal,
    left_of,
    read_cancel,
    status_after,
)  # fmt: skip
from quickcommerce.toss_emulator.errors import REFUSED_BY_ISSUER
from quickcommerce.toss_emulator.gateway import Answer, AnyRequest, Call, Gateway, Moment, Work, done, listed, refused
from quickcommerce.toss_emulator.ledger import Books
from quickcommerce.toss_emulator.payment import (
    Ask,
    known_order_id,
    known_payment_key,
    read_ask,
    refusal,
    transaction_key,
)  # fmt: skip
from quickcommerce.toss_emulator.transactions import Span, read_span, shown_transaction
from quickcommerce.toss_emulator.virtual_account import METHOD, issued


def payment_routes(gateway: Gateway) -> list[HTTPRouteHandler]:
    """The routes under `/v1`."""

    @post("/v1/payments/confirm", status_code=200)
    async def confirm(request: AnyRequest) -> ASGIResponse:
        ask = read_ask(await _body(request))
        return await gateway.answer(request, Call("confirm", ask.order_id, ask.payment_key), _confirm(ask))

    @get("/v1/payments/{payment_key:str}")
    async def get_by_key(request: AnyRequest, payment_key: FromPath[str]) -> ASGIResponse:
        known = known_payment_key(payment_key)
        return await gateway.answer(request, Call("get", None, known), _get(known, None))

    @get("/v1/payments/orders/{order_id:str}")
    async def get_by_order(request: AnyRequest, order_id: FromPath[str]) -> ASGIResponse:
        known = known_order_id(order_id)
        return await gateway.answer(request, Call("get", known, None), _get(None, known))

    @post("/v1/payments/{payment_key:str}/cancel", status_code=200)
    async def cancel(request: AnyRequest, payment_key: FromPath[str]) -> ASGIResponse:
        known = known_payment_key(payment_key)
        return await gateway.answer(
            request, Call("cancel", None, known), _cancel(known, read_cancel(await _body(request)))
        )

    @get("/v1/transactions")
    async def transactions(request: AnyRequest) -> ASGIResponse:
        return await gateway.answer(request, Call("transactions"), _transactions(read_span(request.query_params)))

    return [confirm, get_by_key, get_by_order, cancel, transactions]


async def _body(request: AnyRequest) -> bytes:
    """The request's body, or nothing of one that is too large: the call is then refused, and noted, as any other."""
    try:
        return await request.body()
    except ClientException:
        return b""


def _confirm(ask: Ask) -> Work:
    def work(books: Books, moment: Moment, scripted: str | None) -> Answer:
        if ask.payment_key is None or ask.order_id is None or ask.amount is None:
            return refused(scripted or "INVALID_REQUEST", moment)
        payment = books.payment(ask.payment_key)
        if payment is None or payment.order_id != ask.order_id:
            return refused(scripted or "NOT_FOUND_PAYMENT_SESSION", moment)
        order_paid = books.order_paid(payment.order_id, moment.now_us)
        code = refusal(payment, ask.amount, order_paid=order_paid, now_us=moment.now_us)
        if code is not None:
            return refused(scripted or code, moment)
        verdict = scripted or ("REJECT_CARD_PAYMENT" if payment.method == "CARD_REFUSED" else None)
        if verdict is None and payment.method == METHOD:
            account = issued(payment, moment.now_us)
            books.open_account(account)
            return done(account, [], moment)
        if verdict is None:
            captured = msgspec.structs.replace(
                payment,
                status="DONE",
                approved_at=moment.now_us,
                transaction_key=transaction_key(payment.payment_key, "capture"),
            )
            books.capture(captured, moment.now_us)
            return done(captured, [], moment)
        if verdict in REFUSED_BY_ISSUER:
            books.abort(payment, verdict, moment.now_us)
        return refused(verdict, moment)

    return work


def _cancel(payment_key: str | None, ask: CancelAsk | None) -> Work:
    def work(books: Books, moment: Moment, scripted: str | None) -> Answer:
        payment = books.payment(payment_key) if payment_key is not None else None
        if payment is None:
            return refused(scripted or "NOT_FOUND_PAYMENT", moment)
        if ask is None:
            return refused(scripted or "INVALID_REQUEST", moment)
        before = books.cancels(payment.payment_key)
        left = left_of(payment, before)
        code = scripted or cancel_refusal(payment, ask, left, moment.now_us)
        if code is not None:
            return refused(code, moment)
        amount = left if ask.amount is None else ask.amount
        left -= amount
        key = transaction_key(payment.payment_key, f"cancel {len(before) + 1}")
        cancelled = msgspec.structs.replace(payment, status=status_after(left))
        cancel = Cancel(key, amount, ask.reason, left, moment.now_us)
        books.cancel(cancelled, cancel)
        return done(cancelled, [*before, cancel], moment)

    return work


def _get(payment_key: str | None, order_id: str | None) -> Work:
    def work(books: Books, moment: Moment, scripted: str | None) -> Answer:
        if scripted is not None:
            return refused(scripted, moment)
        payment = None
        if payment_key is not None:
            payment = books.payment(payment_key)
        elif order_id is not None:
            payment = books.payment_of(order_id, moment.now_us)
        if payment is None:
            return refused("NOT_FOUND_PAYMENT", moment)
        return done(payment, books.cancels(payment.payment_key), moment)

    return work


def _transactions(span: Span | None) -> Work:
    def work(books: Books, moment: Moment, scripted: str | None) -> Answer:
        if scripted is not None or span is None:
            return refused(scripted or "INVALID_REQUEST", moment)
        after = 0 if span.after is None else books.place_of(span.after, span.from_us, span.before_us)
        if after is None:
            return refused("INVALID_TRANSACTION_KEY", moment)
        found = books.transactions(span.from_us, span.before_us, after, span.limit)
        return listed([shown_transaction(each) for each in found])

    return work
