import os
import resource
from pathlib import Path

import pytest

from bench import closed
from bench.closed import Answers, Load
from bench.processes import Failed

PRINTED = """\
Running 2s test @ http://127.0.0.1:8080
  1 threads and 64 connections
orders sent 500 answered 500 first_us 1000000 last_us 2000000
status\t201\t489
status\t503\t1
status\t409\t10
bucket\t0\t400
bucket\t2\t100
errors\t0\t0\t0\t0
latency_us\t50\t2500
latency_us\t99\t41000.5
"""


def test_what_was_counted_is_told_by_status() -> None:
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
    assert (answers.percentile_ms(50), answers.percentile_ms(99)) == (2.5, 41.0005)


def test_orders_without_an_answer_and_connections_that_broke_are_errors() -> None:
    printed = PRINTED.replace("errors\t0\t0\t0\t0", "errors\t0\t2\t0\t0").replace("sent 500", "sent 503")
    assert closed.parse(printed).errors == 1 + 2 + 3


@pytest.mark.parametrize("missing", ["orders", "errors", "latency_us"])
def test_a_run_that_did_not_come_to_its_end_is_no_result(missing: str) -> None:
    printed = "\n".join(line for line in PRINTED.splitlines() if not line.startswith(missing))
    with pytest.raises(Failed):
        closed.parse(printed)


def test_each_order_is_of_another_user_with_a_key_of_its_own_and_so_is_every_load(tmp_path: Path) -> None:
    load = Load(orders=10, lines=2, quantity=3)
    lines = [line for _ in range(2) for line in closed.prepare(load, range(1, 6), tmp_path).read_text().splitlines()]
    tokens, keys, bodies = zip(*(line.split(" ") for line in lines), strict=True)
    assert len(lines) == len(set(tokens)) == len(set(keys)) == 20
    assert all(body.count('"quantity":3') == 2 for body in bodies)
    users = [int(key.removeprefix("bench-")) for key in keys]
    assert users != sorted(users), "their rows would all be put behind those of the others"


def test_without_a_number_of_orders_there_are_enough_for_the_time() -> None:
    assert Load(seconds=2.0, per_s_max=1_000).prepared == 2_000
    assert Load(orders=7).prepared == 7


SILENT = """\
#!/bin/sh
# One that lost an answer: it waits for it until its own time is over.
for word; do case $word in -d*s) seconds=${word#-d}; sleep "${seconds%s}" ;; esac; done
"""


def left(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def sent(load: Load, folder: Path) -> Answers:
    """Send a load to nobody."""
    return await closed.send("http://127.0.0.1:9", load, closed.prepare(load, range(1, 6), folder))


async def test_a_run_in_which_an_answer_was_lost_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub = tmp_path / "bin" / "wrk"
    stub.parent.mkdir()
    stub.write_text(SILENT)
    stub.chmod(0o755)
    monkeypatch.setenv("PATH", f"{stub.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(closed, "GIVE_UP_AFTER_S", 0.0)
    with pytest.raises(Failed, match="wrk printed no result"):
        await sent(Load(orders=1), tmp_path)
    assert left(tmp_path) == ["bin"], "the orders are left in the folder"


async def test_where_fewer_files_may_be_open_than_there_are_connections_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1_024, 4_096))
    with pytest.raises(Failed, match="10,000 connections are wanted, and 1,024 files may be open"):
        await sent(Load(orders=1, connections=10_000), tmp_path)
    assert left(tmp_path) == [], "the orders are left in the folder"
