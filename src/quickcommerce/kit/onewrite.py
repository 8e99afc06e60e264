"""A connection on which the head of an answer and its body go out together."""

from asyncio import Transport

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle


class OneWrite(Transport):
    """What uvicorn writes one answer to. Its head waits for the body, which comes at once where a length is told.

    Each write is a system call of its own and wakes the client.
    """

    def __init__(self, transport: Transport, cycle: RequestResponseCycle) -> None:
        super().__init__()
        self._transport = transport
        self._cycle: RequestResponseCycle | None = cycle
        self._head = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send this, behind what waits; or let it wait."""
        cycle = self._cycle
        if cycle and cycle.response_started:
            self._cycle = None  # which has this, and so would not be gone when it is done
            if cycle.chunked_encoding is False and cycle.scope["method"] != "HEAD":
                self._head = bytes(data)
                return
        head, self._head = self._head, b""
        self._transport.write(head + data if head else data)

    def is_closing(self) -> bool:
        """Whether the connection has ended or is about to."""
        return self._transport.is_closing()

    def close(self) -> None:
        """Send what waits, and end the connection."""
        if self._head:
            self._transport.write(self._head)
        self._transport.close()
