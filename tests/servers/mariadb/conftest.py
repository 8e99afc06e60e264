"""What the tests on a real MariaDB share: a schema of their own, and a line to it that can break."""

import random
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

import schemas
from quickcommerce.kit import repeating
from quickcommerce.kit.db import Limits, connect
from quickcommerce.kit.mariadb import MariaDb
from quickcommerce.kit.policy import Backoff
from servers.mariadb.proxy import Proxy, proxied

PAIR = "CREATE TABLE pair (name VARCHAR(40) PRIMARY KEY, n BIGINT NOT NULL)"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All that is here needs a server."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.servers)


@pytest.fixture(autouse=True)
def _schemas() -> Iterator[None]:
    """What a test makes on the server goes with it."""
    yield
    schemas.drop_all()


@pytest.fixture(autouse=True)
def _short_waits_between_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeating, "_BACKOFF", Backoff(base_s=0.001, cap_s=0.01))


@pytest.fixture
def schema(tmp_path: Path) -> str:
    """A schema with a table of pairs."""
    name = schemas.make(schemas.name_of(tmp_path / "shop.db"))
    schemas.sql(PAIR, schema=name)
    return name


@pytest.fixture
async def line() -> AsyncIterator[Proxy]:
    """A line to the server."""
    server = schemas.admin()
    async with proxied(server.host, server.port) as proxy:
        yield proxy


Opened = Callable[..., MariaDb]


@pytest.fixture
async def opened(schema: str) -> AsyncIterator[Opened]:
    """Opens the schema, through a line where one is given; `limits` as those of `Limits`."""
    made: list[MariaDb] = []

    def whole(line: Proxy | None = None, **limits: float) -> MariaDb:
        found = connect(
            schemas.url_of(schema, port=line.port if line else 0),
            rng=random.Random(7),
            limits=Limits(**limits),  # type: ignore[arg-type]
        )
        assert isinstance(found, MariaDb)
        made.append(found)
        return found

    yield whole
    for each in made:
        await each.close()
