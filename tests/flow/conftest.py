"""What many processes share: the files of a shop, and a PG beside it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import schemas
from flow import pair
from flow import process as process_module
from flow.lives import run, shop_files
from flow.process import LastingPg
from quickcommerce import parts, roles


@pytest.fixture
def on_mariadb(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The scenario runs in two processes on a MariaDB that undoes transactions (`pair`)."""
    monkeypatch.setattr(process_module, "start", pair.start)
    yield
    schemas.drop_all()


@pytest.fixture(params=["sqlite", pytest.param("mariadb", marks=pytest.mark.servers)])
def both(request: pytest.FixtureRequest) -> None:
    """The scenario runs twice: in one process on SQLite, and `on_mariadb` in two.

    So do those about money, coupons, sales, refunds, keys, endings and guards: what two writers could spoil. On SQLite
    alone are those of a process that dies between two steps or of a commit whose reply is lost, which `tests/system`
    and `tests/servers/mariadb` have with real kills and on a real line; those of hours of outage and of clocks that
    jump, whose thousands of looks at nothing take minutes over a network; what the PG says, which is the same whatever
    stores it; and the gate, the readiness and the search's rebuild, which have suites of their own on real servers.
    """
    if request.param == "mariadb":
        request.getfixturevalue("on_mariadb")


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a shop with goods that has sold nothing yet."""
    return shop_files(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="session")
def pg() -> Iterator[LastingPg]:
    """A PG that outlives the shop's processes."""
    made = LastingPg()
    yield made
    run(made.end())


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, pg: LastingPg) -> None:
    """Hundreds of processes, one after the other: what takes long to make is made once, or not at all."""
    monkeypatch.setattr(parts, "Emulator", pg.beside)
    # What happens wakes the loops at once; their looking by themselves only takes time here.
    monkeypatch.setattr(roles, "POLL_S", 10.0)
