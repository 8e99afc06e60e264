"""Bringing the PG's result to the shop: whatever comes, in whatever order, money moves once and only for its order."""

import asyncio
from itertools import product
from pathlib import Path
from typing import Any

import httpx2
import pytest

from quickcommerce.kit.auth import Role
from quickcommerce.kit.problem import Unavailable
from quickcommerce.order import timeline_store
from quickcommerce.payment import flow
from world import World

from .browser import success
from .routes import OWNERS, auth
from .shop import down, refused, shop

owners = pytest.mark.parametrize("who", OWNERS)


async def calls(w: World) -> list[str]:
    """What arrived at the PG: `confirm done`, `get done`, and so on."""
    return [f"{call['kind']} {call['outcome']}" for call in (await w.ledger())["calls"]]


async def opened(w: World) -> dict[str, Any]:
    """A payment that can be confirmed."""
    order = (await w.order()).json()
    payment: dict[str, Any] = await w.get(f"/v1/orders/{order['order_id']}/payment")
    return payment


async def confirm(
    w: World, payment: dict[str, Any], key: str, who: str = "owner", *, amount: int | None = None
) -> httpx2.Response:
    body = {"payment_key": key, "amount": payment["amount"] if amount is None else amount}
    return await w.http.post(f"/v1/payments/{payment['payment_id']}/confirm", json=body, headers=auth(w, who))


