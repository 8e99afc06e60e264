"""Cutting a connection, as a bad network does it: no answer, and no end of an answer."""

from typing import Any, Final

from litestar.response.base import ASGIResponse
from litestar.types import Receive, Scope, Send

CUT: Final = "quickcommerce.cut"
"""The ASGI extension by which a server offers to cut: `scope["extensions"][CUT]["abort"]()`."""


class CutResponse(ASGIResponse):
    """In place of a response: the connection is cut.

    A server that does not offer the extension gets a response whose end never comes; uvicorn then closes the socket,
    and the client has read the headers of a 200 but no body.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Cut, then wait until the server has noticed: an application that returns before that is in error."""
        offer: Any = (scope.get("extensions") or {}).get(CUT)
        if offer is None:
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1")]})
            return
        offer["abort"]()
        while (await receive())["type"] != "http.disconnect":
            pass
