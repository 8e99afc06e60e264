"""Links to the pay page that only the shop can make."""

import hashlib
import hmac
from base64 import urlsafe_b64encode
from dataclasses import dataclass

import msgspec


@dataclass(frozen=True)
class Checkout:
    """Makes and checks the signed links to the pay page. The token is a MAC of the order's id: the same each time, so
    that a replayed answer is byte-equal, and no store or event holds it.
    """

    secret: bytes

    def url(self, order_id: str) -> str:
        """The link to the pay page of an order."""
        return f"/pay/{order_id}?token={self._token(order_id)}"

    def holds(self, order_id: str, token: str) -> bool:
        """Whether this is the order's token, compared in constant time."""
        return hmac.compare_digest(token.encode(), self._token(order_id).encode())

    def _token(self, order_id: str) -> str:
        digest = hmac.digest(self.secret, f"checkout:{order_id}".encode(), hashlib.sha256)
        return urlsafe_b64encode(digest[:18]).decode()

    def append(self, body: bytes, url: str | None) -> bytes:
        """An order's JSON object with its checkout_url as the last member."""
        return body[:-1] + b',"checkout_url":' + msgspec.json.encode(url) + b"}"
