"""Lines that need none of the schema's rules are written by a shorter way, and read the same."""

import io
import json
import select
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import ecs_logging
import pytest

from quickcommerce.kit.telemetry import _line, configure_logs, log, together

TRACE = "0af7651916cd43dd8448eb211c80319c"
PLAIN: list[dict[str, Any]] = [
    {"event": "order.placed", "order_id": "ord_1", "replayed": False},
    {
        "event": "order.placed",
        "trace.id": TRACE,
        "won": 12,
        "why": None,
        "품명": '우유 "1L"\n',
        "list": [1, {"a": "b"}],
    },
]
OTHERS: list[dict[str, Any]] = [
    {"event": "x", "log.logger": "uvicorn.error", "trace.id": TRACE},
    {"event": "x", "exception": "Traceback ...", "trace.id": TRACE},
    {"event": "x", "odd": object},
    {"event": "x", "half": "\ud800"},
]


@pytest.mark.parametrize("entry", PLAIN + OTHERS)
def test_a_line_is_what_the_schema_s_own_library_writes(entry: dict[str, Any]) -> None:
    ours = json.loads(_line(None, "info", dict(entry)))
    theirs = json.loads(ecs_logging.StructlogFormatter()(None, "info", dict(entry)))
    stamps = [datetime.fromisoformat(line.pop("@timestamp")) for line in (ours, theirs)]
    assert all(stamp.tzinfo == UTC for stamp in stamps)
    assert ours == theirs
    assert list(ours)[:2] == list(theirs)[:2]


@pytest.mark.parametrize("entry", PLAIN)
def test_control_the_longer_way_is_not_taken_where_it_is_not_needed(
    entry: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> str:
        raise AssertionError("the longer way was taken")

    monkeypatch.setattr("quickcommerce.kit.telemetry._ecs", refuse)
    _line(None, "info", dict(entry))


class Writes(io.StringIO):
    """A stream that knows what each write wrote."""

    def __init__(self) -> None:
        super().__init__()
        self.each: list[str] = []

    def write(self, text: str) -> int:
        self.each.append(text)
        return super().write(text)


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Writes]:
    stream = Writes()
    monkeypatch.setattr(sys, "stderr", stream)
    configure_logs("INFO", machine=True)
    yield stream
    configure_logs("ERROR", machine=True)


def numbers(writes: Writes) -> list[int]:
    return [json.loads(line)["n"] for line in writes.getvalue().splitlines()]


def test_lines_that_are_written_together_are_all_there_in_order_and_whole_in_a_pipe(writes: Writes) -> None:
    with together():
        for n in range(50):
            log.info("order.placed", n=n)
        assert not writes.each
    log.info("order.placed", n=50)
    assert numbers(writes) == list(range(51))
    assert len(writes.each) < 10
    assert all(len(each) <= select.PIPE_BUF and each.endswith("\n") for each in writes.each)


def test_a_line_longer_than_a_pipe_takes_is_written_alone_and_no_line_is_written_where_none_is(writes: Writes) -> None:
    with together():
        for n in range(3):
            log.info("order.refused", n=n, why="x" * 5_000 * (n == 1))
    with together():
        pass
    assert numbers(writes) == [0, 1, 2]
    assert len(writes.each) == 3


def test_what_was_logged_before_an_error_is_written(writes: Writes) -> None:
    with suppress(ValueError), together():
        log.info("order.placed", n=1)
        raise ValueError("a defect")
    assert numbers(writes) == [1]


def test_another_thread_writes_at_once(writes: Writes) -> None:
    with together():
        log.info("order.placed", n=1)
        other = threading.Thread(target=lambda: log.info("history.folded", n=2))
        other.start()
        other.join()
        assert numbers(writes) == [2]
    assert numbers(writes) == [2, 1]
