"""What is for sale. Pure."""

from typing import Annotated

import msgspec

PRICE_MAX = 10_000_000_000
STOCK_MAX = 1_000_000_000

NAME_MAX, CATEGORY_MAX = 200, 60

_PLAIN = r"[^\x00-\x1f\x7f]*"
_PLAINLY = "characters, without tabs or line breaks"
Name = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=NAME_MAX,
        pattern=rf"^{_PLAIN}[^\s\x00-\x1f\x7f]{_PLAIN}\Z",
        description=f"1 to {NAME_MAX} {_PLAINLY}",
    ),
]
NameEn = Annotated[
    str, msgspec.Meta(max_length=NAME_MAX, pattern=rf"^{_PLAIN}\Z", description=f"at most {NAME_MAX} {_PLAINLY}")
]
Category = Annotated[
    str,
    msgspec.Meta(max_length=CATEGORY_MAX, pattern=rf"^{_PLAIN}\Z", description=f"at most {CATEGORY_MAX} {_PLAINLY}"),
]


class Offer(msgspec.Struct, frozen=True):
    """A product's names, its price in won and the version of that price."""

    name: str
    name_en: str
    price: int
    price_version: int
    time_sale_id: int | None = None
    left: int | None = None


class Entry(msgspec.Struct, frozen=True):
    """A row of a catalog file: a product with the stock it starts with.

    None: the file has no such column, and what is known of the product stays.
    """

    product_id: Annotated[int, msgspec.Meta(ge=1, le=2**53 - 1)]
    name: Name
    price: Annotated[int, msgspec.Meta(ge=1, le=PRICE_MAX)]
    stock: Annotated[int, msgspec.Meta(ge=0, le=STOCK_MAX)]
    name_en: NameEn | None = None
    category: Category | None = None


class Product(msgspec.Struct, frozen=True):
    """A product as shown; `available` is what may still be sold."""

    product_id: int
    name: str
    price: int
    available: int
    name_en: str
    category: str
