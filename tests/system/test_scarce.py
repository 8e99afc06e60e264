"""Scarce things and a crowd that wants them at once, over real connections: coupons, a sale's quota, last units, money.

Each scenario runs three times: as it is; where every list of requests decides on old figures, which the guard must see;
and, as its control, so without the guard.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from quickcommerce.catalog.model import Entry
from quickcommerce.kit.auth import Role
from system.process import until
from system.shop import Shop, basket, running
from system.truth import exact, rows
from system.wire import Answer, dialled, request

Told = Counter[tuple[int, str | None]]


async def crowd(shop: Shop, asks: Sequence[bytes], *, over_s: float = 0) -> list[Answer]:
    """Everybody on a line of their own; all at once, or one after another over some seconds. In the order of `asks`."""
    async with dialled(shop.url, len(asks)) as lines:
        started = time.monotonic()

        async def one(at: int) -> Answer:
            await asyncio.sleep(started + over_s * at / len(asks) - time.monotonic())
            await lines[at].send(asks[at])
            return await lines[at].answer()

        return list(await asyncio.gather(*(one(at) for at in range(len(asks)))))


def told(answers: Sequence[Answer]) -> Told:
    return Counter((answer.status, answer.json.get("code")) for answer in answers)


async def made(shop: Shop, path: str, body: dict[str, Any]) -> Any:
    answer = await shop.ask("POST", path, role=Role.MASTER, json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()


def window(start_s: float, end_s: float) -> dict[str, str]:
    now = datetime.now(UTC)
    starts, ends = ((now + timedelta(seconds=s)).isoformat() for s in (start_s, end_s))
    return {"starts_at": starts, "ends_at": ends}


async def coupons(folder: Path, faults: str) -> None:
    """Five hundred ask for a hundred coupons, each of them twice."""
    async with running(folder, faults, log_level="WARNING") as shop:
        policy: dict[str, Any] = {
            "name": "한정",
            "discount_type": "AMOUNT",
            "discount_value": 500,
            "min_order_amount": 0,
        }
        policy |= {"max_discount_amount": 500, "total_quantity": 100} | window(-60, 3600)
        path = f"/v1/coupons/{(await made(shop, '/v1/coupons', policy))['policy_id']}/issue"
        asks = [request("POST", path, shop.auth(user)) for user in range(1, 501)]
        first, again = await crowd(shop, asks), await crowd(shop, asks)
        assert (await shop.terminate()).code == 0
    issued = rows(folder / "shop.db", "SELECT user_id, coupon_id FROM coupon")
    assert len(issued) == 100, f"{len(issued)} buyers have one of a hundred coupons"
    assert told(first) == {(201, None): 100, (409, "coupon-not-usable"): 400}
    mine = {(user, answer.json.get("coupon_id")) for user, answer in enumerate(first, 1) if answer.status == 201}
    assert mine == {(row["user_id"], row["coupon_id"]) for row in issued}, "a buyer was told of a coupon of another's"
    assert [answer.json.get("coupon_id") for answer in first] == [answer.json.get("coupon_id") for answer in again]
    assert told(again) == {(200, None): 100, (409, "coupon-not-usable"): 400}


async def quota(folder: Path, faults: str) -> None:
    """Three hundred want a sale's fifty units: some at once, some of whom come too late or leave, some as it ends."""
    goods = [Entry(1, "한우 등심 200g", 25_900, 1_000)]
    async with running(folder, faults, goods=goods, order_list_max=16, log_level="WARNING") as shop:
        sale = await made(shop, "/v1/time-sales", {"product_id": 1, "price": 9_900, "quota": 50} | window(0, 3))
        asks = [request("POST", "/v1/orders", shop.auth(user), basket([(1, 1)])) for user in range(1, 301)]
        early = await crowd(shop, asks[:60])
        left = [answer.json["order_id"] for answer in early if answer.status == 201][:10]
        for user, answer in enumerate(early, 1):
            if answer.status == 201 and answer.json["order_id"] in left:
                assert (await shop.ask("POST", f"{answer.headers['location']}/cancel", user=user)).status_code == 200
        ends_in = datetime.fromisoformat(sale["ends_at"]) - datetime.now(UTC)
        middle = await crowd(shop, asks[60:280], over_s=max(0.5, 2 * ends_in.total_seconds()))

        async def over() -> bool:
            return bool((await shop.get("/v1/products/1"))["time_sale"] is None)

        await until("the sale is over", over)
        late = await crowd(shop, asks[280:])
        assert (await shop.terminate()).code == 0
    assert told(late) == {(201, None): 20}, "the sale is over, and its quota still counts"
    inside = 0
    for answer in (*early, *middle, *late):
        if answer.status == 409:
            assert answer.json["code"] == "out-of-stock"
            continue
        order = answer.json
        cheap = order["payable"] == 9_900
        assert cheap == (sale["starts_at"] <= order["placed_at"] < sale["ends_at"]), (
            f"not the price of its time: {order}"
        )
        inside += cheap and order["order_id"] not in left
    assert inside <= 50, f"{inside} units are sold of a quota of 50"
    (row,) = rows(folder / "shop.db", "SELECT used FROM time_sale")
    assert row["used"] == inside, "quota is used up by nobody"
    exact(folder)


