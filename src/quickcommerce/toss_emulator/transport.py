"""An HTTP transport that reaches an ASGI application in the same process, with a network's bad habits."""

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

import httpx2

from quickcommerce.toss_emulator.cut import CUT

Message = MutableMapping[str, Any]
App = Callable[[Any, Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]]

GRACE_S: Final = 1.0
"""How long closing waits for requests that are still being worked on."""

_LOG: Final = logging.getLogger(__name__)


class AppTransport(httpx2.AsyncBaseTransport):
    """Runs each request through the application in a task of its own, as a server would.

    The client's read timeout ends the client's wait, not the work: a late effect still happens. A client that is
    cancelled leaves the work alone too. A cut connection is httpx2.ReadError, as over TCP. An answer is handed over
    whole. Timeouts run on the event loop's clock.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        self._tasks: set[asyncio.Task[None]] = set()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request. Raises httpx2.ReadTimeout or httpx2.ReadError."""
        exchange = _Exchange(await request.aread())
        # A context of its own: what the client traces or logs by is not the server's.
        task = asyncio.get_running_loop().create_task(
            exchange.run(self._app, _scope(request, exchange)), context=contextvars.Context()
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        timeout_s: float | None = request.extensions.get("timeout", {}).get("read")
        try:
            await asyncio.wait({exchange.finished}, timeout=timeout_s)
        finally:
            exchange.client_gone.set()
        if not exchange.finished.done():
            raise httpx2.ReadTimeout("the application did not answer in time", request=request)
        if not exchange.finished.result():
            raise httpx2.ReadError("the application cut the connection", request=request)
        return httpx2.Response(exchange.status, headers=exchange.headers, content=bytes(exchange.body), request=request)

    async def aclose(self) -> None:
        """Give requests still being worked on a moment to end, then cancel them."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=GRACE_S)
        stragglers = list(self._tasks)
        for task in stragglers:
            task.cancel()
        await asyncio.gather(*stragglers, return_exceptions=True)


class _Exchange:
    """One request and what came back of its answer."""

    def __init__(self, request_body: bytes) -> None:
        self._unread: bytes | None = request_body
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = bytearray()
        self.client_gone = asyncio.Event()
        self.finished: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        """Whether the answer came whole; False when the connection was cut."""

    async def run(self, app: App, scope: dict[str, Any]) -> None:
        """Run the application and give its failures the look that a server gives them."""
        try:
            await app(scope, self.receive, self.send)
        except Exception:  # noqa: BLE001 - a server outlives its applications' errors
            _LOG.exception("the application failed")
            if not self.status:
                self.status, self.body = 500, bytearray(b"Internal Server Error")
                self._finish(whole=True)
        finally:
            self.abort()

    async def receive(self) -> Message:
        """ASGI receive."""
        if self._unread is not None:
            body, self._unread = self._unread, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self.client_gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """ASGI send; what comes after the client has gone is lost."""
        if self.finished.done():
            return
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], list(message.get("headers", ()))
            return
        self.body += message.get("body", b"")
        if not message.get("more_body", False):
            self._finish(whole=True)

    def abort(self) -> None:
        """Cut the connection; nothing happens when the answer has been sent."""
        self._finish(whole=False)

    def _finish(self, *, whole: bool) -> None:
        if not self.finished.done():
            self.finished.set_result(whole)
            self.client_gone.set()


def _scope(request: httpx2.Request, exchange: _Exchange) -> dict[str, Any]:
    url = request.url
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": url.scheme,
        "path": url.path,
        "raw_path": url.raw_path.partition(b"?")[0],
        "query_string": url.query,
        "root_path": "",
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
        "client": ("127.0.0.1", 0),
        "server": (url.host, url.port),
        "extensions": {CUT: {"abort": exchange.abort}},
    }
