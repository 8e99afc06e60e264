"""The operator's page: how the shop does, what needs a human, and dead letters to be replayed.

It is plain HTML that works without a script; with one it follows what happens.
"""

import base64
import binascii
from typing import Annotated, Any, Literal

import msgspec
from litestar import Response, get, post
from litestar.datastructures import Cookie, State
from litestar.handlers import HTTPRouteHandler

from quickcommerce.console.board import SHOWN_MAX, Board
from quickcommerce.console.operations import MASTER, Operations
from quickcommerce.kit import pages, texts, web
from quickcommerce.kit.clock import rfc3339
from quickcommerce.kit.forms import form
from quickcommerce.kit.ids import is_id
from quickcommerce.kit.openapi import Doc
from quickcommerce.kit.pages import wants_html
from quickcommerce.kit.problem import InvalidState, NotFound, Problem, Unauthorized, Unavailable
from quickcommerce.kit.session import way_in
from quickcommerce.kit.texts import Say, language
from quickcommerce.kit.web import HTML, AnyRequest

HERE = "/console"
TEXTS = texts.load("quickcommerce.console")
TOLD = "qc_told"
"""The cookie in which what came of a replay is kept for the page that is shown next: no link can put words there."""
TOLD_S = 60
DETAIL_MAX = 500


class Replay(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The form: which letter."""

    letter_id: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class Told(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What came of a replay."""

    end: Literal["replayed", "refused", "gone"]
    letter_id: str
    detail: str = ""


def on_problem(request: AnyRequest, problem: Problem) -> Response[Any]:
    """A problem as a page for those who read pages; who did not sign in is sent there, where anybody may."""
    if not wants_html(request):
        return web.on_problem(request, problem)
    if isinstance(problem, Unauthorized) and _demo(request):
        return _go(way_in(HERE))
    known = f"problem_{problem.status}" in TEXTS[language(request)]
    key = f"problem_{problem.status}" if known else "problem"
    page = _render(request, "refused.html", problem.status, status=problem.status, key=key, way_in=way_in(HERE))
    page.headers.update(problem.headers())
    return page


@get(
    HERE,
    exception_handlers={Problem: on_problem},
    opt={
        "doc": Doc(
            "The operator's page",
            MASTER,
            gives={200: None, 303: None},
            problems=(Unavailable,),
            media=HTML,
            says={303: "To the sign-in page: a browser that brings no session, where anybody may sign in"},
            sends={303: ("Location",)},
        )
    },
)
async def console(request: AnyRequest, state: State) -> Response[Any]:
    """How the shop does. A store that does not answer leaves a gap on the page, and takes nothing else from it."""
    board: Board = state.board
    (await web.caller(request)).need(*MASTER)
    seen = await board.look()
    told = _told(request)
    page = _render(
        request,
        "console.html",
        seen=seen,
        at=rfc3339(seen.at_us),
        looked_at=rfc3339(seen.looked.at_us) if seen.looked else None,
        letters=seen.letters and seen.letters[:SHOWN_MAX],
        more_letters=len(seen.letters or []) > SHOWN_MAX,
        told=told,
    )
    if told:
        page.delete_cookie(TOLD, path=HERE)
    return page


@post(f"{HERE}/replay", status_code=303, exception_handlers={Problem: on_problem})
async def replay(request: AnyRequest, state: State) -> Response[None]:
    """Handle a dead letter again, and say on the page what came of it."""
    operations: Operations = state.operations
    board: Board = state.board
    (await web.caller(request)).need(*MASTER)
    letter_id = (await form(request, Replay)).letter_id
    try:
        await operations.replay(letter_id)
        told = Told("replayed", letter_id)
    except NotFound:
        told = Told("gone", letter_id)
    except InvalidState as refused:
        told = Told("refused", letter_id, refused.detail[:DETAIL_MAX])
    board.forget()
    kept = base64.urlsafe_b64encode(msgspec.json.encode(told)).decode().rstrip("=")
    return _go(
        HERE,
        Cookie(key=TOLD, value=kept, path=HERE, max_age=TOLD_S, httponly=True, samesite="lax", secure=_secure(request)),
    )


def _told(request: AnyRequest) -> Told | None:
    kept = request.cookies.get(TOLD, "")
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(kept + "=" * (-len(kept) % 4)), type=Told)
    except (binascii.Error, ValueError):
        return None


def _go(path: str, *cookies: Cookie) -> Response[None]:
    headers = {"Location": path, "Cache-Control": "no-store"}
    return Response(None, status_code=303, media_type=HTML, headers=headers, cookies=list(cookies))


def _demo(request: AnyRequest) -> bool:
    """Whether anybody may sign in here."""
    return any(route.path_format == "/sign-in" for route in request.app.routes)


def _secure(request: AnyRequest) -> bool:
    public_url: str = request.app.state.public_url
    return public_url.startswith("https://")


def _render(request: AnyRequest, template: str, status: int = 200, /, **values: Any) -> Response[str]:
    spoken = language(request)
    text = _templates.get_template(template).render(
        values
        | {
            "say": Say(TEXTS, spoken),
            "demo": _demo(request),
            "is_order": lambda text: is_id("ord", text),
            # A page that a form led to has no address of its own to come back to.
            "in_language": lambda other: f"{HERE}?lang={other}",
        }
    )
    return pages.page(request, text, spoken, status, pages.headers(), secure=_secure(request))


_templates = pages.templates("quickcommerce.console")
_templates.filters["at_moment"] = lambda at_us: _templates.filters["moment"](rfc3339(at_us))


def routes() -> list[HTTPRouteHandler]:
    """The page and its form; they find `Operations` and `Board` in the app's state."""
    return [console, replay]
