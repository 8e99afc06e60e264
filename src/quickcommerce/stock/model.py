"""What is on the shelf. Pure."""

from typing import Annotated

import msgspec

PUT_IN_MAX = 1_000_000_000


class Restock(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Units to put in."""

    quantity: Annotated[int, msgspec.Meta(ge=1, le=PUT_IN_MAX)]


class Restocked(msgspec.Struct, frozen=True):
    """Units that were put in, and all that had ever been put in by then."""

    product_id: int
    quantity: int
    on_hand: int


class Shelved(msgspec.Struct, frozen=True):
    """The stock of a product: all that was ever put in, what is held, what is sold, and what is left."""

    product_id: int
    on_hand: int
    reserved: int
    sold: int
    available: int
