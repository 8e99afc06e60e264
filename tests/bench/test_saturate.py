"""What is made of a load: who used the machine, what was the limit, and when it is worth nothing."""

from dataclasses import replace

import pytest

from bench.closed import Answers
from bench.saturate import Measured
from bench.spent import Spent

ANSWERS = Answers(1_000, 1_000, {201: 1_000}, 0, 1.0, 1.0, [], [])


def measured(spent: Spent, answers: Answers = ANSWERS, warm_up: Answers | None = None) -> Measured:
    return Measured(answers, warm_up, spent, 0.0, [], spent, 1.0)


def spent(by_name: dict[str, float], *, idle_s: float = 0.0, stolen_s: float = 0.0) -> Spent:
    """Of a second of two CPUs."""
    return Spent(by_name, 2.0, idle_s, stolen_s, 0.0)


@pytest.mark.parametrize(
    ("of", "named"),
    [
        (spent({"api-1": 0.25, "api-2": 0.24, "mariadb": 1.0}), "the CPU that these processes may have"),
        (spent({"api-1": 0.2, "mariadb": 1.0}, stolen_s=0.2), "the machine's host, which gave CPU to others"),
        (spent({"api-1": 0.2, "mariadb": 1.0}, idle_s=0.02), "the CPU of the machine, most of it used by mariadb"),
        (
            spent({"api-1": 0.2, "mariadb": 0.2}, idle_s=1.0),
            "no CPU: they waited for each other, for an answer or for the disk",
        ),
    ],
)
def test_what_kept_the_rate_from_being_higher_is_named(of: Spent, named: str) -> None:
    assert measured(of).limit(0.5).startswith(named)


def test_to_be_told_to_come_again_is_an_error_but_where_more_come_than_may_wait() -> None:
    told = replace(ANSWERS, sent=1_007, statuses={201: 1_000, 409: 2, 503: 4}, lost=1)
    assert [replace(told, overflows=overflows).errors for overflows in (False, True)] == [6, 2]


def test_what_none_of_the_shop_used_is_neither_idle_nor_stolen() -> None:
    seen = measured(spent({"api-1": 0.5, "mariadb": 0.25, "kafka": 0.1}, idle_s=0.5, stolen_s=0.25))
    assert {each.name: round(each.value, 3) for each in seen.machine()} == {
        "CPU of MariaDB": 0.25,
        "CPU of the other servers": 0.1,
        "CPU of the load and all else": 0.4,
        "machine idle": 25.0,
        "CPU that the host gave to others": 12.5,
    }
    assert seen.api_us_per_order == 500


def test_a_span_is_what_was_spent_between_its_ends() -> None:
    before, after = spent({"api-1": 1.0}, idle_s=0.5), Spent({"api-1": 1.5}, 6.0, 0.7, 0.1, 0.2)
    between = after.since(before)
    assert (between.by_name, between.all_s, between.throttled_s) == ({"api-1": 0.5}, 4.0, 0.2)
    assert (round(between.idle_s, 3), between.stolen_s) == (0.2, 0.1)


def test_errors_of_the_load_and_of_its_warm_up_make_a_run_worth_nothing() -> None:
    wrong = replace(ANSWERS, statuses={201: 990, 503: 10})
    assert measured(spent({})).faults == []
    assert measured(spent({}), wrong).faults == ["10 answers were errors: {201: 990, 503: 10}, 0 connections lost"]
    (warm,) = measured(spent({}), warm_up=replace(ANSWERS, lost=2)).faults
    assert warm == "2 answers of the warm-up were errors: {201: 1000}, 2 connections lost"
    assert replace(measured(spent({})), drain_s=None).faults == ["the rest of the loop was not done in time"]
