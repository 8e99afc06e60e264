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
from quickcommerce.kit.pages import wants_html
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
from quickcommerce.order.store import Row
from quickcommerce.order.web import path_id
from quickcommerce.payment.model import HELD, MONEY_TAKEN
from quickcommerce.payment.model import Status as PaymentStatus
from quickcommerce.payment.store import Payment
from quickcommerce.shop import assets, goods, money, orders, session, widget
from quickcommerce.shop.money import Money
from quickcommerce.shop.page import Pages, on_problem, reason, render, signed_in, spoken, title, viewer

KEY = re.compile(r"[!-~]{1,200}")
PAYABLE = frozenset({PaymentStatus.READY, PaymentStatus.DECLINED})
"""Of these it is certain that no money came, and a buyer may still pay."""

STATUSES = {Money.CHECKING: 202, Money.AWAITED: 202, **dict.fromkeys(money.TOO_LATE, InvalidState.status)}
"""What is answered where it is not plainly paid."""


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
    told = spoken(request, order)
    if order.status not in HOLDING or order.payable == 0:
        said, _ = await money.of_one(pages.payments, order)
        return render(request, "ended.html", order=told, money=said, waiting=said.look_s)
    payment = await pages.payments.of_order(identity, caller)
    base, name = pages.base(request), title(request, told)
    query = {
        "orderId": payment.payment_id,
        "amount": payment.amount,
        "orderName": name,
        "successUrl": f"{base}/pay/success",
        "failUrl": f"{base}/pay/fail",
        **({"virtualAccount": "true"} if pages.accounts else {}),
    }
    start = f"{pages.pg_checkout}?{urlencode(query)}"
    key = pages.pg_client_key
    said = money.of(order, payment)
    checking = order.status is Status.PAYING or said != money.NOTHING
    left_s = pages.left_s(order)
    return render(
        request,
        "pay.html",
        order=told,
        payment=payment,
        start=start,
        widget=key and widget.told(payment, name, key, widget.customer_key(pages.checkout.secret, order.user_id), base),
        money=said,
        account=await money.deposit(pages.payments, payment),
        checking=checking,
        waiting=said.look_s or money.LOOK_S * (checking or not left_s),
        left_s=left_s,
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
    """The capture happens here, however often the page is loaded; not by HEAD, which is how links are checked."""
    pages: Pages = state.pages
    await viewer(request)
    payment_key, payment_id = web.one(request, "paymentKey") or "", web.one(request, "orderId") or ""
    amount = web.integer(request, "amount", low=1, high=2**53 - 1)
    if not KEY.fullmatch(payment_key) or amount is None:
        raise InvalidRequest("paymentKey, orderId and amount are needed, as the PG sends them")
    if not is_id("pay", payment_id):
        raise NotFound("there is no such payment")
    identity = PaymentId(payment_id)
    try:
        if web.is_head(request):
            payment = await pages.payments.judge(identity, payment_key, amount)
        else:
            payment, _ = await pages.payments.confirm(identity, payment_key, amount, None, current_trace())
    except (PaymentDeclined, AmountMismatch, InvalidState) as refused:
        if not wants_html(request):
            raise
        return await _refused(request, pages, await pages.payments.get(identity), refused)
    if web.is_head(request) and payment.status not in MONEY_TAKEN | HELD:
        # What GET would say is not known before it is done.
        return Response("", status_code=202, media_type=HTML)
    order = await _order(pages, payment)
    said = money.of(order, payment)
    if said.kind in money.TOO_LATE and not wants_html(request):
        raise InvalidState("the order had ended when the money came; all of it goes back")
    return await _taken(request, pages, order, payment, STATUSES.get(said.kind, 200), already=False)


async def _order(pages: Pages, payment: Payment) -> Row:
    """The order of a payment. Raises NotFound."""
    order = (await pages.book.rows([payment.order_id])).get(payment.order_id)
    if order is None:
        raise NotFound("there is no such order")
    return order


async def _taken(
    request: AnyRequest, pages: Pages, order: Row, payment: Payment, status: int, *, already: bool
) -> Response[str]:
    """Money was taken, or may come: then the page looks again by itself. `already`: by another visit to the PG."""
    said = money.of(order, payment)
    see = _order_url(request, pages, payment)
    already = already and said.kind is Money.TAKEN
    values = {"order": spoken(request, order), "money": said, "waiting": said.look_s, "already": already, "see": see}
    values["account"] = await money.deposit(pages.payments, payment)
    return render(request, "paid.html", status, **values)


async def _refused(request: AnyRequest, pages: Pages, payment: Payment, refused: Problem) -> Response[Any]:
    """This visit to the PG took no money. Another of the same payment may have, and the buyer must not pay again."""
    if payment.status in MONEY_TAKEN | HELD:
        return await _taken(request, pages, await _order(pages, payment), payment, refused.status, already=True)
    if not isinstance(refused, PaymentDeclined):
        return on_problem(request, refused, see=_order_url(request, pages, payment))
    told = reason(request, refused.extra["pg_code"], refused.extra["pg_message"])
    return _not_paid(request, pages, payment, refused.status, told)


def _not_paid(request: AnyRequest, pages: Pages, payment: Payment, status: int, why: str) -> Response[str]:
    """No money was taken for a payment, and none is on its way."""
    again = pages.checkout.url(payment.order_id) if payment.status in PAYABLE else None
    see = _order_url(request, pages, payment)
    return render(request, "declined.html", status, reason=why, again=again, see=see, payment=payment)


def _order_url(request: AnyRequest, pages: Pages, payment: Payment) -> str:
    """Where the order of a payment is seen: by its buyer, and by whoever else has its link."""
    viewer = request.state.get("viewer")
    own = viewer is not None and viewer.may_see(payment.user_id)
    return f"/orders/{payment.order_id}" if own else pages.checkout.url(payment.order_id)


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
    code, message = (web.one(request, name) or "" for name in ("code", "message"))
    payment_id = web.one(request, "orderId") or ""
    if is_id("pay", payment_id):
        with suppress(NotFound):
            payment = await pages.payments.get(PaymentId(payment_id))
            if payment.status in MONEY_TAKEN | HELD:
                return await _taken(request, pages, await _order(pages, payment), payment, 200, already=True)
            return _not_paid(request, pages, payment, 200, reason(request, code, message))
    # Anybody can write such a link: its words are shown only with a payment that is ours.
    return render(request, "declined.html", 200, reason="", again=None, see=None, payment=None)


def routes(*, demo: bool) -> list[HTTPRouteHandler]:
    """The pages; they find `Pages` in the app's state as `pages`. `demo`: buyers choose who they are."""
    return [pay, success, fail, assets.asset, *goods.routes(), *orders.routes(), *(session.routes() if demo else [])]