async def test_whoever_cannot_be_told_what_came_of_a_capture_is_told_that_it_is_under_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told to come again, a buyer takes another card, and the money of the first one is gone all the same."""

    async def busy(_: object) -> list[Any]:
        raise Unavailable("no connection is free")

    async with shop(tmp_path) as w:
        payment = await opened(w)
        key = await w.authenticate(payment)
        await w.faults(confirm=[{"kind": "slow", "ms": 500}])
        with monkeypatch.context() as busily:
            busily.setattr(w.app.flows.payments.looking, "_handle", busy)
            answers = await asyncio.gather(*(confirm(w, payment, key) for _ in range(2)))
        first, second = sorted(answers, key=lambda answer: answer.status_code)
        assert (first.status_code, first.json()["status"]) == (200, "CAPTURED"), "it was captured for this one"
        assert (second.status_code, second.json()["status"]) == (202, "CAPTURING"), "a double tap is one capture"
        assert second.headers["Retry-After"]
        await w.until_status(payment["order_id"], "PAID")
        again = await confirm(w, payment, key)
        assert (again.status_code, again.json()["status"]) == (200, "CAPTURED")


@owners
async def test_money_is_captured_once_however_often_it_is_confirmed(tmp_path: Path, who: str) -> None:
    async with shop(tmp_path) as w:
        payment = await opened(w)
        key = await w.authenticate(payment)
        first = await confirm(w, payment, key, who)
        assert (first.status_code, first.json()["status"]) == (200, "CAPTURED")
        await w.until_status(payment["order_id"], "PAID")
        w.clock.jump(3600)
        again = await confirm(w, payment, key, who)
        assert (again.status_code, again.content) == (200, first.content)
        assert refused(await confirm(w, payment, await w.authenticate(payment), who)) == "invalid-state"
        assert await calls(w) == ["confirm done"]


async def test_twenty_confirms_at_once_are_one_capture_with_equal_answers(tmp_path: Path) -> None:
    async with shop(tmp_path) as w:
        payment = await opened(w)
        key = await w.authenticate(payment)
        await w.faults(confirm=[{"kind": "slow", "ms": 1_000}])
        answers = await asyncio.gather(*(confirm(w, payment, key) for _ in range(20)))
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.content for answer in answers}) == 1
        assert await calls(w) == ["confirm done"]
        assert await w.captures(payment["payment_id"]) == 1


async def test_two_keys_at_once_are_one_capture_and_one_refusal(tmp_path: Path) -> None:
    async with shop(tmp_path) as w:
        payment = await opened(w)
        keys = [await w.authenticate(payment) for _ in range(2)]
        answers = await asyncio.gather(*(confirm(w, payment, key) for key in keys))
        assert sorted(answer.status_code for answer in answers) == [200, 409]
        assert await calls(w) == ["confirm done"]


async def test_an_outcome_that_takes_longer_than_three_seconds_is_told_later(tmp_path: Path) -> None:
    """The buyer is not left waiting, and is never told `failed` while it may still succeed."""
    async with shop(tmp_path) as w:
        payment = await opened(w)
        key = await w.authenticate(payment)
        await w.faults(confirm=[{"kind": "slow", "ms": 8_000}])
        asked = asyncio.get_running_loop().time()
        answer = await confirm(w, payment, key)
        took = asyncio.get_running_loop().time() - asked
        assert (answer.status_code, answer.json()["status"], answer.json()["captured"]) == (202, "CAPTURING", 0)
        assert int(answer.headers["retry-after"]) >= 1
        assert 2.9 <= took <= 3.1
        assert (await confirm(w, payment, key)).status_code == 202, "three seconds more"
        answer = await confirm(w, payment, key)
        assert (answer.status_code, answer.json()["status"]) == (200, "CAPTURED")
        assert "retry-after" not in answer.headers
        assert await calls(w) == ["confirm done"]


async def test_another_key_while_one_is_under_way_is_refused(tmp_path: Path) -> None:
    async with shop(tmp_path) as w:
        payment = await opened(w)
        key, other = await w.authenticate(payment), await w.authenticate(payment)
        await w.faults(confirm=[{"kind": "slow", "ms": 6_000}])
        assert (await confirm(w, payment, key)).status_code == 202
        assert refused(await confirm(w, payment, other)) == "invalid-state"
        await w.until_status(payment["order_id"], "PAID")
        assert await calls(w) == ["confirm done"]


@owners
async def test_a_declined_card_is_told_with_the_pgs_words_and_the_same_way_again(tmp_path: Path, who: str) -> None:
    async with shop(tmp_path) as w:
        payment = await opened(w)
        key = await w.authenticate(payment, method="CARD_REFUSED")
        first = await confirm(w, payment, key, who)
        assert refused(first) == "payment-declined"
        assert first.json()["pg_code"] == "REJECT_CARD_PAYMENT"
        assert first.json()["pg_message"] == "Over the limit or short of balance."
        await asyncio.sleep(5)
        again = await asyncio.gather(*(confirm(w, payment, key, who) for _ in range(5)))
        assert {answer.content for answer in again} == {first.content}
        assert await calls(w) == ["confirm error:REJECT_CARD_PAYMENT"]
        assert (await confirm(w, payment, await w.authenticate(payment), who)).status_code == 200
        assert (await confirm(w, payment, key, who)).content == first.content, "true of that card for ever"


@pytest.mark.parametrize("seen", ["never", "with another payment", "with another amount"])
async def test_a_key_that_is_not_this_payments_takes_no_money(tmp_path: Path, seen: str) -> None:
    """Somebody else's authenticated payment cannot pay this order, nor can a cheaper one."""
    async with shop(tmp_path) as w:
        payment, other = await opened(w), await opened(w)
        key = "tgen_invented"
        if seen != "never":
            key = await w.authenticate(other if seen == "with another payment" else payment | {"amount": 100})
        answer = await confirm(w, payment, key)
        assert refused(answer) == "payment-declined"
        assert answer.json()["pg_code"] in ("NOT_FOUND_PAYMENT_SESSION", "INVALID_REQUEST")
        assert await w.captures(payment["payment_id"]) == await w.captures(other["payment_id"]) == 0
        assert (await confirm(w, payment, await w.authenticate(payment))).status_code == 200


async def test_an_invented_key_does_not_block_the_one_that_the_buyer_authenticated(tmp_path: Path) -> None:
    async with shop(tmp_path) as w:
        payment = await opened(w)
        key = await w.authenticate(payment)
        assert refused(await confirm(w, payment, "tgen_invented")) == "payment-declined"
        assert (await confirm(w, payment, key)).status_code == 200


