"""What every page has, whoever makes it: its headers, its language, and the manners of its templates."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from urllib.parse import parse_qsl, urlencode
from zoneinfo import ZoneInfo

import jinja2
from litestar import Response
from litestar.datastructures import Cookie

from quickcommerce.kit.texts import COOKIE, LANGUAGES
from quickcommerce.kit.web import HTML, AnyRequest

YEAR_S = 365 * 86_400
HERE = ZoneInfo("Asia/Seoul")


def headers(more: Iterable[Mapping[str, str]] = ()) -> dict[str, str]:
    """Nothing runs but our own files, nothing is sent but to us, no site holds a page in a frame, and no other site
    learns the address of one. `more` allows a page further sources, by directive of its Content-Security-Policy.
    """
    rules = {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data:",
        "connect-src": "'self'",
        "form-action": "'self'",
        "base-uri": "'none'",
        "frame-ancestors": "'none'",
    }
    for allowed in more:
        rules |= {name: f"{rules.get(name, '')} {sources}".strip() for name, sources in allowed.items()}
    return {
        "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in rules.items()),
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
    }


def page(
    request: AnyRequest, text: str, spoken: str, status: int, sent: Mapping[str, str], *, secure: bool
) -> Response[str]:
    """A page in the language `spoken`, which the browser is to remember where it was chosen just now."""
    chosen = spoken in request.query_params.getall("lang", [])
    kept = Cookie(key=COOKIE, value=spoken, max_age=YEAR_S, samesite="lax", secure=secure)
    return Response(text, status_code=status, media_type=HTML, headers=dict(sent), cookies=[kept] if chosen else [])


def in_language(request: AnyRequest, other: str) -> str:
    """The address of this page in another language."""
    asked = parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True)
    others = [(name, value) for name, value in asked if name != "lang"]
    return f"{request.url.path}?{urlencode([*others, ('lang', other)])}"


def wants_html(request: AnyRequest) -> bool:
    """Whether pages are what the client reads."""
    return "text/html" in request.headers.get("accept", "")


def templates(package: str) -> jinja2.Environment:
    """The templates of a package. Whatever they show is escaped; money and moments are written as buyers read them."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader(package),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["languages"] = LANGUAGES
    made.filters["won"] = lambda amount: f"{amount:,}"
    made.filters["clock"] = lambda at: f"{_moment(at):%H:%M}"
    made.filters["moment"] = lambda at: f"{_moment(at):%Y-%m-%d %H:%M}"
    made.filters["precisely"] = lambda at: f"{_moment(at):%H:%M:%S}"
    return made


def _moment(at: str) -> datetime:
    return datetime.fromisoformat(at).astimezone(HERE)
