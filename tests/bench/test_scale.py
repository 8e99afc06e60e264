from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bench import planned, report, saturate
from bench.closed import Answers
from bench.figures import Count, medians
from bench.http import metric
from bench.machine import Machine
from bench.opened import Report, Told
from bench.results import Result
from bench.room import workload
from bench.scale import experiment, waiting
from bench.scale.experiment import PG, REST, Queue, Seen
from bench.scale.model import Lists
from bench.spent import Spent
from bench.targets.table import TARGETS
from quickcommerce import settings
from quickcommerce.kit import batch, outbox

AT = datetime(2026, 1, 31, tzinfo=UTC)
PROCESSES = (*(f"{role}-1" for role in experiment.ROLES), *experiment.SERVERS, "emulator", "redis-2", "sentinel-1")
IDLE = dict.fromkeys((*experiment.ROLES, *experiment.SERVERS, PG, REST), 0.01)


def planned_run(*, paid: int, cpu_s: float, took_s: float = 40.0, exact: bool = True) -> planned.Measured:
    told = Told(accepted=1_000, out_of_stock=0, captured=paid, checking=0, errors={}, retried=0)
    shown = Report(AT, AT, told, 100.0, {}, [], [], 0.0, 1.0, [], None)
    before = Report(AT, AT, told, 100.0, {}, [], [], 0.0, 1.0, [], None if exact else "the counts do not add up")
    return planned.Measured(before, shown, spent(PROCESSES, cpu_s), took_s, spent(PROCESSES, cpu_s), 0, 0)


def spent(processes: Iterable[str], cpu_s: float) -> Spent:
    return Spent(dict.fromkeys(processes, cpu_s), 100.0, 50.0, 0.0, 0.0)


def queue(answer_s: float, lists: float, accepted: int, span_s: float) -> Queue:
    answers = Answers(accepted, accepted, {201: accepted}, 0, span_s, [], [])
    counts = [Count("orders stored", accepted, accepted)]
    used = spent(PROCESSES, 5.0)
    return Queue(saturate.Measured(answers, None, used, 0.0, counts, used, 1.0), answer_s, lists)


def seen(*, exact: bool = True) -> Seen:
    """An order takes every part 1,600 us and its payment 1,000; a list takes 2 ms and 50 us an order."""
    return Seen(
        alone=queue(0.00205, lists=500, accepted=500, span_s=1.1),
        idle_cores=IDLE,
        unpaid=planned_run(paid=0, cpu_s=2.0),
        answer_s=0.0022,
        paid=planned_run(paid=1_000, cpu_s=3.0, exact=exact),
        crowd=queue(0.02, lists=1_000, accepted=100_000, span_s=3.5),
    )


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "SIMULATED", 500)


def test_scale_is_a_target() -> None:
    assert experiment.name in {target.name for target in TARGETS}


def test_the_model_has_the_settings_that_a_shop_has() -> None:
    own = settings.load({})
    assert (own.db_runners_max, own.order_list_max, own.db_writers_max) == (
        waiting.RUNNERS,
        waiting.LIST_MAX,
        waiting.WRITERS,
    )
    theirs = (batch.ENOUGH, batch.WHOLE, batch.GATHER_LISTS, batch.GATHER_MAX_S)
    assert theirs == (waiting.ENOUGH, waiting.WHOLE, waiting.GATHER_LISTS, waiting.GATHER_MAX_S)
    assert experiment.SINGLE["relay"] == outbox.SHARDS / outbox.LEASED_MAX


def test_both_plans_are_the_same_but_for_who_pays() -> None:
    nobody, everybody = (workload(f"plan-{who}-pays", planned.Workload) for who in ("nobody", "everybody"))
    for first, second in ((nobody.plan, everybody.plan), (nobody.warm_up, everybody.warm_up)):
        assert first
        assert second
        assert (first.pay_share, second.pay_share) == (0, 1)
        assert (first.buyers, first.ramp_up_s, first.lines_max) == (second.buyers, second.ramp_up_s, second.lines_max)


