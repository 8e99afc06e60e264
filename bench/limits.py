"""How much CPU a process may have, by cgroup, as a container has it; version 1 or 2, whichever this machine allows."""

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

PERIOD_US = 100_000
"""As Docker, Kubernetes and ECS have it: a process that has used its share of a period waits for the next."""
END_WITHIN_S = 5.0


@dataclass(frozen=True)
class Hierarchy:
    """Where groups can be made: a folder of the cgroup file system, and which version of it."""

    folder: Path
    version: int


class NotAllowed(Exception):
    """This machine gives us no way to limit CPU; the text says why."""


@dataclass(frozen=True)
class Group:
    """A group of processes that share `vcpu` CPUs. Close it after its processes have ended."""

    folder: Path
    version: int
    vcpu: float

    def started_by(self, command: Sequence[str]) -> list[str]:
        """The command that runs `command` in this group from its first moment on, under the same process id."""
        return ["/bin/sh", "-c", 'echo $$ > "$0" && exec "$@"', str(self.folder / "cgroup.procs"), *command]

    def throttled_s(self) -> float:
        """Seconds for which the group had work and was made to wait."""
        name, per_s = ("throttled_time", 1e9) if self.version == 1 else ("throttled_usec", 1e6)
        return stat(self.folder / "cpu.stat").get(name, 0) / per_s

    def lift(self) -> None:
        """Let its processes have all the CPU there is."""
        if self.version == 1:
            (self.folder / "cpu.cfs_quota_us").write_text("-1")
        else:
            (self.folder / "cpu.max").write_text(f"max {PERIOD_US}")

    def close(self) -> None:
        """Remove the group. A process that has just ended may linger in it for a moment."""
        until_s = time.monotonic() + END_WITHIN_S
        while True:
            try:
                return self.folder.rmdir()
            except OSError:
                if time.monotonic() > until_s:
                    raise
                time.sleep(0.05)


def find(mounts: str, own: str, *, usable: Callable[[Hierarchy], str]) -> Hierarchy:
    """The place where groups with CPU limits can be made, from /proc/self/mounts and /proc/self/cgroup.

    Inside the group in which we are, or else at the top: version 2 limits no group beside processes. `usable` says why
    a place cannot be used, or nothing. Raises NotAllowed with all reasons.
    """
    reasons = []
    for line in mounts.splitlines():
        _, mount, kind, options, *_ = line.split(" ")
        if kind == "cgroup" and "cpu" in options.split(","):
            version = 1
        elif kind == "cgroup2":
            version = 2
        else:
            continue
        folders = dict.fromkeys((Path(mount + _own_path(own, version)), Path(mount)))
        for place in (Hierarchy(folder, version) for folder in folders if folder.is_dir()):
            if not (reason := usable(place)):
                return place
            reasons.append(reason)
    raise NotAllowed("; ".join(reasons) or "no cgroup file system with a CPU controller is mounted")


def here() -> Hierarchy:
    """The place on this machine. Raises NotAllowed."""
    mounts, own = Path("/proc/self/mounts"), Path("/proc/self/cgroup")
    if not own.exists():
        raise NotAllowed("this system has no cgroups")
    return find(mounts.read_text(), own.read_text(), usable=_unusable)


def make(place: Hierarchy, name: str, vcpu: float) -> Group:
    """A new group of `vcpu` CPUs. Raises OSError."""
    group = Group(place.folder / f"qc-bench-{os.getpid()}-{name}", place.version, vcpu)
    group.folder.mkdir()
    quota_us = round(vcpu * PERIOD_US)
    try:
        if place.version == 1:
            (group.folder / "cpu.cfs_period_us").write_text(str(PERIOD_US))
            (group.folder / "cpu.cfs_quota_us").write_text(str(quota_us))
        else:
            (group.folder / "cpu.max").write_text(f"{quota_us} {PERIOD_US}")
    except OSError:
        group.folder.rmdir()
        raise
    return group


def stat(path: Path) -> dict[str, int]:
    """A file of lines that are a name and a number."""
    return {name: int(value) for name, value in (line.split() for line in path.read_text().splitlines())}


def _own_path(own: str, version: int) -> str:
    """Where this process is in a hierarchy, as `/`, by the lines of /proc/self/cgroup: number:controllers:path."""
    for line in own.splitlines():
        number, controllers, path = line.split(":", 2)
        if (version == 2 and number == "0") or (version == 1 and "cpu" in controllers.split(",")):
            return path
    return "/"


def _unusable(place: Hierarchy) -> str:
    """Why no process can be limited there; nothing when one could."""
    where = f"cgroup version {place.version} at {place.folder}"
    try:
        group = make(place, "try", 1.0)
    except OSError as error:
        return f"{where}: {error.strerror}"
    moved = subprocess.run(group.started_by(["true"]), capture_output=True, check=False)
    group.close()
    return f"{where}: no process may be moved" if moved.returncode else ""
