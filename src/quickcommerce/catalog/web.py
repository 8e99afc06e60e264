"""The catalog over HTTP: public, for reading."""

import re

import msgspec
from litestar import Response, Router, get
from litestar.datastructures import State
from litestar.params import FromPath

from quickcommerce.catalog.flow import Catalog
from quickcommerce.catalog.model import Product
from quickcommerce.kit import web
from quickcommerce.kit.openapi import Doc, Parameter
from quickcommerce.kit.problem import InvalidRequest, NotFound, Unavailable
from quickcommerce.kit.web import AnyRequest

KEYWORD_MAX = 100
_ID = re.compile(r"[1-9][0-9]{0,15}")


class ProductView(msgspec.Struct):
    """A product. `available` may lag by a second."""

    product_id: int
    name: str
    price: int
    list_price: int
    available: int
    time_sale: None = None


class ProductPage(msgspec.Struct):
    """A page of products."""

    items: list[ProductView]
    next_cursor: str | None


def _view(product: Product) -> ProductView:
    return ProductView(product.product_id, product.name, product.price, product.price, product.available)


@get(
    "/",
    opt={
        "doc": Doc(
            "What is for sale",
            gives={200: ProductPage},
            problems=(Unavailable,),
            query=("limit", "cursor", "keyword"),
            parameters={
                "keyword": Parameter(
                    {"type": "string", "maxLength": KEYWORD_MAX}, "Part of a name or category, in any case."
                )
            },
        )
    },
)
async def page(request: AnyRequest, state: State) -> Response[bytes]:
    """What is for sale."""
    catalog: Catalog = state.catalog
    limit, after = web.page_limit(request), web.cursor(request)
    keyword = web.one(request, "keyword") or ""
    if len(keyword) > KEYWORD_MAX:
        raise InvalidRequest(f"keyword may have at most {KEYWORD_MAX} characters")
    rows, last = web.paged(await catalog.page(keyword, after[0] if after else 0, limit + 1), limit)
    return web.answer(
        ProductPage([_view(row) for row in rows], web.next_cursor((last.product_id, "")) if last else None)
    )


@get("/{product_id:str}", opt={"doc": Doc("A product", gives={200: ProductView}, problems=(NotFound, Unavailable))})
async def read(state: State, product_id: FromPath[str]) -> Response[bytes]:
    """A product."""
    catalog: Catalog = state.catalog
    if not _ID.fullmatch(product_id) or int(product_id) >= 2**53:
        raise NotFound("there is no such product")
    return web.answer(_view(await catalog.get(int(product_id))))


def router() -> Router:
    """The catalog routes; they find the `Catalog` in the app's state as `catalog`."""
    return Router("/v1/products", route_handlers=[page, read])