async def crossing(folder: Path, faults: str) -> None:
    """Two hundred want the last thirty of each of three things, half of them in the opposite order."""
    goods = [Entry(1, "우유 1L", 2_900, 30), Entry(2, "달걀 30구", 8_900, 40), Entry(3, "바나나", 3_900, 30)]
    async with running(folder, faults, goods=goods, order_list_max=16, log_level="WARNING") as shop:
        wants = [[(1, 1), (2, 1), (3, 1)], [(3, 1), (2, 1), (1, 1)]]
        asks = [request("POST", "/v1/orders", shop.auth(user), basket(wants[user % 2])) for user in range(1, 201)]
        answers = await crowd(shop, asks)
        assert (await shop.terminate()).code == 0
    won = {answer.json["order_id"] for answer in answers if answer.status == 201}
    assert len(won) <= 30, f"{len(won)} buyers have one of the last thirty"
    assert told(answers) == {(201, None): 30, (409, "out-of-stock"): 170}
    truth = exact(folder)
    held = {name: product["reserved"] for name, product in truth.products.items()}
    assert held == {1: 30, 2: 30, 3: 30}, "who got nothing holds something"
    assert won == truth.orders.keys()


async def refunds(folder: Path, faults: str) -> None:
    """Fifty ask at once for a part of what one payment brought."""
    async with running(folder, faults, log_level="WARNING") as shop:
        order = await shop.order([(1, 2)])
        await shop.pay(order)
        payment = await shop.get(f"/v1/orders/{order['order_id']}/payment")
        part, path = 200, f"/v1/payments/{payment['payment_id']}/refunds"
        body = {"reason": "too much", "amount": part}
        asks = [request("POST", path, shop.auth() | {"Idempotency-Key": f"tap-{at}"}, body) for at in range(50)]
        answers = await crowd(shop, asks)
        fit = payment["amount"] // part
        promised = sum(answer.status == 201 for answer in answers)
        assert promised == fit, f"{promised} times {part} won are promised of {payment['amount']}"
        assert told(answers) == {(201, None): fit, (409, "invalid-state"): 50 - fit}

        async def back() -> list[int]:
            ledger = (await shop.http.get(f"{shop.pg_url}/emulator/ledger")).json()
            return [cancel["amount"] for each in ledger["payments"] for cancel in each["cancels"]]

        async def whole() -> bool:
            now = await shop.get(f"/v1/orders/{order['order_id']}/payment")
            return (now["status"], now["refunded"]) == ("REFUNDED", payment["amount"])

        await until("all of it is back", whole)
        assert await back() == [part] * fit
        assert (await shop.terminate()).code == 0


SCENARIOS = {each.__name__: each for each in (coupons, quota, crossing, refunds)}
STALE = {"coupons": "stale-policies", "quota": "stale-sales", "crossing": "stale-stock", "refunds": "stale-payment"}
CONTROLS = [
    ("coupons", "stale-policies,no-total", "have one of a hundred coupons"),
    ("quota", "stale-sales,no-quota", "units are sold of a quota of 50"),
    ("quota", "price-of-before", "its quota still counts"),
    ("crossing", "stale-stock,no-shelf", "buyers have one of the last thirty"),
    ("crossing", "stale-stock,uncounted-hold", "buyers have one of the last thirty"),
    ("refunds", "stale-payment,no-sum", "won are promised of"),
]


@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_a_crowd_gets_what_there_is_and_no_more(tmp_path: Path, scenario: str) -> None:
    await SCENARIOS[scenario](tmp_path, "")


@pytest.mark.parametrize("scenario", STALE)
async def test_a_crowd_gets_no_more_where_lists_decide_on_old_figures(tmp_path: Path, scenario: str) -> None:
    await SCENARIOS[scenario](tmp_path, STALE[scenario])


@pytest.mark.parametrize(("scenario", "faults", "shown"), CONTROLS)
async def test_control_without_its_guard(tmp_path: Path, scenario: str, faults: str, shown: str) -> None:
    with pytest.raises(AssertionError, match=shown):
        await SCENARIOS[scenario](tmp_path, faults)
