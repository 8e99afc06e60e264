from datetime import UTC, datetime
from pathlib import Path

import pytest

from bench import report, results
from bench.figures import Chart, Count, Curve, Figure, Run
from bench.machine import Machine
from bench.results import Result

MACHINE = Machine(datetime(2026, 1, 1, tzinfo=UTC), 2, "a processor", 8.0, "Linux", 0.1, "none: not allowed", "abc", {})


def result(name: str, *runs: Run, error: str = "", scale: float = 1.0) -> Result:
    return Result(name, "what", "target", f"scripts/bench {name}", MACHINE, scale, list(runs), error)


def run(value: float, *counts: Count) -> Run:
    chart = Chart("latency by percentile", "percentile", "ms", [Curve("a", [50.0, 100.0], [value, value])], log_y=True)
    return Run([Figure("p99", value, "ms", most=10)], list(counts), [], [chart], ["a note"])


def test_a_new_result_takes_the_place_of_the_last_and_all_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for each in (result("P10", run(1)), result("P2", run(2)), result("P2", run(3))):
        results.keep(tmp_path, each)
    kept = results.read(tmp_path)
    assert [each.name for each in kept] == ["P2", "P10"]
    assert kept[0] == result("P2", run(3))


def test_the_page_says_what_failed_how_cpu_was_limited_and_has_the_charts_in_it(tmp_path: Path) -> None:
    report.write([result("P2", run(1, Count("orders stored", 5, 4)), error="wrk is <not> installed")], tmp_path)
    page = (tmp_path / "report.html").read_text("utf-8")
    for told in (
        "orders stored: 4, not 5",
        "wrk is &lt;not&gt; installed",
        "none: not allowed",
        "a note",
        "data:image/svg",
    ):
        assert told in page
    assert {path.suffix for path in tmp_path.glob("p2-latency-by-percentile.*")} == {".svg", ".png"}


def test_the_same_figures_make_the_same_chart(tmp_path: Path) -> None:
    drawn = []
    for _ in range(2):
        report.write([result("P2", run(1))], tmp_path)
        drawn.append((tmp_path / "p2-latency-by-percentile.svg").read_bytes())
    assert drawn[0] == drawn[1]


def test_the_table_has_the_median_the_range_and_the_bound() -> None:
    table = report.table([result("P2", run(9), run(8), run(30))])
    assert "| P2 | target | met |" in table
    assert "| p99 | 9 ms (8 - 30) (<= 10: met) |" in table
    assert "`scripts/bench P2`: what. 0 of 0 exact counts held." in table
    assert "2026-01-01, 3 runs, commit abc: 2 cores (a processor), 8 GB" in table


def test_variants_stand_beside_each_other_and_a_figure_that_one_lacks_is_left_out() -> None:
    figures = [
        Figure("mean", 1, "ms", variant="a"),
        Figure("mean", 2, "ms", variant="b"),
        Figure("p99", 3, variant="b"),
    ]
    variants, rows = report.grid(result("P2", Run(figures, [], [], [])))
    assert variants == ["a", "b"]
    assert [(row.name, [cell and cell.value for cell in row.cells]) for row in rows] == [
        ("mean", [1, 2]),
        ("p99", [None, 3]),
    ]


def test_a_target_that_could_not_be_measured_has_failed_and_one_that_was_only_tried_is_not_met() -> None:
    assert result("P2", error="Failed: no wrk").verdict == "failed"
    assert result("P2", run(1), scale=0.1).verdict == "tried"
    assert result("P2", run(1, Count("orders stored", 5, 4)), scale=0.1).verdict == "failed"


def test_a_note_says_in_how_many_runs_it_is_true_where_not_in_all() -> None:
    said = [Run([], [], [], [], ["At its limit was the disk.", *more]) for more in ([], ["Odd."], [])]
    assert result("P2", *said).notes == ["At its limit was the disk.", "Odd. (In 1 of 3 runs.)"]


@pytest.mark.parametrize(
    ("value", "shown"), [(0.1234, "0.123"), (12.34, "12.3"), (1234.5, "1,234"), (5.0, "5"), (0, "0")]
)
def test_numbers_have_three_digits_that_count(value: float, shown: str) -> None:
    assert report.number(value) == shown
