"""What the documents tell is what was measured: nobody writes a figure by hand."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bench import plots, results
from bench.documents import _MARKED, DOCUMENTS, KEPT, SUMMARY, filled
from bench.figures import Chart, Count, Curve, Figure, Run
from bench.machine import Machine
from bench.results import Result
from bench.targets.table import TARGETS

MACHINE = Machine(datetime(2026, 1, 1, tzinfo=UTC), 2, "a processor", 8.0, "Linux", 0.1, "none", "abc", {})
RESULT = Result(
    "P2", "what", "target", "scripts/bench P2", MACHINE, 1.0,
    [Run([Figure("orders", 7, "/s", least=5), Figure("p50", 3, "ms")], [], [],
           [Chart("p99 by time", "s", "ms", [Curve("a", [0.0], [1.0])])])],
)  # fmt: skip


def test_figures_stand_between_their_marks_and_take_the_place_of_the_last() -> None:
    text = "Before.\n<!-- measured P2 -->\nold\n<!-- /measured -->\nBehind.\n"
    told = filled(text, [RESULT], DOCUMENTS[1])
    assert told.startswith("Before.\n<!-- measured P2 -->\n`scripts/bench P2`: what.")
    assert "| orders | 7 /s (>= 5: met) |" in told
    assert '<img src="bench/p2-p99-by-time.svg"' in told
    assert told.endswith("<!-- /measured -->\nBehind.\n")
    assert filled(told, [RESULT], DOCUMENTS[1]) == told
    assert filled(told, [], DOCUMENTS[1]) == text.replace("old\n", "")


def test_the_summary_has_the_figures_that_have_a_bound() -> None:
    told = filled("<!-- measured summary -->\n<!-- /measured -->", [RESULT], DOCUMENTS[0])
    machine, *_, target, figure, _ = told.splitlines()[1:]
    assert machine.startswith("- P2: 2026-01-01, 1 runs, commit abc: 2 cores (a processor)")
    assert (target, figure) == ("| **P2** what | | | |", "| orders | 7 /s | >= 5 | met |")


@pytest.mark.parametrize(
    "worthless",
    [
        replace(RESULT, error="Failed: wrk is not installed"),
        replace(RESULT, runs=[*RESULT.runs, Run([], [Count("orders stored", 5, 4)], [], [])]),
        replace(RESULT, scale=0.1),
        replace(RESULT, limited=False),
    ],
    ids=["could not be measured", "a run was not exact", "a smaller load", "no CPU limits"],
)
def test_the_summary_tells_no_figure_that_is_worth_nothing(worthless: Result) -> None:
    assert worthless.verdict in ("failed", "tried")
    told = filled("<!-- measured summary -->\n<!-- /measured -->", [worthless], DOCUMENTS[0])
    assert told.splitlines()[-2] == f"| **P2** what | | target | {worthless.verdict} |"
    assert "orders" not in told


def test_every_target_has_its_place_in_the_documents_and_so_has_the_summary() -> None:
    places = [name for path in DOCUMENTS for _, name, _ in _MARKED.findall(path.read_text("utf-8"))]
    assert sorted(places) == sorted([SUMMARY, SUMMARY, *(target.name for target in TARGETS)])


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_the_documents_tell_the_results_that_are_kept(path: Path) -> None:
    text = path.read_text("utf-8")
    assert filled(text, results.read(KEPT), path) == text, "run scripts/bench ... --out docs/bench, or undo the edit"


def test_each_chart_that_they_show_is_there() -> None:
    shown = {file for result in results.read(KEPT) for file in plots.files(result).values()}
    assert shown, "there are no results"
    assert {path.stem for path in KEPT.glob("*.svg")} == {path.stem for path in KEPT.glob("*.png")} == shown
