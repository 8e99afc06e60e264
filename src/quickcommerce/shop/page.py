"""How a page is made: its language, its headers, who looks at it, and problems as pages."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import msgspec
from litestar import Response
from litestar.exceptions import HTTPException

from quickcommerce.events import TITLE_MAX, Order
from quickcommerce.kit import pages as kit_pages
from quickcommerce.kit import web
from quickcommerce.kit.auth import Caller, Role
from quickcommerce.kit.clock import SECOND_US, Clock
from quickcommerce.kit.pages import wants_html
from quickcommerce.kit.problem import NotFound, Problem, Unauthorized, Unavailable
from quickcommerce.kit.texts import Say, language
from quickcommerce.kit.web import AnyRequest
from quickcommerce.order.book import OrderBook
from quickcommerce.order.checkout import Checkout
from quickcommerce.order.store import Row
from quickcommerce.payment.flow import Payments
from quickcommerce.shop import assets
from quickcommerce.shop.live import Live
from quickcommerce.shop.texts import TEXTS
from quickcommerce.shop.widget import HEADERS, POLICY

REASON_MAX = 300
"""Characters of a reason in the PG's own words."""


@dataclass(frozen=True)
class Pages:
    """What the pages need.

    - `pg_checkout`: the address of the emulator's page for buyers
    - `pg_client_key`: of the real PG, whose widget is shown then; empty: the emulator's page
    - `payment_window_s`: how long an order may be paid, and its stock is held
    - `payable_min`: the least that can be paid, in won, unless there is nothing to pay
    - `mint`: makes a token for a buyer's number and role; None where nobody may choose who they are
    """

    book: OrderBook
    payments: Payments
    checkout: Checkout
    live: Live
    clock: Clock
    pg_checkout: str
    pg_client_key: str
    public_url: str
    payment_window_s: int
    payable_min: int
    accounts: bool
    mint: Callable[[int, Role], str] | None

    def base(self, request: AnyRequest) -> str:
        """The shop's own address, as the buyer's browser sees it."""
        return self.public_url.rstrip("/") or str(request.base_url).rstrip("/")

    def left_s(self, row: Row) -> int:
        """Seconds in which an order may still be paid."""
        return max(0, row.expires_us - self.clock()) // SECOND_US

    def headers(self, *, widget: bool) -> dict[str, str]:
        """Those of every page; a form may go to the PG as well, and one with the PG's `widget` do what that needs."""
        pg = urlsplit(self.pg_checkout)
        to_pg = {"form-action": f"{pg.scheme}://{pg.netloc}"} if pg.netloc else {}
        return {**kit_pages.headers([to_pg, POLICY if widget else {}]), **(HEADERS if widget else {})}


def render(request: AnyRequest, template: str, status: int = 200, /, **values: Any) -> Response[str]:
    """A page in the buyer's language; one that is `waiting` asks again by itself after so many seconds."""
    pages: Pages = request.app.state.pages
    spoken = language(request)
    say = Say(TEXTS, spoken)
    refresh = {"Refresh": str(values["waiting"])} if values.get("waiting") else {}
    text = _templates.get_template(template).render(
        values
        | {
            "say": say,
            "asset": assets.url,
            "viewer": request.state.get("viewer"),
            "demo": pages.mint is not None,
            "toy": not pages.pg_client_key,
            "has": lambda path: any(route.path_format == path for route in request.app.routes),
            "here": request.url.path,
            "in_language": lambda other: kit_pages.in_language(request, other),
            "title_of": lambda order: title(request, order),
            "now_ms": pages.clock() * 1000 // SECOND_US,
            "said": msgspec.json.encode(say.scripts()).decode(),
        }
    )
    secure = pages.public_url.startswith("https://")
    return kit_pages.page(
        request, text, spoken, status, pages.headers(widget=bool(values.get("widget"))) | refresh, secure=secure
    )


def spoken(request: AnyRequest, row: Row) -> Order:
    """An order as a page tells it: an English page has the English names of goods that have one."""
    order = row.public()
    if language(request) != "en":
        return order
    named = [
        msgspec.structs.replace(line, name=name_en or line.name)
        for line, name_en in zip(order.lines, row.names_en, strict=True)
    ]
    return msgspec.structs.replace(order, lines=named)


def title(request: AnyRequest, order: Order) -> str:
    """A `spoken` order in a few words: the first good, and how many more; no longer than the PG takes."""
    others = len(order.lines) - 1
    more = " " + Say(TEXTS, language(request))("order_more", count=others) if others else ""
    return order.lines[0].name[: TITLE_MAX - len(more)] + more


def reason(request: AnyRequest, code: str, message: str) -> str:
    """Why the PG did not take money: in the buyer's language where we know its code, else in its own words."""
    say = Say(TEXTS, language(request))
    return say(f"pg_{code}") if say.has(f"pg_{code}") else (message or code)[:REASON_MAX]


async def viewer(request: AnyRequest) -> Caller | None:
    """Who looks at a page that anybody may see; None where they did not sign in, or it cannot be known now."""
    try:
        request.state.viewer = await web.caller(request)
    except (Unauthorized, Unavailable):
        return None
    found: Caller = request.state.viewer
    return found


async def signed_in(request: AnyRequest) -> Caller:
    """Who looks at a page of their own. Raises Unauthorized."""
    request.state.viewer = found = await web.caller(request)
    return found


def on_problem(request: AnyRequest, problem: Problem, *, see: str | None = None) -> Response[Any]:
    """A problem as a page for those who ask for one, and as problem+json for the others.

    Details are written for programs; the page says in a buyer's words what a buyer can mend. `see`: where the order is
    that it is about.
    """
    if not wants_html(request):
        return web.on_problem(request, problem)
    say = Say(TEXTS, language(request))
    key = f"problem_{problem.code.replace('-', '_')}"
    key = key if say.has(f"{key}_title") else "problem"
    note = f"{key}_pay_note" if request.url.path.startswith("/pay/") else ""
    note = note if note and say.has(note) else f"{key}_note"
    later = problem.retry_after_s is not None
    page = render(
        request, "problem.html", problem.status, status=problem.status, key=key, note=note, later=later, see=see
    )
    page.headers.update(problem.headers())
    return page


def on_http(request: AnyRequest, error: HTTPException) -> Response[Any]:
    """An address that is not there, as a page for those who read pages; all else as the API says it."""
    missing = error.status_code == NotFound.status and not request.url.path.startswith("/v1/")
    return on_problem(request, NotFound("there is no such address")) if missing else web.on_http(request, error)


def on_defect(request: AnyRequest, defect: Exception) -> Response[Any]:
    """A defect of ours, logged whole: a page for those who read pages, unless it is one of every page."""
    told = web.on_defect(request, defect)
    if not wants_html(request) or request.url.path.startswith("/v1/"):
        return told
    try:
        return on_problem(request, Problem("an unexpected error; it has been logged"))
    except Exception:  # noqa: BLE001 - the first one is logged, and any answer is better than none
        return told


_templates = kit_pages.templates("quickcommerce.shop")
