"""Where the targets run: a folder, CPU limits where this machine allows them, servers when the first asks for them."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import msgspec

from bench import limits, servers
from bench.limits import Group, Hierarchy
from bench.processes import ROOT
from bench.servers import Server, Servers

T = TypeVar("T")
WORKLOADS = Path(__file__).parent / "workloads"


@dataclass
class Room:
    """What every target is given. `runs` is how often each is to be measured; `tell` shows progress.

    `scale` shrinks loads for trying a target out: then its figures mean nothing. `keep` leaves the folder at the end.
    """

    folder: Path
    runs: int
    scale: float
    keep: bool
    tell: Callable[[str], None]
    place: Hierarchy | None
    unlimited: str
    limits_lacked: bool = field(default=False, init=False)
    """Whether a process was to be limited that could not be."""
    _servers: Servers | None = field(default=None, init=False)
    _shops: int = field(default=0, init=False)

    async def servers(self) -> Servers:
        """The real servers; they start with the first who asks."""
        if self._servers is None:
            self.tell("MariaDB, Redis, Kafka and Elasticsearch start")
            self._servers = await servers.start(self.folder / "servers")
        return self._servers

    @property
    def known_servers(self) -> tuple[Server, ...]:
        """The servers that run now."""
        return self._servers.running if self._servers else ()

    async def close(self) -> None:
        """Stop the servers, if they run. The next who asks gets empty ones."""
        if self._servers is not None:
            running, self._servers = self._servers, None
            await running.stop()

    def next_shop(self) -> int:
        """A number for a new shop."""
        self._shops += 1
        return self._shops

    def limit(self, name: str, vcpu: float | None) -> Group | None:
        """A CPU limit; None where none is asked for or this machine allows none, which the report says."""
        if vcpu is None:
            return None
        if self.place is None:
            self.limits_lacked = True
            return None
        return limits.make(self.place, name, vcpu)

    def scaled(self, number: int) -> int:
        """A number of orders or buyers, shrunk as the scale says."""
        return max(1, round(number * self.scale))


def in_turn(variants: Iterable[T], number: int) -> list[T]:
    """The variants of a comparison in the order of this run: each run begins with the next one.

    Whoever comes second finds what the first one left: warm caches, and pages that are still to be written. In as many
    runs as there are variants each is once at each place.
    """
    order = list(variants)
    first = (number - 1) % len(order)
    return order[first:] + order[:first]


def workload(name: str, kind: type[T]) -> T:
    """A load by the name of its file in `workloads`. Raises msgspec.ValidationError when it is of another kind."""
    return msgspec.toml.decode((WORKLOADS / f"{name}.toml").read_bytes(), type=kind)


@asynccontextmanager
async def opened(*, runs: int, scale: float, keep: bool, tell: Callable[[str], None]) -> AsyncIterator[Room]:
    """A room on the disk of this repository, not in memory. Its servers are gone afterwards, and so is its folder.

    `keep` leaves the folder, for whoever wants to read the logs of the processes; so does a target that failed.
    """
    build = ROOT / "build"
    build.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=build))
    try:
        place, unlimited = limits.here(), ""
    except limits.NotAllowed as why:
        place, unlimited = None, str(why)
        tell(f"no CPU limits on this machine, all processes have all of it: {why}")
    room = Room(folder, runs, scale, keep, tell, place, unlimited)
    try:
        yield room
    finally:
        await room.close()
        if room.keep:
            tell(f"kept: {folder}")
        else:
            shutil.rmtree(folder)
