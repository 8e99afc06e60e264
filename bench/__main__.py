"""`scripts/bench P4`: measure a target, or several, or all of them, and write the report."""

import argparse
import asyncio
import gc
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench import documents, machine, report, results, room
from bench.figures import Run, medians
from bench.processes import Failed
from bench.results import Result
from bench.room import Room
from bench.targets.table import TARGETS, Target

OUT = Path("build/bench")
TOLD = "those in docs/bench are told by README.md and docs/performance.md, which are written with them"
BAD_USAGE = 2
RUNS = 3
"""How often each is measured, where figures are to be told."""
OTHERWISE = "`scripts/bench orders` sends buyers to a shop that runs already: scripts/bench orders --help"


def main(words: Sequence[str]) -> int:
    """Do what the arguments say. Returns the exit code: 0 when no bound was missed and no run failed, or a target was
    only tried, 1 when not, 2 for bad usage.
    """
    asked = _arguments(words)
    console = Console(highlight=False, soft_wrap=True)
    if asked.names == ["list"]:
        for target in TARGETS:
            console.print(f"{target.name:4} {target.what}: {target.target}", markup=False)
        return 0
    known = {target.name: target for target in TARGETS}
    if unknown := [name for name in asked.names if name not in known and name != "all"]:
        console.print(f"there is no target {', '.join(unknown)}; there are {', '.join(known)}")
        return BAD_USAGE
    chosen = list(TARGETS) if "all" in asked.names else [known[name] for name in asked.names]
    asked.out.mkdir(parents=True, exist_ok=True)
    if asked.out.resolve() == documents.KEPT and (asked.scale < 1 or asked.runs < RUNS):
        console.print(f"{asked.out} is for figures of {RUNS} runs of the whole load; try it out with another --out")
        return BAD_USAGE
    real = {each.name for each in results.read(asked.out) if each.scale == 1}
    if asked.scale < 1 and (lost := [target.name for target in chosen if target.name in real]):
        console.print(f"{asked.out} has real figures of {', '.join(lost)}; try them out with another --out")
        return BAD_USAGE
    try:
        return asyncio.run(_measure(chosen, asked, console))
    except (KeyboardInterrupt, asyncio.CancelledError):
        console.print("stopped; what was measured before is kept")
        return 1


def _arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__, epilog=OTHERWISE)
    parser.add_argument("names", nargs="+", metavar="TARGET", help="P2, P3 ...; all; list shows them")
    parser.add_argument("--runs", type=int, default=RUNS, help=f"how often each is measured ({RUNS})")
    parser.add_argument("--out", type=Path, default=OUT, help=f"where results and report are kept ({OUT}); {TOLD}")
    parser.add_argument("--scale", type=float, default=1.0, help="below 1: a smaller load, to try a target out")
    parser.add_argument("--keep", action="store_true", help="leave the data and the logs of the processes")
    asked = parser.parse_args(words)
    if asked.runs < 1 or not 0 < asked.scale <= 1:
        parser.error("--runs must be at least 1, --scale above 0 and at most 1")
    return asked


async def _measure(chosen: Sequence[Target], asked: argparse.Namespace, console: Console) -> int:
    """Measure the targets one after another; each finds empty servers, and is kept and shown when it is done."""
    _cancel_on_terminate()
    start_s = time.monotonic()

    def tell(text: str) -> None:
        console.print(f"{time.monotonic() - start_s:7.1f} s  {text}", markup=False)

    words = [] if asked.runs == RUNS else [f"--runs {asked.runs}"]
    words += [] if asked.scale == 1 else [f"--scale {asked.scale:g}"]
    verdicts = []
    async with room.opened(runs=asked.runs, scale=asked.scale, keep=asked.keep, tell=tell) as where:
        for target in chosen:
            command = " ".join(["scripts/bench", target.name, *words])
            result = await _result(target, where, command)
            verdicts.append(result.verdict)
            kept = results.keep(asked.out, result)
            report.write(kept, asked.out)
            if asked.out.resolve() == documents.KEPT:
                documents.fill(kept)
            _show(result, console)
    console.print(f"report: {asked.out / 'report.html'}, table: {asked.out / 'table.md'}")
    return 0 if all(verdict in ("met", "measured", "tried") for verdict in verdicts) else 1


async def _result(target: Target, where: Room, command: str) -> Result:
    """Measure one target; a run that could not be made is a result too."""
    seen, start_s = await machine.seen(where), time.monotonic()
    where.limits_lacked = False
    runs: list[Run] = []
    error = ""
    try:
        async for each in target.run(where):
            runs.append(each)  # noqa: PERF401 - those before a failure are kept
    except Exception as failed:  # noqa: BLE001 - told as the target's result; those after it are measured all the same
        error = f"{type(failed).__name__}: {failed}"
        where.tell("".join(traceback.format_exception(failed)))
    # Clients that a target leaves in cycles would look for its servers, and find those of the next one in their place.
    gc.collect()
    versions = seen.versions | {server.name: server.version for server in where.known_servers}
    try:
        await where.close()
    except (Failed, OSError) as failed:
        error = error or f"{type(failed).__name__}: {failed}"
    where.keep = where.keep or bool(error)
    seen = replace(seen, versions=versions)
    limited, took_s = not where.limits_lacked, time.monotonic() - start_s
    return Result(target.name, target.what, target.target, command, seen, where.scale, runs, error, limited, took_s)


def _show(result: Result, console: Console) -> None:
    """The figures of a target, and whether everything was counted."""
    table = Table(title=f"{result.name}: {result.target}: {result.verdict}", title_justify="left")
    for heading in ("figure", "median (range)", "bound", ""):
        table.add_column(heading, justify="right" if heading == "median (range)" else "left")
    for each in medians(result.runs):
        table.add_row(each.title, report.shown(each), each.bound, each.word)
    console.print(table)
    for line in (*result.failures, *result.notes):
        console.print(line, markup=False)
    made, held = result.counted
    console.print(f"{held} of {made} exact counts held, in {len(result.runs)} runs")


def _cancel_on_terminate() -> None:
    """SIGTERM ends a run as Ctrl-C does: servers and processes are stopped."""
    task = asyncio.current_task()
    assert task  # noqa: S101 - a coroutine runs in a task
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
