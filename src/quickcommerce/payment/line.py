"""Calls to the PG over HTTP: what is sent with each of them, how much of an answer is taken, and the way over TCP.

That way is aiohttp, as a transport of httpx2. httpx2's own takes 530 us of CPU for a call, and this one 220: aiohttp
parses in C. A shop whose buyers all pay makes a call for each order.
"""

from collections.abc import AsyncIterator, Mapping
from typing import NamedTuple
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpx2
from yarl import URL

CONNECT_S = 5.0
"""How long a call waits for a connection."""
KEPT_S = 5.0
"""How long a connection is kept for the next call: one that the PG closes just then would lose it."""
ANSWER_MAX_BYTES = 2**20
"""What an answer about a payment may have; Toss's have a few thousand. Of a longer one nothing is believed."""


class TooLong(httpx2.HTTPError):
    """The PG does not come to an end with its answer: it is cut off, and is none."""


class Answer(NamedTuple):
    """An HTTP status, and the body."""

    status: int
    content: bytes


class Line:
    """Calls to `url` with `headers`. How long one may take is up to its caller."""

    def __init__(self, url: str, headers: Mapping[str, str], transport: httpx2.AsyncBaseTransport) -> None:
        self._url = url.rstrip("/")
        self._headers = {"Accept": "*/*", "Accept-Encoding": "gzip, deflate"} | dict(headers)
        self._transport = transport

    async def ask(
        self,
        method: str,
        path: str,
        *,
        most: int = ANSWER_MAX_BYTES,
        headers: Mapping[str, str] | None = None,
        json: Mapping[str, object] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> Answer:
        """Make a call, and take no more than `most` bytes of its answer. Raises httpx2.HTTPError."""
        whole = self._headers | dict(headers or {})
        asked = httpx2.Request(method, self._url + path, headers=whole, json=json, params=params)
        answer = await self._transport.handle_async_request(asked)
        try:
            content = bytearray()
            async for part in answer.aiter_bytes():
                content += part
                if len(content) > most:
                    raise TooLong(f"an answer of more than {most} bytes")
            return Answer(answer.status_code, bytes(content))
        finally:
            await answer.aclose()

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.aclose()


class Tcp(httpx2.AsyncBaseTransport):
    """At most `connections` to the PG at `url`.

    Redirects are not followed, cookies not kept, and nothing that moves money is sent twice. A proxy is the one that
    the environment names.
    """

    def __init__(self, url: str, *, connections: int) -> None:
        self._connections = connections
        self._tls = httpx2.create_ssl_context()
        at = httpx2.URL(url)
        self._proxy = None if proxy_bypass(at.host) else getproxies().get(at.scheme)
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
