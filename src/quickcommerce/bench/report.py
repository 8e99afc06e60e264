"""The result of a run: for people as tables, for programs as JSON, and in one line whether it holds."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from quickcommerce.bench.checks import Check, Counts
from quickcommerce.bench.plan import OrdersPlan
from quickcommerce.bench.stats import Latency, curve, over_time, summary
from quickcommerce.bench.tally import Tally


@dataclass(frozen=True)
class Report:
    """One run, whose buyers asked from `sent_from` until `answered_by`.

    `drain_s` is None when the loop was not drained in time; `client_cpu_s` is the bench's own CPU time.
    """

    plan: OrdersPlan
    started_at: datetime
    products: int
    sent_from: datetime
    answered_by: datetime
    tally: Tally
    client_cpu_s: float
    drain_s: float | None
    before: Counts
    after: Counts
    checks: list[Check]

    @property
    def orders_per_s(self) -> float:
        """Accepted orders per second, from the first intended start to the last answer."""
        return self.tally.accepted / self.tally.span_s if self.tally.span_s else 0.0

    @property
    def latencies(self) -> dict[str, Latency]:
        """Of orders, from their intended start; of confirms; and by how much the generator itself was late."""
        return {
            "order": summary(self.tally.order_us),
            "confirm": summary(self.tally.confirm_us),
            "generator lag": summary(self.tally.lag_us),
        }

    @property
    def failure(self) -> str | None:
        """Why the run failed, in one line; None when there was no error and everything adds up."""
        reasons = []
        if errors := self.tally.errors:
            kinds = ", ".join(f"{what} ({count})" for what, count in errors.most_common(3))
            reasons.append(f"{errors.total()} answers were errors: {kinds}")
        if self.drain_s is None:
            reasons.append(f"the loop was not drained {self.plan.drain_s:g} s after the last answer")
        if broken := [check for check in self.checks if not check.holds]:
            rows = ", ".join(f"{check.name} {check.actual}, not {check.expected}" for check in broken)
            reasons.append(f"the counts do not add up: {rows} (was there other traffic, or did older orders expire?)")
        return "; ".join(reasons) or None

    def json(self) -> bytes:
        """The whole result without the secret."""
        plan = {name: value for name, value in asdict(self.plan).items() if name != "jwt_secret"}
        tally = self.tally
        result = {
            "plan": plan,
            "started_at": self.started_at,
            "sent_from": self.sent_from,
            "answered_by": self.answered_by,
            "products": self.products,
            "answers": {
                "sent": tally.sent,
                "accepted": tally.accepted,
                "out_of_stock": tally.out_of_stock,
                "retried": tally.retried,
                "captured": tally.captured,
                "checking": tally.checking,
                "errors": tally.errors,
                "examples": tally.examples,
            },
            "intended_per_s": self.plan.intended_per_s,
            "orders_per_s": self.orders_per_s,
            "latencies": self.latencies,
            "order_percentiles_ms": curve(tally.order_us),
            "order_seconds": over_time(tally.order_at_s, tally.order_us),
            "client_cpu_s": self.client_cpu_s,
            "drain_s": self.drain_s,
            "before": self.before,
            "after": self.after,
            "checks": [asdict(check) | {"holds": check.holds} for check in self.checks],
            "failure": self.failure,
        }
        return msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n"


def show(report: Report, console: Console) -> None:
    """Prints the tables, then the verdict in the last line."""
    tally = report.tally
    console.print(
        f"{report.orders_per_s:,.0f} orders/s accepted, {report.plan.intended_per_s:,.0f} intended, "
        f"over {report.products} products; the bench itself used {report.client_cpu_s:.1f} s of CPU",
        highlight=False,
        soft_wrap=True,
    )
    answers = {
        "accepted": tally.accepted,
        "accepted after a lost answer": tally.retried,
        "sold out": tally.out_of_stock,
        "paid: captured": tally.captured,
        "paid: checking at first": tally.checking,
        **{escape(f"error: {what}"): count for what, count in tally.errors.most_common()},
    }
    console.print(_table(("answers", "count"), ((name, f"{count:,}") for name, count in answers.items())))
    latencies = (_latency_row(name, latency) for name, latency in report.latencies.items())
    console.print(_table(("latency, ms", "count", "mean", "p50", "p95", "p99", "max"), latencies))
    checks = (_check_row(check) for check in report.checks)
    console.print(_table(("exact count", "expected", "actual", ""), checks))
    for example in tally.examples:
        console.print(f"example: {example}", markup=False, highlight=False, soft_wrap=True)
    verdict = f"failed: {report.failure}" if report.failure else "exact: every answer is accounted for"
    style = "bold red" if report.failure else "bold green"
    console.print(verdict, style=style, markup=False, highlight=False, soft_wrap=True)


def _latency_row(name: str, latency: Latency) -> tuple[str, ...]:
    figures = (latency.mean_ms, latency.p50_ms, latency.p95_ms, latency.p99_ms, latency.max_ms)
    return name, f"{latency.count:,}", *(f"{figure:,.1f}" for figure in figures)


def _check_row(check: Check) -> tuple[str, ...]:
    mark = "[green]ok[/]" if check.holds else "[bold red]differs[/]"
    return check.name, f"{check.expected:,}", f"{check.actual:,}", mark


def _table(headings: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Table:
    table = Table()
    for column, heading in enumerate(headings):
        table.add_column(heading, justify="right" if column else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table
