"""The shop as two processes on one MariaDB, in place of one on SQLite, for the scenarios that run on both.

Time is virtual here as well, and stands still while the server works, so that the scenarios are the same to the letter.
Buyers come to the two processes in turn; every loop runs in both; events go through relays. A share of the statements
that write is undone by the errors 1020, 1205, 1213 and 1062, and no answer may show it. The history is one file, and
the PG is one, beside the first process.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import httpx2
import msgspec

import schemas
from flow.probe import Front, Line, Probe, Watched
from quickcommerce.app import App, build
from quickcommerce.catalog.model import Entry
from quickcommerce.kit import folders
from quickcommerce.kit.db import Database, Limits
from quickcommerce.kit.life import Loop, Supervisor
from quickcommerce.toss_emulator import AppTransport
from relays import Log, relays
from unsteady import Faults, connecting
from world import GOODS, Clock, World, buyers, settings_of

RELAY_EVERY_S = 2.0
"""How often a relay looks by itself."""
SHARE = 0.02
"""Of the statements that write. A unit of work has a dozen of them at most, and is run nine times before it fails."""


@dataclass(kw_only=True)
class Pair(World):
    """Two processes, and what the server did to them."""

    unsteady: Faults


class InTurn(httpx2.AsyncBaseTransport):
    """Each request goes to the next process; what is for the PG, to the first."""

    def __init__(self, processes: Sequence[httpx2.AsyncBaseTransport]) -> None:
        self._processes, self._turn = processes, count()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        pg = request.url.path.startswith("/_toss")
        return await self._processes[0 if pg else next(self._turn) % len(self._processes)].handle_async_request(request)


async def start(
    folder: Path, probe: Probe, clock: Clock, *, seed: int = 1, loops: bool = True, goods: Sequence[Entry] = GOODS,
    **settings: object,
) -> World:  # fmt: skip
    """Two processes on the schemas that stand for the files in `folder`, which are made where there are none."""
    faults = Faults(random.Random(seed))
    opened = connecting(faults, Limits())

    def connect(url: str, *, rng: random.Random, inline: bool = False, threaded: bool = False) -> Database:
        return Watched(opened(url, rng=rng, inline=inline, threaded=threaded), probe)

    folders.make(folder)
    shop, payment = (schemas.url_of(schemas.make(schemas.name_of(folder / name))) for name in ("shop", "payment"))
    # Read as a log, an outbox on MariaDB would hide what commits late; relays take the place of that bus below.
    found = msgspec.structs.replace(settings_of(folder, **settings), database_url=shop, payment_database_url=payment)
    log: Log = {}
    apps = _with_relays(
        [build(found, clock=clock, rng=random.Random(f"{seed} {n}"), connect=connect, inline=True) for n in range(2)],
        log,
    )
    first = apps[0].flows.emulator
    assert first
    for app in apps:
        app.flows.toss._paying._transport = Line(AppTransport(first.asgi), probe)
        app.flows.toss._reading._transport = AppTransport(first.asgi)
    await apps[0].migrate()
    if goods and not await apps[0].flows.catalog.page("", 0, 1):
        await apps[0].flows.catalog.put(goods)
    await first.start()
    faults.share = SHARE
    if loops:
        for app in apps:
            app.supervisor.start()
    fronts = [Front(AppTransport(app.asgi), probe) for app in apps]
    return Pair(apps[0], clock, buyers(InTurn(fronts)), apps[1:], log, 0.5, unsteady=faults)


def _with_relays(apps: list[App], log: Log) -> list[App]:
    """The processes as they are with a broker: relays move the outboxes. What one tells wakes those of the other too.

    Each looks by itself half as often as one alone would, so that together they look as often.
    """
    carriers = [
        Loop(f"relay-{number}", relay.step, RELAY_EVERY_S)
        for app in apps
        for number, relay in enumerate(relays(app, app.flows.place.clock, log))
    ]
    for app in apps:
        for store in (app.stores.shop, app.stores.payment):
            for carrier in carriers:
                store.listen(carrier.wake.set)
    made = []
    for at, app in enumerate(apps):
        own = [
            replace(loop, every_s=loop.every_s and len(apps) * loop.every_s)
            for loop in app.supervisor._loops
            if not loop.name.startswith("events-")
        ]
        mine = carriers[at :: len(apps)]
        made.append(replace(app, supervisor=Supervisor([*own, *mine], rng=random.Random(at))))
    return made
