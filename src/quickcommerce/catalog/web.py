"""The catalog over HTTP: public for reading; sellers put products up and change them."""

import msgspec
from litestar import Response, Router, get, patch, post
from litestar.datastructures import State
from litestar.params import FromPath

from quickcommerce.catalog.flow import Catalog
from quickcommerce.catalog.model import CATEGORY_MAX, Change, NewProduct, Product, Sale
from quickcommerce.kit import web
from quickcommerce.kit.auth import Role
from quickcommerce.kit.clock import rfc3339
from quickcommerce.kit.openapi import Doc, Parameter
from quickcommerce.kit.problem import InvalidRequest, InvalidState, NotFound, Unavailable
from quickcommerce.kit.web import AnyRequest

KEYWORD_MAX = 100
PRODUCTS = "/v1/products"
SELLERS = (Role.SELLER, Role.MASTER)


class SaleView(msgspec.Struct):
    """The time sale in force."""

    time_sale_id: str
    price: int
    starts_at: str
    ends_at: str
    quota: int
    left: int


class ProductView(msgspec.Struct):
    """A product: `price` is what it costs now, `list_price` its own. `available` may lag by a second."""

    product_id: int
    name: str
    price: int
    list_price: int
    available: int
    time_sale: SaleView | None


class ProductPage(msgspec.Struct):
    """A page of products."""

    items: list[ProductView]
    next_cursor: str | None


class Categories(msgspec.Struct):
    """Every category that a product has."""

    items: list[str]


def _sale(sale: Sale, list_price: int) -> SaleView:
    starts, ends = rfc3339(sale.starts_us), rfc3339(sale.ends_us)
    return SaleView(sale.time_sale_id, sale.price_of(list_price), starts, ends, sale.quota, sale.left)


def view(product: Product) -> ProductView:
    """A product as shown."""
    sale = product.sale and _sale(product.sale, product.list_price)
    return ProductView(
        product.product_id, product.name, product.price, product.list_price, product.available, sale or None
    )


@get(
    "/",
    opt={
        "doc": Doc(
            "What is for sale",
            gives={200: ProductPage},
            problems=(Unavailable,),
            query=("limit", "cursor", "keyword", "category"),
            parameters={
                "keyword": Parameter(
                    {"type": "string", "maxLength": KEYWORD_MAX}, "Part of a name or category, in any case."
                ),
                "category": Parameter({"type": "string", "maxLength": CATEGORY_MAX}, "Exactly this category."),
            },
        )
    },
)
async def page(request: AnyRequest, state: State) -> Response[bytes]:
    """What is for sale."""
    catalog: Catalog = state.catalog
    limit, after = web.page_limit(request), web.cursor(request, lambda identity: not identity)
    keyword, category = web.one(request, "keyword") or "", web.one(request, "category")
    if len(keyword) > KEYWORD_MAX:
        raise InvalidRequest(f"keyword may have at most {KEYWORD_MAX} characters")
    if category is not None and len(category) > CATEGORY_MAX:
        raise InvalidRequest(f"category may have at most {CATEGORY_MAX} characters")
    rows, last = web.paged(await catalog.page(keyword, after[0] if after else 0, limit + 1, category), limit)
    return web.answer(
        ProductPage([view(row) for row in rows], web.next_cursor((last.product_id, "")) if last else None)
    )


@get(
    "/{product_id:str}",
    opt={"doc": Doc("A product", gives={200: ProductView}, problems=(NotFound, Unavailable))},
)
async def read(state: State, product_id: FromPath[str]) -> Response[bytes]:
    """A product."""
    catalog: Catalog = state.catalog
    return web.answer(view(await catalog.get(web.number(product_id, "product"))))


@post(
    "/",
    status_code=201,
    opt={
        "doc": Doc(
            "Put a product up for sale",
            SELLERS,
            takes=NewProduct,
            gives={201: ProductView},
            sends={201: ("Location",)},
            problems=(InvalidState, Unavailable),
        )
    },
)
async def add(request: AnyRequest, state: State) -> Response[bytes]:
    """Put a product up for sale."""
    catalog: Catalog = state.catalog
    (await web.caller(request)).need(*SELLERS)
    product = await catalog.add(web.decode(await web.raw_body(request), NewProduct))
    return web.answer(view(product), 201, {"Location": f"{PRODUCTS}/{product.product_id}"})


@patch(
    "/{product_id:str}",
    opt={
        "doc": Doc(
            "Change a product's name or price; orders keep theirs",
            SELLERS,
            takes=Change,
            gives={200: ProductView},
            problems=(NotFound, Unavailable),
        )
    },
)
async def change(request: AnyRequest, state: State, product_id: FromPath[str]) -> Response[bytes]:
    """Change a product's name or price."""
    catalog: Catalog = state.catalog
    (await web.caller(request)).need(*SELLERS)
    identity = web.number(product_id, "product")
    asked = web.decode(await web.raw_body(request), Change)
    if asked == Change():
        raise InvalidRequest("give a name or a price", errors=[{"pointer": "", "detail": "name or price is needed"}])
    return web.answer(view(await catalog.change(identity, asked)))


@get("/v1/categories", opt={"doc": Doc("Categories", gives={200: Categories}, problems=(Unavailable,))})
async def categories(state: State) -> Response[bytes]:
    """Every category that a product has."""
    catalog: Catalog = state.catalog
    return web.answer(Categories(await catalog.categories()))


def router() -> Router:
    """The product routes; they find the `Catalog` in the app's state as `catalog`."""
    return Router(PRODUCTS, route_handlers=[page, read, add, change])
