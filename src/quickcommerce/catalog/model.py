"""What is for sale. Pure."""

from typing import Annotated

import msgspec

from quickcommerce.kit.text import PLAIN, VISIBLE

PRICE_MAX = 10_000_000_000
STOCK_MAX = 1_000_000_000
ID_MAX = 2**53 - 1

NAME_MAX, CATEGORY_MAX = 200, 60

_PLAINLY = "characters, without tabs, line breaks or others that are not seen"
Name = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=NAME_MAX,
        pattern=VISIBLE,
        description=f"1 to {NAME_MAX} {_PLAINLY}",
    ),
]
NameEn = Annotated[str, msgspec.Meta(max_length=NAME_MAX, pattern=PLAIN, description=f"at most {NAME_MAX} {_PLAINLY}")]
Category = Annotated[
    str,
    msgspec.Meta(max_length=CATEGORY_MAX, pattern=PLAIN, description=f"at most {CATEGORY_MAX} {_PLAINLY}"),
]


Price = Annotated[int, msgspec.Meta(ge=1, le=PRICE_MAX)]
ProductId = Annotated[int, msgspec.Meta(ge=1, le=ID_MAX)]
Units = Annotated[int, msgspec.Meta(ge=1, le=STOCK_MAX)]


class Sale(msgspec.Struct, frozen=True):
    """A time sale: from `starts_us` on and before `ends_us`, `quota` units cost `price` won each."""

    time_sale_id: str
    product_id: int
    price: int
    quota: int
    used: int
    starts_us: int
    ends_us: int

    @property
    def left(self) -> int:
        """Units that may still be sold under it."""
        return self.quota - self.used

    def price_of(self, list_price: int) -> int:
        """What a product costs under it, in won: a list price that was lowered below the sale's is what is asked."""
        return min(self.price, list_price)


class Offer(msgspec.Struct, frozen=True):
    """A product's names, its price in won now and the version of its own price; and the time sale in force, if any."""

    name: str
    name_en: str
    price: int
    price_version: int
    time_sale_id: str | None = None
    left: int | None = None

    def under(self, sale: Sale) -> "Offer":
        """The same product while a sale is in force."""
        price = sale.price_of(self.price)
        return msgspec.structs.replace(self, price=price, time_sale_id=sale.time_sale_id, left=sale.left)


class Entry(msgspec.Struct, frozen=True):
    """A row of a catalog file: a product with the stock it starts with.

    None: the file has no such column, and what is known of the product stays.
    """

    product_id: ProductId
    name: Name
    price: Price
    stock: Annotated[int, msgspec.Meta(ge=0, le=STOCK_MAX)]
    name_en: NameEn | None = None
    category: Category | None = None


class NewProduct(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `POST /v1/products` takes; without `product_id` a free one is chosen."""

    name: Name
    price: Price
    stock: Annotated[int, msgspec.Meta(ge=0, le=STOCK_MAX)]
    product_id: ProductId | None = None
    name_en: NameEn = ""
    category: Category = ""


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `PATCH /v1/products/{product_id}` takes: at least one of them."""

    name: Name | msgspec.UnsetType = msgspec.UNSET
    price: Price | msgspec.UnsetType = msgspec.UNSET


class NewSale(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `POST /v1/time-sales` takes: either a price in won or a discount in per cent."""

    product_id: ProductId
    quota: Units
    starts_at: str
    ends_at: str
    price: Price | None = None
    discount_rate: Annotated[int, msgspec.Meta(ge=1, le=100)] | None = None


def discounted(price: int, rate: int) -> int:
    """A price less `rate` per cent, rounded down to 10 won."""
    return price * (100 - rate) // 100 // 10 * 10


class Product(msgspec.Struct, frozen=True):
    """A product as shown. `stock` is what may still be sold, `list_price` its own price in won."""

    product_id: int
    name: str
    name_en: str
    category: str
    list_price: int
    stock: int
    sale: Sale | None = None

    @property
    def price(self) -> int:
        """What it costs now, in won."""
        return self.sale.price_of(self.list_price) if self.sale else self.list_price

    @property
    def available(self) -> int:
        """Units that may be sold now: during a sale no more than what is left of its quota."""
        return min(self.stock, self.sale.left) if self.sale else self.stock
