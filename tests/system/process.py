"""The commands of the shop as processes: run to their end, or kept open, killed, stopped and started again.

What they print goes to files beside their data; when a test fails, the ends are shown with the failure.
"""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar

T = TypeVar("T")
QC = Path(sys.executable).with_name("qc")
FAULTY = Path(__file__).with_name("faulty.py")
OPEN_WITHIN_S = 60.0
"""Generous: a slow machine is no failure."""
STOP_WITHIN_S = 10.0
"""What operators may count on after SIGTERM."""
LOOK_S = 0.02
FOREIGN = re.compile(r"^QC_|^(FORCE_COLOR|TTY_COMPATIBLE)$|_proxy$", re.IGNORECASE)
SHOWN_CHARS = 3000


class Stopped(NamedTuple):
    """How a process ended."""

    code: int
    seconds: float


def environment(folder: Path, settings: Mapping[str, object]) -> dict[str, str]:
    """The environment of a command: ours without what the machine sets for shops, terminals and proxies; and these."""
    ours = {name: value for name, value in os.environ.items() if not FOREIGN.search(name)}
    given = {f"QC_{name.upper()}": str(value) for name, value in settings.items()}
    tests = str(FAULTY.parents[1])
    return ours | {"PYTHONPATH": tests, "COLUMNS": "200", "QC_PROFILE": "test", "QC_DATA_DIR": str(folder)} | given


def qc(folder: Path, *arguments: object, **settings: object) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [QC, *map(str, arguments)], env=environment(folder, settings), capture_output=True, text=True,
        timeout=OPEN_WITHIN_S, check=False,
    )  # fmt: skip


async def qc_async(folder: Path, *arguments: object, **settings: object) -> subprocess.CompletedProcess[str]:
    """Run a command to its end while the test goes on."""
    return await asyncio.to_thread(qc, folder, *arguments, **settings)


class Process:
    """A command that stays: it is open once it has printed an address. `lacks` names guards of `faulty.py`."""

    lacks = ""

    def __init__(self, folder: Path, *command: str, **settings: object) -> None:
        self.folder = folder
        self.settings = settings
        self.url = ""
        self.lives = 0
        self._command = command
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def out(self) -> Path:
        """What the process printed in its present or last life."""
        return self.folder / f"{self._command[0]}-{self.lives}.out"

    @property
    def running(self) -> bool:
        """Whether it has been started and not been seen to end."""
        return self._popen is not None

    @property
    def pid(self) -> int:
        """The number of the process that runs."""
        assert self._popen
        return self._popen.pid

    async def start(self) -> None:
        """Start it, and wait until it is open."""
        assert self._popen is None, "it runs already"
        self.lives += 1
        with self.out.open("wb") as out, self.out.with_suffix(".err").open("wb") as err:
            self._popen = self._spawn(out, err)
        self.url = await until("it is open", self._opened, within_s=OPEN_WITHIN_S)

    def _spawn(self, out: IO[bytes], err: IO[bytes]) -> subprocess.Popen[bytes]:
        program = [sys.executable, str(FAULTY), self.lacks] if self.lacks else [str(QC)]
        return subprocess.Popen(
            [*program, *self._command], env=environment(self.folder, self.settings), stdout=out, stderr=err
        )

    async def _opened(self) -> str:
        printed = self.out.read_text() + self.out.with_suffix(".err").read_text()
        assert self._popen
        assert self._popen.poll() is None, f"it ended with {self._popen.poll()}: {printed}"
        found = re.search(r"open at (http://127\.0\.0\.1:\d+)\b", printed)
        return found[1] if found else ""

    def kill9(self) -> None:
        """End it now, as a power cut does. What it had not committed is gone."""
        assert self._popen
        self._popen.kill()
        self._popen.wait()
        self._popen = None

    async def restart(self) -> None:
        """Kill it and start it again on the same data."""
        self.kill9()
        await self.start()

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._popen
        self._popen.send_signal(number)

    async def ended(self) -> Stopped:
        """Wait until it has ended by itself."""
        started = time.monotonic()
        process = self._popen
        assert process

        async def over() -> bool:
            return process.poll() is not None

        await until("it has stopped", over, within_s=OPEN_WITHIN_S)
        self._popen = None
        return Stopped(process.returncode, time.monotonic() - started)

    async def terminate(self) -> Stopped:
        """Ask it to stop, as any supervisor does."""
        self.send(signal.SIGTERM)
        return await self.ended()

    def printed(self) -> str:
        """Everything it wrote in all its lives."""
        return "".join(path.read_text() for path in sorted(self.folder.glob(f"{self._command[0]}-*.???")))

    def logs(self) -> list[dict[str, Any]]:
        """The log lines of the present or last life. Each must be JSON."""
        return [json.loads(line) for line in self.out.with_suffix(".err").read_text().splitlines()]


async def until(what: str, check: Callable[[], Awaitable[T]], *, within_s: float = 60) -> T:
    """Wait until `await check()` is true. Returns what it gave."""
    give_up = time.monotonic() + within_s
    while not (found := await check()):
        if time.monotonic() > give_up:
            raise AssertionError(f"not within {within_s} s: {what}")
        await asyncio.sleep(LOOK_S)
    return found


@asynccontextmanager
async def closing(*processes: Process) -> AsyncIterator[None]:
    """End what still runs at the end of a block; show what it printed where the block failed."""
    try:
        yield
    except BaseException as failure:
        for process in processes:
            failure.add_note(f"{process.folder.name} printed:\n...{process.printed()[-SHOWN_CHARS:]}")
        raise
    finally:
        for process in processes:
            if process.running:
                process.kill9()
