"""`qc bench`: the commands."""

from pathlib import Path
from typing import Annotated, NoReturn

import typer
import uvloop
from rich.console import Console

from quickcommerce.bench.plan import OrdersPlan, UsageError
from quickcommerce.bench.tokens import LOCAL_SECRET

bench_app = typer.Typer(name="bench", help="Load a running shop over HTTP, and count exactly.", no_args_is_help=True)


@bench_app.callback()
def _bench() -> None:
    """Keeps `orders` a subcommand while it is the only one."""


@bench_app.command()
def orders(
    *,
    url: Annotated[
        list[str], typer.Option(help="Where the shop answers. Given several times: its processes, asked in turn.")
    ] = ["http://127.0.0.1:8080"],  # noqa: B006 - typer's way to say a default
    buyers: Annotated[int, typer.Option(min=1, help="Different users, one order each.")] = 10_000,
    ramp_up: Annotated[float, typer.Option(min=0, help="Seconds over which the buyers arrive evenly.")] = 16.0,
    pay: Annotated[float, typer.Option(min=0, max=1, help="Share of the orders that is paid.")] = 0.2,
    pg_url: Annotated[str | None, typer.Option(help="The PG emulator.", show_default="URL/_toss")] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same baskets.")] = 1,
    jwt_secret: Annotated[
        str, typer.Option(envvar="QC_JWT_SECRET", help="The shop's token secret.", show_default="the local profile's")
    ] = LOCAL_SECRET,
    drain: Annotated[float, typer.Option(min=0, help="Seconds to wait for the rest of the loop.")] = 30.0,
    lines_max: Annotated[int, typer.Option(min=1, max=50, help="Most lines of a basket.")] = 5,
    quantity_max: Annotated[int, typer.Option(min=1, max=999, help="Most pieces of a line.")] = 5,
    connections: Annotated[int, typer.Option(min=1, help="Most connections at once.")] = 256,
    json: Annotated[Path | None, typer.Option(dir_okay=False, help="Write the result to this file.")] = None,
) -> None:
    """Buyers arrive in an open loop, order, some pay; then every answer is accounted for.

    Latency counts from the intended start. Exit status: 0 exact, 1 errors or a count that differs, 2 cannot run.
    """
    console = Console()
    # Not at the top: `qc` starts faster without them.
    from quickcommerce.bench.orders import run_orders  # noqa: PLC0415
    from quickcommerce.bench.report import show  # noqa: PLC0415
    from quickcommerce.bench.wire import NoAnswerError  # noqa: PLC0415

    for each in url:
        if not each.startswith(("http://", "https://")):
            _leave(console, f"--url {each} is no http address", 2)
    if json is not None and not json.parent.is_dir():
        _leave(console, f"--json {json}: there is no such folder", 2)
    first, *others = (each.rstrip("/") for each in url)
    plan = OrdersPlan(
        url=first,
        pg_url=(pg_url or f"{first}/_toss").rstrip("/"),
        jwt_secret=jwt_secret,
        buyers=buyers,
        ramp_up_s=ramp_up,
        pay_share=pay,
        seed=seed,
        lines_max=lines_max,
        quantity_max=quantity_max,
        connections=connections,
        drain_s=drain,
        others=tuple(others),
    )
    try:
        report = uvloop.run(run_orders(plan, console=console))
    except UsageError as error:
        _leave(console, str(error), 2)
    except NoAnswerError as error:
        _leave(console, f"failed: the shop is gone, nothing could be counted: {error}", 1)
    if json is not None:
        json.write_bytes(report.json())
    show(report, console)
    if report.failure:
        raise typer.Exit(1)


def _leave(console: Console, message: str, status: int) -> NoReturn:
    console.print(message, markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(status)
