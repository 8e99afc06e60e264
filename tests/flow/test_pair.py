"""What the scenarios on MariaDB rest on: the errors of a busy database are met, and repeats keep them from buyers."""

import asyncio
from pathlib import Path

import pytest

from flow import pair
from flow.acts import MILK
from flow.invariants import check
from flow.pair import Pair
from flow.probe import Probe
from flow.process import bury, day, process
from flow.truth import rest
from quickcommerce.kit import repeating
from quickcommerce.kit.mariadb_errors import DUPLICATE, UNDONE

pytestmark = [pytest.mark.servers, pytest.mark.usefixtures("on_mariadb")]


async def test_every_error_is_met_and_none_is_shown(tmp_path: Path) -> None:
    async with process(tmp_path) as w:
        assert isinstance(w, Pair)
        w.unsteady.share = 0.1
        sold = 0
        while set(w.unsteady.seen) < UNDONE | {DUPLICATE}:
            answers = await asyncio.gather(*(w.order(user=user, key=f"tap-{sold}") for user in range(1, 11)))
            assert {answer.status_code for answer in answers} == {201}
            sold += 20
        assert await w.stock(MILK) == (1_000, sold, 0)
        w.unsteady.share = 0.0
        await rest(w)
        await check(w)


async def test_control_without_repeats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeating, "REPEATS_MAX", 0)
    w = await pair.start(tmp_path, Probe(), day(), loops=False)
    assert isinstance(w, Pair)
    w.unsteady.share = 0.1
    answers = [await w.order(user=user) for user in range(1, 31)]
    assert 503 in {answer.status_code for answer in answers}, "no error of the database was met"
    for app in w.others:
        await app.stop()
    await bury(w)
