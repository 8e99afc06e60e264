"""`qc reconcile`: what moved at the PG, held to payments and orders."""

import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from rich.progress import Progress
from rich.table import Table

from quickcommerce import doctor
from quickcommerce.app import App
from quickcommerce.kit.clock import SECOND_US, rfc3339, system_clock
from quickcommerce.kit.days import moment
from quickcommerce.kit.problem import Unavailable
from quickcommerce.kit.telemetry import configure_logs
from quickcommerce.parts import EMULATOR_PREFIX
from quickcommerce.payment.listing import Unlisted
from quickcommerce.payment.reconcile import Report
from quickcommerce.payment.reconcile_model import SETTLE_S
from quickcommerce.running import Running, alone
from quickcommerce.settings import EMULATOR, BadSetting, Settings
from quickcommerce.terminal import DataDir, cells, err, once, out, settings_of
from quickcommerce.toss_emulator.store import LedgerError

CANNOT = 2
"""Exit status where nothing could be compared, or not all."""
Since = Annotated[str, typer.Option("--from", help="A date (Asia/Seoul) or an RFC 3339 time.")]
Until = Annotated[str | None, typer.Option("--to", help="A date, whose day is covered, or a time.", show_default="now")]


def reconcile(
    since: Since,
    until: Until = None,
    data_dir: DataDir = None,
    *,
    report_only: Annotated[bool, typer.Option("--report-only", help="Change nothing.")] = False,
    machine: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare what moved at the PG with payments and orders; heal what is safe, list what needs a human.

    The shop may run meanwhile. What is younger than 90 seconds is left to the next time. Exit status: 0 nothing was
    found or all is healed, 1 something is left, 2 it could not be compared.
    """
    from_us, now_us = _moment("--from", since, day_end=False), system_clock()
    before_us = _moment("--to", until, day_end=True) if until is not None else now_us
    if before_us <= from_us:
        raise BadSetting("--from lies behind --to")
    if from_us >= now_us - SETTLE_S * SECOND_US:
        raise BadSetting(f"--from must lie {SETTLE_S} seconds back or more: nothing can be compared that is younger")
    settings = doctor.there(settings_of(data_dir=data_dir))
    # What is logged is what the table says, so people are not told twice.
    by_machine = settings.log_format == "json"
    configure_logs(settings.log_level if by_machine else "CRITICAL", machine=by_machine)

    async def work(app: App) -> _Compared:
        if app.flows.emulator:
            await app.flows.emulator.start()
        spans = list(app.flows.reconciling.spans(from_us, before_us))
        done = _Compared(Report(), from_us)
        with Progress(console=err, disable=machine) as progress:
            task = progress.add_task("compared", total=len(spans))
            for span in spans:
                try:
                    report = await app.flows.reconciling.span(span, heal=not report_only)
                except (Unlisted, Unavailable) as down:
                    return _Compared(done.report, done.end_us, down)
                done = _Compared(done.report + report, span.before_us)
                progress.advance(task)
        return done

    try:
        with ExitStack() as held:
            found = once(_reaching_pg(settings, held), work)
    except (Unavailable, LedgerError) as down:
        found = _Compared(Report(), from_us, down)
    _tell(found, from_us, machine=machine)


class _Compared(NamedTuple):
    """What a comparison came to, up to when, and what ended it early."""

    report: Report
    end_us: int
    down: Exception | None = None


def _tell(found: _Compared, from_us: int, *, machine: bool) -> None:
    """Print what was found, and end with the status that says so."""
    some = found.end_us > from_us
    if some and machine:
        sys.stdout.write(json.dumps(_json(found, from_us), ensure_ascii=False) + "\n")
    elif some:
        _show(found.report, found.end_us)
    if found.down:
        why = found.down.detail if isinstance(found.down, Unavailable) else found.down
        rest = f"; compared up to {rfc3339(found.end_us)}, go on from there" if some else ""
        err.print(f"qc: {why}{rest}", style="red", markup=False)
        raise typer.Exit(CANNOT) from found.down
    if not found.report.clear:
        raise typer.Exit(1)


def _moment(option: str, text: str, *, day_end: bool) -> int:
    try:
        at_us = moment(text, day_end=day_end)
    except ValueError:
        at_us = None
    if at_us is None or at_us < 0:
        raise BadSetting(f"{option} {text} must be a date such as 2026-01-31 or an RFC 3339 time")
    return at_us


def _reaching_pg(settings: Settings, held: ExitStack) -> Settings:
    """The settings with which the PG is reached: an emulator in the process of a running shop is asked there, and one
    that does not run is run here, for as long as `held`.
    """
    if settings.pg_url != EMULATOR:
        return settings
    try:
        held.enter_context(alone(Path(settings.data_dir), ""))
    except Running as running:
        if not running.url:
            raise BadSetting(
                f"the PG is the emulator in the shop that is running on {settings.data_dir}: set QC_PG_URL to the"
                f" shop's address and {EMULATOR_PREFIX}, or stop the shop"
            ) from running
        return settings_of(data_dir=settings.data_dir, pg_url=running.url + EMULATOR_PREFIX)
    return settings


def _show(report: Report, end_us: int) -> None:
    table = Table("mismatch", "won", "what was found", show_lines=True)
    for each in report.looked:
        seen, verdict = each.seen, each.verdict
        what = f"{seen.kind}\n{verdict.end}\n{rfc3339(seen.at_us)[:16].replace('T', ' ')}Z"
        ids = [seen.payment_id, *filter(None, (seen.order_id, seen.refund_id))]
        table.add_row(*cells(what, f"PG {seen.pg_won:,}\nhere {seen.our_won:,}", "\n".join([*ids, verdict.detail])))
    for row in report.unread:
        table.add_row(*cells("unreadable\nleft", "", f"{row.transaction_key}\n{row.reason}"))
    if table.row_count:
        out.print(table)
    ends = [str(each.verdict.end) for each in report.looked]
    told = ", ".join(f"{ends.count(end)} {end}" for end in sorted(set(ends)))
    unread = f"; {len(report.unread)} rows of the PG's list cannot be read" if report.unread else ""
    compared = f"up to {rfc3339(end_us)[:19]}Z: {report.transactions} transactions, {report.payments} payments"
    out.print(f"{compared}: {told or 'everything fits'}{unread}", markup=False)


def _json(found: _Compared, from_us: int) -> dict[str, Any]:
    report, end_us, down = found
    return {
        "from": rfc3339(from_us),
        "to": rfc3339(end_us),
        "transactions": report.transactions,
        "payments": report.payments,
        "clear": report.clear and down is None,
        "mismatches": [
            {
                "kind": each.seen.kind,
                "end": each.verdict.end,
                "payment_id": each.seen.payment_id,
                "order_id": each.seen.order_id or None,
                "refund_id": each.seen.refund_id or None,
                "transaction_key": each.seen.transaction_key or None,
                "pg_won": each.seen.pg_won,
                "our_won": each.seen.our_won,
                "at": rfc3339(each.seen.at_us),
                "detail": each.verdict.detail,
            }
            for each in report.looked
        ],
        "unreadable": [{"transaction_key": row.transaction_key or None, "reason": row.reason} for row in report.unread],
    }
