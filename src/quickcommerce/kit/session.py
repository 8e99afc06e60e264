"""The session of the pages: a cookie that carries the token which others send as Authorization.

A browser sends its cookies with whatever any site makes it send, so what changes something must say that it comes from
the shop's own pages.
"""

from typing import Any
from urllib.parse import urlencode, urlsplit

from litestar import Request
from litestar.datastructures import State

COOKIE = "qc_session"
SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""Methods that change nothing (RFC 9110 section 9.2.1)."""


def is_own(request: Request[Any, Any, State]) -> bool:
    """Whether a request says that it comes from a page of the shop: its Origin is where the shop is."""
    origins, hosts = request.headers.getall("origin", []), request.headers.getall("host", [])
    if len(origins) != 1 or len(hosts) != 1:
        return False
    scheme, separator, authority = origins[0].partition("://")
    if not separator or scheme not in ("http", "https"):
        return False
    public_url: str = request.app.state.public_url
    public = urlsplit(public_url)
    here = (public.scheme, public.netloc) if public.netloc else (request.scope["scheme"], hosts[0])
    return (scheme, authority) == here


def way_in(path: str) -> str:
    """Where to sign in and come back to `path`, in the profiles in which anybody may."""
    return f"/sign-in?{urlencode({'next': path})}"
