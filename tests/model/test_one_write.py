"""The head of an answer and its body go out in one write, and nothing that a buyer waits for is kept back."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from quickcommerce.serve import Protocol

App = Callable[[Any, Any, Any], Awaitable[None]]
LENGTH = (b"content-length", b"5")
HEAD = {"type": "http.response.start", "status": 200, "headers": [LENGTH]}
STREAM = {"type": "http.response.start", "status": 200, "headers": []}
BODY = {"type": "http.response.body", "body": b"hello", "more_body": False}
GET = b"GET / HTTP/1.1\r\nhost: shop\r\n\r\n"


class Wire(asyncio.Transport):
    """Knows what each write wrote."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.writes: list[bytes] = []
        self.closed = False

    def write(self, data: Any) -> None:
        assert not self.closed
        self.writes.append(bytes(data))

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


async def served(request: bytes, app: App, wire: Wire | None = None) -> Wire:
    wire = wire or Wire()
    config = uvicorn.Config(app, http=Protocol, lifespan="off", log_config=None)
    config.load()
    state = ServerState()
    protocol = Protocol(config, state, {})
    protocol.connection_made(wire)
    protocol.data_received(request)
    while state.tasks:
        await asyncio.wait(state.tasks)
    protocol.connection_lost(None)
    return wire


def answering(*parts: dict[str, Any]) -> App:
    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        for part in parts:
            await send(part)

    return app


async def test_an_answer_with_a_length_is_one_write() -> None:
    wire = await served(GET * 3, answering(HEAD, BODY))
    assert len(wire.writes) == 3
    for each in wire.writes:
        assert each.startswith(b"HTTP/1.1 200 OK\r\n")
        assert each.endswith(b"\r\n\r\nhello")


async def test_an_answer_whose_body_comes_in_parts_waits_for_the_first_only() -> None:
    first, last = BODY | {"body": b"he", "more_body": True}, BODY | {"body": b"llo"}
    wire = await served(GET, answering(HEAD, first, last))
    assert [each.rpartition(b"\r\n")[2] for each in wire.writes] == [b"he", b"llo"]


async def test_the_head_of_a_stream_goes_out_before_there_is_anything_to_tell() -> None:
    wire = Wire()
    seen: list[bytes] = []

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send(STREAM)
        seen.extend(wire.writes)
        await send(BODY)

    await served(GET, app, wire)
    assert [each.splitlines()[0] for each in seen] == [b"HTTP/1.1 200 OK"]


@pytest.mark.parametrize("status", [204, 304])
async def test_an_answer_without_a_body_is_sent(status: int) -> None:
    head = {"type": "http.response.start", "status": status, "headers": []}
    wire = await served(GET, answering(head, BODY | {"body": b""}))
    assert b"".join(wire.writes).startswith(f"HTTP/1.1 {status}".encode())


async def test_the_answer_to_head_is_its_head() -> None:
    wire = await served(GET.replace(b"GET", b"HEAD"), answering(HEAD, BODY))
    assert b"".join(wire.writes).endswith(b"content-length: 5\r\n\r\n")


async def test_a_client_that_waits_to_be_asked_for_its_body_is_asked() -> None:
    async def app(_scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["body"] == b"hello"
        await send(HEAD)
        await send(BODY)

    head = b"POST / HTTP/1.1\r\nhost: shop\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n"
    wire = await served(head + b"hello", app)
    assert b"".join(wire.writes).endswith(b"\r\n\r\nhello")


async def test_what_waits_is_sent_before_a_connection_ends() -> None:
    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send(HEAD)
        raise ValueError("a defect behind the head")

    wire = await served(GET, app)
    assert wire.closed
    assert b"".join(wire.writes).endswith(b"content-length: 5\r\n\r\n")
