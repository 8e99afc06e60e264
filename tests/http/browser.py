"""A buyer's browser: it asks for pages, and follows what stands on them."""

import html
import re
from typing import Any
from urllib.parse import urlencode

import httpx2

from world import World

from .routes import auth

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
HTML = "text/html; charset=utf-8"


POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def is_page(answer: httpx2.Response, status: int = 200) -> str:
    """The text of a page that runs no script but the shop's own files, is not kept, and tells no other site where it
    was.
    """
    assert (answer.status_code, answer.headers["content-type"]) == (status, HTML), answer.text
    assert answer.headers["content-security-policy"] == POLICY
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "same-origin"
    assert answer.headers["x-content-type-options"] == "nosniff"
    scripts = re.findall(r"<script[^>]*>", answer.text)
    assert all(re.fullmatch(r'<script type="module" src="/static/[a-z]+\.js">', each) for each in scripts), scripts
    assert not re.search(r"<[^>]+ (on\w+|style)=|javascript:", answer.text), "nothing inline"
    assert answer.text.startswith("<!doctype html>")
    return answer.text


async def visit(w: World, url: str, who: str = "nobody") -> httpx2.Response:
    return await w.http.get(url, headers=BROWSER | auth(w, who))


def way_to_pay(text: str) -> str:
    """Where the button of the pay page leads."""
    found = re.search(r'<a class="button" href="([^"]+)"', text)
    assert found, text
    return html.unescape(found[1])


async def success(
    w: World, payment: dict[str, Any], key: str, *, headers: dict[str, str] = BROWSER, **more: object
) -> httpx2.Response:
    query = {"paymentKey": key, "orderId": payment["payment_id"], "amount": payment["amount"], "paymentType": "NORMAL"}
    return await w.http.get(f"/pay/success?{urlencode(query | more)}", headers=headers)
