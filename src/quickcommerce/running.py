"""Who runs on a data folder: one process at a time, which says there where it can be reached."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from quickcommerce.kit import folders
from quickcommerce.settings import BadSetting

LOCK_FILE = "running.lock"


class Running(BadSetting):
    """Another process has the folder; `url` is where it answers, empty where it does not say so."""

    def __init__(self, folder: Path, url: str) -> None:
        super().__init__(f"another shop is running on {folder}; choose another --data-dir")
        self.url = url


@contextmanager
def alone(folder: Path, url: str) -> Iterator[None]:
    """Hold the data folder for this process, which answers at `url`. Raises Running, BadSetting, Unavailable.

    The embedded stores are made for one process: two would read the same events. The lock ends with the process,
    however it ends.
    """
    folders.make(folder)
    try:
        held = (folder / LOCK_FILE).open("a+")
    except OSError as error:
        raise BadSetting(f"the data folder {folder} cannot be used: {LOCK_FILE}: {error.strerror}") from error
    with held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as taken:
            held.seek(0)
            raise Running(folder, held.read().strip()) from taken
        # On a full disk nobody learns the address, and the shop opens all the same.
        with suppress(OSError):
            held.truncate(0)
            held.write(url)
            held.flush()
        yield
