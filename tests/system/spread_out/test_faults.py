"""Every fault of the PG with every call of it, on the shop spread over real servers, with a PG in a process of its own.

As `tests/flow/test_faults.py` does on a virtual clock: when the PG answers again, everybody tells one story within 90
seconds. One set of processes serves all kinds: they happen one after the other, or side by side where they can.
"""

import asyncio
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from faults import CALM, MIX, PRODUCTS, ROWS, Act, Buyer, Script, come, differences, kinds, lies
from quickcommerce.catalog.model import Entry
from system.process import Process, until
from system.split import Split, ask, split
from system.truth import at_rest, checked

pytestmark = pytest.mark.servers
GOODS = [Entry(product, f"goods {product}", 2_900, 1_000_000) for product in PRODUCTS]
KNOWN_S = 90
"""So soon after the PG answers again, everything is known."""
WINDOW_S = 60
"""The time to pay. What was refused ends with it."""
LOOKS_S = 0.5
PAYMENTS = "SELECT payment_id, order_id, status, captured, refunded FROM payment"
OF_EACH = 3
"""So often does each kind happen to each call, where all happen side by side."""
OUTCOME = {
    "drop-before": "dropped-before", "drop-after": "dropped-after", "ok": "done", "duplicate": "done",
    "out-of-order": "done",
}  # fmt: skip
"""What the PG's journal says of a call to which something happened, where that is not the kind itself."""


class Shop:
    """The shop, and all who have bought there."""

    def __init__(self, split: Split) -> None:
        self.split = split
        self.buyers: list[Buyer] = []
        self._users: Iterator[int] = itertools.count(1)

    def people(self, count: int) -> list[Buyer]:
        """So many new buyers."""
        new = [Buyer(next(self._users), self.split.ask, self.split.authenticate) for _ in range(count)]
        self.buyers += new
        return new

    async def payers(self, count: int, lasts_s: float) -> list[Buyer]:
        """So many new buyers who have paid while the PG was well."""
        new = self.people(count)
        await come(new, Act.PAY, lasts_s)
        await self.known()
        return new

    async def hear(self, api: Process) -> None:
        """From now on the PG tells this process of all payments."""
        url = f"{self.split.pg_url}/emulator/webhook"
        assert (await self.split.http.put(url, json={"url": f"{api.url}/webhooks/toss"})).status_code == 200

    async def rows(self, store: str, sql: str) -> list[dict[str, Any]]:
        """The rows of a query; nothing else stands still for it."""
        return await asyncio.to_thread(ask, str(self.split.settings[f"{store}database_url"]), sql)

    async def known(self, slow_s: float = 0) -> None:
        """The PG is calm from now on: soon no capture and no refund is under way or unknown."""
        await self.split.faults(**CALM)
        tables = {
            "payment": "status IN ('CAPTURING', 'UNKNOWN', 'RETRY')",
            "refund": "status = 'PENDING'",
            "webhook": "state = 'waiting'",
        }
        left: list[tuple[str, dict[str, Any]]] = []

        async def nothing_unknown() -> bool:
            await asyncio.sleep(LOOKS_S)
            left.clear()
            for table, unknown in tables.items():
                rows = await self.rows("payment_", f"SELECT * FROM {table} WHERE {unknown}")
                left.extend((table, row) for row in rows)
            return not left

        try:
            await until("nothing is unknown", nothing_unknown, within_s=slow_s + KNOWN_S)
        except AssertionError as failure:
            failure.add_note("\n".join(map(str, left[:20])))
            raise

    async def ledger(self) -> Any:
        """The PG's truth."""
        return (await self.split.http.get(f"{self.split.pg_url}/emulator/ledger")).json()

    async def one_story(self, buyers: Sequence[Buyer]) -> None:
        """Soon nothing differs, and nothing that these buyers were told is not so."""
        ledger: list[dict[str, Any]] = []
        found: list[str] = []

        async def agreed() -> bool:
            await asyncio.sleep(LOOKS_S)
            ledger[:] = (await self.ledger())["payments"]
            orders, payments = await self.rows("", "SELECT * FROM orders"), await self.rows("payment_", PAYMENTS)
            found[:] = differences(ledger, orders, payments)
            return not found

        try:
            await until("PG, payments and orders say the same", agreed, within_s=KNOWN_S)
        except AssertionError as failure:
            failure.add_note("\n".join(found))
            raise
        assert not lies(buyers, ledger)

    async def ended(self) -> None:
        """Wait until every order has ended, and everybody has heard of it."""

        async def over() -> bool:
            await asyncio.sleep(LOOKS_S)
            return await self.split.over()

        await until("every order has ended", over, within_s=WINDOW_S + KNOWN_S)

    async def end(self) -> None:
        """In the end every store says the same, no unit is held or lost, and no event is buried."""
        await self.ended()
        await self.one_story(self.buyers)
        await self.split.invariants_hold()
        truth = at_rest(checked(await self.split.truth()))
        assert len(truth.orders) == len(self.buyers)
        assert not any(each["reserved"] for each in truth.products.values())


