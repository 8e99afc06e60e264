"""A Redis of a test's own, on loopback: started, killed, frozen, and watched over by Sentinels."""

import asyncio
import signal
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from system.process import until

NAME = "shop"
PROGRAM = "/usr/bin/redis-server"


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


class Server:
    """A Redis, or with `sentinel` a Sentinel."""

    def __init__(self, folder: Path, *options: object, sentinel: str = "") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = free_port()
        self._arguments = ["--port", self.port, "--bind", "127.0.0.1", "--dir", folder, "--save", "", *options]
        if sentinel:
            (folder / "sentinel.conf").write_text(sentinel)
            self._arguments = [folder / "sentinel.conf", "--sentinel", "--port", self.port, "--bind", "127.0.0.1"]
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it is."""
        return f"redis://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start it, and wait until it answers."""
        self._spawn()
        await until(f"Redis answers at {self.port}: {self.folder}/redis.log", self._answers)

    def _spawn(self) -> None:
        with (self.folder / "redis.log").open("ab") as out:
            self._popen = subprocess.Popen([PROGRAM, *map(str, self._arguments)], stdout=out, stderr=out)

    async def _answers(self) -> bool:
        assert self._popen
        assert self._popen.poll() is None, (self.folder / "redis.log").read_text()[-2000:]
        async with self.client() as client:
            try:
                return bool(await client.ping())
            except (RedisError, OSError):
                return False

    def client(self) -> Redis:
        """A client of the test's own."""
        return Redis.from_url(self.url, decode_responses=True)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._popen
        self._popen.send_signal(number)

    def kill9(self) -> None:
        """End it now, also where it is frozen."""
        if self._popen:
            self._popen.kill()
            self._popen.wait()
            self._popen = None


@asynccontextmanager
async def redis(folder: Path, *options: object) -> AsyncIterator[Server]:
    """A Redis that runs."""
    server = Server(folder, *options)
    try:
        await server.start()
        yield server
    finally:
        server.kill9()


@asynccontextmanager
async def sentinels(folder: Path) -> AsyncIterator[tuple[str, Server, Server]]:
    """A primary, a replica, and three Sentinels that agree. Gives their URL, the primary and the replica."""
    async with redis(folder / "primary") as primary, redis(
        folder / "replica", "--replicaof", f"127.0.0.1 {primary.port}"
    ) as replica:  # fmt: skip
        watch = (
            f"sentinel monitor {NAME} 127.0.0.1 {primary.port} 2\nsentinel down-after-milliseconds {NAME} 500\n"
            f"sentinel failover-timeout {NAME} 3000\n"
        )
        watchers = [Server(folder / f"sentinel{at}", sentinel=watch) for at in range(3)]
        try:
            await asyncio.gather(*(each.start() for each in watchers))
            for each in watchers:
                await until("the Sentinels know each other and the replica", lambda each=each: _agreed(each))  # type: ignore[misc]
            hosts = ",".join(f"127.0.0.1:{each.port}" for each in watchers)
            yield f"redis+sentinel://{hosts}/{NAME}", primary, replica
        finally:
            for each in watchers:
                each.kill9()


async def _agreed(sentinel: Server) -> bool:
    async with sentinel.client() as client:
        state: Any = await client.sentinel_master(NAME)
    return (int(state["num-slaves"]), int(state["num-other-sentinels"])) == (1, 2)
