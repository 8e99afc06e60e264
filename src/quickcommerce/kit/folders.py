"""Folders that the embedded databases live in: whether files can be made there, and why not."""

from pathlib import Path
from tempfile import TemporaryFile

from quickcommerce.kit.problem import Unavailable


def make(folder: Path) -> None:
    """Make a folder, and those above it, where they are missing. Raises Unavailable where no file can be made in it."""
    probe(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unusable(folder, error, folder) from error


def probe(folder: Path) -> None:
    """Find out whether files can be made in a folder, there or not yet, and leave nothing behind. Raises Unavailable.

    A file without a name is made and forgotten: permissions alone do not tell of a file system that is read-only, or
    that takes no files at all.
    """
    there = folder
    try:
        while not _exists(there):
            there = there.parent
        with TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise _unusable(folder, error, there) from error


def _exists(path: Path) -> bool:
    """Whether something is there, a link to nowhere too. Raises OSError where that cannot be known."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _unusable(folder: Path, error: OSError, where: Path) -> Unavailable:
    reason = f"{error.strerror}" if where == folder else f"{where}: {error.strerror}"
    return Unavailable(f"the folder {folder} cannot be used: {reason}", retry_after_s=5)
