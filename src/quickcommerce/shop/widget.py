"""The PG's own payment widget in the pay page (Toss Payments, version 2 of its SDK)."""

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


def told(payment: Payment, client_key: str, customer_key: str, base: str) -> str:
    """What `pay.js` must know to show the widget, as JSON. `base`: the shop's own address."""
    return msgspec.json.encode(
        {
            "script": SCRIPT,
            "clientKey": client_key,
            "customerKey": customer_key,
            "amount": {"currency": "KRW", "value": payment.amount},
            "request": {
                "orderId": payment.payment_id,
                "orderName": payment.title,
                "successUrl": f"{base}/pay/success",
                "failUrl": f"{base}/pay/fail",
            },
        }
    ).decode()
