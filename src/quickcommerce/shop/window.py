"""What the first page shows, the same for every visitor: looked up once a second, however many come."""

from dataclasses import dataclass

from quickcommerce.catalog.flow import Catalog
from quickcommerce.catalog.model import Product
from quickcommerce.catalog.sales import TimeSales
from quickcommerce.kit.clock import SECOND_US, Clock
from quickcommerce.kit.fresh import Fresh
from quickcommerce.kit.texts import LANGUAGES
from quickcommerce.shop.texts import TEXTS

SHELVES, SHELF = 8, 6
"""How many categories the first page shows, and how much of each."""
SALES = 12
"""How many time sales the first page shows."""
_NAMED = [key.removeprefix("cat_") for key in TEXTS[LANGUAGES[0]] if key.startswith("cat_")]
ORDER = {category: at for at, category in enumerate(_NAMED)}


@dataclass(frozen=True)
class Window:
    """The shop's window. What is in it may be a second old.

    - `categories`: all of them, those that have a name in the table of texts first, in its order
    - `shelves`: some of the goods of the first categories
    - `sales`: what is on sale now, the next to end first
    """

    categories: Fresh[list[str]]
    shelves: Fresh[list[tuple[str, list[Product]]]]
    sales: Fresh[list[Product]]


def window(catalog: Catalog, sales: TimeSales, clock: Clock) -> Window:
    """The window of a shop."""

    async def categories() -> list[str]:
        return sorted(await catalog.categories(), key=_place)

    async def shelves() -> list[tuple[str, list[Product]]]:
        return [(each, await catalog.page("", 0, SHELF, each)) for each in (await known.get())[:SHELVES]]

    async def on_sale() -> list[Product]:
        ids = [sale.product_id for sale in await sales.page((0, ""), SALES)]
        return [one for one in [await catalog.get(product_id) for product_id in dict.fromkeys(ids)] if one.sale]

    known = Fresh(categories, SECOND_US, clock)
    return Window(known, Fresh(shelves, SECOND_US, clock), Fresh(on_sale, SECOND_US, clock))


def _place(category: str) -> tuple[int, str]:
    """Where a category stands among the others."""
    return ORDER.get(category, len(ORDER)), category
