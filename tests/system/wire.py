"""HTTP/1.1 by hand, for clients that no library would be: a thousand at once, half a request, no reading at all."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit


class Answer(NamedTuple):
    """An answer; header names are in small letters."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body's JSON."""
        return json.loads(self.body)


def request(method: str, path: str, headers: Mapping[str, str], body: object = None) -> bytes:
    """A whole request, with a JSON body if there is one."""
    content = b"" if body is None else json.dumps(body).encode()
    fields = {"Host": "shop", "Content-Length": str(len(content)), **headers}
    if content:
        fields["Content-Type"] = "application/json"
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + content


class Line:
    """A connection of its own."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def send(self, data: bytes) -> None:
        """Send bytes."""
        self._writer.write(data)
        await self._writer.drain()

    async def answer(self) -> Answer:
        """Read one answer. Raises OSError or EOFError when the connection ends before its end."""
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in head[1:-2])}
        body = await self._reader.readexactly(int(headers.get("content-length", "0")))
        return Answer(int(head[0].split()[1]), headers, body)

    async def ended(self) -> bool:
        """Read whatever comes until the other side ends the connection. Returns whether it was in good order."""
        try:
            while await self._reader.read(65536):
                pass
        except OSError:
            return False
        return True

    def reset(self) -> None:
        """Hang up without reading what is there: the other side sees a reset."""
        self._writer.transport.abort()

    async def close(self) -> None:
        """Hang up."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except OSError:
            return


async def dial(url: str) -> Line:
    """Open a connection."""
    address = urlsplit(url)
    return Line(*await asyncio.open_connection(address.hostname, address.port))


@asynccontextmanager
async def dialled(url: str, count: int) -> AsyncIterator[list[Line]]:
    """So many connections, open at the same time."""
    lines = await asyncio.gather(*(dial(url) for _ in range(count)))
    try:
        yield lines
    finally:
        await asyncio.gather(*(line.close() for line in lines))


class Way:
    """A way to another server on which answers come `late_s` later, or while it is `deaf` not at all."""

    def __init__(self, url: str, *, deaf: bool = False) -> None:
        self._to = urlsplit(url)
        self._tasks: set[asyncio.Task[None]] = set()
        self.deaf = deaf
        self.late_s = 0.0
        self.swallowed = asyncio.Event()
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"{self._to.scheme}://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(self._to.hostname, self._to.port)
        self._tasks |= {
            asyncio.create_task(self._carry(reader, far_writer, answers=False)),
            asyncio.create_task(self._carry(far_reader, writer, answers=True)),
        }

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool) -> None:
        try:
            while data := await reader.read(65536):
                if answers and self.deaf:
                    self.swallowed.set()
                    continue
                if answers and self.late_s:
                    await asyncio.sleep(self.late_s)
                writer.write(data)
        except OSError:
            return
        finally:
            writer.transport.abort()
