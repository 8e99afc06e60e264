"""The guards of shelves and of time sales: each has a scenario that holds with it, and a control in which it alone is
switched off.

As in `guards.py`, the worst moment is staged: a row is read as it was before another actor changed it, or a commit's
reply is lost.
"""

import asyncio
import gc
import random
from pathlib import Path
from typing import Any

import httpx2
import pytest

from flow.acts import BEEF, MILK
from flow.invariants import always, check
from flow.probe import Probe
from flow.process import process
from flow.staging import cut, stale, unchecked
from flow.truth import rest, rows
from quickcommerce.catalog import store
from quickcommerce.catalog.flow import Catalog
from quickcommerce.kit import db, idempotency
from quickcommerce.kit.auth import Role
from quickcommerce.kit.clock import SECOND_US, rfc3339
from quickcommerce.stock import store as stock_store
from stores import undone
from world import World

pytestmark = pytest.mark.usefixtures("both")


async def ask(w: World, path: str, body: dict[str, Any], **headers: str) -> httpx2.Response:
    return await w.http.post(path, json=body, headers=w.auth(1, Role.MASTER) | headers)


async def announce(w: World, product_id: int, *, quota: int = 5, start_s: float = 0, end_s: float = 600) -> Any:
    """Announce a sale at 1,000 won, from and to so many seconds from now."""
    starts, ends = (rfc3339(w.clock() + round(s * SECOND_US)) for s in (start_s, end_s))
    body = {"product_id": product_id, "price": 1_000, "quota": quota, "starts_at": starts, "ends_at": ends}
    return await ask(w, "/v1/time-sales", body)


async def put_in(w: World) -> list[int]:
    """The units of every restock of beef."""
    entries = await rows(w.app.stores.shop, "cause product_id kind quantity", "stock_entry")
    first = "first import"
    return [each["quantity"] for each in entries if each["product_id"] == BEEF and each["cause"] != first]


async def nowhere(*_: object) -> bool:
    """In place of a look: nothing is there."""
    return False


async def decided_again(folder: Path) -> None:
    """A basket was priced in the moment before a sale of its goods was announced."""
    async with process(folder, loops=False) as w:
        catalog = w.app.flows.catalog
        seen = await w.app.stores.shop.read(lambda tx: catalog.offers(tx, [BEEF], w.clock(), locked=False))
        await announce(w, BEEF)
        with stale(Catalog, "offers", seen):
            line = (await w.order([(BEEF, 2)])).json()["lines"][0]
        assert line["unit_price"] == 1_000, f"{line['unit_price']} won are asked for, inside a sale for 1,000"
        await always(w)


async def test_an_order_that_is_decided_while_a_sale_is_announced_gets_its_price(tmp_path: Path) -> None:
    await decided_again(tmp_path)


async def test_control_price_version_of_a_sale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "reprice", nowhere)
    with pytest.raises(AssertionError, match="25900 won are asked for, inside a sale"):
        await decided_again(tmp_path)


async def test_an_order_is_placed_though_the_read_that_locks_its_goods_is_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with process(tmp_path, loops=False) as w:
        catalog = w.app.flows.catalog
        seen = await w.app.stores.shop.read(lambda tx: catalog.offers(tx, [BEEF], w.clock(), locked=False))
        await announce(w, BEEF)
        fresh, left = Catalog.offers, [seen]

        async def undone_once(*facts: Any, locked: bool) -> Any:
            if not locked and left:
                return left.pop()
            if locked and not lost:
                lost.append(True)
                raise db.Lost("the line broke")
            return await fresh(*facts, locked=locked)

        lost: list[bool] = []
        monkeypatch.setattr(Catalog, "offers", undone_once)
        assert (await w.order([(BEEF, 2)])).status_code == 201
        assert lost, "the goods were never locked"
        gc.collect()  # what was begun beside the read, and never awaited, warns here
        await always(w)


async def quota(folder: Path) -> None:
    """Two transactions saw the same five units left, and each takes them."""
    async with process(folder, loops=False, sound=False) as w:
        shop, sales, catalog = w.app.stores.shop, w.app.flows.sales, w.app.flows.catalog
        unchecked(w)
        sale = (await announce(w, MILK)).json()["time_sale_id"]
        offer = (await shop.read(lambda tx: catalog.offers(tx, [MILK], w.clock(), locked=False)))[MILK]
        assert (offer.price, offer.time_sale_id, offer.left) == (1_000, sale, 5)
        await shop.run(lambda tx: sales.take(tx, {sale: 4}))
        assert await undone(shop, lambda tx: sales.take(tx, {sale: 2})), "six units are sold of a quota of five"
        await shop.run(lambda tx: sales.take(tx, {sale: 1}))
        await shop.run(lambda tx: sales.give_back(tx, {sale: 3}))
        offer = (await shop.run(lambda tx: catalog.offers(tx, [MILK], w.clock(), locked=True)))[MILK]
        assert offer.left == 3, "quota that came back is had by others"
        assert await undone(shop, lambda tx: sales.give_back(tx, {sale: 3})), "more is left than there was"


