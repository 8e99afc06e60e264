"""A failure in virtual time is told by its seed: the same seed is the same day, to the last id."""

import os
import subprocess
import sys
from pathlib import Path

from flow.a_day import a_day, digest
from flow.lives import run

TESTS = Path(__file__).parent.parent


def test_the_same_seed_is_the_same_day_and_another_is_another(tmp_path: Path) -> None:
    first, again, other = (run(a_day(seed, tmp_path / str(at))) for at, seed in enumerate((1, 1, 2)))
    for part in first:
        assert first[part] == again[part], part
    statuses = {order["status"] for order in first["shop.orders"]}
    assert statuses == {"PAID", "CANCELLED", "EXPIRED"}, "the day is too quiet to tell anything"
    for part in ("told", "payments", "calls", "shop.orders"):
        assert first[part] != other[part], f"the seed does not reach {part}"


def test_it_is_the_same_day_in_another_process(tmp_path: Path) -> None:
    """Where sets and dicts of texts have another order."""
    digests = {digest(3, tmp_path / "here")}
    path = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH", "")]))
    for salt in ("1", "2"):
        command = [sys.executable, "-W", "error", "-m", "flow.a_day", "3", str(tmp_path / salt)]
        environment = os.environ | {"PYTHONHASHSEED": salt, "PYTHONPATH": path}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        digests.add(done.stdout.strip())
    assert len(digests) == 1, digests
