"""What is made of a load: who used the machine, what was the limit, and when it is worth nothing."""

from dataclasses import replace

import pytest

from bench.closed import Answers
from bench.saturate import Measured
from bench.spent import Spent

ANSWERS = Answers(1_000, 1_000, {201: 1_000}, 0, 1.0, [], [])


def measured(spent: Spent, answers: Answers = ANSWERS, warm_up: Answers | None = None) -> Measured:
    return Measured(answers, warm_up, spent, 0.0, [], spent, 1.0)


def spent(by_name: dict[str, float], *, idle_s: float = 0.0, stolen_s: float = 0.0) -> Spent:
    """Of a second of two CPUs."""
    return Spent(by_name, 2.0, idle_s, stolen_s, 0.0)


@pytest.mark.parametrize(
    ("vcpu", "of", "named"),
    [
        (0.5, spent({"api-1": 0.25, "api-2": 0.24, "mariadb": 1.0}), "the limit of 0.5 vCPU was reached"),
        (0.5, spent({"api-1": 0.2, "mariadb": 1.0}, stolen_s=0.2), "the host of this machine gave CPU to others"),
        (
            0.5,
            spent({"api-1": 0.2, "mariadb": 1.0}, idle_s=0.02),
            "the CPU of the machine was used up, most of it by mariadb",
        ),
        (
            2.0,
            spent({"api-1": 0.7, "api-2": 0.6, "mariadb": 0.65}, idle_s=0.02),
            "the CPU of the machine was used up, most of it by those that are measured",
        ),
        (0.5, spent({"api-1": 0.2, "mariadb": 0.2}, idle_s=1.0), "no limit of CPU was reached"),
    ],
)
def test_the_limit_that_was_reached_is_named(vcpu: float, of: Spent, named: str) -> None:
    assert measured(of).limit(vcpu) == named


def test_a_process_without_a_limit_may_use_more_than_a_core_and_two_of_half_a_core_are_at_none() -> None:
    used = [spent({"shop": 1.3}, idle_s=0.6), spent({"api-1": 0.5, "api-2": 0.5}, idle_s=0.6)]
    assert [measured(each).limit() for each in used] == [
        "a process used a core or more, and Python works on one at a time", "no limit of CPU was reached",
    ]  # fmt: skip


def test_to_be_told_to_come_again_is_an_error_but_where_more_come_than_may_wait() -> None:
    told = replace(ANSWERS, sent=1_007, statuses={201: 1_000, 409: 2, 503: 4}, lost=1)
    assert [replace(told, overflows=overflows).errors for overflows in (False, True)] == [6, 2]


def test_what_none_of_the_shop_used_is_neither_idle_nor_stolen() -> None:
    seen = measured(spent({"api-1": 0.5, "mariadb": 0.25, "kafka": 0.1}, idle_s=0.5, stolen_s=0.25))
    assert {each.name: round(each.value, 3) for each in seen.machine()} == {
        "CPU of those that answer": 0.5,
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
