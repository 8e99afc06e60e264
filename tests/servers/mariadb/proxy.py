"""A line to MariaDB that breaks where a test wants it to, around a COMMIT or anywhere, or that stands still."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

COMMIT = b"COMMIT"
"""How what is sent ends with which a transaction ends: alone, or behind the inserts that travel with it."""
OK, ERROR, MORE = 0, 0xFF, 8
"""How a reply begins that has no rows and that is an error, and what its status has set where another is behind it."""


@dataclass
class Proxy:
    """`cut_at` is asked of each COMMIT, with its number, where the line breaks: `before` it, `after` it, or nowhere.

    With `halves` it breaks once behind the first of several answers, all of whose statements were run.
    """

    host: str
    server_port: int
    cut_at: Callable[[int], str] = lambda _: ""
    halves: bool = False
    commits: int = 0
    cuts: int = 0
    opened: int = 0
    flowing: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0
    _lines: set[asyncio.StreamWriter] = field(default_factory=set)

    def freeze(self) -> None:
        """Nothing goes through, and nobody is told."""
        self.flowing.clear()

    def thaw(self) -> None:
        """What was held goes on."""
        self.flowing.set()

    def cut(self) -> None:
        """Break every line."""
        for line in list(self._lines):
            line.transport.abort()

    async def take(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        """One connection of a client, to its end."""
        self.opened += 1
        from_server, to_server = await asyncio.open_connection(self.host, self.server_port)
        ends = {to_client, to_server}
        self._lines |= ends
        back = asyncio.create_task(self._back(from_server, to_client))
        try:
            while data := await from_client.read(1 << 16):
                await self.flowing.wait()
                where = ""
                if data.endswith(COMMIT):
                    where = self.cut_at(self.commits)
                    self.commits += 1
                if where == "before":
                    self.cuts += 1
                    break
                if where == "after":
                    # The reply must not reach the client: whoever carries it stops first.
                    back.cancel()
                    await asyncio.wait([back])
                    to_server.write(data)
                    await _replied(from_server)
                    self.cuts += 1
                    break
                to_server.write(data)
        except ConnectionError:
            pass
        finally:
            back.cancel()
            for line in ends:
                line.transport.abort()
            self._lines -= ends

    async def _back(self, from_server: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        try:
            while data := await from_server.read(1 << 16):
                await self.flowing.wait()
                if self.halves and data[4] == OK and data[7] & MORE:
                    self.halves = False
                    self.cuts += 1
                    to_client.write(data[: 4 + int.from_bytes(data[:3], "little")])
                    break
                to_client.write(data)
        except ConnectionError:
            pass
        to_client.transport.abort()


async def _replied(from_server: asyncio.StreamReader) -> None:
    """Read to the end of the replies to statements that have no rows. Their counts are of one byte each here."""
    while True:
        length = int.from_bytes((await from_server.readexactly(4))[:3], "little")
        reply = await from_server.readexactly(length)
        if reply[0] == ERROR or not reply[3] & MORE:
            return


@asynccontextmanager
async def proxied(host: str, server_port: int) -> AsyncIterator[Proxy]:
    """A proxy on a port of its own."""
    proxy = Proxy(host, server_port)
    proxy.thaw()
    running: set[asyncio.Task[None]] = set()

    def arrived(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        running.add(asyncio.create_task(proxy.take(reader, writer)))

    server = await asyncio.start_server(arrived, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.thaw()
        proxy.cut()
        await asyncio.gather(*running, return_exceptions=True)
