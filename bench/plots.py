"""Charts as SVG and PNG files. Every run of a target is a thin line; runs of one variant share a colour."""

import re
from collections.abc import Sequence
from math import log10
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, StrMethodFormatter

from bench.figures import Chart
from bench.results import Result

COLOURS = "#0b6e4f #d1495b #30638e #edae49 #7b4b94 #5f5f5f #17becf #8c564b #bcbd22 #e377c2".split()
PERCENTILES = "percentile"
TICKS = {1: "", 50: "50", 90: "90", 99: "99", 99.9: "99.9", 99.99: "99.99", 100: "max"}
FEW = 8
"""Of fewer points than these each is marked."""
SIZE_IN = (7.0, 3.6)
DOTS_PER_IN = 150
DATELESS = {"svg": {"Date": None}, "png": {}}
"""The same figures make the same file."""


def files(result: Result) -> dict[str, str]:
    """The charts of a result by their titles: the names of their files, without the kind."""
    titles = dict.fromkeys(chart.title for each in result.runs for chart in each.charts)
    return {title: f"{result.name.lower()}-{re.sub('[^a-z0-9]+', '-', title.lower())}" for title in titles}


def draw(result: Result, folder: Path) -> list[Path]:
    """Write the charts of a result. Gives the SVG files; beside each is the same as PNG."""
    charts = [chart for each in result.runs for chart in each.charts]
    return [
        _draw(result, [chart for chart in charts if chart.title == title], folder / f"{name}.svg")
        for title, name in files(result).items()
    ]


def _draw(result: Result, charts: Sequence[Chart], path: Path) -> Path:
    first = charts[0]
    with mpl.rc_context({"svg.hashsalt": path.name, "font.size": 9.0}):
        figure = Figure(figsize=SIZE_IN, layout="constrained")
        axes = figure.subplots()
        labels = list(dict.fromkeys(curve.label for chart in charts for curve in chart.curves))
        for chart in charts:
            for curve in chart.curves:
                _line(axes, curve.label, labels, _spread(curve.x) if _by_percentile(first) else curve.x, curve.y)
        axes.set_title(f"{result.name}: {first.title}")
        axes.set_xlabel(first.x_label)
        axes.set_ylabel(first.y_label)
        axes.grid(visible=True, alpha=0.3)
        if first.log_y:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(LogFormatter())
            axes.yaxis.set_minor_formatter(LogFormatter(labelOnlyBase=False))
        else:
            axes.set_ylim(bottom=0)
        if first.log_x:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        if _by_percentile(first):
            axes.set_xticks(_spread(list(TICKS)), list(TICKS.values()))
        if labels:
            axes.legend(fontsize=8)
        for kind, metadata in DATELESS.items():
            figure.savefig(path.with_suffix(f".{kind}"), dpi=DOTS_PER_IN, metadata=metadata)
    return path


def _line(axes: Axes, label: str, labels: list[str], x: Sequence[float], y: Sequence[float]) -> None:
    """One run's line; the first of its variant is the one that the legend names."""
    colour = COLOURS[labels.index(label) % len(COLOURS)]
    named = label in {line.get_label() for line in axes.lines}
    marker = "o" if len(x) < FEW else ""
    axes.plot(x, y, color=colour, linewidth=1.2, alpha=0.8, marker=marker, label="_" if named else label)


def _by_percentile(chart: Chart) -> bool:
    return chart.x_label == PERCENTILES


def _spread(percentages: Sequence[float]) -> list[float]:
    """So that each further nine takes the same room: 90, 99 and 99.9 are equally far from each other.

    The end of it, 100, stands where 99.999 would.
    """
    return [-log10(max(1 - percent / 100, 1e-5)) for percent in percentages]
