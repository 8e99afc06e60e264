"""Samples of what a process of ours does, taken by py-spy, and the part of the work to which each belongs."""

import re
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from bench.processes import Failed, Running, end, spawn

SPY = Path(sys.executable).with_name("py-spy")
PER_S = 100
REST = "what is none of these"
PARTS = {
    "MariaDB": r"/asyncmy/|/quickcommerce/kit/mariadb",
    "SQLite": r"/quickcommerce/kit/sqlite",
    "Redis": r"/redis/|/quickcommerce/stock/gate",
    "calls to the PG": r"/aiohttp/|/yarl/|/multidict/|/httpx2/|/quickcommerce/payment/(toss|line|tcp)",
    "log lines": r"/structlog/|/ecs_logging/|/logging/|/quickcommerce/kit/telemetry",
    "metrics": r"/prometheus_client/",
    "tokens": r"/jwt/|/quickcommerce/kit/auth",
    "HTTP": r"/uvicorn/protocols/|/litestar/|/quickcommerce/kit/(middleware|shortcut|web)",
    "payments": r"/quickcommerce/payment/",
    "the history": r"/quickcommerce/history/",
    "events: relays and readers": r"/quickcommerce/kit/(outbox|inbox|bus)",
    "orders, their lists and events": r"/quickcommerce/(order|stock|catalog|coupon|kit)/",
}
"""By the files of the code that works: what is none of these is counted to whoever called it."""
_PARTS = {name: re.compile(files) for name, files in PARTS.items()}
_FRAME = re.compile(r"\((?P<file>.+):\d+\)$")


@dataclass
class Samples:
    """What was seen of a process: its CPU seconds meanwhile, by the kernel's account, and which share of the samples
    belongs to each part.
    """

    cpu_s: float = 0.0
    shares: dict[str, float] = field(default_factory=dict)


@asynccontextmanager
async def taken(running: Running, file: Path) -> AsyncIterator[Samples]:
    """Look into a process as long as this lasts; then it is known. Raises Failed where there were no samples."""
    log, seen, before_s = file.with_suffix(".log"), Samples(), running.cpu_s
    of = ["--pid", str(running.process.pid), "--rate", str(PER_S), "--gil", "--duration", "unlimited"]
    with log.open("wb") as out:
        spy = await spawn(
            [str(SPY), "record", *of, "--format", "raw", "--full-filenames", "--output", str(file)], out, settings={}
        )
    try:
        yield seen
        seen.cpu_s = running.cpu_s - before_s
        with suppress(ProcessLookupError):
            spy.send_signal(signal.SIGINT)
        await spy.wait()
    finally:
        await end(spy)
    if not file.exists():
        raise Failed(f"py-spy took no samples: {log.read_text(errors='replace')[-1000:]}")
    seen.shares = shares(file.read_text("utf-8").splitlines())


def shares(lines: Iterable[str]) -> dict[str, float]:
    """Which share of the samples belongs to each part. A line is the frames of a sample, outermost first, separated by
    semicolons, and how often it was seen. Raises Failed where there is none.
    """
    seen: Counter[str] = Counter()
    for line in lines:
        frames, _, times = line.strip().rpartition(" ")
        seen[_part(frames)] += int(times)
    if not seen:
        raise Failed("py-spy took no samples")
    return {part: seen[part] / seen.total() for part in (*PARTS, REST)}


def _part(frames: str) -> str:
    """The part of the innermost frame that belongs to any."""
    for frame in reversed(frames.split(";")):
        if found := _FRAME.search(frame):
            for name, files in _PARTS.items():
                if files.search(found["file"]):
                    return name
    return REST
