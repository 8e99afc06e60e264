"""What can go wrong, as the buyer's client sees it (RFC 9457 problem details).

    Problem
    +-- InvalidRequest 400         bad JSON, wrong type, unknown field, out of range
    +-- Unauthorized 401           no token or a bad one
    +-- PaymentDeclined 402        the PG or the issuer refused
    +-- Forbidden 403              the role may not do this
    +-- NotFound 404               absent, or somebody else's: the same answer
    +-- MethodNotAllowed 405
    +-- OutOfStock 409             names each short line
    +-- PriceChanged 409           names each line whose price moved
    +-- CouponNotUsable 409
    +-- InvalidState 409           the order or payment is not in a state that allows this
    +-- AmountMismatch 409         the amount paid is not the amount asked
    +-- IdempotencyInProgress 409
    +-- PayloadTooLarge 413
    +-- UnsupportedMediaType 415
    +-- IdempotencyKeyReused 422   same key, other body
    +-- TooManyRequests 429
    +-- Unavailable 503            overload, or a dependency is down: try again with the same key

`Unavailable` is also how every part says "not now": a consumer waits for it, a request answers 503.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar

TYPE_BASE = "/problems/"
"""A relative reference, so that no address outside the shop is promised (RFC 9457 section 3.1.1)."""


class Problem(Exception):
    """An answer that is an error; never a stack trace, a class name or a secret in it."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "Something went wrong on our side"

    def __init__(
        self,
        detail: str,
        *,
        errors: Sequence[Mapping[str, Any]] = (),
        retry_after_s: int | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = list(errors)
        self.retry_after_s = retry_after_s
        self.extra = dict(extra or {})

    def body(self, instance: str) -> dict[str, Any]:
        """The problem object; `instance` is the path that was asked for."""
        body: dict[str, Any] = {
            "type": TYPE_BASE + self.code,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
            "code": self.code,
        }
        if self.errors:
            body["errors"] = self.errors
        return body | self.extra

    def headers(self) -> dict[str, str]:
        """The headers that belong to this problem."""
        return {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}


class InvalidRequest(Problem):
    """The request itself is wrong; sending it again as it is cannot help."""

    status, code, title = 400, "invalid-request", "The request is not valid"


class Unauthorized(Problem):
    """No token, or one that does not hold."""

    status, code, title = 401, "unauthorized", "A valid bearer token is needed"

    def headers(self) -> dict[str, str]:
        """RFC 9110 section 11.6.1 asks for the challenge."""
        return {"WWW-Authenticate": "Bearer"}


class PaymentDeclined(Problem):
    """The PG or the issuer refused this attempt; the buyer may try another card while the order lives."""

    status, code, title = 402, "payment-declined", "The payment was declined"


class Forbidden(Problem):
    """Known, but not allowed."""

    status, code, title = 403, "forbidden", "Your role may not do this"


class NotFound(Problem):
    """Absent or somebody else's: the answer must not tell which."""

    status, code, title = 404, "not-found", "There is nothing here"


class MethodNotAllowed(Problem):
    """The path exists, the method on it does not."""

    status, code, title = 405, "method-not-allowed", "This method is not allowed here"

    def __init__(self, allowed: Collection[str]) -> None:
        """`allowed`: every method that the path has."""
        named = sorted(method for method in allowed if method != "OPTIONS")
        super().__init__(f"this address takes {', '.join(named)}")
        self.allowed = sorted(allowed)

    def headers(self) -> dict[str, str]:
        """RFC 9110 section 15.5.6 asks for them."""
        return {"Allow": ", ".join(self.allowed)}


class OutOfStock(Problem):
    """At least one line asks for more than is left; nothing of the basket was taken."""

    status, code, title = 409, "out-of-stock", "There is not enough stock"


class PriceChanged(Problem):
    """A line's expected price is not the price now; nothing was taken."""

    status, code, title = 409, "price-changed", "A price has changed"


class CouponNotUsable(Problem):
    """A coupon cannot be used for its line."""

    status, code, title = 409, "coupon-not-usable", "The coupon cannot be used"


class InvalidState(Problem):
    """The order or payment is in a state that does not allow this."""

    status, code, title = 409, "invalid-state", "The state does not allow this"


class AmountMismatch(Problem):
    """The amount the client brings is not the amount asked; the PG was not called."""

    status, code, title = 409, "amount-mismatch", "The amount is not the amount asked"


class IdempotencyInProgress(Problem):
    """The first call with this key still runs."""

    status, code, title = 409, "idempotency-in-progress", "The first call with this key is still running"


class PayloadTooLarge(Problem):
    """The body is over the limit."""

    status, code, title = 413, "payload-too-large", "The body is too large"


class UnsupportedMediaType(Problem):
    """The body is not JSON by its type, or encoded."""

    status, code, title = 415, "unsupported-media-type", "The body must be plain application/json"


class IdempotencyKeyReused(Problem):
    """The key was used for another request."""

    status, code, title = 422, "idempotency-key-reused", "The key was used with another request"


class TooManyRequests(Problem):
    """Slow down."""

    status, code, title = 429, "too-many-requests", "Too many requests"


class Unavailable(Problem):
    """Not now: overload, or something needed is down. Nothing was stored, or it is not known yet."""

    status, code, title = 503, "unavailable", "Not available at the moment"

    def __init__(self, detail: str, *, retry_after_s: int = 1, extra: Mapping[str, Any] | None = None) -> None:
        super().__init__(detail, retry_after_s=retry_after_s, extra=extra)
