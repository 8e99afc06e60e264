"""What the fleet needs to know of a server."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from services.place import Place


class NotReady(Exception):
    """A server does not answer as it should, yet; the text says how it answers."""


@dataclass(frozen=True)
class Server:
    """One process that listens."""

    name: str
    kind: str
    """`mariadb`, `redis`, `kafka` or `elasticsearch`: what it is a part of."""
    place: Place
    programs: tuple[str, ...]
    """What must be installed to run it."""
    prepare: Callable[[], list[str]]
    """Makes what it needs in its folder, and gives the command that starts it. Raises Failed."""
    ask: Callable[[], str]
    """Asks it something that only a server at work can answer, and gives its version. Raises NotReady."""
    ports: tuple[int, ...]
    """The first is where clients go."""
    after: tuple[str, ...] = ()
    """Who must be ready before it is started, where they are started together."""

    @property
    def folder(self) -> Path:
        """Its files."""
        return self.place.of(self.name)
