"""An answer leaves as one piece, and whatever ends a connection neither loses nor repeats any of it."""

from collections.abc import Callable
from typing import Any, cast

import pytest

from quickcommerce.kit.writes import WAITING_MAX_BYTES, OneWrite


class Wire:
    """A transport, and the turns of the loop around it."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.ended = ""
        self.turns: list[Callable[[], None]] = []
        self.one = OneWrite(cast("Any", self), self.turns.append)

    def write(self, data: bytes) -> None:
        assert not self.ended
        self.sent.append(data)

    def close(self) -> None:
        self.ended = "closed"

    def abort(self) -> None:
        self.ended = "aborted"

    def is_closing(self) -> bool:
        return bool(self.ended)

    def get_extra_info(self, name: str) -> str:
        return f"the {name}"

    def turn(self) -> None:
        due, self.turns[:] = list(self.turns), []
        for each in due:
            each()


@pytest.fixture
def wire() -> Wire:
    return Wire()


def test_head_and_body_are_one_write(wire: Wire) -> None:
    for answer in (b"first", b"second"):
        wire.one.write(b"head ")
        wire.one.write(answer)
        wire.turn()
    assert wire.sent == [b"head first", b"head second"]
    wire.turn()
    assert wire.sent == [b"head first", b"head second"]


def test_what_is_long_does_not_gather_in_memory(wire: Wire) -> None:
    long = b"x" * WAITING_MAX_BYTES
    wire.one.write(b"head")
    wire.one.write(long)
    assert wire.sent == [b"head" + long]
    wire.one.write(b"end")
    wire.turn()
    assert wire.sent == [b"head" + long, b"end"]


def test_before_a_connection_is_closed_everything_is_sent_and_nothing_after(wire: Wire) -> None:
    wire.one.write(b"bye")
    wire.one.close()
    assert (wire.sent, wire.ended) == ([b"bye"], "closed")
    wire.one.write(b"too late")
    wire.turn()
    assert wire.sent == [b"bye"]


def test_a_connection_that_is_cut_sends_nothing_more(wire: Wire) -> None:
    wire.one.write(b"never")
    wire.one.abort()
    wire.turn()
    assert (wire.sent, wire.ended) == ([], "aborted")


def test_all_else_is_the_transports_own(wire: Wire) -> None:
    assert wire.one.get_extra_info("socket") == "the socket"
