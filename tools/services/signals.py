"""Being told to stop, in a program that must not leave servers behind of which it has not written down the number.

A signal is remembered, and heeded where it is looked for (`check`): never between the start of a server and the note
of its number.
"""

import os
import signal
import subprocess
from collections.abc import Sequence
from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_told: list[signal.Signals] = []


class Interrupted(Exception):
    """Somebody wants us to stop."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(f"interrupted by {number.name}")
        self.exit_code = 128 + number


def listen() -> None:
    """Remember signals from now on."""
    for each in STOPPING:
        signal.signal(each, _remember)


def _remember(number: int, _frame: FrameType | None) -> None:
    _told.append(signal.Signals(number))


def check() -> None:
    """Raises Interrupted if somebody wants us to stop."""
    if _told:
        raise Interrupted(_told[0])


def run(command: Sequence[str], environment: dict[str, str]) -> int:
    """Run a command, pass it the signals that we get, and give its exit code, as a shell does. Raises OSError."""
    check()
    with subprocess.Popen(command, env=environment) as process:

        def pass_on(number: int, _frame: FrameType | None) -> None:
            # A terminal sends its Ctrl-C to both of us, and a second one would mean something else.
            if number != signal.SIGINT or not _at_terminal():
                process.send_signal(number)

        for each in STOPPING:
            signal.signal(each, pass_on)
        if _told:
            process.send_signal(_told[0])
        code = process.wait()
    listen()
    return 128 - code if code < 0 else code


def _at_terminal() -> bool:
    """Whether we are what a terminal's keys go to."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    finally:
        os.close(terminal)
