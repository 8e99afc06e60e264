"""Time sales over HTTP."""

from functools import partial

import msgspec
from litestar import Response, Router, get, post
from litestar.datastructures import State

from quickcommerce.catalog.model import NewSale, Sale
from quickcommerce.catalog.sales import TimeSales
from quickcommerce.kit import web
from quickcommerce.kit.auth import Role
from quickcommerce.kit.clock import rfc3339
from quickcommerce.kit.ids import is_id
from quickcommerce.kit.openapi import Doc
from quickcommerce.kit.problem import InvalidState, NotFound, Unavailable
from quickcommerce.kit.web import AnyRequest


class TimeSaleView(msgspec.Struct):
    """A time sale, in force or to come."""

    time_sale_id: str
    product_id: int
    price: int
    quota: int
    left: int
    starts_at: str
    ends_at: str


class TimeSalePage(msgspec.Struct):
    """A page of time sales, the next to end first."""

    items: list[TimeSaleView]
    next_cursor: str | None


def _view(sale: Sale) -> TimeSaleView:
    return TimeSaleView(
        sale.time_sale_id,
        sale.product_id,
        sale.price,
        sale.quota,
        sale.left,
        rfc3339(sale.starts_us),
        rfc3339(sale.ends_us),
    )


@post(
    "/",
    status_code=201,
    opt={
        "doc": Doc(
            "Announce a time sale: inside its window the price holds for every order until the quota is used up",
            (Role.MASTER,),
            takes=NewSale,
            gives={201: TimeSaleView},
            problems=(NotFound, InvalidState, Unavailable),
        )
    },
)
async def create(request: AnyRequest, state: State) -> Response[bytes]:
    """Announce a time sale."""
    sales: TimeSales = state.sales
    (await web.caller(request)).need(Role.MASTER)
    return web.answer(_view(await sales.create(web.decode(await web.raw_body(request), NewSale))), 201)


@get(
    "/",
    opt={
        "doc": Doc(
            "Time sales in force and to come",
            gives={200: TimeSalePage},
            problems=(Unavailable,),
            query=("limit", "cursor"),
        )
    },
)
async def page(request: AnyRequest, state: State) -> Response[bytes]:
    """Time sales in force and to come."""
    sales: TimeSales = state.sales
    limit, after = web.page_limit(request), web.cursor(request, partial(is_id, "sal"))
    found, last = web.paged(await sales.page(after or (0, ""), limit + 1), limit)
    more = last and web.next_cursor((last.ends_us, last.time_sale_id))
    return web.answer(TimeSalePage([_view(sale) for sale in found], more or None))


def router() -> Router:
    """The routes of time sales; they find the `TimeSales` in the app's state as `sales`."""
    return Router("/v1/time-sales", route_handlers=[create, page])