@pytest.mark.parametrize("people", [OWNERS], ids=["owners and master"])
@pytest.mark.parametrize("state", ["READY", "CAPTURED", "DECLINED", "CLOSED", "CAPTURING"])
async def test_another_amount_is_refused_first_and_always_without_asking_the_pg(
    tmp_path: Path, state: str, people: tuple[str, ...]
) -> None:
    async with shop(tmp_path) as w:
        payment = await opened(w)
        key = await w.authenticate(payment, method="CARD_REFUSED" if state == "DECLINED" else "CARD")
        if state == "CLOSED":
            await w.http.post(f"/v1/orders/{payment['order_id']}/cancel", headers=w.auth())
        elif state != "READY":
            await w.faults(confirm=[{"kind": "slow", "ms": 6_000 if state == "CAPTURING" else 0}])
            await confirm(w, payment, key)
        assert (await w.get(f"/v1/orders/{payment['order_id']}/payment"))["status"] == state
        before = await calls(w)
        for who, amount in product(people, (payment["amount"] - 1, payment["amount"] + 1, 1, 2**53 - 1)):
            for each in (key, await w.authenticate(payment)):
                assert refused(await confirm(w, payment, each, who, amount=amount)) == "amount-mismatch"
        assert await calls(w) == before


class Lines:
    """What is logged as a warning."""

    def __init__(self) -> None:
        self.said: list[tuple[str, dict[str, Any]]] = []

    def warning(self, event: str, **facts: Any) -> None:
        self.said.append((event, facts))


async def another_amount(w: World, payment: dict[str, Any], way: str, amount: int) -> None:
    key = await w.authenticate(payment)
    if way == "confirm":
        assert refused(await confirm(w, payment, key, amount=amount)) == "amount-mismatch"
    else:
        assert refused(await success(w, payment, key, amount=amount, headers={})) == "amount-mismatch"


@pytest.mark.parametrize("way", ["confirm", "success"])
async def test_an_amount_that_was_changed_on_its_way_leaves_a_trace_for_operators_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Whoever tries a hundred amounts must be seen, and must not fill the order's timeline."""
    lines = Lines()
    monkeypatch.setattr(flow, "log", lines)
    async with shop(tmp_path) as w:
        payment = await opened(w)
        before, timeline = flow.AMOUNTS._value.get(), f"/v1/orders/{payment['order_id']}/timeline"
        amounts = [payment["amount"] + more for more in (1, 2, -1)]
        for amount in amounts:
            await another_amount(w, payment, way, amount)
        await asyncio.gather(*(another_amount(w, payment, way, 1) for _ in range(5)))
        assert flow.AMOUNTS._value.get() == before + 8
        told = [("payment.amount_refused", {"payment_id": payment["payment_id"], "amount": each}) for each in amounts]
        assert lines.said[:3] == told
        notes = (await w.get(timeline, role=Role.MASTER))["items"][1:]
        assert [(each["what"], each["cause"], each["from"], each["to"]) for each in notes] == [
            ("amount refused", "5801 won were brought, and 5800 are asked", "PLACED", "PLACED")
        ]
        assert [each["what"] for each in (await w.get(timeline))["items"]] == ["placed"], "it is no news for the buyer"
        assert (await confirm(w, payment, await w.authenticate(payment))).status_code == 200


async def many_amounts(folder: Path) -> list[str]:
    """Many wrong amounts at once. Returns what the timeline says then."""
    async with shop(folder) as w:
        payment = await opened(w)
        await asyncio.gather(*(another_amount(w, payment, "confirm", amount) for amount in range(1, 9)))
        items = (await w.get(f"/v1/orders/{payment['order_id']}/timeline", role=Role.MASTER))["items"]
        return [each["what"] for each in items]


async def test_of_many_wrong_amounts_at_once_one_is_noted(tmp_path: Path) -> None:
    assert await many_amounts(tmp_path) == ["placed", "amount refused"]


async def test_control_one_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: object) -> bool:
        return False

    monkeypatch.setattr(timeline_store, "noted", never)
    assert len(await many_amounts(tmp_path)) == 9, "each is one, and anybody can make up any number of them"


async def test_another_amount_is_refused_also_where_nothing_can_be_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with shop(tmp_path) as w:
        payment = await opened(w)
        down(monkeypatch, w, "shop")
        await another_amount(w, payment, "confirm", 1)


