"""The journeys of the flow suite on MariaDB, at two processes in turn, while the server undoes what it may undo.

SQLite lets one writer at a time: it has no isolation that could fail. Here several buyers make each journey side by
side, every request goes to the other process, and one statement in twenty that writes is undone as by a row that
changed (1020), a lock wait (1205), a deadlock (1213) or a twin (1062). Everybody is told what they are told in one
process, and at the end the same promises hold.

What the flow suite does with the clock of a day, with steps that it stops at, or with crashes at each of them needs
virtual time, and so SQLite: sockets to a server do not know that time stands still. The locks themselves are tried in
`test_locks.py`, and crowds of buyers with crossing baskets in `test_shop.py`.
"""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from flow.invariants import one_story
from flow.journeys import FINAL, JOURNEYS, Buyer, Journey
from servers.mariadb.shop import at_rest, in_turn, unsteady
from world import World

BUYERS = 5
SHORT = {"pg_confirm_deadline_s": 3, "pg_read_deadline_s": 2}
"""Where a whole unit of work fails, after it was undone again and again, a lease ends that is as long as these."""


async def walk(w: World, journey: Journey) -> list[Buyer]:
    """Some buyers make a journey side by side, to its end."""
    everybody = [Buyer(user) for user in range(1, BUYERS + 1)]
    await w.faults(**journey.faults)
    await asyncio.gather(*(journey.walk(w, buyer) for buyer in everybody))
    await at_rest(w)
    return everybody


@pytest.mark.parametrize("name", JOURNEYS)
async def test_a_journey_at_two_processes_of_which_one_statement_in_twenty_is_undone_ends_as_in_one(
    tmp_path: Path, name: str
) -> None:
    journey = JOURNEYS[name]
    async with in_turn(tmp_path, db_wait_s=60, **SHORT, **journey.settings) as w:
        with pytest.MonkeyPatch.context() as patch:
            said = unsteady(patch, 0.05)
            everybody = await walk(w, journey)
        assert said, "nothing was undone"
        truth = await one_story(w)
    assert truth.orders.keys() == {buyer.order["order_id"] for buyer in everybody}, "one order for each buyer"
    statuses = Counter(order["status"] for order in truth.orders.values())
    assert statuses.keys() <= FINAL
    assert len(statuses) == 1, f"the same journey ends differently: {statuses}"
