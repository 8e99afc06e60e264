"""Signing in as a demo buyer, and out. Only where tokens of our own are made: in the profiles local and test."""

from typing import Annotated

import msgspec
from litestar import Response, get, post
from litestar.datastructures import Cookie, State
from litestar.handlers import HTTPRouteHandler

from quickcommerce.kit import web
from quickcommerce.kit.auth import ID_MAX, Role
from quickcommerce.kit.forms import form
from quickcommerce.kit.problem import Forbidden, NotFound, Problem
from quickcommerce.kit.session import COOKIE, is_own
from quickcommerce.kit.web import AnyRequest
from quickcommerce.shop.page import Pages, on_problem, render, viewer

SESSION_S = 12 * 3600
OPERATIONS = "/console"
"""Who is on the way there signs in as an operator."""


class SignIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The form: who to be, and where to go then."""

    user: Annotated[int, msgspec.Meta(ge=1, lt=ID_MAX)]
    role: Role = Role.USER
    next: str = "/"


@get("/sign-in", exception_handlers={Problem: on_problem})
async def ask(request: AnyRequest) -> Response[str]:
    """The form."""
    await viewer(request)
    path = local(web.one(request, "next") or "/")
    chosen = Role.MASTER if path == OPERATIONS else Role.USER
    return render(request, "sign_in.html", next=path, roles=list(Role), chosen=chosen)


@post("/sign-in", status_code=303, exception_handlers={Problem: on_problem})
async def sign_in(request: AnyRequest, state: State) -> Response[None]:
    """Give the browser its session."""
    pages: Pages = state.pages
    _refuse_foreign(request)
    asked = await form(request, SignIn)
    if pages.mint is None:
        raise NotFound("nobody chooses here who they are")
    return _go(pages, local(asked.next), pages.mint(asked.user, asked.role), SESSION_S)


@post("/sign-out", status_code=303, exception_handlers={Problem: on_problem})
async def sign_out(request: AnyRequest, state: State) -> Response[None]:
    """Take the session back from the browser."""
    _refuse_foreign(request)
    return _go(state.pages, "/", "", 0)


def local(path: str) -> str:
    """An address of ours, as it was asked for; the shop's first page for anything that may lead elsewhere."""
    fine = path.startswith("/") and not path.startswith("//") and "\\" not in path
    return path if fine and all("!" <= each <= "~" for each in path) else "/"


def _refuse_foreign(request: AnyRequest) -> None:
    """A browser says where a form comes from. Raises Forbidden where that is another site."""
    if request.headers.getall("origin", []) and not is_own(request):
        raise Forbidden("this form is not one of the shop's own pages")


def _go(pages: Pages, path: str, token: str, max_age_s: int) -> Response[None]:
    cookie = Cookie(
        key=COOKIE, value=token, max_age=max_age_s, httponly=True, samesite="lax",
        secure=pages.public_url.startswith("https://"),
    )  # fmt: skip
    headers = {"Location": path, "Cache-Control": "no-store"}
    return Response(None, status_code=303, headers=headers, cookies=[cookie])


def routes() -> list[HTTPRouteHandler]:
    """The routes of sessions."""
    return [ask, sign_in, sign_out]
