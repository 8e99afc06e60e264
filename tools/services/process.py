"""One server's process: started apart from us, found again by a later call, and never confused with another.

A `pid` file holds the number and the birth of a process (in ticks since the machine started): a number that was given
to somebody else in the meantime has another birth. Signals go through a pidfd, which means that process and no other.
"""

import os
import select
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

State = Literal["down", "died", "frozen", "alive"]
"""`died`: it was started, was not stopped, and is gone."""


def start(folder: Path, command: Sequence[str]) -> None:
    """Start a server in a session of its own, where no Ctrl-C of a terminal reaches it. The last log is kept."""
    log = log_of(folder)
    if log.exists():
        log.replace(log.with_suffix(".log.before"))
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
    seen = _look(process.pid)
    (folder / "pid").write_text(f"{process.pid} {seen[1] if seen else 0}\n")


def log_of(folder: Path) -> Path:
    """Where a server's output goes."""
    return folder / "server.log"


def state(folder: Path) -> State:
    """What became of the server that was started here."""
    recorded = _recorded(folder)
    if not recorded:
        return "down"
    seen = _look(recorded[0])
    if not seen or seen[1] != recorded[1] or seen[0] in "ZX":
        return "died"
    return "frozen" if seen[0] == "T" else "alive"


def pid(folder: Path) -> int | None:
    """The number of the running process, if any."""
    recorded = _recorded(folder)
    return recorded[0] if recorded and state(folder) in ("alive", "frozen") else None


def send(folder: Path, *signals: signal.Signals) -> bool:
    """Send signals to the running process, if any. Returns whether there was one."""
    with _held(folder) as held:
        if held is None:
            return False
        for each in signals:
            signal.pidfd_send_signal(held, each)
        return True


def ended(folder: Path, within_s: float) -> bool:
    """Wait until the process is gone. Returns whether it went within that time."""
    with _held(folder) as held:
        if held is None:
            return True
        poll = select.poll()
        poll.register(held, select.POLLIN)
        return bool(poll.poll(within_s * 1000))


def forget(folder: Path) -> None:
    """The server was stopped as somebody wished: nothing is missing."""
    (folder / "pid").unlink(missing_ok=True)


@contextmanager
def _held(folder: Path) -> Iterator[int | None]:
    """A handle on the running process. It is looked at after it was taken: from then on the number cannot change."""
    recorded = _recorded(folder)
    try:
        handle = os.pidfd_open(recorded[0]) if recorded else None
    except ProcessLookupError:
        handle = None
    if handle is None:
        yield None
        return
    try:
        yield handle if pid(folder) else None
    finally:
        os.close(handle)


def _recorded(folder: Path) -> tuple[int, int] | None:
    try:
        number, _, born = (folder / "pid").read_text().partition(" ")
        return int(number), int(born)
    except (FileNotFoundError, ValueError):
        return None


def _look(number: int) -> tuple[str, int] | None:
    """The state letter and the birth of a process, if there is one of that number."""
    try:
        # The name comes second, in parentheses, and may itself hold spaces and parentheses.
        fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return fields[0], int(fields[19])
