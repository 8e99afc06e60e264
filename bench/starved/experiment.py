"""P7: consumers at a quarter of a CPU under ten times what they handle: the original's design, twice, and ours.

`starved` is the original's with heavy handlers: each takes the CPU that the original's whole order service was measured
to take for an order. `ended` is the same with light handlers, and meets one event that it cannot handle; ours meets the
same event. What a group goes through is asked of the brokers, who decide it; a member that is silent for as long is
taken out of any of the three groups.
"""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from bench import http
from bench.bare import Bare, bare
from bench.figures import Chart, Count, Curve, Figure, Run
from bench.processes import QC, Failed, Running
from bench.room import Room
from bench.shapes import Goods, rebalances
from bench.starved.steps import DRAIN_S, Seen, behind, drained, flooded, watched
from bench.starved.terms import hold
from bench.starved.watch import Watch, changes, evictions

name = "P7"
what = (
    "one consumer of order events at 0.25 vCPU under 10 times what it handles: the original's design in Python, once"
    " with the CPU that the original's order service was measured to take for an order, once with an event that cannot"
    " be handled; and our payment role"
)
target = "ours: 0 rebalances, 0 evictions in 120 s, and the lag drains"

VCPU = 0.25
THEIR_WORK_MS = 25.0
"""CPU of the original's order service for an order at 0.5 vCPU, the least that was measured; its handler took less."""
VARIANTS = ("starved", "ended", "ours")
CAPACITY, LAG = "capacity", "lag at the end of the flood"
CHANGES, EVICTIONS = "group changes seen, looking each second", "evictions of a member seen"
ENDED = "its stream ended after"
STILL_S = 20.0
"""How long ours is watched at its limit after the flood, before the limit is lifted so that the run comes to an end."""


async def run(room: Room) -> AsyncIterator[Run]:
    """See `targets.table`."""
    for number in range(1, room.runs + 1):
        this = Run()
        seen: dict[str, Seen] = {}
        for variant in VARIANTS:
            room.tell(f"{name} run {number} of {room.runs}: {variant}")
            async with bare(room) as on:
                await on.stock(Goods(products=1, stock=1))
                if variant == "ours":
                    seen[variant], found, counted, wrong = await _ours(on)
                    this.counts += counted
                    this.faults += wrong
                else:
                    seen[variant], found, said = await _theirs(on, variant)
                    this.notes += said
                    this.faults += _not_shown(variant, found) if room.scale == 1 else []
                this.figures += found
        this.charts += _charts(seen)
        yield this


async def _theirs(on: Bare, variant: str) -> tuple[Seen, list[Figure], list[str]]:
    topic, group = f"{on.settings['bus_prefix']}orders", f"{on.settings['bus_prefix']}their-{variant}"
    await on.rows(
        "CREATE TABLE their_payment (id BIGINT PRIMARY KEY AUTO_INCREMENT, order_id VARCHAR(30) NOT NULL,"
        " amount BIGINT NOT NULL, status VARCHAR(20) NOT NULL)"
    )
    database = on.database_url.replace("mariadb:", "mysql+asyncmy:", 1)
    command = (
        sys.executable, "-m", "bench.starved.theirs", "--kafka", on.kafka, "--topic", topic, "--group", group,
        "--database", database, "--work-ms", str(THEIR_WORK_MS if variant == "starved" else 0),
    )  # fmt: skip

    async def handled() -> int:
        return await on.number("SELECT COUNT(*) FROM their_payment")

    async with on.running(variant, command, vcpu=VCPU) as consumer:
        seen = await flooded(on, Watch(on.kafka, group, topic), handled, variant)
        well = await _says_well(consumer)
        # Before it is stopped, which would end handlers whose events it has acknowledged.
        left = await behind(seen.watch)
        [(made, orders)] = await on.rows("SELECT COUNT(*), COUNT(DISTINCT order_id) FROM their_payment")
    told = [json.loads(line) for line in consumer.log.read_text().splitlines() if line.startswith("{")]
    watch, poured = seen.watch, seen.flood.poured
    ended_s = [each["at"] - watch.begun_s - seen.begun_s for each in told if each["what"] == "ended"]
    figures = [
        Figure(CAPACITY, seen.capacity_per_s, "/s"),
        Figure("events in the flood", poured - seen.before),
        Figure("flood / capacity", seen.factor, "x"),
        Figure(CHANGES, changes(watch.looks, seen.begun_s)[-1]),
        Figure(EVICTIONS, evictions(watch.looks, seen.begun_s)),
        Figure("members at the end", len(watch.looks[-1].members)),
        Figure(LAG, seen.lag_after, "events"),
        Figure("committed and not handled at the end", max(0, poured - orders - left), "events"),
        Figure("payments made twice for an order", made - orders),
        Figure("partitions assigned, by its own account", _partitions(told, "given")),
        Figure("partitions revoked, by its own account", _partitions(told, "taken")),
        Figure("/healthz says UP (1: yes)", int(well)),
        *(Figure(ENDED, at_s, "s") for at_s in ended_s),
    ]
    said = Counter(each.get("text") or each.get("why") for each in told if each["what"] in ("warning", "ended"))
    notes = [f"{variant} said, {times} x: {text}" for text, times in said.most_common(3)]
    return seen, [replace(each, variant=variant) for each in figures], notes


