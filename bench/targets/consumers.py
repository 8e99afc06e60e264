"""Consumers beside each other: payment processes of one group, and the backlog that they share."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

from bench.bare import Bare, bare
from bench.figures import Count, Figure, Run, scaling
from bench.processes import QC
from bench.room import Room, in_turn
from bench.shapes import Goods, rebalances
from bench.spent import Spent
from bench.starved.flood import Flood
from bench.starved.steps import calm, capacity, looked
from bench.starved.watch import Watch

name = "consumers"
what = (
    "1, 2 and 4 payment processes of 0.25 vCPU each in one group, on a backlog of order events on Kafka, each of which"
    " becomes a payment in MariaDB"
)
target = "at least 0.8 of linear while the machine has CPU left, every event handled once, no rebalance meanwhile"

VCPU = 0.25
SIZES = (1, 2, 4)
WARM_UP, EVENTS = 1_000, 50_000
"""For each process."""


@dataclass(frozen=True)
class _Seen:
    """What a group gave, and what was spent for it."""

    per_s: float
    events: int
    spent: Spent
    moved: int
    counts: list[Count]


async def run(room: Room) -> AsyncIterator[Run]:
    """See `targets.table`."""
    for number in range(1, room.runs + 1):
        this = Run()
        seen: dict[int, _Seen] = {}
        for size in in_turn(SIZES, number):
            room.tell(f"{name} run {number} of {room.runs}, payment processes: {size}")
            async with bare(room) as on:
                seen[size] = await _group(on, size)
        rates = [seen[size].per_s for size in SIZES]
        for size, rate in zip(SIZES, rates, strict=True):
            this.figures += _figures(seen[size], size, rate / size / rates[0])
            this.counts += seen[size].counts
            limit = seen[size].spent.limit(seen[size].events / rate, VCPU * size if room.place else None, "payment-")
            this.notes.append(f"{size} payment: {limit}.")
        this.charts.append(scaling("events by payment processes", "payment processes", "events/s", SIZES, rates))
        yield this


async def _group(on: Bare, size: int) -> _Seen:
    """So many payment processes, which have joined and are warm before the backlog comes."""
    await on.stock(Goods(products=1, stock=1))
    prefix = str(on.settings["bus_prefix"])
    watch = Watch(on.kafka, f"{prefix}payment", f"{prefix}orders")
    flood = Flood(on.kafka, watch.topic)

    async def handled() -> int:
        return await on.number("SELECT COUNT(*) FROM payment", on.payment_url)

    command = (QC, "run", "--role", "payment", "--port", "0")
    async with AsyncExitStack() as stack:
        members = [
            await stack.enter_async_context(on.running(f"payment-{at}", command, vcpu=VCPU, reconcile_every_s=0))
            for at in range(1, size + 1)
        ]
        warm_up, events = (on.room.scaled(each) * size for each in (WARM_UP, EVENTS))
        await asyncio.to_thread(flood.pour, warm_up)
        await calm(watch, handled, warm_up, size)
        moved_before, _ = await rebalances(members)
        before = Spent.so_far(on.shop(*members))
        per_s = await capacity(flood.pour, handled, events)
        spent = Spent.so_far(on.shop(*members)).since(before)
        moved, _ = await rebalances(members)
    letters = await on.number("SELECT COUNT(*) FROM dead_letter", on.payment_url)
    # Events are acknowledged a moment after they are handled, the last ones by whoever stops.
    counts = [
        Count(f"{size} payment: payments made", warm_up + events, await handled()),
        Count(f"{size} payment: dead letters", 0, letters),
        Count(f"{size} payment: events left", 0, (await looked(watch)).lag),
    ]
    return _Seen(per_s, events, spent, moved - moved_before, counts)


def _figures(seen: _Seen, size: int, of_linear: float) -> list[Figure]:
    variant = f"{size} payment"
    return [
        Figure("events", seen.per_s, "/s", variant=variant),
        Figure("of linear", of_linear, "", least=0.8 if size > 1 else None, variant=variant),
        Figure("rebalances meanwhile", seen.moved, most=0, variant=variant),
        Figure(
            "CPU of a payment process per event", 1e6 * seen.spent.of("payment-") / seen.events, "us", variant=variant
        ),
        Figure("CPU of MariaDB per event", 1e6 * seen.spent.of("mariadb") / seen.events, "us", variant=variant),
        Figure("machine idle", 100 * seen.spent.idle, "%", variant=variant),
    ]
