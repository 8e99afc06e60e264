"""What is for sale, the basket, and coupons. The basket itself is kept by the buyer's browser."""

from dataclasses import dataclass
from typing import Any

from litestar import Response, get
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler

from quickcommerce.catalog.flow import Catalog
from quickcommerce.catalog.model import CATEGORY_MAX, Product
from quickcommerce.catalog.sales import TimeSales
from quickcommerce.catalog.web import KEYWORD_MAX
from quickcommerce.kit import web
from quickcommerce.kit.clock import rfc3339
from quickcommerce.kit.problem import InvalidRequest, Problem
from quickcommerce.kit.web import AnyRequest
from quickcommerce.shop import pictures
from quickcommerce.shop.page import on_problem, render, viewer
from quickcommerce.shop.texts import LANGUAGES, TEXTS, Say, language

PAGE = 24
SHELVES, SHELF = 8, 6
"""How many categories the first page shows, and how much of each."""
SALES = 12
"""How many time sales the first page shows."""
SECONDS = 60
"""In a minute."""
ORDER = {key.removeprefix("cat_"): at for at, key in enumerate(TEXTS[LANGUAGES[0]]) if key.startswith("cat_")}


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
    after = web.cursor(request)
    if len(keyword) > KEYWORD_MAX or len(category) > CATEGORY_MAX:
        raise InvalidRequest(f"keyword may have at most {KEYWORD_MAX} characters, category {CATEGORY_MAX}")
    await viewer(request)
    categories = sorted(await catalog.categories(), key=_place)
    values: dict[str, Any] = {"keyword": keyword, "category": category}
    values["categories"] = [(each, category_name(each, spoken), pictures.tile(each)) for each in categories]
    if not (keyword or category or after or web.one(request, "all")):
        shelves = [
            (each, category_name(each, spoken), await catalog.page("", 0, SHELF, each)) for each in categories[:SHELVES]
        ]
        values["shelves"] = [(each, name, [card(one, spoken) for one in found]) for each, name, found in shelves]
        values["sales"] = [card(one, spoken) for one in await _on_sale(catalog, state.sales)]
        return render(request, "home.html", **values)
    found = await catalog.page(keyword, after[0] if after else 0, PAGE + 1, category or None)
    rows, last = web.paged(found, PAGE)
    more = web.next_cursor((last.product_id, "")) if last else None
    title = category_name(category, spoken) if category else ""
    return render(request, "goods.html", cards=[card(one, spoken) for one in rows], more=more, title=title, **values)


async def _on_sale(catalog: Catalog, sales: TimeSales) -> list[Product]:
    """What is on sale now, the next to end first."""
    ids = [sale.product_id for sale in await sales.page((0, ""), SALES)]
    return [one for one in [await catalog.get(product_id) for product_id in dict.fromkeys(ids)] if one.sale]


def _place(category: str) -> tuple[int, str]:
    """Where a category stands among the others: as in the table of texts, those without a name there at the end."""
    return ORDER.get(category, len(ORDER)), category


def category_name(category: str, spoken: str) -> str:
    """A category in the buyer's language, or as it stands in the catalog."""
    say = Say(spoken)
    return say(f"cat_{category}") if say.has(f"cat_{category}") else category


@get("/basket", exception_handlers={Problem: on_problem})
async def basket(request: AnyRequest, state: State) -> Response[str]:
    """The basket, which a script fills from the browser's own store."""
    await viewer(request)
    return render(request, "basket.html", held=_span(state.pages.payment_window_s, Say(language(request))))


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
