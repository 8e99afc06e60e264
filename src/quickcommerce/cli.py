"""`qc`: run the shop, look after its data, try it out."""

import asyncio
import os
import sys
from dataclasses import astuple
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress
from rich.table import Table

from quickcommerce import doctor as checks
from quickcommerce import roles
from quickcommerce.app import App, build
from quickcommerce.bench.cli import bench_app
from quickcommerce.catalog.file import BadFile, read_file
from quickcommerce.emulate import emulate
from quickcommerce.history.rebuild import Rebuild, Rebuilt, Upkeep
from quickcommerce.kit.auth import Role, mint
from quickcommerce.kit.clock import system_clock
from quickcommerce.kit.problem import Problem
from quickcommerce.reconcile_cli import reconcile
from quickcommerce.roles import ROLES
from quickcommerce.serve import serve
from quickcommerce.settings import BadSetting
from quickcommerce.terminal import DataDir, cells, err, once, out, settings_of

cli = typer.Typer(
    help="QuickCommerce: the order-payment core of a quick-commerce shop.",
    no_args_is_help=True,
    # Typer's own tracebacks may show local variables, and some of those are secrets.
    pretty_exceptions_enable=False,
)
catalog_cli = typer.Typer(help="What is for sale.", no_args_is_help=True)
rebuild_cli = typer.Typer(help="Make again what follows from the databases.", no_args_is_help=True)
letters_cli = typer.Typer(help="Events that could not be handled.", no_args_is_help=True)
cli.add_typer(catalog_cli, name="catalog")
cli.add_typer(letters_cli, name="dead-letters")
cli.add_typer(rebuild_cli, name="rebuild")
cli.add_typer(bench_app, name="bench")
cli.command(name="reconcile")(reconcile)

MIGRATE_S = 600
"""How long one statement of a migration may take, in seconds."""


def main() -> None:
    """The command. What is wrong with settings, input or a store is said in a sentence."""
    try:
        cli()
    except BadSetting as bad:
        err.print(f"qc: {bad}", style="red", markup=False)
        sys.exit(2)
    except Problem as problem:
        err.print(f"qc: {problem.detail}", style="red", markup=False)
        sys.exit(1)


@cli.command()
def run(
    role: Annotated[str, typer.Option(help=f"One of {', '.join(ROLES)}.")] = "all",
    host: Annotated[str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="0 takes a free one.", show_default="8080")] = None,
    data_dir: DataDir = None,
    *,
    sample: Annotated[bool, typer.Option(help="Load the sample catalog if the shop has no goods yet.")] = False,
) -> None:
    """Serve the shop."""
    settings = settings_of(host=host, port=port, data_dir=data_dir)
    for known in ROLES:
        if role == known:
            roles.check(known, settings)
            return serve(settings, known, sample=sample)
    raise BadSetting(f"--role {role} is none of {', '.join(ROLES)}")


@cli.command()
def migrate(data_dir: DataDir = None) -> None:
    """Bring the databases to the present schema; make the bus's topics and the history's index where there are none."""

    async def whole() -> list[str]:
        # A large table takes as long as it takes.
        app = build(settings_of(data_dir=data_dir, db_statement_s=MIGRATE_S))
        try:
            applied = [*await app.migrate(), *(f"bus: topic {name}" for name in await app.make_topics())]
            await Upkeep(Rebuild(app.flows.book, app.flows.index)).step()
            return applied
        finally:
            await app.stop()

    applied = asyncio.run(whole())
    for name in applied:
        out.print(f"applied {name}", markup=False)
    out.print(f"{len(applied)} applied; the databases are up to date")


@catalog_cli.command("import")
def catalog_import(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False)], data_dir: DataDir = None
) -> None:
    """Load products from a CSV file: product_id,name,price,stock and optionally name_en,category.

    A product that is known gets its names, category and price updated; its stock is untouched. All or nothing.
    """
    try:
        entries = read_file(file)
    except BadFile as bad:
        for line in bad.lines:
            err.print(line, style="red", markup=False)
        err.print(f"{file}: {len(bad.lines)} bad; nothing was loaded", markup=False)
        raise typer.Exit(1) from bad

    async def load(app: App) -> int:
        with Progress(console=err) as progress:
            task = progress.add_task("products", total=len(entries))
            return await app.flows.catalog.put(entries, lambda done: progress.update(task, completed=done))

    new = once(settings_of(data_dir=data_dir), load)
    out.print(f"{len(entries)} products: {new} new, {len(entries) - new} updated")


