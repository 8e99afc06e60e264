"""Money back while the PG and the network misbehave: one truth here and there, and never twice."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.typing import EventDict

from flow.acts import calls, every, order, paid, payment_of, pg_client, refund
from flow.invariants import always, check
from flow.probe import Probe
from flow.process import process
from flow.truth import rest, rows
from quickcommerce import events
from quickcommerce.kit import outbox
from quickcommerce.kit.auth import Role
from quickcommerce.kit.ids import EventId
from quickcommerce.kit.outbox import Message
from quickcommerce.payment.refund_model import Cancel, CancelReply
from world import World

both = pytest.mark.usefixtures("both")
"""For what two writers could spoil; what the PG does is the same whatever stores it."""

Fault = dict[str, Any]
LOST: Fault = {"kind": "drop-after"}
KNOWN_S = 90


async def refunds(w: World) -> list[tuple[str, int]]:
    """What is owed, back and refused, in order."""
    found = await rows(w.app.stores.payment, "payment_id seq status amount", "refund")
    return [(each["status"], each["amount"]) for each in found]


async def done(w: World, *, within_s: float = KNOWN_S) -> None:
    """Wait until nothing is owed any more."""

    async def settled() -> bool:
        await always(w)
        return all(status != "PENDING" for status, _ in await refunds(w))

    await w.until("no refund is owed", settled, within_s=within_s)


async def back(w: World, payment: dict[str, Any]) -> list[int]:
    """What the PG gave back."""
    ledger = (await w.ledger())["payments"]
    return [
        cancel["amount"] for each in ledger if each["orderId"] == payment["payment_id"] for cancel in each["cancels"]
    ]


@asynccontextmanager
async def ends_once(w: World, payment: dict[str, Any], amount: int) -> AsyncIterator[None]:
    """After this the refund is done, once, and everything tells one story."""
    yield
    await done(w)
    assert await back(w, payment) == [amount]
    await rest(w)
    await check(w)


FAULTS: dict[str, list[Fault]] = {
    "ok": [],
    "error": [{"kind": "error", "code": "PROVIDER_ERROR"}],
    "errors": [{"kind": "error", "code": "FAILED_REFUND_PROCESS", "repeat": 3}],
    "unknown code": [{"kind": "error", "code": "A_CODE_OF_NEXT_YEAR", "repeat": 2}],
    "it says it is cancelled, and it is not": [{"kind": "error", "code": "ALREADY_CANCELED_PAYMENT"}],
    "keys refused": [{"kind": "error", "code": "UNAUTHORIZED_KEY", "repeat": 2}],
    "still running": [{"kind": "error", "code": "IDEMPOTENT_REQUEST_PROCESSING"}],
    "http 500": [{"kind": "http", "status": 500}],
    "http 502": [{"kind": "http", "status": 502, "body": "<html>"}],
    "http 429": [{"kind": "http", "status": 429, "body": "{}"}],
    "http 200": [{"kind": "http", "status": 200, "body": "{}"}],
    "slow": [{"kind": "slow", "ms": 20_000}],
    "slower than our deadline": [{"kind": "slow", "ms": 75_000}],
    "drop-before": [{"kind": "drop-before", "repeat": 3}],
    "drop-after": [LOST],
    "mix": [{"mix": {"drop-after": 0.3, "drop-before": 0.3, "error:PROVIDER_ERROR": 0.3}, "seed": 5}],
}


@pytest.mark.parametrize("amount", [None, 1_000], ids=["whole", "part"])
@pytest.mark.parametrize("name", FAULTS)
async def test_whatever_the_pg_does_the_money_is_back_once(name: str, amount: int | None, tmp_path: Path) -> None:
    async with process(tmp_path) as w:
        payment = await paid(w)
        await w.faults(cancel=FAULTS[name])
        body: dict[str, Any] = {"amount": amount} if amount else {}
        async with ends_once(w, payment, amount or 5_800):
            answer = await refund(w, payment, **body)
            assert answer.status_code == 201, answer.text
        shown = await payment_of(w, {"order_id": payment["order_id"], "user_id": 7})
        assert (shown["status"], shown["refunded"]) == (("PARTLY_REFUNDED", 1_000) if amount else ("REFUNDED", 5_800))


async def test_a_refund_whose_reply_is_lost_is_found_and_not_asked_for_again(tmp_path: Path) -> None:
    async with process(tmp_path) as w:
        payment = await paid(w)
        await w.faults(cancel=[LOST], get=[{"kind": "drop-before", "repeat": 3}])
        async with ends_once(w, payment, 1_000):
            assert (await refund(w, payment, amount=1_000)).json()["status"] == "PENDING"
        assert await calls(w, "cancel") == 1, "a PG that has forgotten the key would give the money back again"


@both
async def test_a_repeat_is_the_same_request_and_after_an_answer_it_is_another(tmp_path: Path) -> None:
    async with process(tmp_path) as w:
        payment = await paid(w)
        asked: list[str] = []
        ask = w.app.flows.toss.cancel

        async def cancel(request: Cancel) -> CancelReply:
            asked.append(request.idempotency_key)
            return await ask(request)

        await w.faults(cancel=[{"kind": "drop-before", "repeat": 2}, {"kind": "error", "code": "PROVIDER_ERROR"}])
        with pg_client(w, cancel=cancel):
            async with ends_once(w, payment, 5_800):
                await refund(w, payment)
        first, *repeats, another = asked
        assert repeats == [first] * 2, "a request that may have arrived was sent again as a new one"
        assert another != first, "an answer that the PG keeps under its key would be given for ever"


@both
async def test_the_refunds_of_a_payment_are_asked_for_one_after_another(tmp_path: Path) -> None:
    """Each must know what is left before it: two at once could not be told apart afterwards."""
    async with process(tmp_path) as w:
        payment = await paid(w)
        await w.faults(cancel=[LOST, {"kind": "slow", "ms": 5_000}, {"kind": "drop-before"}, LOST])
        answers = await asyncio.gather(*(refund(w, payment, amount=amount) for amount in (100, 200, 300, 400)))
        assert {answer.status_code for answer in answers} == {201}
        await done(w)
        found = await refunds(w)
        assert found == [("DONE", amount) for _, amount in found]
        assert await back(w, payment) == [amount for _, amount in found], (
            "not in the order in which they were asked for"
        )
        assert sorted(await back(w, payment)) == [100, 200, 300, 400]
        await rest(w)
        await check(w)


@both
@pytest.mark.parametrize("seed", range(3))
async def test_fifty_parts_at_once_from_a_pg_with_bad_habits_are_as_many_as_fit(seed: int, tmp_path: Path) -> None:
    """Whatever gets lost on the way: what was promised is back, each once, and never more than was paid."""
    async with process(tmp_path) as w:
        payment = await paid(w)
        habits = {"drop-after": 0.2, "drop-before": 0.1, "error:PROVIDER_ERROR": 0.1, "http:502": 0.1}
        await w.faults(cancel=[{"mix": habits, "seed": seed}], get=[{"mix": {"drop-before": 0.3}, "seed": seed}])
        w.look_every_s = 2
        answers = await asyncio.gather(*(refund(w, payment, key=f"tap-{at}", amount=170) for at in range(50)))
        told = [answer.status_code for answer in answers]
        assert (told.count(201), told.count(409)) == (34, 16), "5,800 won are 34 times 170, and 20"
        await done(w, within_s=900)
        assert await back(w, payment) == [170] * 34
        assert (await refund(w, payment)).json()["amount"] == 20
        await done(w)
        await rest(w)
        await check(w)


async def test_a_refund_that_hangs_delays_no_other_payments(tmp_path: Path) -> None:
    async with process(tmp_path) as w:
        stuck, other = await paid(w), await paid(w)
        await w.faults(cancel=[{"kind": "slow", "ms": 50_000}])
        assert (await refund(w, stuck)).json()["status"] == "PENDING"
        assert (await refund(w, other)).json()["status"] == "DONE"
        await done(w)
        await rest(w)
        await check(w)


async def test_a_final_refusal_is_put_before_people_and_its_money_is_free_again(
    tmp_path: Path, logged: list[EventDict]
) -> None:
    async with process(tmp_path) as w:
        payment = await paid(w)
        await w.faults(cancel=[{"kind": "error", "code": "EXCEED_MAX_REFUND_DUE"}])
        assert (await refund(w, payment, amount=1_000)).status_code == 409
        assert await refunds(w) == [("FAILED", 1_000)]
        (told,) = [line for line in logged if line["event"] == "refund.outcome" and line["log_level"] == "error"]
        assert (told["code"], told["amount"]) == ("EXCEED_MAX_REFUND_DUE", 1_000)
        assert (await refund(w, payment)).json()["amount"] == 5_800
        await rest(w)
        await check(w)


async def test_five_minutes_of_errors_lose_no_refund_and_flood_nobody(tmp_path: Path) -> None:
    async with process(tmp_path) as w:
        payments = [await paid(w) for _ in range(5)]
        await w.faults(cancel=[{"kind": "http", "status": 500, "forever": True}])
        answers = await asyncio.gather(*(refund(w, payment, key=payment["payment_id"]) for payment in payments))
        assert {answer.json()["status"] for answer in answers} == {"PENDING"}
        await asyncio.sleep(300)
        # 1-2, 2-4, 4-8, 8-16 s apart, then 20-40: at most 5 and one every 20 seconds, for each refund.
        assert await calls(w, "cancel") <= 5 * (5 + 300 / 20), "the PG is flooded while it is down"
        await w.faults(cancel=[])
        await done(w)
        for payment in payments:
            assert await back(w, payment) == [5_800]
        await rest(w)
        await check(w)


@both
async def test_a_request_that_died_leaves_its_key_free_within_90_seconds(tmp_path: Path) -> None:
    """The process dies after the refund is owed and before it is answered."""
    probe = Probe()
    async with process(tmp_path, probe) as w:
        payment = await paid(w)
        gate = probe.hold("Refunds.answer")
        dying = asyncio.create_task(refund(w, payment, key="tap", amount=1_000))
        await gate.reached.wait()
        probe.gates.clear()
        dying.cancel()
        assert (await refund(w, payment, key="tap", amount=1_000)).status_code == 409, "nobody knows that it died"

        async def told() -> bool:
            answer = await refund(w, payment, key="tap", amount=1_000)
            return answer.status_code == 201 and bool(answer.json()["status"] == "DONE")

        await w.until("the key is free", told, within_s=KNOWN_S)
        assert await back(w, payment) == [1_000]
        gate.open.set()
        await rest(w)
        await check(w)


@both
async def test_each_part_is_told_to_the_shop_once_and_goods_come_back_with_the_whole(tmp_path: Path) -> None:
    async with process(tmp_path) as w:
        payment = await paid(w)
        made = [(await refund(w, payment, amount=800)).json(), (await refund(w, payment, restock=True)).json()]
        told = [
            events.decode(each.type, each.data)
            for each in await every(w, w.app.parts.subscriptions[1])
            if each.type == "PaymentRefunded"
        ]
        facts = [(each.refunded, each.restock, each.refund_id) for each in told]
        assert facts == [(800, False, made[0]["refund_id"]), (5_800, True, made[1]["refund_id"])]
        assert [each.version for each in told] == [3, 4]
        await rest(w)
        await check(w)


@both
async def test_goods_do_not_come_back_while_something_is_left_to_give_back(tmp_path: Path) -> None:
    """An earlier part was refused after the refund that would have made it whole was asked for."""
    async with process(tmp_path) as w:
        payment = await paid(w)
        await w.faults(cancel=[{"kind": "drop-before"}, {"kind": "error", "code": "EXCEED_MAX_REFUND_DUE"}])
        first = asyncio.create_task(refund(w, payment, amount=800))
        await asyncio.sleep(0.5)
        assert (await refund(w, payment, restock=True)).json()["amount"] == 5_000
        await first
        await done(w)
        assert await refunds(w) == [("FAILED", 800), ("DONE", 5_000)]
        last = (await every(w, w.app.parts.subscriptions[1]))[-1]
        assert not events.decode(last.type, last.data).restock, "800 won of these goods are still paid for"
        await rest(w)
        await check(w)


async def unclaimed(w: World, payment: dict[str, Any], number: str, *, reason: str = "the order has expired") -> None:
    """The shop says that it has no use for this money."""
    told = events.MoneyUnclaimed(payment["order_id"], payment["payment_id"], payment["amount"], reason)
    message = Message(
        EventId(number), "MoneyUnclaimed", "shop", payment["order_id"], w.clock(), "", events.encode(told)
    )
    await w.app.stores.shop.run(lambda tx: outbox.append(tx, [message]))


@both
async def test_money_that_the_shop_has_no_use_for_goes_back_once(tmp_path: Path) -> None:
    async with process(tmp_path) as w:
        payment = await paid(w)
        assert (await refund(w, payment, amount=800)).status_code == 201
        for number in ("evt_late_1", "evt_late_2"):
            await unclaimed(w, payment, number, reason="x" * 300)
        await rest(w)
        await done(w)
        assert await back(w, payment) == [800, 5_000]
        asked = await rows(w.app.stores.payment, "seq reason cause asked_by", "refund")
        assert asked[1] == {"seq": 2, "reason": "x" * 200, "cause": "evt_late_1", "asked_by": 0}
        await rest(w)
        await check(w)
        assert not (await w.get("/v1/ops/dead-letters", role=Role.MASTER))["items"]


@both
async def test_money_that_never_came_is_not_given_back(tmp_path: Path) -> None:
    async with process(tmp_path) as w:
        payment = await payment_of(w, await order(w))
        await unclaimed(w, payment, "evt_late_1")
        await rest(w)
        (letter,) = (await w.get("/v1/ops/dead-letters", role=Role.MASTER))["items"]
        assert "nothing was captured" in letter["reason"]
        assert await refunds(w) == []
