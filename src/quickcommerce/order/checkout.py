"""Links to the pay page, and the names of buyers at the PG: codes that only the shop can make."""

import hashlib
import hmac
from base64 import urlsafe_b64encode
from dataclasses import dataclass

import msgspec


@dataclass(frozen=True)
class Checkout:
    """Makes and checks the signed links to the pay page. The token is a MAC of the order's id: the same each time, so
    that a replayed answer is byte-equal, and no store or event holds it. Names buyers to the PG likewise.
    """

    secret: bytes

    def url(self, order_id: str) -> str:
        """The link to the pay page of an order."""
        return f"/pay/{order_id}?token={self._token(order_id)}"

    def holds(self, order_id: str, token: str) -> bool:
        """Whether this is the order's token, compared in constant time."""
        return hmac.compare_digest(token.encode(), self._token(order_id).encode())

    def customer_key(self, user_id: int) -> str:
        """The name under which the PG knows a buyer: the same each time, and nobody can tell or guess whose it is."""
        return f"buyer-{self._mac(f'customer:{user_id}')}"

    def _token(self, order_id: str) -> str:
        return self._mac(f"checkout:{order_id}")

    def _mac(self, text: str) -> str:
        return urlsafe_b64encode(hmac.digest(self.secret, text.encode(), hashlib.sha256)[:18]).decode()

    def append(self, body: bytes, url: str | None) -> bytes:
        """An order's JSON object with its checkout_url as the last member."""
        return body[:-1] + b',"checkout_url":' + msgspec.json.encode(url) + b"}"
