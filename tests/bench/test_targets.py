from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bench import documents, machine, planned, results, saturate
from bench.__main__ import BAD_USAGE, _result, main
from bench.counts import as_count
from bench.figures import Figure, Run
from bench.http import metric
from bench.machine import Machine
from bench.results import Result
from bench.room import WORKLOADS, Room, in_turn, workload
from bench.spent import Spent
from bench.targets.table import TARGETS
from quickcommerce.bench.checks import Check
from quickcommerce.bench.stats import Second, over_time


def test_every_target_has_a_name_of_its_own_and_says_what_is_to_be_reached() -> None:
    assert len({target.name for target in TARGETS}) == len(TARGETS)
    assert all(target.what and target.target for target in TARGETS)


def test_every_workload_can_be_read() -> None:
    for path in WORKLOADS.glob("*.toml"):
        kind: type[object] = planned.Workload if path.stem.startswith("plan") else saturate.Workload
        assert workload(path.stem, kind)


def test_a_comparison_of_the_driver_is_one_of_ours() -> None:
    assert [as_count(Check("orders", 5, actual)).holds for actual in (5, 4)] == [True, False]


def test_a_counter_is_added_up_over_its_labels_and_no_other_is_taken_for_it() -> None:
    page = """\
# HELP qc_x_total 7
qc_x_total{group="a"} 2.0
qc_x_total{group="b"} 3.0
qc_x_total_created 9.0
qc_y_total 4.0
"""
    assert metric(page, "qc_x_total") == 5
    assert metric(page, "qc_y_total") == 4
    assert metric(page, "qc_z_total") == 0


def test_requests_belong_to_the_second_of_their_start_and_answers_to_that_of_their_end() -> None:
    seconds = over_time([0.0, 0.9, 2.1], [10_000, 300_000, 20_000])
    assert seconds == [Second(0, 2, 1, 10.0, 300.0), Second(1, 0, 1, 0.0, 0.0), Second(2, 1, 1, 20.0, 20.0)]


def test_what_is_used_behind_the_last_answer_is_not_counted_to_the_orders() -> None:
    looks = [
        (datetime(2026, 1, 31, 0, 0, second, tzinfo=UTC), Spent({"api-1": float(second)}, 2.0 * second, 0.0, 0.0, 0.0))
        for second in range(60)
    ]
    begin, end = (datetime(2026, 1, 31, 0, 0, *at, tzinfo=UTC) for at in ((5, 500_000), (21, 100_000)))
    assert planned._between(looks, begin, end).by_name == {"api-1": 17.0}
    with pytest.raises(ValueError, match="empty"):
        planned._between(looks[:15], begin, end)


def test_each_variant_is_measured_once_at_each_place() -> None:
    assert [in_turn((0.5, 1, 2), number) for number in (1, 2, 3, 4)] == [
        [0.5, 1, 2], [1, 2, 0.5], [2, 0.5, 1], [0.5, 1, 2],
    ]  # fmt: skip


@pytest.mark.parametrize("words", [["--scale", "0.1"], ["--runs", "1"]])
def test_what_is_only_tried_out_is_kept_where_no_document_tells_it(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["P2", *words, "--out", str(documents.KEPT)]) == BAD_USAGE
    assert "try it out with another --out" in capsys.readouterr().out


def test_a_load_that_is_tried_out_takes_the_place_of_no_real_figure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    on = Machine(datetime(2026, 1, 1, tzinfo=UTC), 2, "a processor", 8.0, "Linux", 0.1, "none", "abc", {})
    results.keep(tmp_path, Result("P2", "what", "target", "scripts/bench P2", on, 1.0, []))
    assert main(["P2", "--scale", "0.1", "--out", str(tmp_path)]) == BAD_USAGE
    assert "has real figures of P2" in capsys.readouterr().out


class Broken:
    """A target that fails as none should."""

    name = what = target = "broken"

    async def run(self, room: Room) -> AsyncIterator[Run]:
        yield Run([Figure("orders", 7)], [], [], [])
        raise ZeroDivisionError(room.folder)


async def test_a_target_that_breaks_has_failed_with_its_folder_kept_and_those_after_it_are_measured(
    tmp_path: Path,
) -> None:
    room = Room(tmp_path, 1, 1.0, keep=False, tell=print, place=None, unlimited="no cgroups")
    result = await _result(Broken(), room, "scripts/bench broken")
    assert (result.verdict, result.error) == ("failed", f"ZeroDivisionError: {tmp_path}")
    assert [each.figures for each in result.runs] == [[Figure("orders", 7)]]
    assert room.keep


async def test_what_the_bench_writes_into_the_documents_is_no_change_of_what_is_measured() -> None:
    name = await machine.commit()
    there = Path("docs") / "never-committed.txt"
    there.write_text("a chart")
    try:
        assert await machine.commit() == name
    finally:
        there.unlink()


def test_what_a_limit_kept_waiting_is_at_it_however_little_it_used_in_all() -> None:
    calm, throttled = (Spent({"api-1": 4.0}, 20.0, 10.0, 0.0, waited_s) for waited_s in (0.0, 2.5))
    assert calm.limit(16.0, 0.5, "api-") == "no limit of CPU was reached"
    assert throttled.limit(16.0, 0.5, "api-") == "the limit of 0.5 vCPU was reached"
