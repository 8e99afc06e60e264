"""The shop looks at itself: whatever is broken by hand is named with its figure, and what is right is left alone."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.typing import EventDict

from quickcommerce.console import invariants
from quickcommerce.coupon.flow import Issuing
from quickcommerce.coupon.model import DiscountType, PolicyDraft
from quickcommerce.kit.auth import Role
from quickcommerce.kit.clock import SECOND_US, rfc3339
from quickcommerce.kit.ids import earliest
from quickcommerce.kit.problem import Unavailable
from stores import metric
from world import World, world

TWICE = (
    "INSERT INTO payment_attempt SELECT payment_id, 2, 'other', 'other', outcome, code, message, started_us, ended_us,"
    " '' FROM payment_attempt WHERE outcome = 'captured'"
)
PRICE = 5_800
"""Of two milk."""
LIVE, PAID = "status = 'PLACED'", "status = 'PAID'"
LETTER = "INSERT INTO dead_letter SELECT order_id, 'order', 'PaymentSettled', order_id, 'late', 1, 0, ''"
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
            "payment", ["UPDATE payment SET captured = captured - 1 WHERE captured > 0"], {"I3": 1, "I7": 1},
            id="other-amount",
        ),
        pytest.param(
            "payment",
            [TWICE], {"I3": 1}, id="captured-twice",
        ),
        pytest.param(
            "payment", ["UPDATE payment SET status = 'CAPTURED', captured = amount WHERE status = 'READY'"],
            {"I4": 1, "I7": 1},
            id="charged-and-not-paid",
        ),
        pytest.param(
            "payment", ["UPDATE payment SET status = 'CLOSED', captured = 0 WHERE captured > 0"],
            {"I4": 1, "I7": 1},
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
            "payment", ["DELETE FROM ledger_entry WHERE account = 'captured'"], {"I7": 1 + PRICE}, id="from-no-buyer"
        ),
        pytest.param("payment", ["DELETE FROM ledger_entry"], {"I7": 1}, id="money-that-nobody-booked"),
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
            "payment", ["UPDATE payment SET refunded = captured + 1 WHERE captured > 0"], {"I7": 1, "I8": 3},
            id="refunded-more",
        ),
        pytest.param("shop", [f"UPDATE orders SET refunded = paid + 1 WHERE {PAID}"], {"I8": 2}, id="given-back-more"),
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


async def test_captured_money_in_a_dead_letter_is_still_a_break(tmp_path: Path) -> None:
    """That somebody could know of it does not put the money where it belongs."""
    async with story(tmp_path) as w:
        await damage(w, "payment", "UPDATE payment SET status = 'CAPTURED', captured = amount WHERE status = 'READY'")
        await damage(w, "shop", f"{LETTER} FROM orders WHERE {LIVE}")
        w.clock.jump(SETTLED_S)
        assert await look(w) == {"I4": 1, "I7": 1}


async def test_an_event_in_a_dead_letter_is_no_break_of_its_own(tmp_path: Path) -> None:
    async with story(tmp_path) as w:
        await damage(w, "history", "DELETE FROM document")
        await damage(w, "shop", f"{LETTER} FROM orders")
        w.clock.jump(SETTLED_S)
        assert await look(w) == {}


@asynccontextmanager
async def money_back(folder: Path) -> AsyncIterator[World]:
    """A paid order of 5,800 won of which 1,500 went back in two parts, with a coupon and under a time sale."""
    async with world(folder) as w:
        window = {"starts_at": rfc3339(w.clock()), "ends_at": rfc3339(w.clock() + 3_600 * SECOND_US)}
        sale = {"product_id": 1, "price": 2_000, "quota": 9} | window
        assert (await w.http.post("/v1/time-sales", json=sale, headers=w.auth(1, Role.MASTER))).status_code == 201
        policy = PolicyDraft("쿠폰", DiscountType.AMOUNT, 200, 0, 200, 10, *window.values())
        made = await w.app.flows.coupons.create(policy)
        [issued] = await w.app.flows.coupons.issue([Issuing(made.policy_id, 7)])
        assert not isinstance(issued, Exception)
        lines = [{"product_id": 1, "quantity": 3, "coupon_id": issued.coupon.coupon_id}]
        order = (await w.http.post("/v1/orders", json={"lines": lines}, headers=w.auth())).json()
        assert order["payable"] == 5_800
        payment = await w.get(f"/v1/orders/{order['order_id']}/payment")
        await w.confirm(payment, await w.authenticate(payment))
        for amount in (1_000, 500):
            url = f"/v1/payments/{payment['payment_id']}/refunds"
            answer = await w.http.post(url, json={"reason": "x", "amount": amount}, headers=w.auth())
            assert answer.json()["status"] == "DONE", answer.text
        await w.at_rest()
        w.clock.jump(SETTLED_S)
        assert await look(w) == {}
        yield w


@pytest.mark.parametrize(
    ("store", "statement", "broken"),
    [
        pytest.param("shop", "UPDATE orders SET refunded = 0", {"I8": 1}, id="the-order-forgot"),
        pytest.param("payment", "UPDATE refund SET amount = 9000", {"I8": 1}, id="refunds-of-more-than-came"),
        pytest.param("payment", "DELETE FROM refund", {"I8": 1}, id="refunds-lost"),
        pytest.param("payment", "UPDATE payment SET refunding = 5800", {"I8": 2}, id="more-owed-than-left"),
        pytest.param("payment", "UPDATE payment SET refunding = 100", {"I8": 1}, id="owed-by-no-refund"),
        pytest.param("payment", "UPDATE refund SET status = 'PENDING' WHERE seq = 2", {"I8": 1}, id="done-and-owed"),
        pytest.param("shop", "UPDATE time_sale SET used = 5", {"I2": 2}, id="quota-leaked"),
        pytest.param("shop", "UPDATE time_sale SET used = 0", {"I2": 3}, id="quota-given-twice"),
        pytest.param("shop", "UPDATE coupon SET order_id = 'ord_nothing'", {"I2": 2}, id="spent-on-nothing"),
        pytest.param("shop", "UPDATE coupon SET order_id = NULL", {"I2": 1}, id="spent-and-free"),
    ],
)
async def test_money_and_what_it_bought_are_held_to_each_other(
    tmp_path: Path, store: str, statement: str, broken: dict[str, int]
) -> None:
    async with money_back(tmp_path) as w:
        await damage(w, store, statement)
        assert await look(w) == broken


async def test_a_coupon_of_an_order_that_has_ended_is_free(tmp_path: Path) -> None:
    async with money_back(tmp_path) as w:
        await damage(w, "shop", "UPDATE orders SET status = 'CANCELLED', paid = 0, refunded = 0")
        found = await look(w)
        assert found["I2"] == 3 + 1, "3 units of quota and a coupon are held by nobody"


@pytest.mark.parametrize(
    ("store", "statement", "broken"),
    [
        pytest.param("shop", "UPDATE orders SET status = 'EXPIRED', paid = 0, refunded = 0", {"I4": 1}, id="came-late"),
        pytest.param("shop", "UPDATE orders SET status = 'PAYING', paid = 0, refunded = 0", {"I4": 1}, id="never-told"),
        pytest.param("shop", "UPDATE orders SET refunded = 0", {"I8": 1}, id="the-order-forgot"),
        pytest.param("payment", "UPDATE payment SET refunding = 4301", {"I8": 2}, id="more-owed-than-left"),
    ],
)
async def test_money_that_is_not_at_rest_is_looked_at_however_old_its_order_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str, statement: str, broken: dict[str, int]
) -> None:
    """A refund may be asked for days after the order, and late money may be refused for ever."""
    async with money_back(tmp_path) as w:
        await damage(w, "payment", "UPDATE payment SET captured_us = expires_us")
        await damage(w, store, statement)
        late = w.clock() + invariants.LOOK_BACK_S * SECOND_US
        monkeypatch.setattr(invariants, "earliest", lambda kind, at: earliest(kind, at if kind != "ord" else late))
        found = await look(w)
        assert {name: found.get(name) for name in broken} == broken


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
            return any(line["event"] == "invariant.broken" for line in logged)

        await w.until("the break is seen", seen, within_s=70)
        line = next(line for line in logged if line["event"] == "invariant.broken")
        assert (line["invariant"], line["figure"]) == ("I2", 7)
        assert metric("qc_invariant_holds", id="I2") == 0


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
