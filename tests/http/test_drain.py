"""What comes behind an answer that did not wait for the body: read on within bounds, so that the client can read."""

import asyncio
from typing import Any

from litestar.types import Receive, Scope, Send

from quickcommerce.kit.middleware import DRAIN_MAX_BYTES, DRAIN_S, Drain

PART = b" " * 65_536


async def refusing(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 413, "headers": []})
    await send({"type": "http.response.body", "body": b"too large", "more_body": False})


async def reading(scope: Scope, receive: Receive, send: Send) -> None:
    while (await receive()).get("more_body"):
        pass
    await refusing(scope, receive, send)


async def served(app: Any, receive: Any, *headers: tuple[bytes, bytes]) -> list[tuple[bytes, bool]]:
    """The answer's body as the server is given it: parts, and whether more follows."""
    sent: list[tuple[bytes, bool]] = []

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            sent.append((message["body"], message["more_body"]))

    scope: Any = {"type": "http", "headers": list(headers)}
    await Drain(app)(scope, receive, send)
    return sent


class Body:
    """A request's body of so many parts; each that is read is counted."""

    def __init__(self, parts: int) -> None:
        self.parts, self.read = parts, 0

    async def receive(self) -> dict[str, object]:
        assert self.read < self.parts, "the server would wait for the next request"
        self.read += 1
        return {"type": "http.request", "body": PART, "more_body": self.read < self.parts}


HELD = [(b"too large", True), (b"", False)]
"""The whole answer is given at once, and its end when the body has ended."""
WHOLE = [(b"too large", False)]


async def test_the_rest_of_a_body_is_read_before_the_connection_may_close() -> None:
    for framing in ((b"content-length", b"2000000"), (b"transfer-encoding", b"chunked")):
        body = Body(32)
        assert await served(refusing, body.receive, framing) == HELD
        assert body.read == 32


async def test_no_body_is_read_without_end() -> None:
    body = Body(10**9)
    assert await served(refusing, body.receive, (b"content-length", b"1000000000")) == HELD
    assert body.read * len(PART) == DRAIN_MAX_BYTES


async def test_no_body_is_waited_for_without_end() -> None:
    async def silent() -> None:
        await asyncio.Event().wait()

    began = asyncio.get_running_loop().time()
    assert await served(refusing, silent, (b"content-length", b"2")) == HELD
    assert asyncio.get_running_loop().time() - began == DRAIN_S


async def test_a_client_that_hung_up_is_not_waited_for() -> None:
    async def gone() -> dict[str, str]:
        return {"type": "http.disconnect"}

    assert await served(refusing, gone, (b"content-length", b"2")) == HELD


async def test_where_the_body_was_read_or_is_none_nothing_is_changed() -> None:
    body = Body(3)
    assert await served(reading, body.receive, (b"content-length", b"1")) == WHOLE
    assert body.read == 3
    assert await served(refusing, Body(0).receive, (b"accept", b"*/*")) == WHOLE
