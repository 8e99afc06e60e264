"""Money back: who may ask for it, how much, until when, and what each is told."""

import asyncio
from pathlib import Path
from typing import Any

import httpx2
import pytest

from quickcommerce.kit.auth import Role
from world import World

from .routes import OWNERS, auth
from .shop import refused, shop

owners = pytest.mark.parametrize("who", OWNERS)
WINDOW_S = 7 * 86_400


async def paid(w: World, lines: tuple[tuple[int, int], ...] = ((1, 2),)) -> dict[str, Any]:
    """A captured payment of user 7."""
    order = (await w.order(lines)).json()
    payment: dict[str, Any] = await w.get(f"/v1/orders/{order['order_id']}/payment")
    assert (await w.confirm(payment, await w.authenticate(payment))).status_code == 200
    return payment


async def refund(
    w: World, payment: dict[str, Any], who: str = "owner", *, key: str | None = None, **body: Any
) -> httpx2.Response:
    """Ask for money back."""
    headers = auth(w, who) | ({"Idempotency-Key": key} if key else {})
    url = f"/v1/payments/{payment['payment_id']}/refunds"
    return await w.http.post(url, json={"reason": "changed my mind"} | body, headers=headers)


async def state(w: World, payment: dict[str, Any]) -> tuple[str, int]:
    """A payment's status and what is back of it."""
    now = await w.get(f"/v1/orders/{payment['order_id']}/payment")
    return now["status"], now["refunded"]


async def back(w: World, payment: dict[str, Any]) -> list[int]:
    """What the PG gave back."""
    ledger = (await w.ledger())["payments"]
    return [
        cancel["amount"] for each in ledger if each["orderId"] == payment["payment_id"] for cancel in each["cancels"]
    ]


@owners
async def test_all_of_it_comes_back(tmp_path: Path, who: str) -> None:
    async with shop(tmp_path) as w:
        payment = await paid(w)
        answer = await refund(w, payment, who)
        assert answer.status_code == 201
        made = answer.json()
        assert made["refund_id"].startswith("ref_")
        assert made == {"refund_id": made["refund_id"], "amount": payment["amount"], "status": "DONE"}
        assert await state(w, payment) == ("REFUNDED", payment["amount"])
        assert await back(w, payment) == [payment["amount"]]
        assert refused(await refund(w, payment, who)) == "invalid-state"


async def test_parts_of_it_come_back_until_all_is_back(tmp_path: Path) -> None:
    async with shop(tmp_path) as w:
        payment = await paid(w)
        assert (await refund(w, payment, amount=1_000)).json()["amount"] == 1_000
        assert await state(w, payment) == ("PARTLY_REFUNDED", 1_000)
        assert refused(await refund(w, payment, amount=payment["amount"])) == "invalid-state"
        assert (await refund(w, payment)).json()["amount"] == payment["amount"] - 1_000
        assert await state(w, payment) == ("REFUNDED", payment["amount"])
        assert await back(w, payment) == [1_000, payment["amount"] - 1_000]


@owners
async def test_more_than_was_paid_never_goes_back(tmp_path: Path, who: str) -> None:
    async with shop(tmp_path) as w:
        payment = await paid(w)
        assert refused(await refund(w, payment, who, amount=payment["amount"] + 1)) == "invalid-state"
        assert (await refund(w, payment, who, amount=payment["amount"])).status_code == 201
        assert refused(await refund(w, payment, who, amount=1)) == "invalid-state"
        assert await back(w, payment) == [payment["amount"]]


async def test_fifty_parts_at_once_are_as_many_as_fit(tmp_path: Path) -> None:
    """Fifty ask for 200 won of 5,800: 29 get them, each once, and the others are told so."""
    async with shop(tmp_path) as w:
        payment = await paid(w)
        answers = await asyncio.gather(*(refund(w, payment, amount=200) for _ in range(50)))
        told = [answer.status_code for answer in answers]
        assert (told.count(201), told.count(409)) == (29, 21)
        assert {refused(answer) for answer in answers if answer.status_code == 409} == {"invalid-state"}
        assert {answer.json()["status"] for answer in answers if answer.status_code == 201} == {"DONE"}
        assert await back(w, payment) == [200] * 29
        assert await state(w, payment) == ("REFUNDED", 5_800)