@owners
@pytest.mark.parametrize("swept", [False, True], ids=["not swept", "swept"])
async def test_at_the_end_of_the_time_to_pay_no_money_is_taken(tmp_path: Path, swept: bool, who: str) -> None:
    async with shop(tmp_path, loops=swept) as w:
        payment, in_time = await opened(w), await opened(w)
        key, other = await w.authenticate(payment), await w.authenticate(in_time)
        w.clock.jump(599.999_999 - asyncio.get_running_loop().time())
        assert (await confirm(w, in_time, other, who)).status_code == 200
        w.clock.jump(0.000_001)
        assert refused(await confirm(w, payment, key, who)) == "invalid-state"
        if swept:
            await w.until_status(payment["order_id"], "EXPIRED", within_s=5)
            assert refused(await confirm(w, payment, key, who)) == "invalid-state"
        assert await w.captures(payment["payment_id"]) == 0
        assert await calls(w) == ["confirm done"]


async def test_what_is_to_be_tried_again_is_not_after_the_time_to_pay(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        payment = await opened(w)
        key = await w.authenticate(payment)
        await w.faults(confirm=[{"kind": "error", "code": "UNAUTHORIZED_KEY"}])
        assert refused(await confirm(w, payment, key)) == "unavailable"
        w.clock.jump(600)
        assert refused(await confirm(w, payment, key)) == "invalid-state"
        assert await calls(w) == ["confirm error:UNAUTHORIZED_KEY"]


@owners
async def test_the_payment_of_a_cancelled_order_takes_no_money(tmp_path: Path, who: str) -> None:
    async with shop(tmp_path) as w:
        payment = await opened(w)
        key = await w.authenticate(payment)
        await w.http.post(f"/v1/orders/{payment['order_id']}/cancel", headers=w.auth())
        assert (await w.get(f"/v1/orders/{payment['order_id']}/payment"))["status"] == "CLOSED"
        assert refused(await confirm(w, payment, key, who)) == "invalid-state"
        assert await calls(w) == []


async def test_a_pg_that_refuses_us_is_no_fault_of_the_buyers(tmp_path: Path) -> None:
    """503, ask again with the same key; and when our key is right again, the payment goes through by itself."""
    async with shop(tmp_path) as w:
        payment = await opened(w)
        key = await w.authenticate(payment)
        await w.faults(confirm=[{"kind": "error", "code": "UNAUTHORIZED_KEY", "repeat": 2}])
        assert refused(await confirm(w, payment, key)) == "unavailable"
        assert (await w.get(f"/v1/orders/{payment['order_id']}/payment"))["status"] == "RETRY"
        await w.until_status(payment["order_id"], "PAID")
        assert (await confirm(w, payment, key)).status_code == 200
        assert await w.captures(payment["payment_id"]) == 1


@pytest.mark.parametrize("lost", ["drop-before", "drop-after"])
async def test_a_lost_reply_is_checked_and_never_called_a_failure(tmp_path: Path, lost: str) -> None:
    async with shop(tmp_path) as w:
        payment = await opened(w)
        key = await w.authenticate(payment)
        await w.faults(confirm=[{"kind": lost}], get=[{"kind": "drop-before", "repeat": 4}])
        assert (await confirm(w, payment, key)).status_code == 202
        await w.until_status(payment["order_id"], "PAID", within_s=90)
        assert (await confirm(w, payment, key)).json()["status"] == "CAPTURED"
        assert await w.captures(payment["payment_id"]) == 1


async def test_a_buyer_who_hangs_up_is_charged_once_and_gets_the_order(tmp_path: Path) -> None:
    async with shop(tmp_path) as w:
        payment = await opened(w)
        key = await w.authenticate(payment)
        await w.faults(confirm=[{"kind": "slow", "ms": 1_000}])
        asking = asyncio.create_task(confirm(w, payment, key))
        await asyncio.sleep(0.5)
        asking.cancel()
        await w.until_status(payment["order_id"], "PAID")
        assert await calls(w) == ["confirm done"]


async def test_ten_declined_cards_end_the_order(tmp_path: Path) -> None:
    async with shop(tmp_path) as w:
        payment = await opened(w)
        keys = [await w.authenticate(payment, method="CARD_REFUSED") for _ in range(10)]
        for key in keys:
            assert refused(await confirm(w, payment, key)) == "payment-declined"
        await w.until_status(payment["order_id"], "FAILED")
        assert refused(await confirm(w, payment, await w.authenticate(payment))) == "invalid-state"
        assert refused(await confirm(w, payment, keys[0])) == "payment-declined"
        assert len(await calls(w)) == 10
