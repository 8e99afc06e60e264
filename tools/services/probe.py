"""Conversations with servers in their own protocols, just long enough to know that they work, and in which version."""

import json
import socket
import struct
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedRWPair
from typing import Any

from services.place import HOST
from services.server import NotReady

Wire = BufferedRWPair
ANSWER_WITHIN_S = 2.0
NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Whatever proxy the environment names, it does not know our loopback."""
MARIADB_PROTOCOL = 10
KAFKA_METADATA, KAFKA_METADATA_VERSION = 3, 4


def mariadb(port: int) -> str:
    """The version that MariaDB greets with, as it does to whoever it could let in."""
    with _open(port) as wire:
        size = int.from_bytes(_exactly(wire, 4)[:3], "little")
        greeting = _exactly(wire, size)
        if greeting[0] != MARIADB_PROTOCOL:
            raise NotReady("it greets with an error")
        version = greeting[1:].partition(b"\0")[0].decode()
        return version.removeprefix("5.5.5-").partition("-")[0]


def redis(port: int, *command: str) -> list[str]:
    """What a Redis or a Sentinel answers, flattened: the elements of a list, or the one text there is."""
    with _open(port) as wire:
        parts = [f"${len(part.encode())}\r\n{part}\r\n" for part in command]
        wire.write(f"*{len(parts)}\r\n{''.join(parts)}".encode())
        wire.flush()
        return list(_redis_answer(wire))


def _redis_answer(wire: Wire) -> Iterator[str]:
    line = wire.readline().decode()
    kind, rest = line[:1], line[1:].strip()
    match kind:
        case "*":
            for _ in range(int(rest)):
                yield from _redis_answer(wire)
        case "$":
            yield _exactly(wire, int(rest) + 2)[:-2].decode() if int(rest) >= 0 else ""
        case "+" | ":":
            yield rest
        case _:
            raise NotReady(rest or "it closed the connection")


def redis_info(port: int) -> dict[str, str]:
    """All that INFO tells."""
    lines = redis(port, "INFO")[0].splitlines()
    return {name: value for name, _, value in (line.partition(":") for line in lines) if value}


def kafka(port: int) -> None:
    """Ask for the brokers: the answer names one from the moment on at which it takes and gives events."""
    # An empty list of topics, and no leave to create any.
    body = struct.pack(">hhih", KAFKA_METADATA, KAFKA_METADATA_VERSION, 1, -1) + struct.pack(">ib", 0, 0)
    with _open(port) as wire:
        wire.write(struct.pack(">i", len(body)) + body)
        wire.flush()
        size: int = struct.unpack(">i", _exactly(wire, 4))[0]
        _correlation, _throttle_ms, brokers = struct.unpack(">iii", _exactly(wire, size)[:12])
        if not brokers:
            raise NotReady("no broker has joined")


def http(port: int, path: str) -> Any:
    """The JSON of a GET."""
    try:
        with NO_PROXY.open(f"http://{HOST}:{port}{path}", timeout=ANSWER_WITHIN_S) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise NotReady(f"{path} answers {error.code}") from error
    except (OSError, ValueError) as error:
        raise NotReady(f"{path}: {error}") from error


@contextmanager
def _open(port: int) -> Iterator[Wire]:
    """A connection. Whatever goes wrong on it is NotReady."""
    try:
        with (
            socket.create_connection((HOST, port), timeout=ANSWER_WITHIN_S) as connection,
            connection.makefile("rwb") as wire,
        ):
            yield wire
    except OSError as error:
        raise NotReady(str(error)) from error


def _exactly(wire: Wire, size: int) -> bytes:
    data = wire.read(size)
    if len(data) < size:
        raise NotReady("it closed the connection")
    return data
