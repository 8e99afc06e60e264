"""The PG's own payment widget in the pay page (Toss Payments, version 2 of its SDK)."""

import hashlib
import hmac
from base64 import urlsafe_b64encode
from collections.abc import Mapping

import msgspec

from quickcommerce.payment.store import Payment

SCRIPT = "https://js.tosspayments.com/v2/standard"
_PG = "https://*.tosspayments.com"
POLICY: Mapping[str, str] = {
    "script-src": "https://js.tosspayments.com",
    "connect-src": _PG,
    "frame-src": _PG,
    "img-src": _PG,
    "form-action": _PG,
}
"""What the page with the widget may do beyond every other: run the PG's script, which opens the PG's frames."""
HEADERS: Mapping[str, str] = {"Cross-Origin-Opener-Policy": "same-origin-allow-popups"}
"""The windows of card issuers speak with the page that opened them."""


def customer_key(secret: bytes, user_id: int) -> str:
    """The name under which the PG knows a buyer: the same each time, and nobody can tell or guess whose it is."""
    digest = hmac.digest(secret, f"customer:{user_id}".encode(), hashlib.sha256)
    return f"buyer-{urlsafe_b64encode(digest[:18]).decode()}"


def told(payment: Payment, title: str, client_key: str, customer: str, base: str) -> str:
    """What `pay.js` must know to show the widget, as JSON. `base`: the shop's own address."""
    return msgspec.json.encode(
        {
            "script": SCRIPT,
            "clientKey": client_key,
            "customerKey": customer,
            "amount": {"currency": "KRW", "value": payment.amount},
            "request": {
                "orderId": payment.payment_id,
                "orderName": title,
                "successUrl": f"{base}/pay/success",
                "failUrl": f"{base}/pay/fail",
            },
        }
    ).decode()
