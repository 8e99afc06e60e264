"""The emulator alone on a port of its own."""

import asyncio
import random
import socket
import struct
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from quickcommerce.toss_emulator.cut import CUT
from quickcommerce.toss_emulator.emulator import Emulator

DRAIN_S: Final = 5
"""How long calls in hand may take after a signal to stop, in seconds: a script can make them slow for minutes."""
KEEP_ALIVE_S: Final = 75
"""How long a connection may rest. Clients let go of theirs after 5 s: where both sides do it at the same moment, a call
goes out over a connection that is just being closed.
"""
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


class CuttableProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol that can cut: the connection is reset, as by a network that fails.

    Without the reset the client would see an orderly end, which its HTTP library reports as another error.
    """

    def on_message_begin(self) -> None:
        """Offer to cut, with each request."""
        super().on_message_begin()
        self.scope.setdefault("extensions", {})[CUT] = {"abort": self._abort}

    def _abort(self) -> None:
        connection = self.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.transport.abort()


class Server(uvicorn.Server):
    """Says where it is once it is open, and takes a signal to stop for what it is: an order, not a death.

    - `name`: who is open
    - `url`: where others reach it, if that is not where it listens
    """

    def __init__(self, config: uvicorn.Config, name: str, url: str = "") -> None:
        super().__init__(config)
        self._name = name
        self._url = url

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the port, then say so."""
        await super().startup(sockets=sockets)
        if self.started:
            port = self.servers[0].sockets[0].getsockname()[1]
            url = self._url or f"http://{authority(self.config.host, port)}"
            sys.stdout.write(f"{self._name} is open at {url}\n")
            sys.stdout.flush()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signature is uvicorn's
        """A signal to stop: finish what is in flight.

        More signals change nothing, since stopping takes a bounded time. uvicorn's own way would end without closing
        the stores at a second SIGINT, and would raise the signal again after a clean stop, which then looks like a
        death.
        """
        self.should_exit = True


def authority(host: str, port: int) -> str:
    """Host and port as they stand in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def serve(
    host: str, port: int, data_dir: Path, secret_key: str, *, controls: bool = True, webhook_url: str | None = None
) -> None:
    """Serve an emulator until SIGINT or SIGTERM; port 0 takes a free one. Its ledger is `toss.db` in the data folder.

    It logs as the caller has set up logging. Raises LedgerError, before anything is served, when the ledger is open in
    another process or cannot be used; SystemExit when the port is taken.
    """
    emulator = Emulator(
        data_dir=data_dir,
        secret_key=secret_key,
        now_us=lambda: time.time_ns() // 1_000,
        rng=random.SystemRandom(),
        controls=controls,
        webhook_url=webhook_url,
    )
    config = uvicorn.Config(
        emulator.asgi,
        host=host,
        port=port,
        http=CuttableProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,  # the ledger notes every call
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=DRAIN_S,
    )

    async def whole() -> None:
        # A server that finds this out at its start tells of it in a traceback.
        await emulator.start()
        await Server(config, "The PG emulator").serve()

    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(whole())
