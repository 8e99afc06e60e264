"""The ways to guard stock that the original's authors weighed, and ours, on the same workloads with exact counts.

`lock` and `script` are theirs, `conditional` is our guard in the same plain application, and `ours` is the shop itself,
whose lists need each product's row once for many orders. The first three differ in nothing but the guard.
"""

from collections.abc import AsyncIterator

from bench import closed
from bench.bare import Bare, bare
from bench.closed import Answers, Load
from bench.figures import Chart, Count, Curve, Figure, Run
from bench.opened import latency_curve
from bench.room import Room, in_turn, workload
from bench.saturate import Workload, scaled

name = "guards"
what = (
    "stock guarded by a Redis lock per product, a Lua script per line, a conditional UPDATE, and by us, on the same"
    " workloads, 256 connections (wrk)"
)
target = "ours the fastest on each workload, all exact but for the lock, whose lease may end while it is used"

VARIANTS = ("lock", "script", "conditional", "ours")
WORKLOADS = {
    "guards-spread": "200 goods, 3 in a basket",
    "guards-hot": "1 good, enough for all",
    "guards-scarce": "1 good, 100 units",
}
"""Files of workloads, and what charts call them."""
WARM_ORDERS = 300


async def run(room: Room) -> AsyncIterator[Run]:
    """See `targets.table`."""
    for number in range(1, room.runs + 1):
        this = Run()
        for file, title in WORKLOADS.items():
            load = workload(file, Workload)
            told = {}
            for variant in in_turn(VARIANTS, number):
                room.tell(f"{name} run {number} of {room.runs}: {title}, {variant}")
                async with bare(room) as on:
                    told[variant], found, counted = await _measured(on, load, title, variant)
                this.counts += counted
                this.figures += found
            this.figures.append(_lead(title, told))
            this.charts += _charts(title, told)
        yield this


async def _measured(
    on: Bare, workload: Workload, title: str, variant: str
) -> tuple[Answers, list[Figure], list[Count]]:
    goods, load = workload.goods, scaled(on.room, workload.load)
    # Where there is too little, nothing may be taken before.
    scarce = goods.stock <= WARM_ORDERS
    warm_up = [] if scarce else [Load(orders=WARM_ORDERS, lines=load.lines)]
    await on.stock(goods)
    async with on.ours() if variant == "ours" else on.yardstick(variant) as shop:
        *warming, orders = [closed.prepare(each, goods.ids, on.folder) for each in (*warm_up, load)]
        warmed = [await closed.send(shop.url, *each) for each in zip(warm_up, warming, strict=True)]
        cpu_s = shop.cpu_s
        told = await closed.send(shop.url, load, orders)
        cpu_s = shop.cpu_s - cpu_s
    accepted = told.accepted + sum(each.accepted for each in warmed)
    in_rows = variant in ("ours", "conditional")
    held = await (on.units_reserved() if in_rows else on.units_taken(goods))
    figures = [
        Figure("decided", _decided_per_s(told), "/s"),
        Figure("p50", told.percentile_ms(50), "ms"),
        Figure("p99", told.percentile_ms(99), "ms"),
        Figure("CPU of Python per order", cpu_s / told.answered * 1e6, "us"),
        Figure("gave up", told.errors, "orders"),
    ]
    counts = [Count("answered", told.sent, told.answered), *await on.counts(accepted, load.units)]
    counts += [Count("orders of the warm-up that gave up", 0, each.errors) for each in warmed]
    if variant == "lock":
        # Whoever works longer than the lease writes over others' figures: that is the design's fault, and is shown.
        figures.append(Figure("units off", held - accepted * load.units, "units"))
        figures.append(Figure("products oversold", await on.oversold()))
    else:
        counts += [Count("units held", accepted * load.units, held), Count("orders that gave up", 0, told.errors)]
        counts.append(Count("products oversold", 0, await on.oversold()))
        if scarce:
            counts.append(Count("sold", min(goods.stock, load.orders), told.accepted))
    return (
        told,
        [Figure(f"{title}: {each.name}", each.value, each.unit, variant=variant) for each in figures],
        [Count(f"{title}, {variant}: {each.name}", each.expected, each.actual) for each in counts],
    )


def _decided_per_s(told: Answers) -> float:
    """Orders that were accepted or told that it is sold out; whoever gave up was not served."""
    return (told.answered - told.errors) / max(told.span_s, 1e-9)


def _lead(title: str, told: dict[str, Answers]) -> Figure:
    """How many times as fast ours is as the fastest of the others."""
    rates = {variant: _decided_per_s(answers) for variant, answers in told.items()}
    others = max(rate for variant, rate in rates.items() if variant != "ours")
    return Figure(f"{title}: ours / the best of the others", rates["ours"] / others, "x", least=1)


def _charts(title: str, told: dict[str, Answers]) -> list[Chart]:
    rates = [
        Curve(variant, [at * closed.BUCKET_S for at in range(len(answers.per_s))], answers.per_s)
        for variant, answers in told.items()
    ]
    latencies = [latency_curve(answers.percentiles_ms, variant, of=title) for variant, answers in told.items()]
    return [Chart(f"{title}: orders answered", "s", "orders/s", rates, log_y=True), *latencies]
