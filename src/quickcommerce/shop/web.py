"""The pages on which a buyer sees and pays an order: plain HTML that works without a script."""

import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import jinja2
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
from quickcommerce.order.book import OrderBook
from quickcommerce.order.model import HOLDING, Status
from quickcommerce.order.web import Checkout, path_id
from quickcommerce.payment.flow import Payments
from quickcommerce.payment.model import MONEY_TAKEN

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
REFRESH_S = 2
HERE = ZoneInfo("Asia/Seoul")
KEY = re.compile(r"[!-~]{1,200}")


@dataclass(frozen=True)
class Pages:
    """What the pages need. `pg_checkout` is the address of the PG's page for buyers."""

    book: OrderBook
    payments: Payments
    checkout: Checkout
    pg_checkout: str
    public_url: str

    def render(self, template: str, status: int = 200, /, **values: Any) -> Response[str]:
        """A page."""
        refresh = {"Refresh": str(REFRESH_S)} if values.get("waiting") else {}
        return Response(
            _templates.get_template(template).render(values),
            status_code=status,
            media_type=HTML,
            headers=HEADERS | refresh,
        )

    def base(self, request: AnyRequest) -> str:
        """The shop's own address, as the buyer's browser sees it."""
        return self.public_url.rstrip("/") or str(request.base_url).rstrip("/")


_templates = jinja2.Environment(loader=jinja2.PackageLoader("quickcommerce.shop"), autoescape=True)
_templates.filters["won"] = lambda amount: f"{amount:,}원"
_templates.filters["clock"] = lambda at: f"{datetime.fromisoformat(at).astimezone(HERE):%H:%M}"


def _wants_html(request: AnyRequest) -> bool:
    return "text/html" in request.headers.get("accept", "")


def on_problem(request: AnyRequest, problem: Problem) -> Response[Any]:
    """A problem as a page for those who ask for one, and as problem+json for the others.

    Details are written for programs; the page says in a buyer's words what a buyer can mend.
    """
    if not _wants_html(request):
        return web.on_problem(request, problem)
    pages: Pages = request.app.state.pages
    page = pages.render(
        "problem.html", problem.status, status=problem.status, title=problem.title, detail=problem.detail
    )
    page.headers.update(problem.headers())
    return page


async def _buyer(request: AnyRequest, pages: Pages, order_id: str) -> Caller | None:
    """Who opens the pay page: the bearer of its signed link (None), or a caller by token.

    Raises Unauthorized where there is neither, NotFound where the link is not this order's.
    """
    tokens = request.query_params.getall("token", [])
    if not tokens:
        return await web.caller(request)
    if not pages.checkout.holds(order_id, tokens[0]):
        raise NotFound("there is no such order")
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
        return pages.render("order.html", order=order.public())
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
    waiting = order.status is Status.PAYING
    return pages.render("pay.html", order=order.public(), payment=payment, start=start, waiting=waiting)


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
    payment_key, payment_id = web.one(request, "paymentKey") or "", web.one(request, "orderId") or ""
    amount = web.integer(request, "amount", low=1, high=2**53 - 1)
    if not KEY.fullmatch(payment_key) or amount is None:
        raise InvalidRequest("paymentKey, orderId and amount are needed, as the PG sends them")
    if not is_id("pay", payment_id):
        raise NotFound("there is no such payment")
    try:
        payment, _ = await pages.payments.confirm(PaymentId(payment_id), payment_key, amount, None, current_trace())
    except PaymentDeclined as declined:
        if not _wants_html(request):
            raise
        again = pages.checkout.url((await pages.payments.get(PaymentId(payment_id))).order_id)
        return pages.render("declined.html", declined.status, reason=declined.extra["pg_message"], again=again)
    known = payment.status in MONEY_TAKEN
    return pages.render("paid.html", 200 if known else 202, payment=payment, known=known, waiting=not known)


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
    reason = (web.one(request, "message") or web.one(request, "code") or "")[:300]
    payment_id = web.one(request, "orderId") or ""
    again = None
    if is_id("pay", payment_id):
        with suppress(NotFound):
            payment = await pages.payments.get(PaymentId(payment_id))
            if payment.status in MONEY_TAKEN:
                return pages.render("paid.html", 200, payment=payment, known=True)
            again = pages.checkout.url(payment.order_id)
    return pages.render("declined.html", 200, reason=reason, again=again)


@get("/static/pay.css", sync_to_thread=False)
def style() -> Response[bytes]:
    """The pages' style."""
    return Response(_STYLE, media_type="text/css", headers={"Cache-Control": "max-age=3600"})


_STYLE = files("quickcommerce.shop").joinpath("static", "pay.css").read_bytes()


def routes() -> list[HTTPRouteHandler]:
    """The pages; they find `Pages` in the app's state as `pages`."""
    return [pay, success, fail, style]