async def wrong(shop: Shop, script: Script, act: Act, buyers: Sequence[Buyer], lasts_s: float) -> None:
    """The PG does wrong while buyers come."""
    await shop.split.faults(**script)
    await come(buyers, act, lasts_s)


async def mixed(shop: Shop, count: int, lasts_s: float) -> list[Buyer]:
    """So many pay, and want their money back, at a PG where now this goes wrong and now that."""
    await shop.hear(shop.split.processes["api"][0])
    buyers = shop.people(count)
    for act in (Act.PAY, Act.REFUND):
        await wrong(shop, MIX, act, buyers, lasts_s)
        await shop.known()
    return buyers


def side_by_side(call: str) -> list[str]:
    """Kinds that are over while a test waits."""
    return [kind for kind in kinds(call) if kind != "slow:75000"]


async def test_each_fault_of_each_call_and_a_mix_leave_no_difference(tmp_path: Path) -> None:
    async with split(tmp_path, goods=GOODS, payment_window_s=WINDOW_S) as spread:
        shop = Shop(spread)
        await shop.one_story(await mixed(shop, 200, 10))

        calls = ("confirm", "get", "cancel", "webhook")
        every = {
            call: [{"mix": {kind: 1.0}, "repeat": 1} for _ in range(OF_EACH) for kind in side_by_side(call)]
            for call in calls
        }
        due = {(call, OUTCOME.get(kind, kind)) for call in calls for kind in side_by_side(call) if "slow" not in kind}
        paid = await shop.payers(OF_EACH * len(every["cancel"]) // 2, 5)
        before = len((await shop.ledger())["calls"])
        await asyncio.gather(
            wrong(shop, every, Act.PAY, shop.people(OF_EACH * len(every["confirm"]) // 2), 10),
            wrong(shop, {}, Act.REFUND, paid, 10),
        )

        async def all_happened() -> bool:
            await asyncio.sleep(LOOKS_S)
            seen = {(each["kind"], each["outcome"]) for each in (await shop.ledger())["calls"][before:]}
            return due <= seen

        await until("everything has gone wrong once", all_happened, within_s=KNOWN_S)
        await shop.known()
        await shop.end()


@pytest.mark.full
async def test_each_fault_of_each_call_with_hundreds_of_orders_leaves_no_difference(tmp_path: Path) -> None:
    async with split(tmp_path, goods=GOODS, payment_window_s=WINDOW_S) as spread:
        shop = Shop(spread)
        for row in ROWS:
            if row.call == "webhook":
                await shop.hear(spread.processes["api"][0])
            try:
                buyers = await shop.payers(200, 10) if row.act is Act.REFUND else shop.people(200)
                await wrong(shop, row.script, row.act, buyers, 10)
                await shop.known(row.slow_s)
                await shop.one_story(buyers)
            except AssertionError as failure:
                failure.add_note(f"after {row}")
                raise
        await shop.end()


@pytest.mark.full
async def test_two_thousand_orders_and_a_mix_of_faults_leave_no_difference(tmp_path: Path) -> None:
    async with split(tmp_path, goods=GOODS, payment_window_s=WINDOW_S) as spread:
        shop = Shop(spread)
        await mixed(shop, 2_000, 100)
        await shop.end()
