"""What each part uses for an order and for its payment, how long lists take, and what the model makes of that."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

from bench import http, planned, saturate
from bench.figures import Chart, Curve, Figure, Run
from bench.processes import Failed
from bench.room import Room, workload
from bench.scale import waiting
from bench.scale.model import BUSY, Lists, Part, Used, fitted, parts, shops, simulate
from bench.scale.waiting import ENOUGH, GATHER_LISTS, GATHER_MAX_S, LIST_MAX, RUNNERS, WHOLE, designs
from bench.shapes import OTHERS, Shop, spread

name = "scale"
what = (
    "CPU of each part for an order and for its payment (100 orders/s, nobody pays, then everybody, one process of each"
    " role), how long lists of orders take, and by the model of docs/scale.md what 1,000,000 orders a minute need"
)
target = "every count exact; the figures are there to be used, not to be reached"

IDLE_S = 10.0
ROLES = ("api", *OTHERS)
SERVERS = ("mariadb", "redis-1", "kafka", "elasticsearch")
REST = "the rest of the servers"
PG = "emulator (the PG, not ours)"
DATABASE_CORES = 16.0
SINGLE = {"mariadb": DATABASE_CORES, "relay": 2.0, "redis-1": 1.0}
"""Parts that a shop cannot have more of, with their cores. Of relays two work side by side: each leases half of the
shards at most."""
RATES_A_MINUTE = (10_000, 100_000, 1_000_000)
DRAWN_A_MINUTE = (1_000.0, *map(float, RATES_A_MINUTE))


@dataclass(frozen=True)
class Queue:
    """A closed loop before the queue of orders: what an order took in the process, and how many lists there were."""

    seen: saturate.Measured
    answer_s: float
    lists: float

    @property
    def list_size(self) -> float:
        """Orders in a list."""
        return self.seen.answers.accepted / max(self.lists, 1)

    @property
    def used(self) -> Used:
        """What each part used for its orders until the last document."""
        took_s = self.seen.answers.span_s + (self.seen.drain_s or 0.0)
        return Used(by_part(self.seen.with_rest.by_name), took_s, self.seen.answers.accepted, payments=0)

    @property
    def list_s(self) -> float:
        """Seconds that a list took, where all runners were busy all the time; at most so many, where they were not."""
        return RUNNERS * self.seen.answers.span_s / max(self.lists, 1)


@dataclass(frozen=True)
class Seen:
    """Everything that one run measured. `answer_s` is what an order took in the process while nobody paid."""

    alone: Queue
    idle_cores: dict[str, float]
    unpaid: planned.Measured
    answer_s: float
    paid: planned.Measured
    crowd: Queue


async def run(room: Room) -> AsyncIterator[Run]:
    """See `targets.table`."""
    for number in range(1, room.runs + 1):
        room.tell(f"{name} run {number} of {room.runs}")
        async with spread(room, workload("plan-nobody-pays", planned.Workload).goods) as shop:
            seen = await _seen(room, shop)
        try:
            found = run_of(seen, seed=number)
        except ValueError as error:
            raise Failed(f"the model cannot be filled: {error}") from None
        yield found


async def _seen(room: Room, shop: Shop) -> Seen:
    """One shop after another load; each is drained and counted before the next begins."""
    unpaid, paid = (workload(f"plan-{who}-pays", planned.Workload) for who in ("nobody", "everybody"))
    alone = await _queue(room, shop, "scale-alone")
    room.tell("with nothing to do")
    idle_cores = await _idle_cores(shop, IDLE_S * room.scale)
    room.tell("nobody pays")
    before = await _page(shop)
    nobody = await planned.measured(room, shop, unpaid)
    answer_s = _answer_s(before, await _page(shop))
    room.tell("everybody pays")
    everybody = await planned.measured(room, shop, paid)
    return Seen(alone, idle_cores, nobody, answer_s, everybody, await _queue(room, shop, "scale-crowd"))


async def _queue(room: Room, shop: Shop, load: str) -> Queue:
    room.tell(load)
    before = await _page(shop)
    seen = await saturate.measured(room, shop, workload(load, saturate.Workload))
    after = await _page(shop)
    lists = _more(before, after, "qc_batch_list_size_count", batch="orders")
    return Queue(seen, _answer_s(before, after), lists)


async def _idle_cores(shop: Shop, seconds: float) -> dict[str, float]:
    """What each part uses while nobody asks for anything."""
    before, start_s = shop.cpu(), time.monotonic()
    await asyncio.sleep(seconds)
    took_s = time.monotonic() - start_s
    return by_part({each: (used_s - before[each]) / took_s for each, used_s in shop.cpu().items()})


async def _page(shop: Shop) -> str:
    return await http.text(f"{shop.url}/metrics")


def _answer_s(before: str, after: str) -> float:
    """The mean time to answer an order in the process."""
    took_s, count = (
        _more(before, after, f"qc_http_seconds_{each}", method="POST", route="/v1/orders") for each in ("sum", "count")
    )
    return took_s / max(count, 1)


def _more(before: str, after: str, counter: str, **labels: str) -> float:
    return http.metric(after, counter, **labels) - http.metric(before, counter, **labels)


def by_part(cpu: Mapping[str, float]) -> dict[str, float]:
    """What processes used, by the part that they are; servers that only stand by are one."""
    known = {f"{role}-1": role for role in ROLES} | {server: server for server in SERVERS} | {"emulator": PG}
    found: dict[str, float] = {}
    for process, used in cpu.items():
        part = known.get(process, REST)
        found[part] = found.get(part, 0.0) + used
    return found


def _used(seen: planned.Measured) -> Used:
    answers = seen.report.answers
    return Used(by_part(seen.spent.by_name), seen.took_s, answers.accepted, answers.captured + answers.checking)


def run_of(seen: Seen, seed: int) -> Run:
    """What one run came to, and the model of it. Raises ValueError where a part is busy with nothing to do."""
    every = parts(seen.idle_cores, _used(seen.unpaid), _used(seen.paid))
    ours = [part for part in every if part.name != PG]
    a_s, b_s = fitted(seen.alone.answer_s, seen.crowd.list_s, seen.crowd.list_size)
    lists = Lists(a_s, b_s, RUNNERS, LIST_MAX, ENOUGH, WHOLE, GATHER_LISTS, GATHER_MAX_S)
    counts = [*seen.alone.seen.counts, *seen.unpaid.counts, *seen.paid.counts, *seen.crowd.seen.counts]
    faults = [*seen.alone.seen.faults, *seen.unpaid.faults("nobody pays"), *seen.paid.faults("everybody pays")]
    faults += seen.crowd.seen.faults
    figures = [*_shares(every), *_busy_shares(seen), *_needs(ours), *_waits(seen, lists, seed)]
    note = (
        f"So many cores and processes use {BUSY:.0%} of themselves, where every order is paid. A process of a role has"
        f" one core, a database {DATABASE_CORES:g}."
    )
    return Run(figures, counts, faults, [_cores(ours), *waiting.charts(lists, seed)], [note])


def _shares(every: Sequence[Part]) -> list[Figure]:
    figures = []
    for part in every:
        figures += [
            Figure(part.name, part.us_per_order, "us", variant="an order"),
            Figure(part.name, part.us_per_payment, "us", variant="its payment"),
            Figure(part.name, 100 * part.idle_cores, "% of a core", variant="with nothing to do"),
        ]
    return figures


def _busy_shares(seen: Seen) -> list[Figure]:
    """What an order uses where lists are long: less than the model takes, which is on the safe side."""
    used = seen.crowd.used
    return [
        Figure(part, 1e6 * used.work_s(part, idle) / max(used.orders, 1), "us", variant="an order, 256 connections")
        for part, idle in seen.idle_cores.items()
    ]


def _needs(ours: Sequence[Part]) -> list[Figure]:
    """What the model says of one shop, and of many."""
    figures = [
        Figure(part.name, part.most_per_s(SINGLE[part.name]), "/s", variant="one shop, at most")
        for part in ours
        if part.name in SINGLE
    ]
    for rate in RATES_A_MINUTE:
        variant, per_s = f"{rate:,} a minute", rate / 60
        split = shops(ours, SINGLE, per_s)
        for part in ours:
            if part.name in ROLES:
                figures.append(Figure(part.name, part.processes(per_s, shops=split), variant=variant))
            else:
                figures.append(Figure(part.name, part.cores(per_s, shops=split), "cores", variant=variant))
        figures.append(Figure("shops", split, variant=variant))
    return figures


def _waits(seen: Seen, lists: Lists, seed: int) -> list[Figure]:
    """The queue of orders: what was measured of it, and the model beside it."""
    per_s = seen.unpaid.report.orders_per_s
    # As the buyers of that load do.
    modelled = simulate(lists, per_s, orders=waiting.SIMULATED, seed=seed, evenly=True)
    rows = [
        ("a list of orders", lists.a_s * 1e3, "ms"),
        ("each order in it", lists.b_s * 1e6, "us"),
        ("orders in a list, 256 connections", seen.crowd.list_size, ""),
        ("orders, 256 connections", seen.crowd.seen.answers.accepted_per_s, "/s"),
        *((f"at most, {label}", each.most_per_s, "/s") for label, each in designs(lists).items()),
        ("an answer while nobody paid, mean", seen.answer_s * 1e3, "ms"),
        ("the same by the model", modelled.mean_answer_s * 1e3, "ms"),
    ]
    return [Figure(row, value, unit, variant="the queue of orders") for row, value, unit in rows]


def _cores(ours: Sequence[Part]) -> Chart:
    split = {rate: shops(ours, SINGLE, rate / 60) for rate in DRAWN_A_MINUTE}
    curves = [
        Curve(part.name, list(split), [part.cores(rate / 60, shops=many) for rate, many in split.items()])
        for part in ours
        if part.us(1.0)
    ]
    title = f"cores by orders a minute, {BUSY:.0%} busy, every order paid"
    return Chart(title, "orders a minute", "cores", curves, log_y=True, log_x=True)
