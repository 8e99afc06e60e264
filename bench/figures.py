"""What a target gives: figures with their bounds, what was counted, and charts; and the median over its runs."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Figure:
    """One measured number. `least` and `most` are the target's bounds, where it has them.

    Figures of one name differ by their `variant`, and are shown beside each other.
    """

    name: str
    value: float
    unit: str = ""
    least: float | None = None
    most: float | None = None
    variant: str = ""


@dataclass(frozen=True)
class Count:
    """Something counted exactly: what the clients were told, and what is stored."""

    name: str
    expected: int
    actual: int

    @property
    def holds(self) -> bool:
        """Whether it adds up."""
        return self.expected == self.actual


@dataclass(frozen=True)
class Curve:
    """A line of a chart."""

    label: str
    x: list[float]
    y: list[float]


@dataclass(frozen=True)
class Chart:
    """A chart of one run. Runs of a target that have charts of the same title are drawn as one."""

    title: str
    x_label: str
    y_label: str
    curves: list[Curve]
    log_y: bool = False
    log_x: bool = False


def scaling(title: str, x_label: str, y_label: str, sizes: Sequence[int], rates: Sequence[float]) -> Chart:
    """Rates by the number of processes, beside those which would be linear."""
    x = [float(size) for size in sizes]
    linear = Curve("linear", x, [rates[0] * size / sizes[0] for size in sizes])
    return Chart(title, x_label, y_label, [Curve("measured", x, list(rates)), linear])


@dataclass
class Run:
    """One run of a target: all its variants, once each. It has failed when a count differs or there is a fault.

    `notes` are for the reader of the report.
    """

    figures: list[Figure] = field(default_factory=list)
    counts: list[Count] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    charts: list[Chart] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def failure(self) -> str:
        """Why the run is worth nothing; empty when everything was exact."""
        differing = [
            f"{count.name}: {count.actual:,}, not {count.expected:,}" for count in self.counts if not count.holds
        ]
        return "; ".join(differing + self.faults)


@dataclass(frozen=True)
class Median:
    """A figure over all runs: its median and the range. The median decides whether the bound is kept; where there may
    be none at all, the worst run does.
    """

    name: str
    unit: str
    value: float
    low: float
    high: float
    bound: str
    met: bool | None
    variant: str

    @property
    def title(self) -> str:
        """The name with its variant."""
        return f"{self.variant}: {self.name}" if self.variant else self.name

    @property
    def word(self) -> str:
        """Met, missed, or nothing where there is no bound."""
        return "" if self.met is None else "met" if self.met else "missed"


def medians(runs: Sequence[Run]) -> list[Median]:
    """Each figure over the runs that did not fail, in the order in which the first of them gives them."""
    good = [each for each in runs if not each.failure]
    every = [figure for each in good for figure in each.figures]
    names = dict.fromkeys((figure.variant, figure.name) for figure in every)
    return [_median([figure for figure in every if (figure.variant, figure.name) == name]) for name in names]


def verdict(runs: Sequence[Run]) -> str:
    """What became of a target in one word: met, missed, failed where a run was not exact; measured, without bounds."""
    if not runs or any(each.failure for each in runs):
        return "failed"
    words = {each.met for each in medians(runs)}
    return "missed" if False in words else "met" if True in words else "measured"


def _median(figures: Sequence[Figure]) -> Median:
    first, values = figures[0], [figure.value for figure in figures]
    median = statistics.median(values)
    bound, met = "", None
    if first.least is not None:
        bound, met = f">= {first.least:,.6g}", median >= first.least
    if first.most is not None:
        decides = median if first.most else max(values)
        bound, met = f"{bound} <= {first.most:,.6g}".strip(), met is not False and decides <= first.most
    return Median(first.name, first.unit, median, min(values), max(values), bound, met, first.variant)
