"""The queue of orders before the database, simulated by load: in lists, as the shop writes them, and one at a time."""

from collections.abc import Callable
from dataclasses import replace

from bench.figures import Chart, Curve
from bench.scale.model import Lists, Simulated, simulate

RUNNERS, LIST_MAX, WRITERS = 2, 256, 8
"""The shop's defaults: QC_DB_RUNNERS_MAX, QC_ORDER_LIST_MAX, QC_DB_WRITERS_MAX."""
ENOUGH, WHOLE, GATHER_LISTS, GATHER_MAX_S = 16, 64, 2, 0.01
"""As in `quickcommerce/kit/batch.py`."""
LOADS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
"""Shares of what a queue takes at most."""
SIMULATED = 20_000


def designs(lists: Lists) -> dict[str, Lists]:
    """Lists, and beside them a transaction an order on as many connections, and on all that a process has to write."""
    alone = replace(lists, list_max=1)
    return {
        f"lists, {RUNNERS} at once": lists,
        f"an order a transaction, {RUNNERS} at once": alone,
        f"an order a transaction, {WRITERS} at once": replace(alone, runners=WRITERS),
    }


def charts(lists: Lists, seed: int) -> list[Chart]:
    """Time to an answer and size of lists by load, simulated."""
    loads = {label: [share * each.most_per_s for share in LOADS] for label, each in designs(lists).items()}
    runs = {
        label: [simulate(each, per_s, orders=SIMULATED, seed=seed) for per_s in loads[label]]
        for label, each in designs(lists).items()
    }

    def chart(title: str, unit: str, read: Callable[[Simulated], float]) -> Chart:
        curves = [Curve(label, loads[label], [read(each) for each in found]) for label, found in runs.items()]
        return Chart(title, "orders/s of one process, simulated", unit, curves, log_y=True, log_x=True)

    return [
        chart("mean time to an answer by load", "ms", lambda each: each.mean_answer_s * 1e3),
        chart("p99 of the time to an answer by load", "ms", lambda each: each.p99_answer_s * 1e3),
        chart("orders in a list by load", "orders", lambda each: each.mean_size),
    ]
