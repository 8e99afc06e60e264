"""The pages on which a buyer pays an order, plain HTML that works without a script, and the list of all pages."""

import re
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

from litestar import Response, get
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from quickcommerce.kit import web
from quickcommerce.kit.auth import Caller
from quickcommerce.kit.ids import PaymentId, is_id
from quickcommerce.kit.openapi import EVERY_ROLE, IDS, NUMBER, Doc, Parameter
from quickcommerce.kit.problem import (
    AmountMismatch,
    InvalidRequest,
    InvalidState,
    NotFound,
    PaymentDeclined,
    Problem,
    Unavailable,
)  # fmt: skip
from quickcommerce.kit.telemetry import current_trace
from quickcommerce.kit.web import HTML, AnyRequest
from quickcommerce.order.model import HOLDING, Status
from quickcommerce.order.web import path_id
from quickcommerce.payment.model import MONEY_TAKEN
from quickcommerce.shop import assets, goods, orders, session, widget
from quickcommerce.shop.page import Pages, on_problem, render, signed_in, spoken, viewer, wants_html

KEY = re.compile(r"[!-~]{1,200}")


async def _buyer(request: AnyRequest, pages: Pages, order_id: str) -> Caller | None:
    """Who opens the pay page: the bearer of its signed link (None), or a caller by token.

    Raises Unauthorized where there is neither, NotFound where the link is not this order's.
    """
    tokens = request.query_params.getall("token", [])
    if not tokens:
        return await signed_in(request)
    if not pages.checkout.holds(order_id, tokens[0]):
        raise NotFound("there is no such order")
    await viewer(request)
    return None


@get(
    "/pay/{order_id:str}",
    exception_handlers={Problem: on_problem},
    opt={
        "doc": Doc(
            "The pay page of an order, for its buyer or for whoever has its link",
            EVERY_ROLE,
            gives={200: None},
            problems=(NotFound, Unavailable),
            media=HTML,
            links=True,
        )
    },
)
async def pay(request: AnyRequest, state: State, order_id: FromPath[str]) -> Response[Any]:
    """The pay page of an order: what is in it, what it costs, and the way to the PG."""
    pages: Pages = state.pages
    caller = await _buyer(request, pages, order_id)
    identity = path_id(order_id)
    order = (await pages.book.rows([identity])).get(identity)
    if order is None or (caller and not caller.may_see(order.user_id)):
        raise NotFound("there is no such order")
    if order.status not in HOLDING or order.payable == 0:
        return render(request, "ended.html", order=spoken(request, order))
    payment = await pages.payments.of_order(identity, caller)
    base = pages.base(request)
    query = {
        "orderId": payment.payment_id,
        "amount": payment.amount,
        "orderName": payment.title,
        "successUrl": f"{base}/pay/success",
        "failUrl": f"{base}/pay/fail",
    }
    start = f"{pages.pg_checkout}?{urlencode(query)}"
    key = pages.pg_client_key
    waiting = order.status is Status.PAYING
    return render(
        request,
        "pay.html",
        order=spoken(request, order),
        payment=payment,
        start=start,
        widget=key and widget.told(payment, key, widget.customer_key(pages.checkout.secret, order.user_id), base),
        waiting=waiting,
        left_s=pages.left_s(order),
    )


@get(
    "/pay/success",
    exception_handlers={Problem: on_problem},
    opt={
        "doc": Doc(
            "Where the PG sends a buyer who authenticated: the payment is captured",
            gives={200: None, 202: None},
            problems=(NotFound, PaymentDeclined, AmountMismatch, InvalidState, Unavailable),
            query=("paymentKey", "orderId", "amount", "paymentType"),
            parameters={
                "paymentKey": Parameter(
                    {"type": "string", "pattern": f"^{KEY.pattern}$"}, "The PG's key of the payment.", required=True
                ),
                "orderId": Parameter(IDS["payment_id"], "Our payment's id, which the PG calls so.", required=True),
                "amount": Parameter(NUMBER, "Won that the buyer agreed to.", required=True),
                "paymentType": Parameter({"type": "string"}, "The PG sends it; it changes nothing."),
            },
            media=HTML,
            says={200: "It is paid", 202: "It is not known yet: the page looks again by itself"},
        )
    },
)
async def success(request: AnyRequest, state: State) -> Response[Any]:
    """Where the PG sends a buyer who authenticated: the capture happens here, however often the page is loaded."""
    pages: Pages = state.pages
    await viewer(request)
    payment_key, payment_id = web.one(request, "paymentKey") or "", web.one(request, "orderId") or ""
    amount = web.integer(request, "amount", low=1, high=2**53 - 1)
    if not KEY.fullmatch(payment_key) or amount is None:
        raise InvalidRequest("paymentKey, orderId and amount are needed, as the PG sends them")
    if not is_id("pay", payment_id):
        raise NotFound("there is no such payment")
    try:
        payment, _ = await pages.payments.confirm(PaymentId(payment_id), payment_key, amount, None, current_trace())
    except PaymentDeclined as declined:
        if not wants_html(request):
            raise
        again = pages.checkout.url((await pages.payments.get(PaymentId(payment_id))).order_id)
        return render(request, "declined.html", declined.status, reason=declined.extra["pg_message"], again=again)
    known = payment.status in MONEY_TAKEN
    return render(request, "paid.html", 200 if known else 202, payment=payment, known=known, waiting=not known)


@get(
    "/pay/fail",
    exception_handlers={Problem: on_problem},
    opt={
        "doc": Doc(
            "Where the PG sends a buyer who gave up or was refused; nothing changes",
            gives={200: None},
            problems=(Unavailable,),
            query=("code", "message", "orderId"),
            parameters={
                "code": Parameter({"type": "string"}, "The PG's code."),
                "message": Parameter({"type": "string"}, "What the PG tells the buyer."),
                "orderId": Parameter({"type": "string"}, "Our payment's id, which the PG calls so."),
            },
            media=HTML,
        )
    },
)
async def fail(request: AnyRequest, state: State) -> Response[Any]:
    """Where the PG sends a buyer who gave up or was refused before authentication. Nothing changes."""
    pages: Pages = state.pages
    await viewer(request)
    reason = (web.one(request, "message") or web.one(request, "code") or "")[:300]
    payment_id = web.one(request, "orderId") or ""
    again = None
    if is_id("pay", payment_id):
        with suppress(NotFound):
            payment = await pages.payments.get(PaymentId(payment_id))
            if payment.status in MONEY_TAKEN:
                return render(request, "paid.html", 200, payment=payment, known=True)
            again = pages.checkout.url(payment.order_id)
    return render(request, "declined.html", 200, reason=reason, again=again)


def routes(*, demo: bool) -> list[HTTPRouteHandler]:
    """The pages; they find `Pages` in the app's state as `pages`. `demo`: buyers choose who they are."""
    return [pay, success, fail, assets.asset, *goods.routes(), *orders.routes(), *(session.routes() if demo else [])]
