"""PG, payments and orders are compared: whatever differs is found, nothing else is, and what is safe heals."""

import asyncio
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from flow.acts import deliver, paid
from flow.mismatches import GOODS, HEALS, INJECT, inject, reconcile, settle, told, whole
from quickcommerce.kit.auth import Role
from quickcommerce.payment import reconcile as reconcile_module
from quickcommerce.payment.breaker import Sparing
from quickcommerce.payment.mending import End
from quickcommerce.payment.model import Asked, Unreadable
from quickcommerce.payment.reconcile_model import Kind, Mismatch, compare
from world import World, world

HOURS_S = 36_000


async def good(w: World, count: int) -> None:
    """Payments that fit."""
    for begin in range(0, count, 50):
        await asyncio.gather(*(paid(w) for _ in range(min(50, count - begin))))
    await deliver(w)


@pytest.mark.parametrize(
    ("drill", "fitting"), [(100, 300), pytest.param(1_000, 3_000, marks=pytest.mark.full)], ids=["small", "real"]
)
async def test_all_mismatches_among_many_that_fit_are_found_and_none_else(
    tmp_path: Path, drill: int, fitting: int
) -> None:
    async with world(tmp_path, loops=False, goods=GOODS, payment_window_s=HOURS_S) as w:
        await good(w, fitting)
        made = await inject(w, {kind: drill // 7 + (at < drill % 7) for at, kind in enumerate(Kind)})
        assert len(made) == drill
        await settle()
        found = await reconcile(w)
        assert told(found.looked) == made
        assert len(found.looked) == drill, "some were told twice"
        ends = {(each.seen.kind, each.verdict.end) for each in found.looked}
        healed = {(kind, End.TOLD if kind is Kind.ORDER_BEHIND else End.HEALED) for kind in HEALS}
        assert ends == healed | {(kind, End.LEFT) for kind in set(Kind) - HEALS}
        await deliver(w)
        await settle()
        again = await reconcile(w)
        left = {(kind, payment_id) for kind, payment_id in made if kind not in HEALS}
        assert told(again.looked) == left, "a second look finds what a human must see, and nothing else"
        human = await w.get("/v1/ops/attention?limit=100", user=1, role=Role.MASTER)
        assert human["total"] == len(left)
        assert {each["why"] for each in human["items"]} == {"mismatch"}
        orders = await w.app.stores.shop.scan(lambda tx: tx.all("SELECT status, COUNT(*) FROM orders GROUP BY status"))
        assert {status for status, _ in orders} == {"PAID"}, "what was captured was not told to its order"


@pytest.mark.parametrize("kind", Kind)
async def test_each_kind_is_missed_where_it_is_not_compared(tmp_path: Path, kind: Kind) -> None:
    """The control: that the others are found and this one is not is the comparing's own doing."""

    def blind(*lists: object) -> list[Mismatch]:
        return [each for each in compare(*lists) if each.kind is not kind]  # type: ignore[arg-type]

    async with world(tmp_path, loops=False, goods=GOODS, payment_window_s=HOURS_S) as w:
        made = await inject(w, dict.fromkeys(INJECT, 1))
        await settle()
        seeing = w.app.flows.reconciling
        missed = await replace(seeing, compared=blind).span(whole(w), heal=False)
        assert told(missed.looked) == {each for each in made if each[0] is not kind}
        assert told((await seeing.span(whole(w), heal=False)).looked) == made


async def test_looking_without_healing_changes_nothing(tmp_path: Path) -> None:
    async with world(tmp_path, loops=False, goods=GOODS, payment_window_s=HOURS_S) as w:
        await inject(w, dict.fromkeys(INJECT, 1))
        await settle()
        first = await reconcile(w, heal=False)
        assert Counter(each.verdict.end for each in first.looked) == {End.LEFT: 7}
        assert (await w.get("/v1/ops/attention", user=1, role=Role.MASTER))["total"] == 0
        assert (await reconcile(w, heal=False)).looked == first.looked


async def test_a_span_in_many_parts_finds_each_mismatch_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Around each part the PG's list is read further than it is long."""
    monkeypatch.setattr(reconcile_module, "SPAN_S", 60)
    async with world(tmp_path, loops=False, goods=GOODS, payment_window_s=HOURS_S) as w:
        made = set[tuple[Kind, str]]()
        for _ in range(3):
            made |= await inject(w, dict.fromkeys(INJECT, 1))
            await asyncio.sleep(50)
        await settle()
        for heal in (False, True):
            found = await reconcile(w, heal=heal)
            assert told(found.looked) == made
            assert len(found.looked) == len(made), "one of them stands in two parts"
        assert Counter(each.verdict.end for each in found.looked) == {End.LEFT: 12, End.HEALED: 6, End.TOLD: 3}


async def test_at_a_low_pace_all_that_was_found_is_looked_into_and_buyers_have_their_turns(tmp_path: Path) -> None:
    async with world(tmp_path, loops=False, goods=GOODS, payment_window_s=HOURS_S) as w:
        await inject(w, dict.fromkeys(INJECT, 3))
        await settle()
        pg = w.app.flows.captures.pg
        assert isinstance(pg, Sparing)
        pg._pace.per_s = 2
        comparing = asyncio.create_task(reconcile(w))
        await asyncio.sleep(5)
        await paid(w)
        found = await comparing
        assert Counter(each.verdict.end for each in found.looked) == {End.LEFT: 12, End.HEALED: 6, End.TOLD: 3}


async def test_the_list_is_read_whole_in_its_turn_among_the_calls_that_the_pg_is_given(tmp_path: Path) -> None:
    async with world(tmp_path, loops=False, goods=GOODS, payment_window_s=HOURS_S, pg_calls_per_s=1) as w:
        payments = [await paid(w) for _ in range(4)]
        await settle()
        began_s, before = asyncio.get_running_loop().time(), len((await w.ledger())["calls"])
        asked = Asked("no-such-key", payments[0]["payment_id"], payments[0]["amount"], "none")
        crowd = [asyncio.create_task(w.app.flows.captures.pg.read_order(asked)) for _ in range(7)]
        await asyncio.sleep(0)
        found = await replace(w.app.flows.reconciling, page=1).span(whole(w), heal=False)
        took_s, made = asyncio.get_running_loop().time() - began_s, len((await w.ledger())["calls"]) - before
        assert sum(isinstance(reading, Unreadable) for reading in await asyncio.gather(*crowd)) == 3, "control: a line"
        assert (found.transactions, made) == (4, 4 + 4 + 1), "the list gave up its turn"
        assert took_s >= made - 1, f"{made} calls in {took_s} s: the PG is flooded by one who has no buyer waiting"
