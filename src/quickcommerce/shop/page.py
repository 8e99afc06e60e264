"""How a page is made: its language, its headers, who looks at it, and problems as pages."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit
from zoneinfo import ZoneInfo

import jinja2
import msgspec
from litestar import Response
from litestar.datastructures import Cookie
from litestar.exceptions import HTTPException

from quickcommerce.events import Order
from quickcommerce.kit import web
from quickcommerce.kit.auth import Caller, Role
from quickcommerce.kit.clock import SECOND_US, Clock
from quickcommerce.kit.problem import NotFound, Problem, Unauthorized, Unavailable
from quickcommerce.kit.web import HTML, AnyRequest
from quickcommerce.order.book import OrderBook
from quickcommerce.order.store import Row
from quickcommerce.order.web import Checkout
from quickcommerce.payment.flow import Payments
from quickcommerce.shop import assets
from quickcommerce.shop.live import Live
from quickcommerce.shop.texts import COOKIE, LANGUAGES, Say, language
from quickcommerce.shop.widget import HEADERS, POLICY

REFRESH_S = 2
YEAR_S = 365 * 86_400
HERE = ZoneInfo("Asia/Seoul")


@dataclass(frozen=True)
class Pages:
    """What the pages need.

    - `pg_checkout`: the address of the emulator's page for buyers
    - `pg_client_key`: of the real PG, whose widget is shown then; empty: the emulator's page
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
    mint: Callable[[int, Role], str] | None

    def base(self, request: AnyRequest) -> str:
        """The shop's own address, as the buyer's browser sees it."""
        return self.public_url.rstrip("/") or str(request.base_url).rstrip("/")

    def left_s(self, row: Row) -> int:
        """Seconds in which an order may still be paid."""
        return max(0, row.expires_us - self.clock()) // SECOND_US

    def headers(self, *, widget: bool) -> dict[str, str]:
        """Nothing runs but our own files, nothing is sent but to the shop and to the PG, no site holds a page in a
        frame, and no other site learns the address of one. A page with the PG's `widget` may do what that needs.
        """
        pg = urlsplit(self.pg_checkout)
        form = f"'self' {pg.scheme}://{pg.netloc}" if pg.netloc else "'self'"
        rules = {
            "default-src": "'none'",
            "script-src": "'self'",
            "style-src": "'self'",
            "img-src": "'self' data:",
            "connect-src": "'self'",
            "form-action": form,
            "base-uri": "'none'",
            "frame-ancestors": "'none'",
        }
        if widget:
            rules |= {name: f"{rules.get(name, '')} {more}".strip() for name, more in POLICY.items()}
        return {
            **(HEADERS if widget else {}),
            "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in rules.items()),
            "Referrer-Policy": "same-origin",
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-store",
        }


def render(request: AnyRequest, template: str, status: int = 200, /, **values: Any) -> Response[str]:
    """A page in the buyer's language; one that is `waiting` asks again by itself."""
    pages: Pages = request.app.state.pages
    spoken = language(request)
    say = Say(spoken)
    refresh = {"Refresh": str(REFRESH_S)} if values.get("waiting") else {}
    chosen = request.query_params.getall("lang", [])
    secure = pages.public_url.startswith("https://")
    kept = Cookie(key=COOKIE, value=spoken, max_age=YEAR_S, samesite="lax", secure=secure)
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
            "in_language": lambda other: f"{request.url.path}?{urlencode(_but_language(request, other))}",
            "languages": LANGUAGES,
            "now_ms": pages.clock() * 1000 // SECOND_US,
            "said": msgspec.json.encode(say.scripts()).decode(),
        }
    )
    return Response(
        text,
        status_code=status,
        media_type=HTML,
        headers=pages.headers(widget=bool(values.get("widget"))) | refresh,
        cookies=[kept] if spoken in chosen else [],
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


def _but_language(request: AnyRequest, other: str) -> list[tuple[str, str]]:
    asked = parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True)
    return [*((name, value) for name, value in asked if name != "lang"), ("lang", other)]


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


def wants_html(request: AnyRequest) -> bool:
    """Whether pages are what the client reads."""
    return "text/html" in request.headers.get("accept", "")


def on_problem(request: AnyRequest, problem: Problem) -> Response[Any]:
    """A problem as a page for those who ask for one, and as problem+json for the others.

    Details are written for programs; the page says in a buyer's words what a buyer can mend.
    """
    if not wants_html(request):
        return web.on_problem(request, problem)
    say = Say(language(request))
    key = f"problem_{problem.code.replace('-', '_')}"
    key = key if say.has(f"{key}_title") else "problem"
    later = problem.retry_after_s is not None
    page = render(request, "problem.html", problem.status, status=problem.status, key=key, later=later)
    page.headers.update(problem.headers())
    return page


def on_http(request: AnyRequest, error: HTTPException) -> Response[Any]:
    """An address that is not there, as a page for those who read pages; all else as the API says it."""
    missing = error.status_code == NotFound.status and not request.url.path.startswith("/v1/")
    return on_problem(request, NotFound("there is no such address")) if missing else web.on_http(request, error)


def _moment(at: str) -> datetime:
    return datetime.fromisoformat(at).astimezone(HERE)


_templates = jinja2.Environment(
    loader=jinja2.PackageLoader("quickcommerce.shop"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters["won"] = lambda amount: f"{amount:,}"
_templates.filters["clock"] = lambda at: f"{_moment(at):%H:%M}"
_templates.filters["moment"] = lambda at: f"{_moment(at):%Y-%m-%d %H:%M}"
_templates.filters["precisely"] = lambda at: f"{_moment(at):%H:%M:%S}"
