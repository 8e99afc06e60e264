"""The page on which a buyer pays, declines or goes back: what Toss's payment window does, as one plain form."""

from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import jinja2
import msgspec
from litestar import Response, get, post
from litestar.exceptions import ClientException
from litestar.handlers import HTTPRouteHandler
from litestar.response.base import ASGIResponse
from msgspec import Meta

from quickcommerce.toss_emulator.controls import Address, Amount, Authentication, Desk, OrderId
from quickcommerce.toss_emulator.errors import text_of
from quickcommerce.toss_emulator.gateway import AnyRequest
from quickcommerce.toss_emulator.payment import Method

PATH: Final = "/emulator/checkout"
_FILES: Final = Path(__file__).parent / "pages"
_METHODS: Final[dict[str, Method]] = {
    "pay": "CARD",
    "pay-refused": "CARD_REFUSED",
    "virtual-account": "VIRTUAL_ACCOUNT",
}
"""What the buttons that lead to a payment authenticate."""
_STYLE: Final = (_FILES / "checkout.css").read_bytes()
_PAGES: Final = jinja2.Environment(
    loader=jinja2.FileSystemLoader(_FILES),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)

# No form-action: browsers apply it to the redirect after the form too, and that leads wherever the shop's pages are.
_HEADERS: Final = {
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; frame-ancestors 'self'"
    ),
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class Purchase(msgspec.Struct, frozen=True):
    """What a shop asks the payment window for; the amount in won, the addresses http or https."""

    orderId: OrderId  # noqa: N815 - the wire's name
    amount: Amount
    successUrl: Address  # noqa: N815 - the wire's name
    failUrl: Address  # noqa: N815 - the wire's name
    orderName: Annotated[str, Meta(max_length=100)] = ""  # noqa: N815 - the wire's name
    virtualAccount: bool = False  # noqa: N815 - the wire's name
    """Whether the shop takes deposits into virtual accounts: the page offers that then."""

    def __post_init__(self) -> None:
        """Raises ValueError when an address names no host."""
        for url in (self.successUrl, self.failUrl):
            if not urlsplit(url).hostname:
                raise ValueError("successUrl and failUrl need a host")


class Choice(Purchase, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The form of the page: the purchase, and the button that was pressed."""

    choice: Literal["pay", "pay-refused", "virtual-account", "decline", "cancel"]


def checkout_routes(desk: Desk, prefix: str, shop_url: str | None) -> list[HTTPRouteHandler]:
    """The page, its style and its form.

    `prefix` is the path under which a browser reaches the emulator. `shop_url`: as of `Emulator`.
    """
    page = _PAGES.get_template("checkout.html")

    def of_the_shop(request: AnyRequest, purchase: Purchase) -> None:
        """Else this page, which stands under the shop's own address, would lead its buyers to any other site."""
        if shop_url is None:
            return
        shop = urlsplit(shop_url).netloc or request.headers.get("host", "")
        if any(urlsplit(url).netloc != shop for url in (purchase.successUrl, purchase.failUrl)):
            raise ClientException("successUrl and failUrl must be of the shop")

    @get(PATH)
    async def show(request: AnyRequest) -> ASGIResponse:
        purchase = _read(request.scope["query_string"], Purchase)
        of_the_shop(request, purchase)
        html = page.render(prefix=prefix, purchase=msgspec.structs.asdict(purchase))
        return ASGIResponse(body=html, media_type="text/html", headers=_HEADERS)

    @post(PATH, status_code=303)
    async def choose(request: AnyRequest) -> ASGIResponse:
        form = _read(await request.body(), Choice)
        of_the_shop(request, form)
        return ASGIResponse(status_code=303, headers={**_HEADERS, "location": await _destination(desk, form)})

    @get("/emulator/static/checkout.css")
    async def style() -> ASGIResponse:
        return ASGIResponse(body=_STYLE, media_type="text/css", headers={"cache-control": "max-age=300"})

    return [show, choose, style]


def refused(status: int) -> Response[str]:
    """The page of a purchase that cannot be read."""
    html = _PAGES.get_template("refused.html").render()
    return Response(html, status_code=status, media_type="text/html", headers=_HEADERS)


def _read(encoded: bytes, shape: type[Any]) -> Any:
    """Read a query string or a form. Raises ClientException (400) when it is not what the page needs."""
    try:
        fields = dict(parse_qsl(encoded.decode(), keep_blank_values=True, max_num_fields=50))
        # Not strict: numbers are text here.
        return msgspec.convert(fields, shape, strict=False)
    except ValueError as error:
        raise ClientException(str(error)) from error


async def _destination(desk: Desk, form: Choice) -> str:
    """Where the buyer goes from here, with what the payment window tells the shop (Toss SDK v2, redirect results)."""
    if form.choice in _METHODS:
        buyer = Authentication(form.orderId, form.amount, _METHODS[form.choice])
        key = await desk.authenticate(buyer, form.orderName)
        told = {"paymentType": "NORMAL", "orderId": form.orderId, "paymentKey": key, "amount": form.amount}
        return _with_query(form.successUrl, told)
    code = "PAY_PROCESS_CANCELED" if form.choice == "cancel" else "REJECT_CARD_COMPANY"
    return _with_query(form.failUrl, {"code": code, "message": text_of(code), "orderId": form.orderId})


def _with_query(url: str, told: dict[str, Any]) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(query="&".join(filter(None, (parts.query, urlencode(told))))))
