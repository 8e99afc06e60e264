"""Every target, in the order of `docs/performance.md`, and the experiments behind our choices."""

from collections.abc import AsyncIterator
from typing import Protocol

from bench.figures import Run
from bench.floor import experiment as floor
from bench.guards import experiment as guards
from bench.pool import experiment as pool
from bench.profile import experiment as profile
from bench.room import Room
from bench.scale import experiment as scale
from bench.starved import experiment as p7
from bench.targets import consumers, gate, p2, p3, p4, p5, p6, p8, p9, p10, p11, split
from bench.yardstick import experiment as p1


class Target(Protocol):
    """A module. `what` is measured and `target` is to be reached, in a sentence each."""

    @property
    def name(self) -> str:
        """Its word on the command line."""

    @property
    def what(self) -> str:
        """What is measured."""

    @property
    def target(self) -> str:
        """What is to be reached."""

    def run(self, room: Room) -> AsyncIterator[Run]:
        """Measure it `room.runs` times, its variants in turn; each run as it is done. Raises Failed, NoAnswerError."""


TARGETS: tuple[Target, ...] = (
    p1,
    p2,
    p3,
    p4,
    p5,
    p6,
    p7,
    p8,
    p9,
    p10,
    p11,
    guards,
    gate,
    pool,
    consumers,
    split,
    scale,
    profile,
    floor,
)
