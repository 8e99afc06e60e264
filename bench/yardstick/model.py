"""What the yardstick takes and gives, as pydantic models, and how it refuses."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

PROBLEMS = {
    "invalid-request": (400, "The request is not valid"),
    "unauthorized": (401, "A valid bearer token is needed"),
    "not-found": (404, "There is nothing here"),
    "out-of-stock": (409, "Not enough stock"),
    "price-changed": (409, "A price has changed"),
    "coupon-not-usable": (409, "The coupon cannot be used"),
    "idempotency-in-progress": (409, "The first call with this key is still running"),
    "payload-too-large": (413, "The body is too large"),
    "unsupported-media-type": (415, "Send JSON"),
    "idempotency-key-reused": (422, "This key was used for another request"),
    "unavailable": (503, "Not now"),
}
"""Every code with its status and title."""


class Problem(Exception):
    """A refusal, answered as application/problem+json."""

    def __init__(self, code: str, detail: str, errors: list[dict[str, Any]] | None = None) -> None:
        super().__init__(detail)
        self.code, self.detail, self.errors = code, detail, errors or []
        self.status, self.title = PROBLEMS[code]

    def body(self, path: str) -> dict[str, Any]:
        """The problem object for a request to this path."""
        body: dict[str, Any] = {
            "type": f"/problems/{self.code}", "title": self.title, "status": self.status, "detail": self.detail,
            "instance": path, "code": self.code,
        }  # fmt: skip
        return body | {"errors": self.errors} if self.errors else body


BigId = Annotated[int, Field(ge=1, lt=2**53)]


class Want(BaseModel):
    """A basket line as the buyer asks for it."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    product_id: BigId
    quantity: Annotated[int, Field(ge=1, le=999)]
    coupon_id: BigId | None = None
    expected_price: Annotated[int, Field(ge=0, lt=2**53)] | None = None


class Basket(BaseModel):
    """What the route takes."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    lines: Annotated[list[Want], Field(min_length=1, max_length=50)]


class Line(BaseModel):
    """A line of an order, money in won."""

    product_id: int
    name: str
    quantity: int
    unit_price: int
    discount: int
    amount: int
    coupon_id: int | None


class Order(BaseModel):
    """An order as the contract shows it, without its checkout_url."""

    order_id: str
    user_id: int
    status: str
    version: int
    lines: list[Line]
    total: int
    discount: int
    payable: int
    paid: int
    refunded: int
    currency: str
    placed_at: str
    expires_at: str
    updated_at: str


class OrderPlaced(BaseModel):
    """The event that goes into the outbox."""

    order: Order
    names_en: list[str]
    cause: str
