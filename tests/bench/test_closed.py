from pathlib import Path

import pytest

from bench import closed
from bench.closed import Load
from bench.processes import Failed

PRINTED = """\
Running 2s test @ http://127.0.0.1:8080
  2 threads and 64 connections
thread 1 sent 300 answered 300 first_us 1000000 last_us 1500000
status\t1\t201\t299
status\t1\t503\t1
bucket\t1\t0\t200
bucket\t1\t2\t100
thread 2 sent 200 answered 200 first_us 1100000 last_us 2000000
status\t2\t201\t190
status\t2\t409\t10
bucket\t2\t0\t200
errors\t0\t0\t0\t0
latency_us\t50\t2500
latency_us\t99\t41000.5
mean_us\t3210.25
"""


def test_what_the_threads_counted_is_added_up() -> None:
    answers = closed.parse(PRINTED)
    assert (answers.sent, answers.answered, answers.accepted) == (500, 500, 489)
    assert answers.statuses == {201: 489, 503: 1, 409: 10}
    assert answers.errors == 1, "what is sold out is no error, and a 503 is one"


def test_the_rate_is_over_the_time_from_the_first_request_to_the_last_answer() -> None:
    answers = closed.parse(PRINTED)
    assert answers.span_s == pytest.approx(1.0)
    assert answers.accepted_per_s == pytest.approx(489)
    assert answers.per_s == [400 / closed.BUCKET_S, 0.0, 100 / closed.BUCKET_S]


def test_latencies_are_told_in_milliseconds() -> None:
    answers = closed.parse(PRINTED)
    assert (answers.mean_ms, answers.percentile_ms(50), answers.percentile_ms(99)) == (3.21025, 2.5, 41.0005)


def test_orders_without_an_answer_and_connections_that_broke_are_errors() -> None:
    printed = PRINTED.replace("errors\t0\t0\t0\t0", "errors\t0\t2\t0\t0").replace(
        "thread 2 sent 200", "thread 2 sent 203"
    )
    assert closed.parse(printed).errors == 1 + 2 + 3


@pytest.mark.parametrize("missing", ["thread", "errors", "latency_us", "mean_us"])
def test_a_run_that_did_not_come_to_its_end_is_no_result(missing: str) -> None:
    printed = "\n".join(line for line in PRINTED.splitlines() if not line.startswith(missing))
    with pytest.raises(Failed):
        closed.parse(printed)


def test_each_order_is_of_another_user_with_a_key_of_its_own_and_every_thread_has_its_share(tmp_path: Path) -> None:
    base = closed.prepare(Load(orders=10, threads=2, lines=2, quantity=3), range(1, 6), tmp_path)
    lines = [line for thread in (1, 2) for line in Path(f"{base}.{thread}").read_text().splitlines()]
    assert len(lines) == 10
    assert [len(Path(f"{base}.{thread}").read_text().splitlines()) for thread in (1, 2)] == [5, 5]
    tokens, keys, bodies = zip(*(line.split(" ") for line in lines), strict=True)
    assert len(set(tokens)) == len(set(keys)) == 10
    assert all(body.count('"quantity":3') == 2 for body in bodies)


def test_without_a_number_of_orders_there_are_enough_for_the_time() -> None:
    assert Load(seconds=2.0, per_s_max=1_000).prepared == 2_000
    assert Load(orders=7).prepared == 7


def test_a_run_in_which_an_answer_was_lost_is_given_up() -> None:
    assert Load(seconds=8.0).over_within_s == 8 + closed.GIVE_UP_AFTER_S
    assert Load(orders=10_000).over_within_s == 10_000 / closed.LEAST_PER_S + closed.GIVE_UP_AFTER_S