async def test_what_is_still_owed_counts(tmp_path: Path) -> None:
    async with shop(tmp_path) as w:
        payment = await paid(w)
        await w.faults(cancel=[{"kind": "slow", "ms": 8_000}])
        asked = asyncio.get_running_loop().time()
        answer = await refund(w, payment, amount=5_000)
        assert (answer.status_code, answer.json()["status"]) == (201, "PENDING")
        assert 2.9 <= asyncio.get_running_loop().time() - asked <= 3.1, "nobody is left waiting"
        assert await state(w, payment) == ("CAPTURED", 0)
        assert refused(await refund(w, payment, amount=801)) == "invalid-state"
        assert (await refund(w, payment)).json() | {"refund_id": ""} == {
            "refund_id": "", "amount": 800, "status": "PENDING",
        }  # fmt: skip

        async def all_back() -> bool:
            return await back(w, payment) == [5_000, 800]

        await w.until("both are back, in order", all_back)


@pytest.mark.parametrize("state_now", ["READY", "DECLINED", "CLOSED", "CAPTURING"])
@owners
async def test_only_money_that_came_goes_back(tmp_path: Path, state_now: str, who: str) -> None:
    async with shop(tmp_path) as w:
        order = (await w.order()).json()
        payment = await w.get(f"/v1/orders/{order['order_id']}/payment")
        if state_now == "CLOSED":
            await w.http.post(f"/v1/orders/{order['order_id']}/cancel", headers=w.auth())
        elif state_now != "READY":
            await w.faults(confirm=[{"kind": "slow", "ms": 6_000 if state_now == "CAPTURING" else 0}])
            method = "CARD_REFUSED" if state_now == "DECLINED" else "CARD"
            await w.confirm(payment, await w.authenticate(payment, method=method))
        assert (await state(w, payment))[0] == state_now
        assert refused(await refund(w, payment, who)) == "invalid-state"
        assert await back(w, payment) == []


@pytest.mark.parametrize("who", ["owner", "owner-seller"])
async def test_a_buyer_may_ask_for_a_week_and_a_master_always(tmp_path: Path, who: str) -> None:
    async with shop(tmp_path, loops=False) as w:
        payment = await paid(w)
        at = w.clock()
        w.clock.jump(WINDOW_S - 1)
        assert (await refund(w, payment, who, amount=100)).status_code == 201
        w.clock.offset_us += at + WINDOW_S * 1_000_000 - w.clock()
        assert refused(await refund(w, payment, who, amount=100)) == "invalid-state"
        assert (await refund(w, payment, "master")).status_code == 201


async def test_goods_come_back_only_with_the_refund_that_makes_it_whole(tmp_path: Path) -> None:
    async with shop(tmp_path) as w:
        payment = await paid(w)
        assert refused(await refund(w, payment, amount=100, restock=True)) == "invalid-state"
        assert (await refund(w, payment, amount=100)).status_code == 201
        assert (await refund(w, payment, restock=True)).status_code == 201


async def test_a_refund_that_the_pg_refuses_is_told_and_may_be_asked_for_again(tmp_path: Path) -> None:
    async with shop(tmp_path) as w:
        payment = await paid(w)
        await w.faults(cancel=[{"kind": "error", "code": "REFUND_REJECTED"}])
        answer = await refund(w, payment, key="k")
        assert refused(answer) == "invalid-state"
        assert "REFUND_REJECTED" in answer.json()["detail"]
        assert await state(w, payment) == ("CAPTURED", 0)
        again = await refund(w, payment, key="k")
        assert (again.status_code, again.json()["status"]) == (201, "DONE")
        assert "idempotency-replayed" not in again.headers
        assert await back(w, payment) == [payment["amount"]]


@owners
async def test_the_same_key_is_one_refund_with_one_answer(tmp_path: Path, who: str) -> None:
    async with shop(tmp_path) as w:
        payment = await paid(w)
        first = await refund(w, payment, who, key="tap", amount=100)
        assert "idempotency-replayed" not in first.headers
        w.clock.jump(3_600)
        for _ in range(3):
            again = await refund(w, payment, who, key="tap", amount=100)
            assert (again.status_code, again.content) == (201, first.content)
            assert again.headers["idempotency-replayed"] == "true"
        assert await back(w, payment) == [100]
        assert (await refund(w, payment, who, key="another-tap", amount=100)).status_code == 201
        assert await back(w, payment) == [100, 100]


