"""uvicorn around an application, on loopback, as the shop does it: it tells where it is open, once it is."""

import socket
import sys
from typing import Any

import uvicorn

KEEP_ALIVE_S = 75
"""As the shop's: a connection that rests at the end of a load is not an error."""


class _Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            port = self.servers[0].sockets[0].getsockname()[1]
            sys.stdout.write(f"open at http://127.0.0.1:{port}\n")
            sys.stdout.flush()


def serve(app: Any, port: int) -> None:
    """Serve an ASGI application until stopped; port 0 is any that is free."""
    config = uvicorn.Config(
        app, host="127.0.0.1", port=port, access_log=False, log_level="warning", timeout_keep_alive=KEEP_ALIVE_S
    )
    _Server(config).run()
