"""A day in a shop, told by its seed: thirty buyers, a PG with bad habits, and a trace of everything that came of it.

    python -m flow.a_day SEED FOLDER

prints the trace's digest, for a comparison with another process.
"""

import asyncio
import hashlib
import random
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec

from flow.acts import BANANAS, EGGS, MILK, cancel
from flow.invariants import check
from flow.journeys import Buyer
from flow.lives import run
from flow.process import process
from flow.truth import rest, rows, state
from quickcommerce import roles
from quickcommerce.kit.telemetry import configure_logs
from world import World

HABITS = {"drop-after": 0.15, "drop-before": 0.1, "error:PROVIDER_ERROR": 0.1, "error:REJECT_CARD_PAYMENT": 0.2}


async def visit(w: World, user: int, rng: random.Random) -> None:
    """One buyer: orders, and pays, thinks again, or forgets."""
    # In three crowds, so that lists are long.
    await asyncio.sleep(rng.choice((0, 100, 200)))
    buyer = Buyer(user)
    lines = [(product, rng.randint(1, 3)) for product in rng.sample([MILK, EGGS, BANANAS], rng.randint(1, 3))]
    buyer.order = (await w.order(lines, user=user)).json()
    await asyncio.sleep(rng.choice((1, 10)))
    whim = rng.random()
    if whim < 0.7:
        for card in ("first", "second"):
            await buyer.confirm(w, card)
            if buyer.told[card] != 402:
                break
    elif whim < 0.85:
        await cancel(w, buyer.order["order_id"], user=user)


async def a_day(seed: int, folder: Path) -> dict[str, Any]:
    """Everything that came of it: rows, every event, the calls that the PG saw."""
    rng = random.Random(seed)
    # Nothing is pruned, so that every event can be seen.
    with patch.object(roles, "PRUNE_EVERY_S", 86_400.0):
        async with process(folder, seed=seed, payment_window_s=120) as w:
            await w.faults(confirm=[{"mix": HABITS, "seed": seed}], get=[{"mix": {"drop-before": 0.3}, "seed": seed}])
            await asyncio.gather(*(visit(w, user, rng) for user in range(1, 31)))
            await asyncio.sleep(400)
            await rest(w)
            await check(w)
            return await trace(w)


async def trace(w: World) -> dict[str, Any]:
    """All rows, with the ids that chance makes."""
    stores = {"shop": w.app.stores.shop, "payment": w.app.stores.payment}
    event = "seq event_id subject type time_us trace"
    told = {name: await rows(store, event, "outbox") for name, store in stores.items()}
    payments = await rows(stores["payment"], "payment_id order_id updated_us trace", "payment")
    return await state(w) | {"told": told, "payments": payments, "calls": (await w.ledger())["calls"]}


def digest(seed: int, folder: Path) -> str:
    """The trace in a few characters."""
    return hashlib.sha256(msgspec.json.encode(run(a_day(seed, folder)))).hexdigest()


if __name__ == "__main__":
    configure_logs("ERROR", machine=True)
    print(digest(int(sys.argv[1]), Path(sys.argv[2])))  # noqa: T201 - its answer
