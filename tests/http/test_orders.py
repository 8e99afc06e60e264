"""An order as its buyer sees it: the object, its life in numbers, and the list of one's own."""

import asyncio
import re
from pathlib import Path

from quickcommerce.kit.auth import Role

from .shop import pay, shop

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
PLACED_AT, EXPIRES_AT = "2026-01-01T00:00:00.000000Z", "2026-01-01T00:10:00.000000Z"


async def test_the_order_object_is_what_clients_were_promised(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        body = {
            "lines": [
                {"expected_price": 3_900, "quantity": 2, "product_id": 3},
                {"product_id": 1, "quantity": 1, "coupon_id": None, "expected_price": None},
            ]
        }
        placed = await w.http.post("/v1/orders", json=body, headers=w.auth())
        order = placed.json()
        assert placed.status_code == 201
        assert placed.headers["content-type"] == "application/json"
        assert placed.headers["location"] == f"/v1/orders/{order['order_id']}"
        assert "idempotency-replayed" not in placed.headers
        assert re.fullmatch(r"/pay/[^?]+\?token=[\w-]{20,}", order.pop("checkout_url"))
        bananas = {"product_id": 3, "name": "바나나 1송이", "quantity": 2, "unit_price": 3_900, "discount": 0}
        milk = {"product_id": 1, "name": "우유 1L", "quantity": 1, "unit_price": 2_900, "discount": 0}
        assert order == {
            "order_id": order["order_id"],
            "user_id": 7,
            "status": "PLACED",
            "version": 1,
            "lines": [bananas | {"amount": 7_800, "coupon_id": None}, milk | {"amount": 2_900, "coupon_id": None}],
            "total": 10_700,
            "discount": 0,
            "payable": 10_700,
            "paid": 0,
            "refunded": 0,
            "currency": "KRW",
            "placed_at": PLACED_AT,
            "expires_at": EXPIRES_AT,
            "updated_at": PLACED_AT,
        }
        assert await w.stock(3) == (1_000, 2, 0)


async def test_reading_an_order_gives_what_placing_it_gave(tmp_path: Path) -> None:
    async with shop(tmp_path) as w:
        placed = await w.order([(1, 2), (2, 1)])
        read = await w.http.get(placed.headers["location"], headers=w.auth())
        assert read.content == placed.content
        assert await w.get(placed.headers["location"], user=1, role=Role.MASTER) == placed.json()


async def test_the_version_grows_by_one_with_each_change_and_the_end_never_moves(tmp_path: Path) -> None:
    """A client that keeps the highest version it saw never goes back; one that waits for `expires_at` is not fooled."""
    async with shop(tmp_path) as w:
        order = (await w.order()).json()
        path = f"/v1/orders/{order['order_id']}"
        seen = [order]

        async def watch() -> None:
            while seen[-1]["status"] != "PAID":
                now = await w.get(path)
                if now != seen[-1]:
                    seen.append(now)
                await asyncio.sleep(0.01)

        watching = asyncio.create_task(watch())
        await w.faults(confirm=[{"kind": "slow", "ms": 2_000, "repeat": 2}])
        assert await pay(w, order, "CARD_REFUSED") == 402
        await w.until_status(order["order_id"], "PLACED")
        await asyncio.sleep(1)
        assert await pay(w, order) == 200
        await watching
        story = [(each["version"], each["status"], each["paid"]) for each in seen]
        assert story == [(1, "PLACED", 0), (2, "PAYING", 0), (3, "PLACED", 0), (4, "PAYING", 0), (5, "PAID", 5_800)]
        assert {each["expires_at"] for each in seen} == {EXPIRES_AT}
        assert {each["placed_at"] for each in seen} == {PLACED_AT}
        updated = [each["updated_at"] for each in seen]
        assert updated == sorted(set(updated)), "each change is later than the one before"
        assert all(TIME.fullmatch(at) for at in updated)


async def test_there_is_a_way_to_pay_while_the_order_may_be_paid_and_not_after(tmp_path: Path) -> None:
    async with shop(tmp_path, payment_window_s=60) as w:
        paid, cancelled, expired = [(await w.order()).json() for _ in range(3)]
        assert paid["checkout_url"]
        await w.faults(confirm=[{"kind": "slow", "ms": 5_000}])
        assert await pay(w, paid) == 202
        await w.until_status(paid["order_id"], "PAYING")
        paying = await w.get(f"/v1/orders/{paid['order_id']}")
        assert paying["checkout_url"] == paid["checkout_url"]
        await w.until_status(paid["order_id"], "PAID")
        await w.http.post(f"/v1/orders/{cancelled['order_id']}/cancel", headers=w.auth())
        await w.until_status(expired["order_id"], "EXPIRED")
        for order, status in ((paid, "PAID"), (cancelled, "CANCELLED"), (expired, "EXPIRED")):
            now = await w.get(f"/v1/orders/{order['order_id']}")
            assert (now["status"], now["checkout_url"]) == (status, None)


async def test_an_unpaid_order_ends_within_five_seconds_of_its_time_and_gives_its_goods_back(tmp_path: Path) -> None:
    async with shop(tmp_path, payment_window_s=30) as w:
        order = (await w.order()).json()
        assert order["expires_at"] == "2026-01-01T00:00:30.000000Z"
        await asyncio.sleep(29.9)
        assert await w.status(order["order_id"]) == "PLACED"
        await w.until_status(order["order_id"], "EXPIRED", within_s=5.1)
        assert await w.stock(1) == (1_000, 0, 0)


async def test_the_list_holds_ones_own_orders_newest_first_each_once(tmp_path: Path) -> None:
    """Orders of one instant too: a page boundary between them neither hides nor repeats one."""
    async with shop(tmp_path, loops=False) as w:
        placed = []
        for _ in range(3):
            placed += [answer.json() for answer in await asyncio.gather(*(w.order([(1, 1)]) for _ in range(5)))]
            await w.order([(1, 1)], user=8)
            w.clock.jump(1)
        assert len({order["placed_at"] for order in placed}) == 3
        whole = (await w.get("/v1/orders?limit=100"))["items"]
        assert whole == sorted(placed, key=lambda order: (order["placed_at"], order["order_id"]), reverse=True)
        for limit in (1, 4, 15):
            pages, cursor = [], ""
            while True:
                page = await w.get(f"/v1/orders?limit={limit}{cursor}")
                pages += page["items"]
                assert len(page["items"]) <= limit
                if page["next_cursor"] is None:
                    break
                cursor = f"&cursor={page['next_cursor']}"
            assert pages == whole
        assert await w.get("/v1/orders", user=9) == {"items": [], "next_cursor": None}
        of_master = await w.get("/v1/orders", user=1, role=Role.MASTER)
        assert of_master["items"] == [], "own orders, even for an operator"


async def test_an_order_that_comes_in_while_one_turns_pages_moves_nothing(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        for _ in range(4):
            await w.order([(1, 1)])
            w.clock.jump(1)
        first = await w.get("/v1/orders?limit=2")
        await w.order([(2, 1)])
        second = await w.get(f"/v1/orders?limit=2&cursor={first['next_cursor']}")
        assert second["next_cursor"] is None
        both = [order["order_id"] for order in first["items"] + second["items"]]
        assert len(set(both)) == 4


async def test_the_timeline_says_what_happened_in_order_and_why(tmp_path: Path) -> None:
    async with shop(tmp_path) as w:
        order = (await w.order()).json()
        assert await pay(w, order, "CARD_REFUSED") == 402
        assert await pay(w, order) == 200
        await w.until_status(order["order_id"], "PAID")
        items = (await w.get(f"/v1/orders/{order['order_id']}/timeline"))["items"]
        assert all(list(item) == ["at", "what", "cause", "from", "to"] for item in items)
        assert [(item["what"], item["from"], item["to"]) for item in items] == [
            ("placed", None, "PLACED"),
            ("paying", "PLACED", "PAYING"),
            ("payment declined", "PAYING", "PLACED"),
            ("paying", "PLACED", "PAYING"),
            ("paid", "PAYING", "PAID"),
        ]
        assert items[0] == {"at": PLACED_AT, "what": "placed", "cause": "buyer", "from": None, "to": "PLACED"}
        assert [item["at"] for item in items] == sorted(item["at"] for item in items)
        assert all(item["cause"] for item in items)
        assert items[-1]["at"] == (await w.get(f"/v1/orders/{order['order_id']}"))["updated_at"]


async def test_notes_for_operators_are_not_the_buyers_to_read(tmp_path: Path) -> None:
    async with shop(tmp_path, payment_window_s=10) as w:
        order = (await w.order()).json()
        await w.faults(confirm=[{"kind": "slow", "ms": 30_000}])
        assert await pay(w, order) == 202
        await asyncio.sleep(15)
        path = f"/v1/orders/{order['order_id']}/timeline"
        public = (await w.get(path))["items"]
        whole = (await w.get(path, user=1, role=Role.MASTER))["items"]
        notes = [item for item in whole if item not in public]
        assert [item["what"] for item in public] == ["placed", "paying"]
        assert [(item["what"], item["from"], item["to"]) for item in notes] == [("expiry deferred", "PAYING", "PAYING")]
        assert [item for item in whole if item in public] == public
