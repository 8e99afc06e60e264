"""The results as they are kept: one file for programs, in which a target's new result takes the place of its last."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bench.figures import Run, verdict
from bench.machine import Machine

FILE = "results.json"


@dataclass(frozen=True)
class Result:
    """A target as it was measured, in `took_s` seconds. `error` says why it could not be. It was only tried where
    `scale` is below 1, or where processes that were to be `limited` had all the CPU there is.
    """

    name: str
    what: str
    target: str
    command: str
    machine: Machine
    scale: float
    runs: list[Run]
    error: str = ""
    limited: bool = True
    took_s: float = 0.0

    @property
    def verdict(self) -> str:
        """One word: met, missed, measured, failed, or tried."""
        told = "failed" if self.error else verdict(self.runs)
        real = self.scale == 1 and self.limited
        return told if real or told == "failed" else "tried"

    @property
    def failures(self) -> list[str]:
        """Why runs, or all of it, are worth nothing."""
        failed = [f"run {at}: {each.failure}" for at, each in enumerate(self.runs, 1) if each.failure]
        return [self.error, *failed] if self.error else failed

    @property
    def notes(self) -> list[str]:
        """What the runs have to say, each thing once, and in how many of them where it was not all.

        What is said of the same variant, by its name before a colon, stands together.
        """
        said, runs = Counter(note for each in self.runs for note in each.notes), len(self.runs)
        of = list(dict.fromkeys(note.partition(":")[0] for note in said))
        ordered = sorted(said, key=lambda note: of.index(note.partition(":")[0]))
        return [note if said[note] >= runs else f"{note} (In {said[note]} of {runs} runs.)" for note in ordered]

    @property
    def counted(self) -> tuple[int, int]:
        """How many exact counts were made, and how many of them held."""
        counts = [count for each in self.runs for count in each.counts]
        return len(counts), sum(count.holds for count in counts)


def read(folder: Path) -> list[Result]:
    """The results that are kept in a folder."""
    file = folder / FILE
    return msgspec.json.decode(file.read_bytes(), type=list[Result]) if file.exists() else []


def keep(folder: Path, new: Result) -> list[Result]:
    """Keep a result, in the order of the targets' numbers. Gives all that are kept."""
    others = [each for each in read(folder) if each.name != new.name]
    every = sorted([*others, new], key=lambda each: (len(each.name), each.name))
    (folder / FILE).write_bytes(msgspec.json.format(msgspec.json.encode(every), indent=1) + b"\n")
    return every
