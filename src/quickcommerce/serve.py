"""Serving: uvicorn around the wired system, and a stop that loses nothing."""

import asyncio
import gc
import math
import re
import resource
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from importlib.resources import as_file, files
from pathlib import Path
from types import FrameType
from typing import cast

import msgspec
import uvicorn
import uvloop

from quickcommerce.app import App, build
from quickcommerce.catalog.file import read_file
from quickcommerce.kit.problem import InvalidRequest, Unavailable
from quickcommerce.kit.telemetry import configure_logs
from quickcommerce.kit.web import PROBLEM_JSON
from quickcommerce.kit.writes import OneWrite
from quickcommerce.roles import ProcessRole
from quickcommerce.running import alone
from quickcommerce.settings import EMULATOR, Settings
from quickcommerce.toss_emulator.server import CuttableProtocol, Server, authority
from quickcommerce.toss_emulator.store import LedgerError

BACKLOG = 4096
"""Connections that wait to be accepted: a flash sale arrives within a second."""
KEEP_ALIVE_S = 75
SWITCH_S = 0.0002
GC_EVERY = 50_000
"""New objects between two looks for garbage that reference counts cannot find."""
OPEN_FILES_MAX = 65_536
HEAD_MAX_BYTES = 64 * 1024
"""The longest head of a request: its line and its headers."""
METHODS = frozenset(b"GET HEAD POST PUT PATCH DELETE OPTIONS TRACE CONNECT".split())
_METHOD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}(?= )")


class Protocol(CuttableProtocol):
    """uvicorn's HTTP protocol with bounds, and with the shop's own answers to what its parser refuses.

    The parser would gather headers as long as they come; it refuses most methods that are not `METHODS`.
    """

    _idle_bytes = 0
    _progress = False
    _between = True
    _method = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's
        """A client is there."""
        super().connection_made(cast("asyncio.Transport", OneWrite(transport, self.loop.call_soon)))

    def on_message_begin(self) -> None:
        """A head begins."""
        self._between = False
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """A head has ended."""
        self._progress = True
        super().on_headers_complete()
        if self._method:
            # The application runs only after this, and refuses the method as it does any that an address does not take.
            self.scope["method"] = self._method.decode()
            self._method = b""

    def on_body(self, body: bytes) -> None:
        """Part of a body, which whoever reads it bounds."""
        self._progress = True
        if self.cycle.response_complete:
            # `Drain` has read on behind the answer as far as it may.
            self.transport.close()
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request has ended."""
        self._between = True
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - the signature is uvicorn's
        """What is no HTTP is refused like anything else, and ends the connection."""
        self._refuse("this is not an HTTP request")

    def _refuse(self, detail: str) -> None:
        body = msgspec.json.encode(InvalidRequest(detail).body(""))
        head = f"content-type: {PROBLEM_JSON}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        self.transport.write(b"HTTP/1.1 400 Bad Request\r\n" + head.encode() + body)
        self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Take bytes; refuse a head, or trailers, that are over the bound and still go on.

        For the parser a method that it may not know becomes one that it knows.
        """
        named = _METHOD.match(data) if self._between else None
        if named and named[0] not in METHODS:
            self._method = named[0]
            data = b"GET" + data[named.end() :]
        self._progress = False
        super().data_received(data)
        self._idle_bytes = 0 if self._progress else self._idle_bytes + len(data)
        if self._idle_bytes > HEAD_MAX_BYTES:
            self._refuse(f"the head of a request may have at most {HEAD_MAX_BYTES} bytes")


class Shop(Server):
    """The server of the shop, which is not ready from the first signal on."""

    def __init__(self, config: uvicorn.Config, app: App) -> None:
        super().__init__(config, "QuickCommerce", app.settings.public_url)
        self._app = app

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal to stop: first tell the readiness probe, then finish what is in flight."""
        self._app.drain()
        super().handle_exit(sig, frame)


def serve(settings: Settings, role: ProcessRole, *, sample: bool) -> None:
    """Run what belongs to this role until a signal ends it.

    Raises Unavailable when the port is taken or the data folder can hold nothing, BadSetting when another shop has it.
    """
    configure_logs(settings.log_level, machine=settings.log_format == "json")
    _take_room()
    with (
        # The port comes first: a shop that cannot open leaves everything as it was.
        _listening(settings.host, settings.port, shared=settings.port_shared) as listener,
        alone(Path(settings.data_dir), _url(listener)) if settings.embedded else nullcontext(),
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(_serve(_told_of(settings, listener), role, listener, sample=sample))


@contextmanager
def _listening(host: str, port: int, *, shared: bool) -> Iterator[socket.socket]:
    """Take a port for this process; 0 takes a free one. Whoever connects waits until the shop is open.

    `shared`: with others who want to share it, among whom the kernel spreads connections. Raises Unavailable when it
    cannot be had.
    """
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
        # Connections of an earlier life that linger do not keep the next one from opening.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            listener.bind((host, port))
            listener.listen(BACKLOG)
        except OSError as error:
            raise Unavailable(f"cannot listen on {authority(host, port)}: {error.strerror}") from error
        yield listener


def _url(listener: socket.socket) -> str:
    """Where this process answers, as somebody on the same machine reaches it."""
    host, port = listener.getsockname()[:2]
    everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - nothing is bound to it here
    return f"http://{authority(everywhere.get(host, host), port)}"


def _told_of(settings: Settings, listener: socket.socket) -> Settings:
    """The settings. On a developer's machine the emulator in this process tells this shop of its payments."""
    if settings.profile != "local" or settings.pg_url != EMULATOR or settings.pg_webhook_url:
        return settings
    return msgspec.structs.replace(settings, pg_webhook_url=f"{_url(listener)}/webhooks/toss")


def _take_room() -> None:
    """Allow as many sockets as this user may have: a shell's usual 1,024 are fewer than come to a flash sale."""
    soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES_MAX if most == resource.RLIM_INFINITY else min(most, OPEN_FILES_MAX)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


async def _serve(settings: Settings, role: ProcessRole, listener: socket.socket, *, sample: bool) -> None:
    app = build(settings, role=role)
    if role == "all" or sample:
        await app.open()
    else:
        # Whoever starts many processes starts them in no order.
        await app.opening.by(app.open)
    if sample:
        await load_sample(app)
    config = uvicorn.Config(
        app.asgi,
        host=settings.host,
        port=settings.port,
        http=Protocol,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=math.ceil(settings.drain_s),
    )
    if app.flows.emulator:
        try:
            await app.flows.emulator.start()
        except LedgerError as unusable:
            raise Unavailable(str(unusable)) from unusable
    _tune_interpreter()
    await Shop(config, app).serve(sockets=[listener])


def _tune_interpreter() -> None:
    """Collect garbage less often, and let go of a thread sooner.

    Requests leave few cycles behind; as Python comes, it looks for them at every 700th new object, a seventh of the
    time of an order. The loop lets go of the interpreter lock at every statement of SQLite, and then waits until a
    thread that writes history or ledger gives it back: as Python comes, up to 5 ms (measured at 625 orders/s, a fifth
    of them paid: an order took 29 to 46 ms so, and 10 to 14 ms with an interval below a millisecond).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_EVERY, 20, 50)
    sys.setswitchinterval(SWITCH_S)


async def load_sample(app: App) -> int:
    """Load the sample catalog into a shop that has no goods. Returns how many products were added."""
    if await app.flows.catalog.page("", 0, 1):
        return 0
    with as_file(files("quickcommerce").joinpath("samples", "catalog.csv")) as path:
        return await app.flows.catalog.put(read_file(path))
