"""To which part of the work a sample of a process belongs."""

import pytest

from bench.processes import Failed
from bench.profile.samples import PARTS, REST, shares

ROOT = "main (/shop/src/quickcommerce/cli.py:52);run (/venv/uvicorn/server.py:70)"
PLACE = f"{ROOT};step (/shop/src/quickcommerce/kit/batch.py:9);place (/shop/src/quickcommerce/order/place.py:44)"


@pytest.mark.parametrize(
    ("frames", "part"),
    [
        (ROOT, REST),
        (PLACE, "orders, their lists and events"),
        (f"{PLACE};all (/shop/src/quickcommerce/kit/mariadb_tx.py:5)", "MariaDB"),
        # What belongs to nobody is counted to its caller.
        (f"{PLACE};all (/shop/src/quickcommerce/kit/mariadb_tx.py:5);wait (/usr/lib/asyncio/tasks.py:1)", "MariaDB"),
        (f"{ROOT};data_received (/venv/uvicorn/protocols/http/httptools_impl.py:3)", "HTTP"),
        (
            f"{ROOT};confirm (/shop/src/quickcommerce/payment/toss.py:9);send (/venv/aiohttp/client.py:2)",
            "calls to the PG",
        ),
        (f"{ROOT};confirm (/shop/src/quickcommerce/payment/capture.py:9)", "payments"),
        (f"{PLACE};commit (/shop/src/quickcommerce/kit/sqlite.py:9)", "SQLite"),
        (f"{ROOT};step (/shop/src/quickcommerce/kit/bus.py:9)", "events: relays and readers"),
        (f"{ROOT};write (/shop/src/quickcommerce/history/sql.py:9)", "the history"),
        (f"{PLACE};info (/shop/src/quickcommerce/kit/telemetry.py:9)", "log lines"),
        (f"{PLACE};a name; and (odd) ones (/venv/prometheus_client/metrics.py:8)", "metrics"),
    ],
)
def test_a_sample_belongs_to_the_innermost_part_that_it_is_in(frames: str, part: str) -> None:
    assert shares([f"{frames} 7"]) == dict.fromkeys((*PARTS, REST), 0.0) | {part: 1.0}


def test_every_sample_is_counted_once() -> None:
    seen = shares([f"{ROOT} 10", f"{PLACE} 25", f"{PLACE};more (<string>:1) 5"])
    assert seen[REST] == 0.25
    assert seen["orders, their lists and events"] == 0.75
    assert sum(seen.values()) == 1


def test_a_process_that_was_not_looked_into_has_no_shares() -> None:
    with pytest.raises(Failed, match="no samples"):
        shares([])
