"""The way to the PG over TCP: aiohttp, as a transport of httpx2.

httpx2's own takes 530 us of CPU for a call, and this one 220: aiohttp parses in C. A shop whose buyers all pay makes a
call for each order.
"""

from collections.abc import AsyncIterator
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpx2
from yarl import URL

CONNECT_S = 5.0
"""How long a call waits for a connection."""
KEPT_S = 5.0
"""How long a connection is kept for the next call: one that the PG closes just then would lose it."""


class Tcp(httpx2.AsyncBaseTransport):
    """At most `connections` to the PG at `url`.

    Redirects are not followed, cookies not kept, and nothing that moves money is sent twice. A proxy is the one that
    the environment names.
    """

    def __init__(self, url: str, *, connections: int) -> None:
        self._connections = connections
        self._tls = httpx2.create_ssl_context()
        self._proxy = _proxy(URL(url))
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request. Raises httpx2.ConnectError and ConnectTimeout where nothing was sent; where what became of it
        is not known, httpx2.ReadError.
        """
        try:
            answer = await self._opened().request(
                request.method,
                URL(str(request.url), encoded=True),
                data=request.content or None,
                headers=[(name.decode(), value.decode("latin-1")) for name, value in request.headers.raw],
                allow_redirects=False,
                proxy=self._proxy,
            )
        except aiohttp.ClientError as error:
            raise _meaning(error) from error
        return httpx2.Response(answer.status, stream=_Content(answer))

    async def aclose(self) -> None:
        """Close the connections."""
        if self._session:
            await self._session.close()

    def _opened(self) -> aiohttp.ClientSession:
        # Not before there is an event loop.
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._connections, keepalive_timeout=KEPT_S, ssl=self._tls),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_S),
            )
        return self._session


def _proxy(url: URL) -> str | None:
    """The proxy that the environment names for an address, if any: `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`."""
    named = getproxies()
    found = named.get(url.scheme) or named.get("all")
    if not found or proxy_bypass(url.host or ""):
        return None
    return found if "://" in found else f"http://{found}"


class _Content(httpx2.AsyncByteStream):
    """What is answered, as it comes. Closed before its end, it costs the connection."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for part in self._answer.content.iter_any():
                yield part
        except aiohttp.ClientError as error:
            raise _meaning(error) from error

    async def aclose(self) -> None:
        self._answer.close()


def _meaning(error: aiohttp.ClientError) -> httpx2.TransportError:
    """What an error of aiohttp means."""
    meant: type[httpx2.TransportError] = httpx2.ReadError
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        meant = httpx2.ConnectTimeout
    elif isinstance(error, aiohttp.ClientConnectorError):
        meant = httpx2.ConnectError
    return meant(type(error).__name__)
