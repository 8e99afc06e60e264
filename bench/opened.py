"""The open loop: buyers come on time whether or not the shop keeps up. `qc bench orders`, and what it reports."""

from datetime import datetime
from pathlib import Path

import msgspec

from bench import processes
from bench.counts import as_count
from bench.figures import Chart, Count, Curve
from bench.processes import QC, Failed
from quickcommerce.bench.checks import Check
from quickcommerce.bench.stats import Latency, Second


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """See `qc bench orders --help`: so many buyers over `ramp_up_s` seconds, of whom a share pays."""

    buyers: int = 10_000
    ramp_up_s: float = 16.0
    pay_share: float = 0.1
    lines_max: int = 5
    quantity_max: int = 5
    connections: int = 256
    drain_s: float = 60.0


class Told(msgspec.Struct, frozen=True):
    """What buyers were told, by kind of answer; `retried` of those accepted had asked before, and
    had no answer.
    """

    accepted: int
    out_of_stock: int
    captured: int
    checking: int
    errors: dict[str, int]
    retried: int


class Report(msgspec.Struct, frozen=True):
    """The result of `qc bench orders`; `failure` says why it is none, `drain_s` is None where the rest was not done."""

    sent_from: datetime
    answered_by: datetime
    answers: Told
    orders_per_s: float
    latencies: dict[str, Latency]
    order_percentiles_ms: list[tuple[float, float]]
    order_seconds: list[Second]
    client_cpu_s: float
    drain_s: float | None
    checks: list[Check]
    failure: str | None

    @property
    def counts(self) -> list[Count]:
        """The exact counts."""
        return [as_count(check) for check in self.checks]

    @property
    def sending_s(self) -> float:
        """Seconds from the first request to the last answer."""
        return (self.answered_by - self.sent_from).total_seconds()

    @property
    def errors(self) -> int:
        """Answers that were errors."""
        return sum(self.answers.errors.values())


async def run(shop_urls: tuple[str, ...], pg_url: str, plan: Plan, folder: Path) -> Report:
    """Run the plan against the processes of a shop. Raises Failed when it could not be run or counted."""
    file = folder / "open-loop.json"
    file.unlink(missing_ok=True)
    options = {
        "buyers": plan.buyers,
        "ramp-up": plan.ramp_up_s,
        "pay": plan.pay_share,
        "lines-max": plan.lines_max,
        "quantity-max": plan.quantity_max,
        "connections": plan.connections,
        "drain": plan.drain_s,
        "pg-url": pg_url,
        "json": file,
    }
    words = [word for url in shop_urls for word in ("--url", url)]
    words += [word for name, value in options.items() for word in (f"--{name}", str(value))]
    printed = await processes.run(QC, "bench", "orders", *words, statuses=(0, 1))
    if not file.exists():
        raise Failed(f"qc bench orders gave no result: {printed[-1000:]}")
    return msgspec.json.decode(file.read_bytes(), type=Report)


def charts(report: Report, label: str) -> list[Chart]:
    """Latency and rate over time, and the latency curve."""
    x = [float(second.at_s) for second in report.order_seconds]
    answered = [float(second.answered) for second in report.order_seconds]
    with_starts = [second for second in report.order_seconds if second.started]
    p99 = Curve(label, [float(second.at_s) for second in with_starts], [second.p99_ms for second in with_starts])
    return [
        Chart("p99 latency over time", "s", "ms", [p99], log_y=True),
        Chart("answers over time", "s", "orders/s", [Curve(label, x, answered)]),
        latency_curve(report.order_percentiles_ms, label),
    ]


def latency_curve(percentiles_ms: list[tuple[float, float]], label: str, *, of: str = "") -> Chart:
    """Which share of the answers took longer than what. `of` is the load, where a target has several."""
    shown = [(percent, ms) for percent, ms in percentiles_ms if percent >= 1]
    return Chart(
        f"{of}: latency by percentile" if of else "latency by percentile",
        "percentile",
        "ms",
        [Curve(label, [percent for percent, _ in shown], [ms for _, ms in shown])],
        log_y=True,
    )
