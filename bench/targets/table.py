"""Every target, in the order of `docs/performance.md`."""

from typing import Protocol

from bench.figures import Round
from bench.room import Room
from bench.targets import p2, p3, p4, p5, p6, p8, p9, p10, p11


class Target(Protocol):
    """A module of this package. `what` is measured and `target` is to be reached, in a sentence each."""

    @property
    def name(self) -> str:
        """Its word on the command line."""

    @property
    def what(self) -> str:
        """What is measured."""

    @property
    def target(self) -> str:
        """What is to be reached."""

    async def run(self, room: Room) -> list[Round]:
        """Measure it `room.runs` times, its variants in turn. Raises Failed, NoAnswerError."""


TARGETS: tuple[Target, ...] = (p2, p3, p4, p5, p6, p8, p9, p10, p11)
