"""Orders over HTTP."""

from dataclasses import dataclass
from functools import partial

import msgspec
from litestar import Response, Router, get, post
from litestar.datastructures import State
from litestar.params import FromPath

from quickcommerce.events import Order
from quickcommerce.kit import idempotency, web
from quickcommerce.kit.auth import Role
from quickcommerce.kit.batch import GroupCommit
from quickcommerce.kit.clock import rfc3339
from quickcommerce.kit.ids import Ids, OrderId, is_id
from quickcommerce.kit.openapi import EVERY_ROLE, Doc
from quickcommerce.kit.problem import (
    CouponNotUsable,
    IdempotencyInProgress,
    IdempotencyKeyReused,
    InvalidRequest,
    InvalidState,
    NotFound,
    OutOfStock,
    PriceChanged,
    Unavailable,
)  # fmt: skip
from quickcommerce.kit.shortcut import Shortcuts
from quickcommerce.kit.telemetry import current_trace
from quickcommerce.kit.web import AnyRequest
from quickcommerce.order import store
from quickcommerce.order.book import OrderBook
from quickcommerce.order.checkout import Checkout
from quickcommerce.order.flow import Orders
from quickcommerce.order.model import HOLDING, Basket
from quickcommerce.order.placing import Placed, Placing

ORDERS = "/v1/orders"


class OrderView(Order, frozen=True):
    """An order, and where to pay it while it may be paid."""

    checkout_url: str | None


class OrderPage(msgspec.Struct):
    """A page of orders, newest first."""

    items: list[OrderView]
    next_cursor: str | None


class Entry(msgspec.Struct, rename={"from_status": "from", "to_status": "to"}):
    """Something that happened to an order."""

    at: str
    what: str
    cause: str
    from_status: str | None
    to_status: str


class Timeline(msgspec.Struct):
    """What happened to an order, in order."""

    items: list[Entry]


@dataclass(frozen=True)
class Web:
    """What the routes need."""

    book: OrderBook
    orders: Orders
    placing: GroupCommit[Placing, Placed]
    checkout: Checkout
    ids: Ids

    def body(self, row: store.Row) -> bytes:
        """An order as it is now."""
        url = self.checkout.url(row.order_id) if row.status in HOLDING and row.payable else None
        return self.checkout.append(msgspec.json.encode(row.public()), url)


def path_id(order_id: str) -> OrderId:
    """An order id from a path. Raises NotFound for anything that cannot be one."""
    if not is_id("ord", order_id):
        raise NotFound("there is no such order")
    return OrderId(order_id)


@post(
    "/",
    status_code=201,
    opt={
        "doc": Doc(
            "Place an order: stock is held until it is paid or its time ends",
            EVERY_ROLE,
            takes=Basket,
            gives={201: OrderView},
            problems=(
                NotFound,
                OutOfStock,
                PriceChanged,
                CouponNotUsable,
                IdempotencyInProgress,
                IdempotencyKeyReused,
                Unavailable,
            ),
            headers=("Idempotency-Key",),
            says={201: "The order: placed now, or by an earlier call with the same key"},
            sends={201: ("Location", "Idempotency-Replayed")},
        )
    },
)
async def place(request: AnyRequest) -> Response[bytes]:
    """Place an order."""
    parts: Web = request.app.state.orders_web
    # Before anything else: of 10,000 who come in the same moment, all have their answer a quarter sooner for it.
    parts.placing.admit()
    caller = await web.caller(request)
    raw = await web.raw_body(request)
    key = idempotency.check_key(request.headers.getall("idempotency-key", []))
    basket = web.decode(raw, Basket)
    repeated = basket.repeated()
    if repeated:
        raise InvalidRequest(
            "a product may stand in a basket once",
            errors=[{"pointer": f"/lines/{at}/product_id", "detail": "stands in an earlier line"} for at in repeated],
        )
    claim = key and idempotency.Claim(caller.user_id, key, idempotency.fingerprint("POST", ORDERS, raw))
    placing = Placing(parts.ids.order(), caller.user_id, basket, claim or None, current_trace())
    placed = await parts.placing.submit(placing)
    headers = {"Location": f"{ORDERS}/{placed.order_id}"}
    if placed.replayed:
        headers["Idempotency-Replayed"] = "true"
    # Of an order that was placed with nothing to pay, the first answer already says that it is PAID.
    free = b',"payable":0,' in placed.body  # no text can look like it: JSON escapes the quotes of texts
    url = None if free else parts.checkout.url(placed.order_id)
    return web.answer(parts.checkout.append(placed.body, url), 201, headers)


@get(
    "/",
    opt={
        "doc": Doc(
            "Own orders, newest first",
            EVERY_ROLE,
            gives={200: OrderPage},
            problems=(Unavailable,),
            query=("limit", "cursor"),
        )
    },
)
async def page(request: AnyRequest, state: State) -> Response[bytes]:
    """Own orders, newest first."""
    parts: Web = state.orders_web
    caller = await web.caller(request)
    limit, before = web.page_limit(request), web.cursor(request, partial(is_id, "ord"))
    rows, last = web.paged(await parts.book.page(caller.user_id, before, limit + 1), limit)
    more = last and web.next_cursor((last.placed_us, last.order_id))
    return web.answer({"items": [msgspec.Raw(parts.body(row)) for row in rows], "next_cursor": more})


@get(
    "/{order_id:str}",
    opt={"doc": Doc("An order", EVERY_ROLE, gives={200: OrderView}, problems=(NotFound, Unavailable))},
)
async def read(request: AnyRequest, state: State, order_id: FromPath[str]) -> Response[bytes]:
    """An order."""
    parts: Web = state.orders_web
    caller = await web.caller(request)
    return web.answer(parts.body(await parts.book.get(path_id(order_id), caller)))


@post(
    "/{order_id:str}/cancel",
    status_code=200,
    opt={
        "doc": Doc(
            "End an order before it is paid",
            EVERY_ROLE,
            takes=web.Nothing,
            gives={200: OrderView},
            problems=(NotFound, InvalidState, Unavailable),
        )
    },
)
async def cancel(request: AnyRequest, state: State, order_id: FromPath[str]) -> Response[bytes]:
    """End an order before it is paid."""
    parts: Web = state.orders_web
    caller = await web.caller(request)
    identity = path_id(order_id)
    await web.nothing(request)
    return web.answer(parts.body(await parts.orders.cancel(identity, caller, current_trace())))


@get(
    "/{order_id:str}/timeline",
    opt={"doc": Doc("What happened to an order", EVERY_ROLE, gives={200: Timeline}, problems=(NotFound, Unavailable))},
)
async def timeline(request: AnyRequest, state: State, order_id: FromPath[str]) -> Response[bytes]:
    """What happened to an order, in order; operators also see notes."""
    parts: Web = state.orders_web
    caller = await web.caller(request)
    changes = await parts.book.timeline(path_id(order_id), caller, notes=caller.role is Role.MASTER)
    return web.answer(
        Timeline(
            [Entry(rfc3339(each.at_us), each.what, each.cause, each.from_status, each.to_status) for each in changes]
        )
    )


SHORTCUTS: Shortcuts = {("POST", ORDERS): place.fn}
"""What a flash sale asks for."""


def router() -> Router:
    """The order routes; they find their `Web` in the app's state as `orders_web`."""
    return Router(ORDERS, route_handlers=[place, page, read, cancel, timeline])
