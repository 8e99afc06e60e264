"""Shows a run's progress: a bar on a terminal, a plain line every few seconds elsewhere."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from quickcommerce.bench.tally import Tally

# Drawing costs CPU that the shop needs.
BAR_EVERY_S = 0.5
LINE_EVERY_S = 4.0


@asynccontextmanager
async def shown(console: Console, tally: Tally, buyers: int) -> AsyncIterator[None]:
    """Shows how many of `buyers` have their answer while the block runs."""
    task = asyncio.create_task(_bar(console, tally, buyers) if console.is_terminal else _lines(console, tally, buyers))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _bar(console: Console, tally: Tally, buyers: int) -> None:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console, auto_refresh=False) as progress:
        bar = progress.add_task("orders", total=buyers, note="")
        try:
            while True:
                progress.update(bar, completed=tally.answered, note=_note(tally), refresh=True)
                await asyncio.sleep(BAR_EVERY_S)
        finally:
            progress.update(bar, completed=tally.answered, note=_note(tally), refresh=True)


async def _lines(console: Console, tally: Tally, buyers: int) -> None:
    while True:
        await asyncio.sleep(LINE_EVERY_S)
        console.print(f"{tally.answered} of {buyers} orders answered, {_note(tally)}", highlight=False)


def _note(tally: Tally) -> str:
    return f"{len(tally.paid)} paid, {tally.out_of_stock} sold out, {sum(tally.errors.values())} errors"
