"""Lines that need none of the schema's rules are written by a shorter way, and read the same."""

import json
from datetime import UTC, datetime
from typing import Any

import ecs_logging
import pytest

from quickcommerce.kit.telemetry import _line

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
