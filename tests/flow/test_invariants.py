"""The shop looks at itself: whatever is broken by hand is named with its figure, and what is right is left alone."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.typing import EventDict

from quickcommerce.console import invariants
from quickcommerce.kit.auth import Role
from quickcommerce.kit.problem import Unavailable
from stores import metric
from world import World, world

TWICE = (
    "INSERT INTO payment_attempt SELECT payment_id, 2, 'other', 'other', outcome, code, message, started_us, ended_us"
    " FROM payment_attempt WHERE outcome = 'captured'"
)
LIVE, PAID = "status = 'PLACED'", "status = 'PAID'"
SETTLED_S = invariants.SETTLE_S + 10


@asynccontextmanager
async def story(folder: Path) -> AsyncIterator[World]:
    """A shop with a paid order (2 milk), a live one (3 beef, with a key) and a cancelled one, all at rest."""
    async with world(folder) as w:
        paid = (await w.order()).json()
        payment = await w.get(f"/v1/orders/{paid['order_id']}/payment")
        await w.confirm(payment, await w.authenticate(payment))
        await w.order([(4, 3)], key="kept")
        gone = (await w.order()).json()
        await w.http.post(f"/v1/orders/{gone['order_id']}/cancel", headers=w.auth())
        await w.until_status(paid["order_id"], "PAID")
        await w.at_rest()
        yield w


async def look(w: World) -> dict[str, int]:
    """The figures of what does not hold."""
    told = await w.get("/v1/ops/invariants", user=1, role=Role.MASTER)
    assert [each["id"] for each in told["invariants"]] == [f"I{number}" for number in range(1, 10)]
    assert told["holds"] == all(each["holds"] for each in told["invariants"])
    for each in told["invariants"]:
        assert each["holds"] == (each["figure"] == 0)
        assert metric("qc_invariant_holds", id=each["id"]) == each["holds"]
    return {each["id"]: each["figure"] for each in told["invariants"] if not each["holds"]}


async def damage(w: World, store: str, *statements: str) -> None:
    """Change rows past everything that guards them."""

    async def work(tx: Any) -> None:
        await tx.run("PRAGMA ignore_check_constraints = ON")
        for statement in statements:
            assert await tx.run(statement) > 0, statement

    await w.app.stores.every()[store].run(work)


async def test_a_shop_at_rest_holds_all_of_them(tmp_path: Path) -> None:
    async with story(tmp_path) as w:
        w.clock.jump(SETTLED_S)
        assert await look(w) == {}


@pytest.mark.parametrize(
    ("store", "statements", "broken"),
    [
        pytest.param(
            "shop", ["UPDATE product SET on_hand = 1 WHERE product_id = 4"], {"I1": 2, "I7": 4}, id="oversold"
        ),
        pytest.param(
            "shop", ["UPDATE product SET reserved = reserved + 7 WHERE product_id = 1"], {"I2": 7}, id="units-leaked"
        ),
        pytest.param(
            "shop", ["UPDATE product SET reserved = 0 WHERE product_id = 4"], {"I2": 3}, id="held-and-not-reserved"
        ),
        pytest.param(
            "payment", ["UPDATE payment SET captured = captured - 1 WHERE captured > 0"], {"I3": 1}, id="other-amount"
        ),
        pytest.param(
            "payment",
            [TWICE], {"I3": 1}, id="captured-twice",
        ),
        pytest.param(
            "payment", ["UPDATE payment SET status = 'CAPTURED', captured = amount WHERE status = 'READY'"], {"I4": 1},
            id="charged-and-not-paid",
        ),
        pytest.param(
            "payment", ["UPDATE payment SET status = 'CLOSED', captured = 0 WHERE captured > 0"], {"I4": 1},
            id="paid-and-not-charged",
        ),
        pytest.param(
            "shop", ["UPDATE idempotency SET resource = 'ord_0'"], {"I5": 1}, id="a-key-names-nothing"
        ),
        pytest.param(
            "shop", ["INSERT INTO idempotency SELECT '7:other', fingerprint, resource, at_us FROM idempotency"],
            {"I5": 1}, id="two-keys-one-order",
        ),
        pytest.param("history", ["DELETE FROM document"], {"I6": 3}, id="not-in-the-history"),
        pytest.param("history", ["UPDATE document SET version = 1"], {"I6": 2}, id="old-in-the-history"),
        pytest.param("payment", ["DELETE FROM payment WHERE status = 'READY'"], {"I6": 1}, id="cannot-be-paid"),
        pytest.param(
            "shop", ["UPDATE stock_entry SET quantity = quantity + 5 WHERE kind = 'SELL'"], {"I7": 5},
            id="entries-tell-another-story",
        ),
        pytest.param(
            "shop", ["DELETE FROM stock_entry WHERE kind = 'PUT_IN' AND product_id = 4"], {"I7": 5}, id="from-nowhere"
        ),
        pytest.param(
            "shop", ["UPDATE order_line SET amount = amount + 1 WHERE product_id = 4"], {"I7": 1}, id="lines-and-total"
        ),
        pytest.param(
            "payment", ["UPDATE payment SET refunded = captured + 1 WHERE captured > 0"], {"I8": 1}, id="refunded-more"
        ),
        pytest.param("shop", [f"UPDATE orders SET refunded = paid + 1 WHERE {PAID}"], {"I8": 1}, id="given-back-more"),
        pytest.param(
            "shop", ["UPDATE order_change SET to_status = 'REFUNDED' WHERE to_status = 'CANCELLED'"], {"I9": 2},
            id="illegal-step",
        ),
        pytest.param("shop", [f"UPDATE orders SET status = 'PAYING' WHERE {LIVE}"], {"I9": 1}, id="moved-untold"),
        pytest.param("shop", [f"UPDATE orders SET version = 9 WHERE {PAID}"], {"I6": 1, "I9": 1}, id="changes"),
        pytest.param("payment", ["UPDATE payment SET status = 'GONE' WHERE status = 'READY'"], {"I9": 1}, id="odd"),
    ],
)  # fmt: skip
async def test_what_is_broken_is_named_with_its_figure(
    tmp_path: Path, store: str, statements: Sequence[str], broken: dict[str, int]
) -> None:
    async with story(tmp_path) as w:
        await damage(w, store, *statements)
        w.clock.jump(SETTLED_S)
        assert await look(w) == broken


async def test_events_out_of_their_order_are_named(tmp_path: Path) -> None:
    async with story(tmp_path) as w:
        sql = "SELECT MAX(seq) FROM outbox WHERE type = 'OrderChanged'"
        row = await w.app.stores.shop.read(lambda tx: tx.one(sql))
        assert row
        await damage(w, "shop", f"DELETE FROM outbox WHERE seq = {row[0]}")
        assert await look(w) == {"I6": 1}


async def test_what_is_on_its_way_breaks_nothing_until_it_is_late(tmp_path: Path) -> None:
    async with story(tmp_path) as w:
        await damage(w, "history", "DELETE FROM document")
        assert await look(w) == {}
        w.clock.jump(SETTLED_S)
        assert await look(w) == {"I6": 3}


async def test_what_somebody_is_told_of_is_no_break(tmp_path: Path) -> None:
    """Money for an order that has ended is in the dead letters, until it is given back."""
    async with story(tmp_path) as w:
        await damage(w, "payment", "UPDATE payment SET status = 'CAPTURED', captured = amount WHERE status = 'READY'")
        w.clock.jump(SETTLED_S)
        assert await look(w) == {"I4": 1}
        await damage(
            w, "shop",
            "INSERT INTO dead_letter SELECT 'order.evt', 'order', 'PaymentSettled', order_id, 'late', 1, 0, ''"
            f" FROM orders WHERE {LIVE}",
        )  # fmt: skip
        assert await look(w) == {}


async def test_nothing_is_missed_where_a_page_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with story(tmp_path) as w:
        await damage(w, "history", "DELETE FROM document")
        w.clock.jump(SETTLED_S)
        for page in (1, 2, 3, 4):
            monkeypatch.setattr(invariants, "PAGE", page)
            assert await look(w) == {"I6": 3}


async def test_orders_of_long_ago_are_not_looked_at_one_by_one(tmp_path: Path) -> None:
    """What it costs does not grow with the years."""
    async with story(tmp_path) as w:
        await damage(w, "history", "DELETE FROM document")
        w.clock.jump(invariants.LOOK_BACK_S)
        assert await look(w) == {}


async def test_a_break_is_seen_and_logged_without_anybody_asking(tmp_path: Path, logged: list[EventDict]) -> None:
    async with story(tmp_path) as w:
        await damage(w, "shop", "UPDATE product SET reserved = reserved + 7 WHERE product_id = 1")

        async def seen() -> bool:
            return metric("qc_invariant_holds", id="I2") == 0

        await w.until("the break is seen", seen, within_s=70)
        line = next(line for line in logged if line["event"] == "invariant.broken")
        assert (line["invariant"], line["figure"]) == ("I2", 7)


async def test_a_store_that_is_down_is_asked_no_more_often_and_keeps_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with story(tmp_path) as w:
        asked = 0

        async def refuse(_work: object) -> None:
            nonlocal asked
            asked += 1
            raise Unavailable("the database cannot be reached")

        with monkeypatch.context() as patch:
            patch.setattr(w.app.stores.payment, "scan", refuse)
            await asyncio.sleep(299)
            assert asked == 4, "once in each minute but the first"
            assert (await w.http.get("/readyz")).status_code == 200
        await asyncio.sleep(60)
        assert await look(w) == {}


async def test_it_looks_less_often_where_looking_takes_long() -> None:
    """Looking at a large shop may take seconds; it must not be all that the shop does."""

    looks: list[float] = []
    loop = asyncio.get_running_loop()

    class Slow:
        async def look(self) -> None:
            looks.append(loop.time())
            await asyncio.sleep(6)

    watch = invariants.Watch(Slow(), lambda: 0, 60)  # type: ignore[arg-type]
    began = loop.time()
    while loop.time() < began + 1_000:
        await watch.step()
        await asyncio.sleep(1)
    assert [round(at - began) for at in looks[:3]] == [60, 366, 672]
