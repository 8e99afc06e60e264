"""`scripts/services` as a test calls it: on a folder of its own, so that it meets nobody else's servers."""

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "services"
ENOUGH_S = 400
LINE = re.compile(r"^(\S+) +(\S+) +(\d+) +(\S+) +(\S+) *(.*)$", re.MULTILINE)
Services = Callable[..., subprocess.CompletedProcess[str]]


def environment(folder: Path) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("SERVICES_", "QC_"))}
    return ours | {"SERVICES_DIR": str(folder)}


def at(folder: Path) -> Services:
    def services(*arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [SCRIPT, *arguments], env=environment(folder) | extra, capture_output=True, text=True, timeout=ENOUGH_S,
            check=False,
        )  # fmt: skip

    return services


def states(services: Services) -> dict[str, str]:
    return {found[1]: found[2] for found in LINE.finditer(services("status").stdout)}


def pids(services: Services) -> dict[str, int]:
    return {found[1]: int(found[4]) for found in LINE.finditer(services("status").stdout) if found[4] != "-"}


@contextmanager
def stopped_at_the_end(folder: Path) -> Iterator[Services]:
    """Services in a folder, of which nothing runs afterwards."""
    services = at(folder)
    try:
        yield services
    finally:
        services("down")
