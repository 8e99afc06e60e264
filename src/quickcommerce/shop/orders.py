"""A buyer's orders: the list, one of them with what happened to it, and that one live."""

from functools import partial

from litestar import Response, get
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from litestar.response import Stream

from quickcommerce.kit import web
from quickcommerce.kit.clock import rfc3339
from quickcommerce.kit.ids import is_id
from quickcommerce.kit.problem import Problem
from quickcommerce.kit.web import AnyRequest
from quickcommerce.order.model import HOLDING, NEXT, Status
from quickcommerce.order.web import path_id
from quickcommerce.shop import money
from quickcommerce.shop.page import Pages, on_problem, render, signed_in, spoken

LIST_MAX = 10
REFUNDS = "/v1/payments/{payment_id}/refunds"


@get("/orders", exception_handlers={Problem: on_problem})
async def mine(request: AnyRequest, state: State) -> Response[str]:
    """The buyer's orders, newest first."""
    pages: Pages = state.pages
    caller = await signed_in(request)
    before = web.cursor(request, partial(is_id, "ord"))
    rows, last = web.paged(await pages.book.page(caller.user_id, before, LIST_MAX + 1), LIST_MAX)
    more = web.next_cursor((last.placed_us, last.order_id)) if last else None
    said = await money.of_listed(pages.payments, rows)
    listed = [(spoken(request, row), said[row.order_id]) for row in rows]
    return render(request, "orders.html", orders=listed, more=more, first=before is None)


@get("/orders/{order_id:str}", exception_handlers={Problem: on_problem})
async def one(request: AnyRequest, state: State, order_id: FromPath[str]) -> Response[str]:
    """An order: what is in it, where it stands, what happened, and what the buyer may do about it."""
    pages: Pages = state.pages
    caller = await signed_in(request)
    identity = path_id(order_id)
    row = await pages.book.get(identity, caller)
    changes = await pages.book.timeline(identity, caller, notes=False)
    payment, refunding, refundable = None, 0, 0
    if row.status is Status.PAID and row.paid > row.refunded and _refunds(request):
        payment = await pages.payments.of_order(identity, caller)
        refunding = payment.refunding
        # The payment knows of money that is back before the order does.
        refundable = payment.captured - payment.refunded - refunding
    said, account = await money.of_one(pages.payments, row)
    payable = row.status in HOLDING and row.payable > 0
    return render(
        request,
        "order.html",
        order=spoken(request, row),
        entries=[(rfc3339(each.at_us), each.what, each.to_status) for each in changes],
        pay=pages.checkout.url(identity) if payable else None,
        cancel=row.status is Status.PLACED and payable,
        payment=payment,
        rest=bool(payment and (payment.refunded or refunding)),
        refunding=refunding,
        refundable=refundable,
        money=said,
        account=account,
        again=said.under_way or refunding > 0,
        follow=bool(NEXT[row.status]),
        left_s=pages.left_s(row),
    )


@get("/orders/{order_id:str}/events", exception_handlers={Problem: on_problem})
async def events(request: AnyRequest, state: State, order_id: FromPath[str]) -> Stream:
    """The order as it changes, as server-sent events."""
    pages: Pages = state.pages
    caller = await web.caller(request)
    row = await pages.book.get(path_id(order_id), caller)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return Stream(pages.live.follow(row), media_type="text/event-stream", headers=headers)


def _refunds(request: AnyRequest) -> bool:
    return any(route.path_format == REFUNDS for route in request.app.routes)


def routes() -> list[HTTPRouteHandler]:
    """The routes of a buyer's orders."""
    return [mine, one, events]
