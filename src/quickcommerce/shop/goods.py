"""What is for sale, the basket, and coupons. The basket itself is kept by the buyer's browser."""

from dataclasses import dataclass
from typing import Any

from litestar import Response, get
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler

from quickcommerce.catalog.flow import Catalog
from quickcommerce.catalog.model import CATEGORY_MAX, Product
from quickcommerce.catalog.web import KEYWORD_MAX
from quickcommerce.kit import web
from quickcommerce.kit.clock import rfc3339
from quickcommerce.kit.problem import InvalidRequest, Problem
from quickcommerce.kit.texts import Say, language
from quickcommerce.kit.web import AnyRequest
from quickcommerce.shop import pictures
from quickcommerce.shop.page import Pages, on_problem, render, viewer
from quickcommerce.shop.texts import TEXTS
from quickcommerce.shop.window import Window

PAGE = 24
TILES = 40
"""Categories that a page leads to; the others are found by a word."""
SECONDS = 60
"""In a minute."""


@dataclass(frozen=True)
class Sale:
    """A time sale as a card shows it; `ends_at` is RFC 3339."""

    ends_at: str
    left: int


@dataclass(frozen=True)
class Card:
    """A product as a card shows it, in the buyer's language."""

    product_id: int
    name: str
    price: int
    list_price: int
    available: int
    tile: str
    picture: str
    sale: Sale | None = None


def card(product: Product, spoken: str) -> Card:
    """The card of a product."""
    return Card(
        product_id=product.product_id,
        name=(spoken == "en" and product.name_en) or product.name,
        price=product.price,
        list_price=product.list_price,
        available=product.available,
        tile=pictures.tile(product.category),
        picture=pictures.picture(product.category, product.name_en),
        sale=Sale(rfc3339(product.sale.ends_us), product.sale.left) if product.sale else None,
    )


@get("/", exception_handlers={Problem: on_problem})
async def goods(request: AnyRequest, state: State) -> Response[str]:
    """Goods: a shelf for each of some categories, or a page of what was looked for."""
    catalog: Catalog = state.catalog
    spoken = language(request)
    keyword, category = (web.one(request, name) or "" for name in ("keyword", "category"))
    after = web.cursor(request, lambda identity: not identity)
    if len(keyword) > KEYWORD_MAX or len(category) > CATEGORY_MAX:
        raise InvalidRequest(f"keyword may have at most {KEYWORD_MAX} characters, category {CATEGORY_MAX}")
    await viewer(request)
    window: Window = state.window
    values: dict[str, Any] = {"keyword": keyword, "category": category}
    tiles = _tiles(await window.categories.get(), category)
    values["categories"] = [(each, category_name(each, spoken), pictures.tile(each)) for each in tiles]
    if not (keyword or category or after or web.one(request, "all")):
        values["shelves"] = [
            (each, category_name(each, spoken), [card(one, spoken) for one in found])
            for each, found in await window.shelves.get()
        ]
        values["sales"] = [card(one, spoken) for one in await window.sales.get()]
        return render(request, "home.html", **values)
    found = await catalog.page(keyword, after[0] if after else 0, PAGE + 1, category or None)
    rows, last = web.paged(found, PAGE)
    more = web.next_cursor((last.product_id, "")) if last else None
    title = category_name(category, spoken) if category else ""
    return render(request, "goods.html", cards=[card(one, spoken) for one in rows], more=more, title=title, **values)


def _tiles(categories: list[str], chosen: str) -> list[str]:
    """The categories to show, the chosen one among them."""
    shown = categories[:TILES]
    return [*shown, chosen] if chosen in categories[TILES:] else shown


def category_name(category: str, spoken: str) -> str:
    """A category in the buyer's language, or as it stands in the catalog."""
    say = Say(TEXTS, spoken)
    return say(f"cat_{category}") if say.has(f"cat_{category}") else category


@get("/basket", exception_handlers={Problem: on_problem})
async def basket(request: AnyRequest, state: State) -> Response[str]:
    """The basket, which a script fills from the browser's own store."""
    await viewer(request)
    pages: Pages = state.pages
    held = _span(pages.payment_window_s, Say(TEXTS, language(request)))
    return render(request, "basket.html", held=held, minimum=pages.payable_min)


def _span(seconds: int, say: Say) -> str:
    """A span of time in a buyer's words."""
    whole = seconds % SECONDS == 0
    return say("minutes", count=seconds // SECONDS) if whole else say("seconds", count=seconds)


@get("/coupons", exception_handlers={Problem: on_problem})
async def coupons(request: AnyRequest) -> Response[str]:
    """Coupons to get, and those that the buyer has."""
    await viewer(request)
    return render(request, "coupons.html")


def routes() -> list[HTTPRouteHandler]:
    """The routes of goods."""
    return [goods, basket, coupons]
