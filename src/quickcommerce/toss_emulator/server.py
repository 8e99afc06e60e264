"""The emulator alone on a port of its own."""

import random
import socket
import struct
import time
from pathlib import Path
from typing import Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from quickcommerce.toss_emulator.cut import CUT
from quickcommerce.toss_emulator.emulator import Emulator

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


def configuration(emulator: Emulator, *, host: str, port: int, log_level: str = "info") -> uvicorn.Config:
    """How uvicorn serves an emulator; port 0 takes a free one."""
    return uvicorn.Config(
        emulator.asgi,
        host=host,
        port=port,
        http=CuttableProtocol,
        ws="none",
        lifespan="on",
        log_level=log_level,
        access_log=False,  # the ledger notes every call
    )


def serve(host: str, port: int, data_dir: Path, secret_key: str, *, controls: bool = True) -> None:
    """Serve an emulator until SIGINT or SIGTERM; its ledger is `toss.db` in the data folder.

    Raises SystemExit when the port is taken or the ledger is open in another process.
    """
    emulator = Emulator(
        data_dir=data_dir,
        secret_key=secret_key,
        now_us=lambda: time.time_ns() // 1_000,
        rng=random.SystemRandom(),
        controls=controls,
    )
    uvicorn.Server(configuration(emulator, host=host, port=port)).run()
