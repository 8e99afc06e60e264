"""What a measurement was made on."""

import os
import platform
import re
import shutil
import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bench import processes
from bench.limits import PERIOD_US
from bench.processes import ROOT
from bench.room import Room

LIBRARIES = "litestar uvicorn msgspec asyncmy redis confluent-kafka aiohttp".split()


@dataclass(frozen=True)
class Machine:
    """The machine, what else it did, how CPU was limited, and the versions of what took part."""

    started_at: datetime
    cores: int
    processor: str
    memory_gb: float
    system: str
    load_before: float
    limits: str
    commit: str
    versions: dict[str, str]


async def commit() -> str:
    """What is checked out, `-dirty` where it was changed; `unknown` where this is no clone.

    What the bench writes into the documents is no change.
    """
    here = ("git", "-C", str(ROOT))
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        return "unknown"
    name = (await processes.run(*here, "describe", "--always")).strip()
    changed = await processes.run(*here, "status", "--porcelain", "--", ".", ":!docs", ":!README.md")
    return f"{name}-dirty" if changed else name


async def seen(room: Room) -> Machine:
    """This machine now. `versions` lack the servers, which may not have started."""
    cpu, memory = Path("/proc/cpuinfo").read_text(), Path("/proc/meminfo").read_text()
    processor = re.search(r"^model name\s*: (.*)$", cpu, re.MULTILINE)
    total_kb = re.search(r"^MemTotal:\s+(\d+) kB$", memory, re.MULTILINE)
    wrk = await processes.run("wrk", "-v", statuses=(0, 1)) if shutil.which("wrk") else "wrk none"
    return Machine(
        started_at=datetime.now(UTC),
        cores=os.cpu_count() or 1,
        processor=processor[1] if processor else platform.machine(),
        memory_gb=round(int(total_kb[1]) * 1024 / 1e9, 1) if total_kb else 0.0,
        system=f"{platform.system()} {platform.release()}",
        load_before=os.getloadavg()[0],
        limits=limited(room),
        commit=await commit(),
        versions={
            "Python": platform.python_version(),
            "SQLite": sqlite3.sqlite_version,
            "wrk": " ".join(wrk.split()[1:2]),
            **{name: version(name) for name in LIBRARIES},
        },
    )


def limited(room: Room) -> str:
    """How CPU is limited in this room, or that it is not, and why."""
    if room.place is None:
        return f"none: {room.unlimited}. Every process had the whole machine, whatever the target says"
    return f"cgroup version {room.place.version}, in periods of {PERIOD_US / 1_000:g} ms"