@owners
async def test_a_key_with_another_body_gives_nothing_back(tmp_path: Path, who: str) -> None:
    async with shop(tmp_path) as w:
        payment, other = await paid(w), await paid(w)
        assert (await refund(w, payment, who, key="tap", amount=100)).status_code == 201
        assert refused(await refund(w, payment, who, key="tap", amount=101)) == "idempotency-key-reused"
        assert refused(await refund(w, other, who, key="tap", amount=100)) == "idempotency-key-reused"
        assert (await back(w, payment), await back(w, other)) == ([100], [])


@owners
async def test_while_the_first_call_runs_its_key_is_in_progress(tmp_path: Path, who: str) -> None:
    async with shop(tmp_path) as w:
        payment = await paid(w)
        await w.faults(cancel=[{"kind": "slow", "ms": 2_000}])
        first = asyncio.create_task(refund(w, payment, who, key="tap", amount=100))
        await asyncio.sleep(1)
        repeat = await refund(w, payment, who, key="tap", amount=100)
        assert refused(repeat) == "idempotency-in-progress"
        assert (await first).status_code == 201
        assert (await refund(w, payment, who, key="tap", amount=100)).content == (await first).content
        assert await back(w, payment) == [100]


async def test_a_buyer_who_hangs_up_finds_their_refund_under_the_same_key(tmp_path: Path) -> None:
    async with shop(tmp_path) as w:
        payment = await paid(w)
        await w.faults(cancel=[{"kind": "slow", "ms": 2_000}])
        asking = asyncio.create_task(refund(w, payment, key="tap", amount=100))
        await asyncio.sleep(1)
        asking.cancel()

        async def told() -> bool:
            answer = await refund(w, payment, key="tap", amount=100)
            return answer.status_code == 201 and bool(answer.json()["status"] == "DONE")

        await w.until("the key is free again", told, within_s=90)
        assert await back(w, payment) == [100]


async def test_the_answer_under_a_key_stays_as_it_was_told(tmp_path: Path) -> None:
    async with shop(tmp_path) as w:
        payment = await paid(w)
        await w.faults(cancel=[{"kind": "slow", "ms": 5_000}])
        first = await refund(w, payment, key="tap")
        assert first.json()["status"] == "PENDING"
        await asyncio.sleep(10)
        assert await state(w, payment) == ("REFUNDED", payment["amount"])
        again = await refund(w, payment, key="tap")
        assert again.content == first.content


BODIES: dict[str, dict[str, Any]] = {
    "amount 0": {"amount": 0},
    "amount negative": {"amount": -1},
    "amount a fraction": {"amount": 1.5},
    "amount text": {"amount": "100"},
    "amount true": {"amount": True},
    "amount 2^53": {"amount": 2**53},
    "reason empty": {"reason": ""},
    "reason blank": {"reason": " \n"},
    "reason too long": {"reason": "가" * 201},
    "reason null": {"reason": None},
    "reason a number": {"reason": 5},
    "restock text": {"restock": "true"},
    "restock null": {"restock": None},
    "an unknown member": {"refund_id": "ref_1"},
}


async def test_a_refund_that_is_not_right_never_reaches_the_pg(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        payment = await paid(w)
        for name, body in BODIES.items():
            assert refused(await refund(w, payment, **body)) == "invalid-request", name
        nothing = await w.http.post(f"/v1/payments/{payment['payment_id']}/refunds", json={}, headers=w.auth())
        assert refused(nothing) == "invalid-request", "a reason is needed"
        for key in ("", "a b", "키", "x" * 256):
            headers = [(b"authorization", w.auth()["Authorization"].encode()), (b"idempotency-key", key.encode())]
            url = f"/v1/payments/{payment['payment_id']}/refunds"
            answer = await w.http.post(url, json={"reason": "no"}, headers=headers)
            assert refused(answer) == "invalid-request", key
        assert await back(w, payment) == []
        assert (await refund(w, payment, reason="가" * 200)).status_code == 201


async def test_nobody_gets_back_what_another_paid(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        payment = await paid(w)
        assert refused(await refund(w, payment, "stranger")) == "not-found"
        assert refused(await refund(w, payment, "stranger-seller")) == "not-found"
        absent = payment | {"payment_id": "pay_" + "0" * 26}
        assert refused(await refund(w, absent)) == "not-found"
        assert refused(await refund(w, payment | {"payment_id": "pay_x"})) == "not-found"
        other = await w.http.post(
            f"/v1/payments/{payment['payment_id']}/refunds", json={"reason": "mine"}, headers=w.auth(9, Role.MASTER)
        )
        assert other.status_code == 201
