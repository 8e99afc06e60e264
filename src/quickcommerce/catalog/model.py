"""What is for sale. Pure."""

from typing import Annotated

import msgspec

PRICE_MAX = 10_000_000_000
STOCK_MAX = 1_000_000_000

_PLAIN = r"[^\x00-\x1f\x7f]*"
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=rf"^{_PLAIN}[^\s\x00-\x1f\x7f]{_PLAIN}\Z")]
NameEn = Annotated[str, msgspec.Meta(max_length=200, pattern=rf"^{_PLAIN}\Z")]
Category = Annotated[str, msgspec.Meta(max_length=60, pattern=rf"^{_PLAIN}\Z")]


class Offer(msgspec.Struct, frozen=True):
    """A product's names, its price in won and the version of that price."""

    name: str
    name_en: str
    price: int
    price_version: int


class Entry(msgspec.Struct, frozen=True):
    """A row of a catalog file: a product with the stock it starts with."""

    product_id: Annotated[int, msgspec.Meta(ge=1, lt=2**53)]
    name: Name
    price: Annotated[int, msgspec.Meta(ge=1, le=PRICE_MAX)]
    stock: Annotated[int, msgspec.Meta(ge=0, le=STOCK_MAX)]
    name_en: NameEn = ""
    category: Category = ""


class Product(msgspec.Struct, frozen=True):
    """A product as shown; `available` is what may still be sold."""

    product_id: int
    name: str
    price: int
    available: int
