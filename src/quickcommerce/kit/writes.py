"""One system call for an answer."""

import asyncio
from collections.abc import Callable
from typing import Any

WAITING_MAX_BYTES = 64 * 1024


class OneWrite:
    """A transport that sends at once what is written within one turn of the event loop.

    The server writes the head of an answer, then its body, and uvloop sends each write at once: two system calls, two
    packets, and a client that wakes up twice.
    """

    def __init__(self, transport: asyncio.Transport, soon: Callable[[Callable[[], None]], Any]) -> None:
        """`soon`: the loop's `call_soon`."""
        self._transport = transport
        self._soon = soon
        self._waiting: list[bytes] = []
        self._bytes = 0

    def __getattr__(self, name: str) -> Any:
        """Whatever has nothing to do with writing is the transport's own."""
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send it with what else is written now. What is long does not wait."""
        if not self._waiting:
            self._soon(self._send)
        self._waiting.append(data)
        self._bytes += len(data)
        if self._bytes > WAITING_MAX_BYTES:
            self._send()

    def close(self) -> None:
        """Send what waits, then close."""
        self._send()
        self._transport.close()

    def abort(self) -> None:
        """Close now; what waits is not sent."""
        self._waiting.clear()
        self._transport.abort()

    def _send(self) -> None:
        waiting, self._waiting, self._bytes = self._waiting, [], 0
        if waiting and not self._transport.is_closing():
            self._transport.write(waiting[0] if len(waiting) == 1 else b"".join(waiting))
