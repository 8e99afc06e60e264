"""What the contracts share: a store that speaks and one that listens, and no waiting between tries."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

import schemas
from quickcommerce.kit import inbox, repeating
from quickcommerce.kit.policy import Backoff
from stores import Post, kinds, post


@pytest.fixture(autouse=True)
def _schemas() -> Iterator[None]:
    """What a test makes on a server goes with it."""
    yield
    schemas.drop_all()


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tried again is tried again at once."""
    monkeypatch.setattr(inbox, "_BACKOFF", Backoff(base_s=0, cap_s=0))
    monkeypatch.setattr(repeating, "_BACKOFF", Backoff(base_s=0, cap_s=0))


@pytest.fixture(params=kinds("sqlite", "sqlite-inline", "mariadb"))
async def wire(request: pytest.FixtureRequest, tmp_path: Path, at_once: None) -> AsyncIterator[Post]:  # noqa: ARG001
    """A store that speaks and one that listens, where what is tried again is tried again at once."""
    async with post(request.param, tmp_path) as found:
        yield found
