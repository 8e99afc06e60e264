"""A MariaDB of a test's own, which it may kill."""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from asyncmy.connection import connect


class Mariadb:
    """A server on a folder and a port of its own, told so many options more."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._folder, self._data, self._options = folder, folder / "data", options
        self._process: Process | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]

    async def install(self) -> None:
        """Make its folder."""
        (self._folder / "tmp").mkdir(parents=True)
        command = [found("mariadb-install-db"), *self._where()]
        made = await asyncio.create_subprocess_exec(
            *command, "--auth-root-authentication-method=normal", "--skip-test-db", stdout=PIPE, stderr=STDOUT
        )
        said, _ = await made.communicate()
        assert made.returncode == 0, f"{command} failed: {said.decode()}"

    async def start(self) -> None:
        """Start, and wait until it takes statements."""
        self._process = await asyncio.create_subprocess_exec(
            found("mariadbd"), *self._where(), f"--socket={self._folder}/s.sock", f"--port={self.port}",
            "--bind-address=127.0.0.1", f"--log-error={self._folder}/log", *self._options,
        )  # fmt: skip
        async with asyncio.timeout(60):
            while True:
                assert self._process.returncode is None, (self._folder / "log").read_text()
                with contextlib.suppress(Exception):
                    await self.sql("SELECT 1")
                    return
                await asyncio.sleep(0.05)

    async def kill(self) -> None:
        """As the power cut would."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        """As an operator would."""
        await self._end(signal.SIGTERM)

    async def freeze(self) -> None:
        """It does nothing any more, and closes nothing.

        The signal is on its way when it is sent: a thread on another CPU still answers, so each of them is waited for.
        """
        assert self._process
        self._process.send_signal(signal.SIGSTOP)
        async with asyncio.timeout(10):
            while not _stopped(self._process.pid):  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0.001)

    def thaw(self) -> None:
        """It goes on."""
        assert self._process
        self._process.send_signal(signal.SIGCONT)

    def _where(self) -> list[str]:
        """Its own folders. In a shared one for temporary tables a server that starts deletes those of the others."""
        user = ["--user=root"] if os.geteuid() == 0 else []
        return ["--no-defaults", f"--datadir={self._data}", f"--tmpdir={self._folder}/tmp", *user]

    async def _end(self, how: signal.Signals) -> None:
        if self._process and self._process.returncode is None:
            self._process.send_signal(how)
            await self._process.wait()

    async def sql(self, text: str) -> None:
        """One statement as root."""
        connection = await connect(host="127.0.0.1", port=self.port, user="root", autocommit=True)
        try:
            await connection.cursor().execute(text)
        finally:
            connection.close()


def _stopped(pid: int) -> bool:
    """Whether no thread of a process runs. What stands before the last bracket is a name, which may hold anything."""
    with contextlib.suppress(FileNotFoundError):
        threads = Path(f"/proc/{pid}/task").iterdir()
        return all((thread / "stat").read_text().rpartition(")")[2].split()[0] == "T" for thread in threads)
    return False  # a thread has just ended, so one of them ran


def found(program: str) -> str:
    """Where a program is; a test that needs one fails where there is none."""
    path = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    assert path, f"{program} is not installed"
    return path


@asynccontextmanager
async def server(folder: Path, *options: str) -> AsyncIterator[Mariadb]:
    """A running server with an empty schema `shop`."""
    one = Mariadb(folder, *options)
    await one.install()
    try:
        await one.start()
        await one.sql("CREATE DATABASE shop CHARACTER SET utf8mb4 COLLATE utf8mb4_bin")
        yield one
    finally:
        await one.kill()
