"""The shop on MariaDB: journeys of buyers, and crowds whose baskets cross in two processes."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

import schemas
from quickcommerce.catalog.model import NewSale
from quickcommerce.coupon.model import DiscountType, PolicyDraft
from quickcommerce.doctor import examine
from quickcommerce.kit.auth import Role
from quickcommerce.kit.clock import SECOND_US, rfc3339, system_clock
from quickcommerce.kit.db import Limits
from quickcommerce.kit.mariadb_errors import DUPLICATE, UNDONE
from quickcommerce.parts import migrations
from quickcommerce.settings import BadSetting
from servers.mariadb.proxy import Proxy
from servers.mariadb.shop import at_rest, built, shops
from unsteady import Faults, connecting
from world import World


async def pay(w: World, order: dict[str, Any]) -> dict[str, Any]:
    """Pay an order: its payment."""
    user = order["user_id"]
    payment: dict[str, Any] = await w.get(f"/v1/orders/{order['order_id']}/payment", user=user)
    key = await w.authenticate(payment)
    body = {"payment_key": key, "amount": payment["amount"]}
    url = f"/v1/payments/{payment['payment_id']}/confirm"
    answer = await asked(lambda: w.http.post(url, json=body, headers=w.auth(user)))
    assert answer.status_code in (200, 202), answer.text
    return payment


async def asked(call: Callable[[], Awaitable[httpx2.Response]]) -> httpx2.Response:
    """Ask again in the same words while the shop is too busy, as this machine may be; that is no fault of a row."""
    while (answer := await call()).status_code == 503:  # noqa: ASYNC110 - what is waited for has no event
        await asyncio.sleep(0.1)
    return answer


async def holds(w: World) -> None:
    """Everything that must always hold does, and nothing was given up."""
    told = await w.app.operations.invariants()
    assert told.holds, [each for each in told.invariants if not each.holds]
    assert await w.app.operations.all_dead_letters() == []


async def test_an_order_is_placed_paid_found_and_refunded(tmp_path: Path) -> None:
    async with shops(tmp_path, 1) as (w,):
        order = (await w.order([(1, 2), (4, 1)], key="tap")).json()
        again = (await w.order([(1, 2), (4, 1)], key="tap")).json()
        other = (await w.order([(1, 2), (4, 1)], key="TAP")).json()
        assert again["order_id"] == order["order_id"]
        assert other["order_id"] != order["order_id"], "keys that differ in case are two"
        payment = await pay(w, order)
        await w.until_status(order["order_id"], "PAID")
        headers = w.auth() | {"Idempotency-Key": "back"}
        url = f"/v1/payments/{payment['payment_id']}/refunds"
        answer = await w.http.post(url, json={"reason": "changed my mind", "restock": True}, headers=headers)
        assert answer.status_code == 201, answer.text
        await w.until_status(order["order_id"], "REFUNDED")
        cancelled = await w.http.post(f"/v1/orders/{other['order_id']}/cancel", headers=w.auth())
        assert cancelled.status_code == 200
        await at_rest(w)
        assert (await w.stock(1), await w.stock(4)) == ((1_000, 0, 0), (5, 0, 0))
        found = await w.get("/v1/history/orders?keyword=우유")
        assert {each["order_id"] for each in found["items"]} == {order["order_id"], other["order_id"]}
        await holds(w)


async def test_an_order_that_nobody_pays_expires_and_its_stock_comes_back(tmp_path: Path) -> None:
    async with shops(tmp_path, 1, payment_window_s=1) as (w,):
        order = (await w.order([(4, 5)])).json()
        assert (await w.order([(4, 1)], user=8)).status_code == 409
        await w.until_status(order["order_id"], "EXPIRED")
        assert await w.stock(4) == (5, 0, 0)
        await at_rest(w)
        await holds(w)


async def test_a_hundred_taps_on_the_last_five_sell_five_in_two_processes(tmp_path: Path) -> None:
    async with shops(tmp_path, 2) as worlds:
        taps = [worlds[n % 2].order([(4, 1)], user=n + 1) for n in range(100)]
        answers = Counter(answer.status_code for answer in await asyncio.gather(*taps))
        assert answers == {201: 5, 409: 95}
        assert await worlds[0].stock(4) == (5, 5, 0)


async def test_one_key_at_two_processes_is_one_order(tmp_path: Path) -> None:
    async with shops(tmp_path, 2) as worlds:
        taps = [worlds[n % 2].order([(1, 1)], key="tap") for n in range(60)]
        answers = await asyncio.gather(*taps)
        assert {answer.status_code for answer in answers} == {201}
        assert len({answer.content for answer in answers}) == 1
        assert await worlds[0].stock(1) == (1_000, 1, 0)


class Crowd:
    """Everybody at once: buyers with crossing baskets, and those who work in the shop."""

    def __init__(self, worlds: list[World], seed: int) -> None:
        self.worlds, self.rng = worlds, random.Random(seed)
        self.answers: Counter[str] = Counter()
        self.coupons: dict[int, int] = {}
        self.orders = 0

    def anywhere(self) -> World:
        """One of the processes."""
        return self.rng.choice(self.worlds)

    async def told(self, what: str, call: Callable[[], Awaitable[httpx2.Response]]) -> httpx2.Response:
        """An answer, which is never a defect and never the trouble of a transaction."""
        answer = await asked(call)
        self.answers[f"{what} {answer.status_code}"] += 1
        assert answer.status_code < 500, f"{what}: {answer.text}"
        return answer

    async def policies(self) -> None:
        """A coupon for each buyer."""
        now = system_clock()
        window = (rfc3339(now - SECOND_US), rfc3339(now + 3_600 * SECOND_US))
        draft = PolicyDraft("쿠폰", DiscountType.AMOUNT, 100, 0, 1_000, 1_000, *window)
        policy = await self.worlds[0].app.flows.coupons.create(draft)

        async def ask(user: int) -> None:
            w = self.anywhere()
            url = f"/v1/coupons/{policy.policy_id}/issue"
            answer = await self.told("coupon", lambda: w.http.post(url, headers=w.auth(user)))
            self.coupons[user] = answer.json()["coupon_id"]

        await asyncio.gather(*(ask(user) for user in range(1, 201)))

    async def sales(self) -> None:
        """Two goods cost less, for some units."""
        now = system_clock()
        window = (rfc3339(now - SECOND_US), rfc3339(now + 3_600 * SECOND_US))
        for product_id in (1, 3):
            await self.worlds[0].app.flows.sales.create(NewSale(product_id, 400, *window, price=1_000))

    async def buyer(self, user: int) -> None:
        """Fill a basket in any order, place it, and pay, cancel, or leave it; some want their money back."""
        w, rng = self.anywhere(), self.rng
        products = rng.sample((1, 2, 3), rng.randint(1, 3))
        lines: list[dict[str, int]] = [{"product_id": each, "quantity": rng.randint(1, 3)} for each in products]
        if rng.random() < 0.5:
            lines[0]["coupon_id"] = self.coupons[user]
        headers = w.auth(user) | {"Idempotency-Key": f"key {user}".replace(" ", "-")}
        both = [w, self.anywhere()] if rng.random() < 0.3 else [w]
        body = {"lines": lines}

        async def place(at: World) -> httpx2.Response:
            return await self.told("order", lambda: at.http.post("/v1/orders", json=body, headers=headers))

        answer = (await asyncio.gather(*map(place, both)))[0]
        if answer.status_code != 201:
            return
        self.orders += 1
        order, choice = answer.json(), rng.random()
        if choice < 0.25:
            url = f"/v1/orders/{order['order_id']}/cancel"
            there = self.anywhere()
            await self.told("cancel", lambda: there.http.post(url, headers=w.auth(user)))
        elif choice < 0.8:
            there = self.worlds[0]
            payment = await pay(there, order)
            if choice < 0.4:
                await there.until_status(order["order_id"], "PAID")
                url = f"/v1/payments/{payment['payment_id']}/refunds"
                back = {"reason": "no", "restock": True}
                keyed = w.auth(user) | {"Idempotency-Key": "back"}
                await self.told("refund", lambda: there.http.post(url, json=back, headers=keyed))

    async def worker(self, n: int) -> None:
        """Put goods in, change a price, change a name."""
        w = self.anywhere()
        master = w.auth(1_000 + n, Role.MASTER)
        product_id = self.rng.choice((1, 2, 3))
        url = f"/v1/products/{product_id}"
        body, keyed = {"quantity": 1}, master | {"Idempotency-Key": f"in-{n}"}
        await self.told("restock", lambda: w.http.post(f"{url}/restock", json=body, headers=keyed))
        if n % 4 == 0:
            await self.told("change", lambda: w.http.patch(url, json={"price": 5_000 + n}, headers=master))


@pytest.mark.parametrize("seed", range(2))
async def test_two_hundred_crossing_baskets_in_two_processes_meet_no_trouble_of_the_database(
    tmp_path: Path, seed: int
) -> None:
    async with shops(tmp_path, 2, payment_window_s=15, db_wait_s=60) as worlds:
        crowd = Crowd(worlds, seed)
        await crowd.policies()
        await sold_out_of_a_crowd(crowd, buyers=200, workers=40)


async def sold_out_of_a_crowd(crowd: Crowd, *, buyers: int, workers: int) -> None:
    """Everybody does what they came for, all comes to rest, and every promise holds."""
    await crowd.sales()
    everybody = [crowd.buyer(user) for user in range(1, buyers + 1)] + [crowd.worker(n) for n in range(workers)]
    await asyncio.gather(*everybody)
    w = crowd.worlds[0]

    async def over() -> bool:
        open_orders = "SELECT COUNT(*) FROM orders WHERE status IN ('PLACED', 'PAYING')"
        return await w.app.stores.shop.scan(lambda tx: tx.one(open_orders)) == (0,)

    await w.until("no order is open", over)
    await at_rest(w)
    await holds(w)
    # What must be sold is sold, and the rest is on the shelf again: nothing stays held.
    for product_id in (1, 2, 3):
        on_hand, reserved, sold = await w.stock(product_id)
        assert reserved == 0
        assert 0 < sold < on_hand
    stored = await w.app.stores.shop.scan(lambda tx: tx.one("SELECT COUNT(*), COUNT(DISTINCT user_id) FROM orders"))
    assert stored == (crowd.orders, crowd.orders), "a buyer has one order, however often they asked"


async def test_what_the_database_undoes_at_one_statement_in_twenty_shows_in_no_answer(tmp_path: Path) -> None:
    faults = Faults(random.Random(1))
    connect = connecting(faults, Limits(wait_s=60))
    async with shops(tmp_path, 2, connect=connect, payment_window_s=15) as worlds:
        crowd = Crowd(worlds, 1)
        await crowd.policies()
        faults.share = 0.05
        await sold_out_of_a_crowd(crowd, buyers=60, workers=10)
        assert set(faults.seen) == UNDONE | {DUPLICATE}


@pytest.mark.parametrize("where", ["before", "after"])
async def test_a_line_that_breaks_at_one_commit_in_ten_doubles_no_order_and_no_capture(
    tmp_path: Path, line: Proxy, where: str
) -> None:
    """Every unit of work of the shop is run again behind its own commit, sooner or later."""
    rng = random.Random(where)
    async with shops(tmp_path, 2, port=line.port, payment_window_s=15, db_wait_s=60) as worlds:
        crowd = Crowd(worlds, 1)
        await crowd.policies()
        line.cut_at = lambda _: where if rng.random() < 0.1 else ""
        await sold_out_of_a_crowd(crowd, buyers=60, workers=10)
        assert line.cuts > 50
        line.cut_at = lambda _: ""
        ledger = await worlds[0].ledger()
        assert all(len(each["captures"]) <= 1 for each in ledger["payments"])


async def test_a_schema_that_is_behind_is_refused_and_the_command_is_named(tmp_path: Path) -> None:
    app = built(tmp_path, 0)
    with pytest.raises(BadSetting, match="the database shop is not at the present schema: run qc migrate"):
        await app.open()
    await app.migrate()
    await app.open()
    await app.stop()


def test_the_doctor_says_what_is_to_be_done_about_a_schema_and_that_one_is_fit(tmp_path: Path) -> None:
    """The doctor has an event loop of its own, and so has the server's answer."""
    app = built(tmp_path, 0)
    told = {each.part: each for each in examine(app.settings)}
    behind = len(migrations("shop", "mariadb"))
    assert told["database shop"].detail == f"{behind} migrations are to be applied: qc migrate"

    async def migrate() -> None:
        fresh = built(tmp_path, 0)
        await fresh.migrate()
        await fresh.stop()

    schemas.apart(migrate)
    told = {each.part: each for each in examine(app.settings)}
    assert (told["database shop"].fit, told["database payment"].fit) == (True, True)
    gone = msgspec.structs.replace(app.settings, database_url="mariadb://u:s3cret@127.0.0.1:1/shop")
    told = {each.part: each for each in examine(gone)}
    assert told["database shop"].detail == "the database shop cannot be reached (error 2003)"
