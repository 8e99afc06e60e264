from pathlib import Path

import pytest

from bench import limits, machine
from bench.limits import Group, Hierarchy, NotAllowed
from bench.room import Room

V1 = "cgroup {at} cgroup rw,relatime,cpu,cpuacct 0 0\nproc /proc proc rw 0 0\n"
V2 = "cgroup2 {at} cgroup2 rw,nosuid 0 0\n"
OWN = "2:cpu,cpuacct:/job\n1:memory:/elsewhere\n0::/unit\n"


def yes(_: Hierarchy) -> str:
    return ""


def test_groups_are_made_inside_the_one_in_which_we_are(tmp_path: Path) -> None:
    (tmp_path / "job").mkdir()
    (tmp_path / "unit").mkdir()
    assert limits.find(V1.format(at=tmp_path), OWN, usable=yes) == Hierarchy(tmp_path / "job", 1)
    assert limits.find(V2.format(at=tmp_path), OWN, usable=yes) == Hierarchy(tmp_path / "unit", 2)


def test_where_our_group_is_not_to_be_seen_the_top_is_used(tmp_path: Path) -> None:
    assert limits.find(V1.format(at=tmp_path), OWN, usable=yes) == Hierarchy(tmp_path, 1)


def test_where_our_group_takes_no_groups_inside_it_the_top_is_used(tmp_path: Path) -> None:
    (tmp_path / "unit").mkdir()

    def at_the_top(place: Hierarchy) -> str:
        return "" if place.folder == tmp_path else "no internal processes"

    assert limits.find(V2.format(at=tmp_path), OWN, usable=at_the_top) == Hierarchy(tmp_path, 2)


def test_the_version_that_this_machine_allows_is_taken(tmp_path: Path) -> None:
    def only_the_second(place: Hierarchy) -> str:
        return "" if place.version == 2 else "cgroup v1: Read-only file system"

    mounts = V1.format(at=tmp_path) + V2.format(at=tmp_path)
    assert limits.find(mounts, OWN, usable=only_the_second).version == 2


def test_where_no_limit_is_allowed_it_says_why(tmp_path: Path) -> None:
    mounts = V1.format(at=tmp_path) + V2.format(at=tmp_path)
    with pytest.raises(NotAllowed, match="v1: Read-only file system; v2: Permission denied"):
        limits.find(
            mounts,
            OWN,
            usable=lambda place: {1: "v1: Read-only file system", 2: "v2: Permission denied"}[place.version],
        )
    with pytest.raises(NotAllowed, match="no cgroup file system"):
        limits.find("proc /proc proc rw 0 0\n", OWN, usable=yes)


@pytest.mark.parametrize(
    ("version", "files"),
    [(1, {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "25000"}), (2, {"cpu.max": "25000 100000"})],
)
def test_a_quarter_of_a_cpu_is_a_quarter_of_each_period(tmp_path: Path, version: int, files: dict[str, str]) -> None:
    group = limits.make(Hierarchy(tmp_path, version), "api", 0.25)
    assert {path.name: path.read_text() for path in group.folder.iterdir()} == files


@pytest.mark.parametrize(("version", "line"), [(1, "throttled_time 1500000000"), (2, "throttled_usec 1500000")])
def test_the_time_that_a_group_was_made_to_wait_is_told_in_seconds(tmp_path: Path, version: int, line: str) -> None:
    (tmp_path / "cpu.stat").write_text(f"nr_periods 9\n{line}\n")
    assert Group(tmp_path, version, 0.5).throttled_s() == pytest.approx(1.5)


def test_a_room_without_limits_makes_none_and_says_so_beside_every_figure(tmp_path: Path) -> None:
    room = Room(tmp_path, 3, 1.0, keep=False, tell=print, place=None, unlimited="cgroup v1: Read-only file system")
    lacked = [(room.limit("a process", vcpu), room.limits_lacked) for vcpu in (None, 0.5)]
    assert lacked == [(None, False), (None, True)]
    assert machine.limited(room).startswith("none: cgroup v1: Read-only file system")


def test_a_process_without_a_limit_is_in_no_group(tmp_path: Path) -> None:
    room = Room(tmp_path, 3, 1.0, keep=False, tell=print, place=Hierarchy(tmp_path, 1), unlimited="")
    assert room.limit("relay", None) is None
    group = room.limit("api", 0.5)
    assert group
    assert machine.limited(room) == "cgroup version 1, in periods of 100 ms"