async def _ours(on: Bare) -> tuple[Seen, list[Figure], list[Count], list[str]]:
    prefix = str(on.settings["bus_prefix"])
    watch = Watch(on.kafka, f"{prefix}payment", f"{prefix}orders")
    at_begin = (0, 0)

    async def handled() -> int:
        return await on.number("SELECT COUNT(*) FROM payment", on.payment_url)

    command = (QC, "run", "--role", "payment", "--port", "0")
    await asyncio.to_thread(hold, on.kafka, watch.group)
    async with on.running("payment", command, vcpu=VCPU, reconcile_every_s=0) as consumer:

        async def remember() -> None:
            nonlocal at_begin
            at_begin = await rebalances([consumer])

        seen = await flooded(on, watch, handled, "ours", at_begin=remember)
        await watched(watch, STILL_S * on.room.scale)
        fallen_per_s = (seen.lag_after - watch.looks[-1].lag) / max(STILL_S * on.room.scale, 1e-9)
        if consumer.group:
            consumer.group.lift()
        await drained(seen)
        moved, evicted = (now - then for now, then in zip(await rebalances([consumer]), at_begin, strict=True))
    letters = await on.number("SELECT COUNT(*) FROM dead_letter", on.payment_url)
    counts = [
        Count("ours: payments made", seen.flood.poured, await handled()),
        Count("ours: dead letters", 1, letters),
        Count("ours: events left", 0, watch.looks[-1].lag),
    ]
    figures = [
        Figure(CAPACITY, seen.capacity_per_s, "/s"),
        Figure("events in the flood", seen.flood.poured - seen.before),
        Figure("flood / capacity", seen.factor, "x", least=10),
        Figure(CHANGES, changes(watch.looks, seen.begun_s)[-1], most=0),
        Figure(EVICTIONS, evictions(watch.looks, seen.begun_s), most=0),
        Figure("rebalances, by its own metrics", moved, most=0),
        Figure("evictions, by its own metrics", evicted, most=0),
        Figure(LAG, seen.lag_after, "events"),
        Figure("the lag falls by, still at the CPU limit", fallen_per_s, "/s"),
        Figure("the lag falls by, as a share of its capacity", fallen_per_s / seen.capacity_per_s, "", least=0.5),
        Figure("drained after, the CPU limit lifted", seen.drained_s or DRAIN_S, "s"),
    ]
    faults = [] if seen.drained_s is not None else [f"ours: the lag did not drain in {DRAIN_S:g} s"]
    return seen, [replace(each, variant="ours") for each in figures], counts, faults


def _not_shown(variant: str, found: Sequence[Figure]) -> list[str]:
    """Why a run does not show what its variant is there for: the way in which a group loses its consumer."""
    values = {each.name: each.value for each in found}
    if variant == "starved" and not values[CHANGES]:
        return ["starved: its group never changed"]
    if variant == "ended" and ENDED not in values:
        return ["ended: its stream did not end"]
    return []


def _partitions(told: Sequence[Mapping[str, Any]], what: str) -> int:
    """How many a member told of."""
    return sum(each["partitions"] for each in told if each["what"] == what)


async def _says_well(consumer: Running) -> bool:
    """Whether HTTP goes on saying that all is well."""
    try:
        return "UP" in await http.text(f"{consumer.url}/healthz")
    except Failed:
        return False


def _charts(seen: Mapping[str, Seen]) -> list[Chart]:
    def chart(title: str, unit: str, read: Callable[[Seen], Sequence[float]], *, log_y: bool = False) -> Chart:
        curves = [
            Curve(variant, [look.at_s - each.begun_s for look in each.watch.looks], [float(y) for y in read(each)])
            for variant, each in seen.items()
        ]
        return Chart(title, "s since the flood began", unit, curves, log_y)

    return [
        # Nothing has no place on such an axis: one more is drawn than there are.
        chart("lag of the group", "events", lambda each: [1 + look.lag for look in each.watch.looks], log_y=True),
        chart("members of the group", "members", lambda each: [len(look.members) for look in each.watch.looks]),
        chart("changes of the group so far", "changes", lambda each: changes(each.watch.looks, each.begun_s)),
    ]
