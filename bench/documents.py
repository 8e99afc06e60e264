"""Measured figures in documents: what stands between two marks is written from the results, and by nobody else.

`<!-- measured P4 -->` to `<!-- /measured -->` is what was measured of a target; `<!-- measured summary -->` is what all
targets with bounds came to.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench import plots, report
from bench.figures import medians
from bench.processes import ROOT
from bench.results import Result

KEPT = ROOT / "docs" / "bench"
"""Where the results are kept that the documents tell."""
DOCUMENTS = (ROOT / "README.md", ROOT / "docs" / "performance.md", ROOT / "docs" / "scale.md")
SUMMARY = "summary"
_MARKED = re.compile(r"(<!-- measured (\S+) -->\n).*?(<!-- /measured -->)", re.DOTALL)


def fill(results: Sequence[Result]) -> None:
    """Write these results into the documents."""
    for path in DOCUMENTS:
        path.write_text(filled(path.read_text("utf-8"), results, path), "utf-8")


def filled(text: str, results: Sequence[Result], path: Path) -> str:
    """The text of a document at this path with these results in the places of those that it had."""
    by_name = {result.name: result for result in results}
    return _MARKED.sub(lambda mark: mark[1] + _told(mark[2], by_name, path) + mark[3], text)


def _told(name: str, results: Mapping[str, Result], path: Path) -> str:
    if name == SUMMARY:
        return summary(list(results.values()))
    if name not in results:
        return ""
    result = results[name]
    folder = KEPT.relative_to(path.parent).as_posix()
    images = [
        f'<img src="{folder}/{file}.svg" width="430" alt="{name}: {title}">'
        for title, file in plots.files(result).items()
    ]
    return "\n".join([*report.section(result), "", *images]) + "\n"


def summary(results: Sequence[Result]) -> str:
    """What was measured, on what machine: a row for each figure that has a bound. Nothing where there is none."""
    told = [(result, rows) for result in results if (rows := _rows(result))]
    if not told:
        return ""
    measured: dict[str, list[str]] = {}
    for result, _ in told:
        measured.setdefault(report.on(result), []).append(result.name)
    machines = [f"- {', '.join(names)}: {on}" for on, names in measured.items()]
    head = ["", "| | Measured: median (range) | To be reached | |", "|---|---:|---|---|"]
    return "\n".join([*machines, *head, *(row for _, rows in told for row in rows), ""])


def _rows(result: Result) -> list[str]:
    """What a target came to. Of one that failed, or was only tried, no figure is told."""
    if result.verdict in ("failed", "tried"):
        return [f"| **{result.name}** {result.what} | | {result.target} | {result.verdict} |"]
    rows = [
        f"| {each.title} | {report.shown(each)} | {each.bound} | {each.word} |"
        for each in medians(result.runs)
        if each.bound
    ]
    return [f"| **{result.name}** {result.what} | | | |", *rows] if rows else []
