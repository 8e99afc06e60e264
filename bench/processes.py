"""Processes that a run starts and stops, and what the kernel has accounted to them."""

import asyncio
import os
import re
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from bench.limits import Group

ROOT = Path(__file__).parent.parent
QC = str(ROOT / ".venv" / "bin" / "qc")
OPEN_WITHIN_S = 120.0
"""Generous: with a quarter of a CPU everything takes long."""
STOP_WITHIN_S = 20.0
LOOK_S = 0.01
SHOWN_CHARS = 2_000
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """A run could not be made, or what it measured is wrong; the text says why."""


@dataclass(frozen=True)
class Running:
    """A process of ours. `url` is where it answers; `group` is its CPU limit, if it has one."""

    name: str
    process: asyncio.subprocess.Process
    log: Path
    url: str
    group: Group | None

    @property
    def cpu_s(self) -> float:
        """See `cpu_s`."""
        return cpu_s(self.process.pid)

    @property
    def rss_mb(self) -> float:
        """See `rss_mb`."""
        return rss_mb(self.process.pid)

    @property
    def peak_rss_mb(self) -> float:
        """See `peak_rss_mb`."""
        return peak_rss_mb(self.process.pid)


def cpu_s(pid: int) -> float:
    """CPU seconds of a process so far, of all its threads, in user and kernel mode. Raises OSError when it is gone."""
    # The name, in brackets, may hold anything.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def rss_mb(pid: int) -> float:
    """Memory of a process that is in RAM now, in MB (10^6 bytes). Raises OSError when it is gone."""
    return _memory_mb(pid, "VmRSS")


def peak_rss_mb(pid: int) -> float:
    """The most that `rss_mb` ever was."""
    return _memory_mb(pid, "VmHWM")


def _memory_mb(pid: int, field: str) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(rf"^{field}:\s+(\d+) kB$", status, re.MULTILINE)
    return int(found[1]) * 1024 / 1e6 if found else 0.0


def machine_cpu_s() -> tuple[float, float, float]:
    """CPU seconds of the whole machine so far: all, those in which nothing ran, and those its host gave to others."""
    words = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    ticks = [int(word) for word in words]
    return sum(ticks) / TICKS_PER_S, (ticks[3] + ticks[4]) / TICKS_PER_S, ticks[7] / TICKS_PER_S


def environment(settings: Mapping[str, object]) -> dict[str, str]:
    """Ours without the settings of another shop and without proxies, and these, in whose names QC_ is left out.

    Byte code is kept, as everywhere that a shop is run: compiling it at each start costs a quarter of a second.
    """
    foreign = re.compile(r"^QC_|_proxy$|^PYTHONDONTWRITEBYTECODE$", re.IGNORECASE)
    ours = {name: value for name, value in os.environ.items() if not foreign.search(name)}
    return ours | {f"QC_{name.upper()}": str(value) for name, value in settings.items()}


async def run(*command: str, settings: Mapping[str, object] | None = None, statuses: Sequence[int] = (0,)) -> str:
    """Run a command to its end, and give what it printed. Raises Failed when it ends with no status of `statuses`."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=ROOT,
        env=environment(settings or {}),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        out, err = await process.communicate()
    except asyncio.CancelledError:
        await end(process)
        raise
    if process.returncode not in statuses:
        said = (out + err).decode(errors="replace")[-SHOWN_CHARS:]
        raise Failed(f"{' '.join(command[:6])} ended with {process.returncode}: {said}")
    return out.decode(errors="replace")


async def start(
    name: str, command: Sequence[str], folder: Path, *, settings: Mapping[str, object], group: Group | None = None
) -> Running:
    """Start a process that prints where it is open, and wait for that. Raises Failed when it ends or takes too long."""
    log = folder / f"{name}.log"
    with log.open("wb") as out:
        process = await spawn(command, out, settings=settings, group=group)
    running = Running(name, process, log, "", group)
    try:
        return replace(running, url=await _opened(running))
    except BaseException:
        await stop(running)
        raise


async def spawn(
    command: Sequence[str], out: IO[bytes], *, settings: Mapping[str, object], group: Group | None = None
) -> asyncio.subprocess.Process:
    """Start a process in a session of its own, so that a Ctrl-C reaches it through us only."""
    return await asyncio.create_subprocess_exec(
        *(group.started_by(command) if group else command),
        cwd=ROOT,
        env=environment(settings),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=out,
        stderr=out,
        start_new_session=True,
    )


async def stop(running: Running) -> None:
    """Stop a process and remove its limit."""
    await end(running.process)
    if running.group:
        running.group.close()


async def end(process: asyncio.subprocess.Process) -> None:
    """Ask a process to stop; kill it when it does not. One that has ended is left alone."""
    if process.returncode is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        await asyncio.wait_for(process.wait(), STOP_WITHIN_S)
    except TimeoutError:
        process.kill()
        await process.wait()


async def _opened(running: Running) -> str:
    name, process = running.name, running.process
    until_s = time.monotonic() + OPEN_WITHIN_S
    while True:
        printed = running.log.read_text(errors="replace")
        if found := re.search(r"open at (http://127\.0\.0\.1:\d+)\b", printed):
            return found[1]
        if process.returncode is not None:
            raise Failed(f"{name} ended with {process.returncode}: {printed[-SHOWN_CHARS:]}")
        if time.monotonic() > until_s:
            raise Failed(f"{name} did not open within {OPEN_WITHIN_S:g} s: {printed[-SHOWN_CHARS:]}")
        await asyncio.sleep(LOOK_S)
