"""Two processes on one MariaDB reconcile the same span at the same time: each mismatch heals once."""

import asyncio
from pathlib import Path

from flow.mismatches import HEALS, cancel_missing_here, captured_not_recorded, orphan, told
from flow.truth import rows
from quickcommerce.payment.mending import End
from quickcommerce.payment.reconcile_model import Kind, Span
from world import World

from .shop import shops

OF_EACH = 6


async def test_two_processes_that_reconcile_the_same_span_heal_each_mismatch_once(tmp_path: Path) -> None:
    async with shops(tmp_path) as processes:
        one, two = processes
        two.app.flows.toss._reading._transport = two.app.flows.toss._paying._transport
        made = set[tuple[Kind, str]]()
        for _ in range(OF_EACH):
            made.add((Kind.CAPTURED_NOT_RECORDED, await captured_not_recorded(one)))
            made.add((Kind.CANCEL_MISSING_HERE, await cancel_missing_here(one)))
            made.add((Kind.ORPHAN, await orphan(one)))

        async def paid() -> bool:
            orders = await rows(one.app.stores.shop, "status", "orders")
            return [each["status"] for each in orders].count("PAID") == OF_EACH

        await one.until("the others know that they are paid", paid)
        # Up to the present: these tests live in real time, and nobody is under way.
        span = Span(0, one.clock() + 1_000_000)
        found = await asyncio.gather(*(each.app.flows.reconciling.span(span, heal=True) for each in (one, two)))
        assert told(found[0].looked) | told(found[1].looked) >= {each for each in made if each[0] in HEALS}
        ends = {each.verdict.end for report in found for each in report.looked if each.seen.kind in HEALS}
        assert End.LEFT not in ends, "one process was in the way of the other"
        payments = await rows(one.app.stores.payment, "payment_id captured refunded", "payment")
        assert all(each["captured"] for each in payments)
        assert sum(each["refunded"] for each in payments) == OF_EACH * 1_000
        assert len(await rows(one.app.stores.payment, "refund_id", "refund")) == OF_EACH, "a cancel was booked twice"
        kept = await rows(one.app.stores.payment, "subject kind", "mismatch")
        assert [each["kind"] for each in kept if each["kind"] == "orphan"] == ["orphan"] * OF_EACH, "kept twice"
        await one.until("all orders are paid", lambda: _all_paid(one))


async def _all_paid(w: World) -> bool:
    return {each["status"] for each in await rows(w.app.stores.shop, "status", "orders")} == {"PAID"}
