"""Stock over HTTP: for those who fill the shelves."""

from dataclasses import dataclass

from litestar import Response, get, post
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from quickcommerce.kit import idempotency, web
from quickcommerce.kit.auth import Role
from quickcommerce.kit.openapi import Doc
from quickcommerce.kit.problem import IdempotencyKeyReused, InvalidState, NotFound, Unavailable
from quickcommerce.kit.web import AnyRequest
from quickcommerce.stock.model import Restock, Restocked, Shelved
from quickcommerce.stock.restock import Shelves

FILLERS = (Role.SELLER, Role.MASTER)


@dataclass(frozen=True)
class Web:
    """What the routes need."""

    shelves: Shelves


@get(
    "/v1/products/{product_id:str}/stock",
    opt={"doc": Doc("The stock of a product", FILLERS, gives={200: Shelved}, problems=(NotFound, Unavailable))},
)
async def of(request: AnyRequest, state: State, product_id: FromPath[str]) -> Response[bytes]:
    """The stock of a product."""
    parts: Web = state.stock_web
    (await web.caller(request)).need(*FILLERS)
    return web.answer(await parts.shelves.of(web.number(product_id, "product")))


@post(
    "/v1/products/{product_id:str}/restock",
    status_code=200,
    opt={
        "doc": Doc(
            "Put units of a product in",
            FILLERS,
            takes=Restock,
            gives={200: Restocked},
            problems=(NotFound, IdempotencyKeyReused, InvalidState, Unavailable),
            headers=("Idempotency-Key",),
            sends={200: ("Idempotency-Replayed",)},
        )
    },
)
async def restock(request: AnyRequest, state: State, product_id: FromPath[str]) -> Response[bytes]:
    """Put units in; with an Idempotency-Key once, however often it is asked."""
    parts: Web = state.stock_web
    caller = await web.caller(request)
    caller.need(*FILLERS)
    identity = web.number(product_id, "product")
    raw = await web.raw_body(request)
    key = idempotency.check_key(request.headers.getall("idempotency-key", []))
    asked = web.decode(raw, Restock)
    claim = key and idempotency.Claim(
        caller.user_id, key, idempotency.fingerprint("POST", f"/v1/products/{identity}/restock", raw)
    )
    restocked, replayed = await parts.shelves.restock(identity, asked.quantity, claim or None)
    return web.answer(restocked, headers={"Idempotency-Replayed": "true"} if replayed else None)


def routes() -> list[HTTPRouteHandler]:
    """The stock routes; they find their `Web` in the app's state as `stock_web`."""
    return [of, restock]
