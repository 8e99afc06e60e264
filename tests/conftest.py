"""What every test shares: a virtual event loop where tests live in virtual time, and quiet logs."""

import asyncio
import gc
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped] # it comes without types

import applications
from quickcommerce import routes
from quickcommerce.kit import openapi
from quickcommerce.kit.telemetry import add_trace, configure_logs
from world import VirtualLoop

# Byte code is kept, whatever the machine says: tests start hundreds of processes, and each would compile everything.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

VIRTUAL = ("flow", "http")
"""The folders whose tests live in virtual time."""
SPREAD_OUT = "tests/system/spread_out/"
"""The folder whose tests start eleven processes each."""


def pytest_collection_finish() -> None:
    """Look for garbage seldom, and never among the tests themselves: a fifth of the time went into that."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


class _SpreadOutOneByOne(LoadScopeScheduling):  # type: ignore[misc] # see its import
    """Each test goes to whichever worker is free, but those of a shop spread out go to one."""

    def _split_scope(self, nodeid: str) -> str:
        return SPREAD_OUT if nodeid.startswith(SPREAD_OUT) else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling | None:
    """How `scripts/system` (`--dist loadscope`) spreads tests; None: as asked for."""
    return _SpreadOutOneByOne(config, log) if config.getvalue("dist") == "loadscope" else None


def pytest_asyncio_loop_factories(
    config: pytest.Config,  # noqa: ARG001 - the hook's signature
    item: pytest.Item,
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Which event loop a test runs on."""
    return {"virtual": VirtualLoop} if item.path.parent.name in VIRTUAL else {"real": asyncio.new_event_loop}


@pytest.fixture(scope="session", autouse=True)
def _quiet_logs() -> None:
    configure_logs("ERROR", machine=True)


@pytest.fixture(scope="session", autouse=True)
def _applications_are_lent() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(routes, "Litestar", applications.lend)
        patch.setattr(openapi, "describe", applications.describe)
        yield


@pytest.fixture
def logged() -> Iterator[list[EventDict]]:
    """Every log line of the test, with its trace."""
    configure_logs("INFO", machine=True)
    try:
        with capture_logs(processors=[add_trace]) as lines:
            yield lines
    finally:
        configure_logs("ERROR", machine=True)
