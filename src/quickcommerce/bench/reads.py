"""What the bench reads beside the orders themselves: counts, prices and the history, as ROLE_MASTER."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlencode

import msgspec

from quickcommerce.bench.answers import DeadLetters, HistoryPage, ProductPage, problem
from quickcommerce.bench.checks import Counts
from quickcommerce.bench.plan import UsageError
from quickcommerce.bench.wire import NoAnswerError, Wire

T = TypeVar("T")
PAGE = 100


@dataclass(frozen=True)
class Reads:
    """Reads of the shop at `url` with a ROLE_MASTER token. All raise NoAnswerError when there is no usable answer."""

    wire: Wire
    url: str
    token: str

    async def counts(self) -> Counts:
        """How much of everything is stored. Raises UsageError when the token is refused."""
        return await self._get("/v1/ops/counts", {}, Counts)

    async def prices(self) -> dict[int, int]:
        """Every product's price now, in won, by product id."""
        prices: dict[int, int] = {}
        cursor: str | None = ""
        while cursor is not None:
            page = await self._get("/v1/products", _page(cursor), ProductPage)
            prices |= {product.product_id: product.price for product in page.items}
            cursor = page.next_cursor
        return prices

    async def paid_since(self, placed_at: str) -> set[str]:
        """The ids of the PAID orders in the history that were placed at or after an RFC 3339 time."""
        paid: set[str] = set()
        cursor: str | None = ""
        while cursor is not None:
            query = _page(cursor) | {"status": "PAID", "from": placed_at}
            page = await self._get("/v1/history/orders", query, HistoryPage)
            paid |= {order.order_id for order in page.items}
            cursor = page.next_cursor
        return paid

    async def placed(self, query: Mapping[str, str]) -> HistoryPage:
        """The newest order in the history that waits for its payment, and how many such there are (`total`)."""
        return await self._get("/v1/history/orders", {"status": "PLACED", "limit": "1", **query}, HistoryPage)

    async def dead_letters(self) -> int:
        """How many events could not be handled; a page of them at most."""
        return len((await self._get("/v1/ops/dead-letters", _page(""), DeadLetters)).items)

    async def _get(self, path: str, query: Mapping[str, str], shape: type[T]) -> T:
        target = f"{path}?{urlencode(query)}" if query else path
        headers = {"Authorization": f"Bearer {self.token}"}
        answer = await self.wire.ask("GET", self.url + target, headers, retry_waits_s=())
        if answer.status in (401, 403):
            raise UsageError(f"the shop at {self.url} refuses the bench's token: is --jwt-secret its QC_JWT_SECRET?")
        if answer.status != 200:
            raise NoAnswerError(f"GET {target}: {answer.status} {problem(answer.body).code}")
        try:
            return msgspec.json.decode(answer.body, type=shape)
        except msgspec.DecodeError as error:
            raise NoAnswerError(f"GET {target}: {error}") from None


def _page(cursor: str) -> dict[str, str]:
    return {"limit": str(PAGE), "cursor": cursor} if cursor else {"limit": str(PAGE)}
