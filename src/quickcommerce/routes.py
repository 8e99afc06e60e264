"""The routes: all that answers, and what it is given."""

from collections.abc import Sequence
from functools import partial
from importlib.metadata import version

from litestar import Litestar, asgi
from litestar.exceptions import HTTPException
from litestar.types import ControllerRouterHandler, Receive, Scope, Send

from quickcommerce.catalog import sales_web
from quickcommerce.catalog import web as catalog_web
from quickcommerce.console import asyncapi
from quickcommerce.console import page as console_page
from quickcommerce.console import web as console_web
from quickcommerce.console.board import Board
from quickcommerce.console.operations import Operations
from quickcommerce.coupon import web as coupon_web
from quickcommerce.history import web as history_web
from quickcommerce.kit import openapi, web
from quickcommerce.kit.auth import Role, Verifier, mint, secret_bytes
from quickcommerce.kit.clock import Clock
from quickcommerce.kit.problem import Problem
from quickcommerce.kit.rate import UserRate
from quickcommerce.kit.shortcut import Shortcuts
from quickcommerce.order import web as order_web
from quickcommerce.order.checkout import Checkout
from quickcommerce.parts import EMULATOR_PREFIX, Flows
from quickcommerce.payment import attention_web, webhooks_web
from quickcommerce.payment import web as payment_web
from quickcommerce.settings import Settings
from quickcommerce.shop import page as shop_page
from quickcommerce.shop import web as shop_web
from quickcommerce.shop.session import SESSION_S
from quickcommerce.shop.window import window
from quickcommerce.stock import web as stock_web

SHORTCUTS: Shortcuts = {**order_web.SHORTCUTS, **payment_web.SHORTCUTS}
"""What goes a short way to its handler."""
DEMO = ("local", "test")
"""Profiles in which whoever opens the shop may choose who they are."""


def whole(settings: Settings, flows: Flows, operations: Operations, clock: Clock) -> Litestar:
    """All that answers."""
    checkout = Checkout(secret_bytes(settings.jwt_secret or settings.pg_secret_key))
    demo = settings.profile in DEMO and bool(settings.jwt_secret)
    pg_checkout = (EMULATOR_PREFIX if flows.emulator else settings.pg_url) + "/emulator/checkout"
    handlers: list[ControllerRouterHandler] = [
        order_web.router(),
        catalog_web.router(),
        catalog_web.categories,
        sales_web.router(),
        *stock_web.routes(),
        *coupon_web.routes(),
        *payment_web.routes(),
        webhooks_web.toss,
        attention_web.attention,
        history_web.search,
        *console_web.routes(),
        *console_page.routes(),
        *shop_web.routes(demo=demo),
    ]
    if flows.emulator:
        handlers.append(mounted)
    app = _app(handlers)
    app.state.emulator = flows.emulator
    app.state.user_rate = UserRate(settings.user_burst_max, settings.user_rate_per_s)
    app.state.verifier = Verifier(clock, settings.jwt_secret, settings.jwks_url or None)
    app.state.orders_web = order_web.Web(flows.book, flows.orders, flows.placing, checkout, flows.ids)
    app.state.payments_web = payment_web.Web(flows.payments, flows.refunding, flows.ids)
    app.state.webhooks_web = webhooks_web.Web(flows.hearing)
    app.state.catalog = flows.catalog
    app.state.sales = flows.sales
    app.state.window = window(flows.catalog, flows.sales, clock)
    app.state.stock_web = stock_web.Web(flows.shelves)
    app.state.coupons_web = coupon_web.Web(flows.coupons, flows.issuing)
    app.state.history = flows.index
    app.state.operations = operations
    app.state.attentions = operations.attentions
    app.state.board = Board(operations, clock)
    app.state.public_url = settings.public_url
    app.state.pages = shop_page.Pages(
        book=flows.book,
        payments=flows.payments,
        checkout=checkout,
        live=flows.live,
        clock=clock,
        pg_checkout=pg_checkout,
        pg_client_key=settings.pg_client_key,
        public_url=settings.public_url,
        payment_window_s=settings.payment_window_s,
        payable_min=settings.payable_min_won,
        accounts=settings.virtual_account_max_s > 0,
        mint=partial(_demo_token, settings.jwt_secret, clock) if demo else None,
    )
    app.state.openapi = openapi.describe(app, version("quickcommerce"))
    app.state.asyncapi = asyncapi.describe(version("quickcommerce"))
    return app


@asgi(EMULATOR_PREFIX, is_mount=True, copy_scope=True)
async def mounted(scope: Scope, receive: Receive, send: Send) -> None:
    """The PG in this process."""
    await scope["litestar_app"].state.emulator.asgi(scope, receive, send)


def health(operations: Operations) -> Litestar:
    """What a process answers that only works: whether it is alive and ready, and its metrics."""
    app = _app(console_web.health())
    app.state.operations = operations
    return app


def _app(handlers: Sequence[ControllerRouterHandler]) -> Litestar:
    return Litestar(
        handlers,
        openapi_config=None,
        before_request=web.before_request,
        exception_handlers={Problem: web.on_problem, HTTPException: shop_page.on_http, Exception: shop_page.on_defect},
        logging_config=None,
    )


def _demo_token(secret: str, clock: Clock, user_id: int, role: Role) -> str:
    """What a demo buyer is given who signs in."""
    return mint(secret, user_id, role, now_us=clock(), ttl_s=SESSION_S)