def test_processes_are_told_apart_by_what_they_do_and_nothing_is_left_out() -> None:
    cpu = {"api-1": 1.0, "redis-1": 2.0, "redis-2": 4.0, "sentinel-1": 8.0, "emulator": 16.0}
    assert experiment.by_part(cpu) == {"api": 1.0, "redis-1": 2.0, REST: 12.0, PG: 16.0}


def test_a_run_gives_each_part_its_share_and_what_the_model_makes_of_it() -> None:
    found = {(each.name, each.variant): each for each in medians([experiment.run_of(seen(), seed=1)])}
    assert found["api", "an order"].value == pytest.approx(1_600)
    assert found["api", "its payment"].value == pytest.approx(1_000)
    assert found[REST, "an order"].value == pytest.approx(3_600)
    assert found["api", "an order, 256 connections"].value == pytest.approx(1e6 * (5 - 4.5 * 0.01) / 100_000)
    assert found["mariadb", "1,000,000 a minute"].value == pytest.approx((1_000_000 / 60 * 2_600e-6 + 74 * 0.01) / 0.6)
    assert found["relay", "one shop, at most"].value == pytest.approx(1.19 / 2_600e-6)
    assert found["shops", "1,000,000 a minute"].value == 74
    assert found["sweeper", "1,000,000 a minute"].value == 74
    assert (PG, "an order") in found
    assert (PG, "1,000,000 a minute") not in found


def test_what_lists_cost_comes_from_one_connection_and_from_many() -> None:
    found = {each.name: each.value for each in medians([experiment.run_of(seen(), seed=1)])}
    assert found["a list of orders"] == pytest.approx(2.0)
    assert found["each order in it"] == pytest.approx(50)
    assert found["at most, lists, 2 at once"] == pytest.approx(Lists(0.002, 0.00005, 2, 256).most_per_s)
    assert found["at most, an order a transaction, 8 at once"] == pytest.approx(8 / 0.00205)


def test_a_run_that_is_not_exact_has_failed_and_the_exact_one_counts_all() -> None:
    assert experiment.run_of(seen(exact=False), seed=1).failure == "everybody pays: the counts do not add up"
    right = experiment.run_of(seen(), seed=1)
    assert (right.failure, len(right.counts)) == ("", 2)


def test_lists_wait_less_than_single_orders_at_the_most_that_those_take() -> None:
    mean, *_ = waiting.charts(Lists(0.002, 0.00005, 2, 256), seed=1)
    lists, alone, _ = mean.curves
    assert lists.x[-1] > 10 * alone.x[-1]
    assert alone.y[-1] > max(y for x, y in zip(lists.x, lists.y, strict=True) if x <= alone.x[-1])


def test_the_report_has_the_charts_and_the_table(tmp_path: Path) -> None:
    machine = Machine(datetime(2026, 1, 1, tzinfo=UTC), 2, "a processor", 8.0, "Linux", 0.1, "none", "abc", {})
    made = experiment.run_of(seen(), seed=1)
    report.write(
        [Result("scale", experiment.what, experiment.target, "scripts/bench scale", machine, 1.0, [made])], tmp_path
    )
    drawn = {path.name for path in tmp_path.glob("scale-*.svg")}
    assert drawn == {
        "scale-cores-by-orders-a-minute-60-busy-every-order-paid.svg",
        "scale-mean-time-to-an-answer-by-load.svg",
        "scale-p99-of-the-time-to-an-answer-by-load.svg",
        "scale-orders-in-a-list-by-load.svg",
    }
    table = (tmp_path / "table.md").read_text()
    assert "| api | 1,600 us | 1,000 us | 1 % of a core |" in table


def test_a_counter_can_be_asked_for_by_its_labels() -> None:
    page = """\
qc_http_seconds_count{method="GET",route="/v1/orders/{order_id}",status="200"} 2.0
qc_http_seconds_count{method="POST",route="/v1/orders",status="201"} 3.0
qc_http_seconds_count{method="POST",route="/v1/orders",status="409"} 4.0
"""
    assert metric(page, "qc_http_seconds_count", method="POST", route="/v1/orders") == 7
    assert metric(page, "qc_http_seconds_count") == 9
