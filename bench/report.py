"""The report: one HTML page with everything in it, a table in Markdown, and the charts as files."""

from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment

from bench import plots
from bench.figures import Median, medians
from bench.results import Result

TEMPLATE = Path(__file__).with_name("report.html")


def write(results: Sequence[Result], folder: Path) -> None:
    """Write `report.html`, `table.md` and the charts of these results into a folder."""
    charts = {result.name: plots.draw(result, folder) for result in results}
    images = {name: [(path.stem, _inline(path)) for path in paths] for name, paths in charts.items()}
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["capitalize_first"] = lambda text: text[:1].upper() + text[1:]
    template = environment.from_string(TEMPLATE.read_text("utf-8"))
    page = template.render(results=results, images=images, grid=grid, shown=shown)
    (folder / "report.html").write_text(page, "utf-8")
    (folder / "table.md").write_text(table(results), "utf-8")


class Row(NamedTuple):
    """A figure of all variants; None where a variant lacks it."""

    name: str
    unit: str
    cells: list[Median | None]


class Grid(NamedTuple):
    """The figures of a target: a column for each variant, one without a name where there are none."""

    variants: list[str]
    rows: list[Row]


def grid(result: Result) -> Grid:
    """The figures of a target over its runs."""
    found = medians(result.runs)
    variants = list(dict.fromkeys(each.variant for each in found))
    units = {each.name: each.unit for each in found}
    cells = {(each.variant, each.name): each for each in found}
    rows = [Row(name, unit, [cells.get((variant, name)) for variant in variants]) for name, unit in units.items()]
    return Grid(variants, rows)


def table(results: Sequence[Result]) -> str:
    """All figures in Markdown: what became of each target, then a table of each, with the command that repeats it."""
    lines = ["| | To be reached | |", "|---|---|---|"]
    lines += [f"| {result.name} | {result.target} | {result.verdict} |" for result in results]
    for result in results:
        lines += ["", *section(result)]
    return "\n".join(lines) + "\n"


def section(result: Result) -> list[str]:
    """The lines of one target in Markdown: the command, what it was measured on, its figures, and its notes."""
    variants, rows = grid(result)
    made, held = result.counted
    took = f" It took {max(1, round(result.took_s / 60))} min." if result.took_s else ""
    lines = [f"`{result.command}`: {result.what}. {held} of {made} exact counts held.{took}", "", on(result), ""]
    lines += [f"| {result.name} | {' | '.join(variants)} |", f"|---|{'---:|' * len(variants)}"]
    lines += [f"| {row.name} | {' | '.join(map(_cell, row.cells))} |" for row in rows]
    worth = {"failed": "It has failed.", "tried": "It was only tried: these figures mean nothing."}.get(result.verdict)
    said = [*([worth] if worth else []), *result.failures, *result.notes]
    return lines + [line for note in said for line in ("", note)]


def on(result: Result) -> str:
    """When it was measured, how often, and on what."""
    machine = result.machine
    return (
        f"{machine.started_at:%Y-%m-%d}, {len(result.runs)} runs, commit {machine.commit}: {machine.cores} cores"
        f" ({machine.processor}), {machine.memory_gb:g} GB, Python {machine.versions.get('Python', '?')}."
        f" CPU limits: {machine.limits}."
    )


def shown(median: Median) -> str:
    """A median with its unit, and the range where the runs differ."""
    value = f"{number(median.value)} {median.unit}".strip()
    return value if median.low == median.high else f"{value} ({number(median.low)} - {number(median.high)})"


def number(value: float) -> str:
    """A number with three digits that count, or all of those before the point."""
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:,.3g}"


def _cell(median: Median | None) -> str:
    if median is None:
        return ""
    return f"{shown(median)} {f'({median.bound}: {median.word})' if median.bound else ''}".strip()


def _inline(path: Path) -> str:
    return f"data:image/svg+xml;base64,{b64encode(path.read_bytes()).decode()}"