@cli.command()
def token(
    user: Annotated[int, typer.Option(min=1, max=2**53 - 1, help="The user's id.")],
    role: Annotated[Role, typer.Option(help="What they are.")] = Role.USER,
    ttl_s: Annotated[int, typer.Option(min=1, max=10**9, help="Seconds until it ends.")] = 3600,
) -> None:
    """Print a token to try the shop with; only in the profiles local and test."""
    profile = os.environ.get("QC_PROFILE", "local")
    if profile in ("dev", "prod"):
        # Before anything else that is wrong there: it could not help to mend it.
        raise BadSetting(f"tokens are not given out in the profile {profile}")
    settings = settings_of()
    sys.stdout.write(mint(settings.jwt_secret, user, role, now_us=system_clock(), ttl_s=ttl_s) + "\n")


@cli.command()
def doctor(data_dir: DataDir = None) -> None:
    """Check every configured part and print the settings in effect, secrets masked."""
    settings = settings_of(data_dir=data_dir)
    table = Table("setting", "value", title="Settings")
    for name, value in settings.masked().items():
        table.add_row(*cells(f"QC_{name.upper()}", value))
    out.print(table)
    findings = checks.examine(settings)
    table = Table("part", "fit", "what was found", title="Parts")
    for finding in findings:
        table.add_row(*cells(finding.part, finding.verdict, finding.detail))
    out.print(table)
    if not all(finding.fit for finding in findings):
        raise typer.Exit(1)


@rebuild_cli.command("history")
def rebuild_history(data_dir: DataDir = None) -> None:
    """Make the search index what the orders are; the shop may run meanwhile."""

    async def work(app: App) -> tuple[Rebuilt, int]:
        total = (await app.operations.counts())["orders"]
        with Progress(console=err) as progress:
            task = progress.add_task("orders", total=total)
            rebuild = Rebuild(app.flows.book, app.flows.index)
            done = await rebuild.run(lambda orders: progress.update(task, completed=orders))
        return done, await app.flows.index.count()

    done, documents = once(checks.there(settings_of(data_dir=data_dir)), work)
    changes = f"{done.added} documents added, {done.renewed} renewed, {done.removed} removed"
    out.print(f"{done.orders} orders: {changes}; there are {documents} documents")


@rebuild_cli.command("gate")
def rebuild_gate(data_dir: DataDir = None) -> None:
    """Empty the gate, where there is one: what it should know it learns from the next refusals."""
    settings = settings_of(data_dir=data_dir)
    emptied = once(settings, App.empty_gate) if settings.gate_url else None
    none = "no gate is configured (QC_GATE_URL): nothing has to be rebuilt"
    out.print(none if emptied is None else f"{emptied} figures forgotten; the gate learns from the next refusals")


@letters_cli.command("list")
def letters_list(data_dir: DataDir = None) -> None:
    """Those of all stores, the oldest first."""
    letters = once(checks.there(settings_of(data_dir=data_dir)), lambda app: app.operations.all_dead_letters())
    table = Table("id", "consumer", "event", "order", "reason", "tries", "failed at")
    for letter in letters:
        table.add_row(*cells(*astuple(letter)))
    out.print(table if letters else "no dead letters")


@letters_cli.command("replay")
def letters_replay(letter_id: Annotated[str, typer.Argument(help="As listed.")], data_dir: DataDir = None) -> None:
    """Handle one again, after what made it fail was mended."""
    once(checks.there(settings_of(data_dir=data_dir)), lambda app: app.operations.replay(letter_id))
    out.print(f"handled {letter_id}", markup=False)


@cli.command()
def emulator(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 9900,
    data_dir: DataDir = None,
    webhook_url: Annotated[
        str | None, typer.Option(help="Where webhooks go, such as http://127.0.0.1:8080/webhooks/toss.")
    ] = None,
) -> None:
    """Serve the Toss emulator by itself."""
    if os.environ.get("QC_PROFILE") == "prod":
        raise BadSetting("the emulator takes no real money: it is not for the profile prod")
    emulate(settings_of(data_dir=data_dir, pg_webhook_url=webhook_url), host, port)
