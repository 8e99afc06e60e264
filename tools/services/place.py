"""Where the servers of one checkout, or of one run of tests, keep their files and on which ports they listen."""

import fcntl
import os
import socket
import sys
import zlib
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOST = "127.0.0.1"
PORTS = (
    "mariadb", "redis-1", "redis-2", "sentinel-1", "sentinel-2", "sentinel-3", "kafka", "kafka-controller",
    "elasticsearch", "elasticsearch-transport",
)  # fmt: skip
"""Who listens, in the order of the ports from the base on."""
BLOCK, BLOCKS, FIRST = 10, 1000, 20_000
"""Bases are searched from 20,000 to 29,990: below the ports that the kernel gives to outgoing connections."""
BASE_MIN, BASE_MAX = 1024, 65_535 - BLOCK
BUFFER_POOL_MB, BUFFER_POOL_MB_MIN = 128, 16
"""Enough for tests. A shop's server gives it what holds the rows that are in use."""


class Failed(Exception):
    """What was asked for cannot be done; the text says why and what to do."""


@dataclass(frozen=True)
class Place:
    """A folder and a block of ten ports. Two places share nothing, so that they may be used side by side."""

    folder: Path
    base: int
    buffer_pool_mb: int = BUFFER_POOL_MB

    def of(self, name: str) -> Path:
        """The folder of one server, made where it is missing."""
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def port(self, name: str) -> int:
        """Where one of `PORTS` listens."""
        return self.base + PORTS.index(name)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other changes of this place waiting meanwhile."""
        with (self.folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(f"waiting for another scripts/services on {self.folder} ...", file=sys.stderr)
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def choose(environment: Mapping[str, str]) -> Place:
    """The place that SERVICES_DIR and SERVICES_PORT_BASE name, with SERVICES_BUFFER_POOL_MB. Raises Failed.

    Without a base, one is taken that follows from the folder's path, or the next that is free. It is written down in
    the folder, so that every later call finds the same servers.
    """
    folder = Path(environment.get("SERVICES_DIR") or ROOT / ".services").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / "port-base"
    wanted = environment.get("SERVICES_PORT_BASE")
    known = _known(kept)
    if wanted:
        if not wanted.isdecimal() or not BASE_MIN <= int(wanted) <= BASE_MAX:
            raise Failed(f"SERVICES_PORT_BASE is {wanted!r}; it must be a port from {BASE_MIN} to {BASE_MAX}")
        base = int(wanted)
        if known not in (None, base) and any(folder.glob("*/pid")):
            raise Failed(f"the servers in {folder} begin at port {known}; unset SERVICES_PORT_BASE, or stop them first")
    else:
        base = known or _free_base(folder)
    if base != known:
        fresh = kept.with_suffix(f".{os.getpid()}")
        fresh.write_text(f"{base}\n")
        fresh.replace(kept)
    return Place(folder, base, _buffer_pool_mb(environment))


def _buffer_pool_mb(environment: Mapping[str, str]) -> int:
    wanted = environment.get("SERVICES_BUFFER_POOL_MB") or str(BUFFER_POOL_MB)
    if not wanted.isdecimal() or int(wanted) < BUFFER_POOL_MB_MIN:
        raise Failed(f"SERVICES_BUFFER_POOL_MB is {wanted!r}; it must be a number of MB, at least {BUFFER_POOL_MB_MIN}")
    return int(wanted)


def _known(kept: Path) -> int | None:
    """The base that was written down, if any. Raises Failed."""
    if not kept.exists():
        return None
    text = kept.read_text("utf-8", errors="replace").strip()
    if not text.isdecimal():
        raise Failed(f"{kept} holds no port; stop what runs there, and delete it")
    return int(text)


def _free_base(folder: Path) -> int:
    first = zlib.crc32(str(folder).encode())
    for at in range(BLOCKS):
        base = FIRST + (first + at) % BLOCKS * BLOCK
        if all(free(port) for port in range(base, base + BLOCK)):
            return base
    raise Failed("no ten ports in a row are free; set SERVICES_PORT_BASE")


def free(port: int) -> bool:
    """Whether nobody listens there. Connections that ended a moment ago do not count."""
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True