async def test_quota_is_exact_whatever_was_read_before(tmp_path: Path) -> None:
    await quota(tmp_path)


async def test_control_quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut(monkeypatch, store, "use_quota", " AND quota - used >= ?")
    with pytest.raises(AssertionError, match="six units are sold of a quota of five"):
        await quota(tmp_path)


async def test_control_quota_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also without the condition, the table itself refuses more than the quota, and fewer than none."""
    cut(monkeypatch, store, "use_quota", " AND quota - used >= ?")
    async with process(tmp_path, loops=False) as w:
        sale = (await announce(w, MILK)).json()["time_sale_id"]
        for sales in ({sale: 6}, {sale: -1}):
            with pytest.raises(Exception, match=r"CHECK constraint failed|CONSTRAINT .* failed"):
                await w.app.stores.shop.run(lambda tx, sales=sales: w.app.flows.sales.take(tx, sales))  # type: ignore[misc]


async def one_price(folder: Path) -> None:
    """Eight people announce sales of one product whose windows overlap, all at once."""
    async with process(folder, loops=False) as w:
        starts = range(0, 80, 10)
        answers = await asyncio.gather(*(announce(w, MILK, start_s=at, end_s=at + 60) for at in starts))
        codes = {at: answer.status_code for at, answer in zip(starts, answers, strict=True)}
        windows = [(each.json()["starts_at"], each.json()["ends_at"]) for each in answers if each.status_code == 201]
        both = [(a, b) for at, a in enumerate(windows) for b in windows[:at] if a[0] < b[1] and b[0] < a[1]]
        assert not both, f"a product has two prices at once: {both[0]}"
        won = [at for at, code in codes.items() if code == 201]
        for at, code in codes.items():
            in_the_way = any(abs(at - other) < 60 for other in won)
            assert code == (201 if at in won else 409)
            assert at in won or in_the_way, "where one ends, the next may begin"


async def test_of_sales_that_overlap_one_wins(tmp_path: Path) -> None:
    await one_price(tmp_path)


async def test_control_overlap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "overlaps", nowhere)
    with pytest.raises(AssertionError, match="two prices at once"):
        await one_price(tmp_path)


async def restocked_once(folder: Path) -> None:
    """A delivery is booked by a phone without reception, which asks a hundred times at once."""
    async with process(folder) as w:
        path, key = f"/v1/products/{BEEF}/restock", {"Idempotency-Key": "delivery"}
        answers = await asyncio.gather(*(ask(w, path, {"quantity": 10}, **key) for _ in range(100)))
        assert await put_in(w) == [10], "one delivery is counted a hundred times"
        assert len({answer.content for answer in answers}) == 1
        assert sum(answer.headers.get("idempotency-replayed") == "true" for answer in answers) == 99
        await rest(w)
        await check(w)


async def test_a_restock_with_a_key_happens_once(tmp_path: Path) -> None:
    await restocked_once(tmp_path)


async def test_control_restock_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idempotency, "keep", nowhere)
    with pytest.raises(AssertionError, match="counted a hundred times"):
        await restocked_once(tmp_path)


async def committed_twice(folder: Path, key: str | None) -> None:
    """A restock, new goods and a sale are committed, the replies are lost, and the database runs each of them again."""
    headers = {"Idempotency-Key": key} if key else {}
    probe = Probe()
    async with process(folder, probe, loops=False) as w:
        probe.armed = True
        probe.twice_at = 0
        answer = await ask(w, f"/v1/products/{BEEF}/restock", {"quantity": 10}, **headers)
        assert answer.status_code == 200, "a delivery is refused that was booked"
        assert await put_in(w) == [10]
        assert "idempotency-replayed" not in answer.headers, "it is the first answer that this client gets"
        assert answer.json()["on_hand"] == 15
        for body in ({}, {"product_id": 70}):
            probe.twice_at = len(probe.commits)
            answer = await ask(w, "/v1/products", {"name": "딸기", "price": 900, "stock": 3, **body})
            given = answer.json().get("product_id")
            assert given == body.get("product_id", 5), "goods are put up twice, or refused that were put up"
        probe.twice_at = len(probe.commits)
        answer = await announce(w, MILK)
        assert answer.status_code == 201, "a sale is refused that was announced"
        probe.armed = False
        goods = await rows(w.app.stores.shop, "product_id on_hand", "product")
        assert [(each["product_id"], each["on_hand"]) for each in goods[3:]] == [(BEEF, 15), (5, 3), (70, 3)]
        assert len(await rows(w.app.stores.shop, "time_sale_id", "time_sale")) == 1
        assert len(probe.commits) == 4, "each of them was run again"
        await always(w)


@pytest.mark.parametrize("key", [None, "delivery"])
async def test_a_commit_whose_reply_is_lost_fills_no_shelf_twice(tmp_path: Path, key: str | None) -> None:
    await committed_twice(tmp_path, key)


LOOKS = {"entered": "a delivery is refused", "added": "goods are put up twice", "sale": "a sale is refused"}


@pytest.mark.parametrize("look", LOOKS)
async def test_control_lost_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, look: str) -> None:
    """Without the look for what an earlier run of the same call has done."""
    monkeypatch.setattr(stock_store if look == "entered" else store, look, nowhere)
    with pytest.raises(AssertionError, match=LOOKS[look]):
        await committed_twice(tmp_path, None)


async def test_sales_are_locked_before_products(tmp_path: Path) -> None:
    """Whoever takes them the other way round can stand in another's way until the database ends one of them."""
    probe = Probe()
    async with process(tmp_path, probe, loops=False) as w:
        catalog = w.app.flows.catalog
        seen = await w.app.stores.shop.read(lambda tx: catalog.offers(tx, [BEEF], w.clock(), locked=False))
        await announce(w, BEEF)
        probe.sql = []
        with stale(Catalog, "offers", seen):
            assert (await w.order([(BEEF, 2)])).status_code == 201
        taken = [sql for sql in probe.sql if db.LOCK in sql or sql.startswith("UPDATE")]
        tables = ["time_sale" if "time_sale SET" in sql or "FROM time_sale" in sql else "product" for sql in taken]
        first = tables.index("time_sale")
        assert tables[:first] == ["product"], "the undone run: the row whose version had moved"
        assert tables[first : first + 2] == ["time_sale", "product"]


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_happens_every_unit_is_on_the_shelf_held_or_sold(tmp_path: Path, seed: int) -> None:
    """Buyers, cancels, payments, deliveries, new prices and sales, in any order."""
    rng = random.Random(seed)
    async with process(tmp_path, seed=seed, payment_window_s=120) as w:
        delivered, orders = 5, []
        for step in range(60):
            match rng.choice(["order", "order", "order", "end", "pay", "restock", "price", "sale", "wait"]):
                case "order":
                    answer = await w.order([(BEEF, rng.randint(1, 3)), (MILK, 1)], user=7)
                    orders += [answer.json()] if answer.status_code == 201 else []
                case "end" if orders:
                    order = orders.pop(rng.randrange(len(orders)))
                    await w.http.post(f"/v1/orders/{order['order_id']}/cancel", headers=w.auth())
                case "pay" if orders:
                    order = orders.pop(rng.randrange(len(orders)))
                    answer = await w.http.get(f"/v1/orders/{order['order_id']}/payment", headers=w.auth())
                    payment = answer.json()
                    await w.confirm(payment, await w.authenticate(payment))
                case "restock":
                    key = f"delivery {step}".replace(" ", "-")
                    for _ in range(rng.randint(1, 2)):
                        await ask(w, f"/v1/products/{BEEF}/restock", {"quantity": 2}, **{"Idempotency-Key": key})
                    delivered += 2
                case "price":
                    body = {"price": rng.randint(2_000, 30_000)}
                    await w.http.patch(f"/v1/products/{BEEF}", json=body, headers=w.auth(1, Role.MASTER))
                case "sale":
                    await announce(w, BEEF, quota=rng.randint(1, 4), end_s=rng.randint(10, 100))
                case _:
                    await asyncio.sleep(rng.randint(1, 40))
            shelf = await w.get(f"/v1/products/{BEEF}/stock", role=Role.SELLER)
            assert shelf["on_hand"] == delivered
            assert shelf["available"] == shelf["on_hand"] - shelf["reserved"] - shelf["sold"] >= 0
            shown = await w.get(f"/v1/products/{BEEF}")
            left = shown["time_sale"]["left"] if shown["time_sale"] else shelf["available"]
            assert shown["available"] == min(left, shelf["available"]) >= 0
            await always(w)
        await asyncio.sleep(200)
        await rest(w)
        await check(w)
