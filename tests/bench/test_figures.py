from bench.figures import Count, Figure, Run, medians, verdict


def run(*values: float, counts: tuple[Count, ...] = (), faults: tuple[str, ...] = (), most: float | None = 10) -> Run:
    return Run([Figure("p99", value, "ms", most=most) for value in values], list(counts), list(faults), [])


def test_the_median_of_the_runs_decides_and_the_range_is_told() -> None:
    (median,) = medians([run(30), run(8), run(9)])
    assert (median.value, median.low, median.high, median.bound, median.met) == (9, 8, 30, "<= 10", True)
    assert verdict([run(30), run(8), run(9)]) == "met"
    assert verdict([run(30), run(11), run(9)]) == "missed"


def test_a_figure_at_its_bound_keeps_it() -> None:
    assert verdict([run(10)]) == "met"
    assert verdict([Run([Figure("orders", 3_000, "/s", least=3_000)], [], [], [])]) == "met"
    assert verdict([Run([Figure("orders", 2_999, "/s", least=3_000)], [], [], [])]) == "missed"


def test_where_none_may_be_a_single_run_with_one_misses() -> None:
    (median,) = medians([run(0, most=0), run(0, most=0), run(1, most=0)])
    assert (median.value, median.high, median.met) == (0, 1, False)


def test_a_figure_may_have_bounds_on_both_sides() -> None:
    outside = [Run([Figure("ratio", value, least=1, most=2)], [], [], []) for value in (0.5, 2.5)]
    assert [medians([each])[0].met for each in outside] == [False, False]


def test_a_figure_without_a_bound_is_measured_and_neither_met_nor_missed() -> None:
    assert medians([run(5, most=None)])[0].met is None
    assert verdict([run(5, most=None)]) == "measured"


def test_a_run_whose_counts_are_not_exact_has_failed_however_fast_it_was() -> None:
    wrong = run(1, counts=(Count("orders stored", 100, 100), Count("units taken", 300, 299)))
    assert wrong.failure == "units taken: 299, not 300"
    assert verdict([run(1), wrong, run(1)]) == "failed"


def test_a_failed_run_has_no_part_in_the_median() -> None:
    (median,) = medians([run(9), run(1, faults=("the rest of the loop was not done in time",)), run(9)])
    assert (median.value, median.low) == (9, 9)


def test_no_run_at_all_is_a_failure() -> None:
    assert verdict([]) == "failed"
