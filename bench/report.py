"""The report: one HTML page with everything in it, a table in Markdown, and the charts as files."""

from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment

from bench import plots
from bench.figures import Middle, middles
from bench.results import Result

TEMPLATE = Path(__file__).with_name("report.html")


def write(results: Sequence[Result], folder: Path) -> None:
    """Write `report.html`, `table.md` and the charts of these results into a folder."""
    charts = {result.name: plots.draw(result, folder) for result in results}
    images = {name: [_inline(path) for path in paths] for name, paths in charts.items()}
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["capitalize_first"] = lambda text: text[:1].upper() + text[1:]
    template = environment.from_string(TEMPLATE.read_text("utf-8"))
    page = template.render(results=results, images=images, middles=middles, number=number)
    (folder / "report.html").write_text(page, "utf-8")
    (folder / "table.md").write_text(table(results), "utf-8")


def table(results: Sequence[Result]) -> str:
    """All figures in Markdown: medians, and ranges in brackets."""
    lines = ["| | Figure | Median (range) | Bound | |", "|---|---|---:|---:|---|"]
    for result in results:
        found = middles(result.rounds)
        lines.append(f"| **{result.name}** | {result.target} | | | {result.verdict} |")
        lines += [f"| | {each.name} | {shown(each)} | {each.bound} | {_word(each)} |" for each in found]
    return "\n".join(lines) + "\n"


def shown(middle: Middle) -> str:
    """A median with its unit, and the range where the runs differ."""
    median = f"{number(middle.median)} {middle.unit}".strip()
    return median if middle.low == middle.high else f"{median} ({number(middle.low)} - {number(middle.high)})"


def number(value: float) -> str:
    """A number with three digits that count, or all of those before the point."""
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:,.3g}"


def _word(middle: Middle) -> str:
    return "" if middle.met is None else "met" if middle.met else "missed"


def _inline(path: Path) -> str:
    return f"data:image/svg+xml;base64,{b64encode(path.read_bytes()).decode()}"
