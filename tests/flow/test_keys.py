"""Two payment keys of one order: the money is taken once, whichever key it came under, and nobody is told otherwise."""

import asyncio
from pathlib import Path

import pytest

from flow.acts import MILK, kept, payment_of, pg_client, to_pay
from flow.invariants import check
from flow.mismatches import reconcile
from flow.process import process
from quickcommerce.kit.auth import Role
from quickcommerce.payment.mending import End
from quickcommerce.payment.model import Asked, Declined, Reply
from quickcommerce.payment.reconcile_model import Kind
from quickcommerce.settings import LOCAL_PG_KEY
from stores import metric

pytestmark = pytest.mark.usefixtures("both")


async def test_money_under_a_key_that_was_taken_for_declined_is_found_and_pays_the_order(tmp_path: Path) -> None:
    """The PG refuses a key, captures it all the same, and says so only when the buyer comes with another card."""
    async with process(tmp_path) as w:
        order_id, payment, key = await to_pay(w)
        ask = w.app.flows.toss.confirm

        async def liar(asked: Asked) -> Reply:
            await ask(asked)
            return Declined("REJECT_CARD_COMPANY", "refused")

        async with kept(w, MILK, 2):
            with pg_client(w, confirm=liar):
                assert (await w.confirm(payment, key)).status_code == 402
            second = await w.authenticate(payment)
            answer = await w.confirm(payment, second)
            assert (answer.status_code, answer.json()["code"]) == (409, "invalid-state"), (
                "it is paid, by the first card"
            )
            await w.until_status(order_id, "PAID", within_s=5)
        now = await payment_of(w, {"order_id": order_id, "user_id": 7})
        assert (now["status"], now["pg_payment_key"]) == ("CAPTURED", key), "a refund would ask for the wrong payment"
        assert [each["outcome"] for each in now["attempts"]] == ["captured", "declined"]
        assert (await w.confirm(payment, key)).status_code == 200
        assert (await w.confirm(payment, second)).status_code == 409
        await w.at_rest()
        assert await w.captures(payment["payment_id"]) == 1
        await check(w)


async def test_money_under_a_key_that_nobody_brought_is_for_a_person_to_look_at(tmp_path: Path) -> None:
    """Somebody captured this payment past the shop. The goods stay held; nothing is called paid or declined."""
    async with process(tmp_path) as w:
        order_id, payment, key = await to_pay(w)
        stray = await w.authenticate(payment)
        body = {"paymentKey": stray, "orderId": payment["payment_id"], "amount": payment["amount"]}
        taken = await w.http.post("/_toss/v1/payments/confirm", json=body, auth=(LOCAL_PG_KEY, ""))
        assert taken.status_code == 200, taken.text
        async with kept(w, MILK, 2):
            assert (await w.confirm(payment, key)).status_code == 202
            await asyncio.sleep(60)
            assert await w.status(order_id) == "PAYING"
        metrics = (await w.http.get("/metrics")).text
        assert 'qc_payment_alerts_total{code="MISMATCH"}' in metrics, "nobody is told"


@pytest.mark.parametrize("stray", [-100, 100])
@pytest.mark.parametrize("same_key", [False, True])
async def test_a_payment_that_is_paid_already_with_another_sum_is_no_payment_of_the_order(
    stray: int, same_key: bool, tmp_path: Path
) -> None:
    """The PG says ALREADY_PROCESSED_PAYMENT, and what it shows then is not what was asked: nobody may believe it."""
    async with process(tmp_path) as w:
        order_id, payment, key = await to_pay(w)
        won = payment["amount"] + stray
        other = await w.authenticate(payment, amount=won)
        body = {"paymentKey": other, "orderId": payment["payment_id"], "amount": won}
        taken = await w.http.post("/_toss/v1/payments/confirm", json=body, auth=(LOCAL_PG_KEY, ""))
        assert taken.status_code == 200, taken.text
        before = metric("qc_payment_alerts_total", code="MISMATCH")
        async with kept(w, MILK, 2):
            await w.faults(confirm=[{"kind": "error", "code": "ALREADY_PROCESSED_PAYMENT"}] if same_key else [])
            assert (await w.confirm(payment, other if same_key else key)).status_code == 202
            said = [each["outcome"] for each in (await w.ledger())["calls"] if each["kind"] == "confirm"]
            assert said[:2] == ["done", "error:ALREADY_PROCESSED_PAYMENT"], "control: this is what the PG answers"
            await asyncio.sleep(300)
            assert await w.status(order_id) == "PAYING", "another sum was taken for the price, or for a refusal"
        now = await payment_of(w, {"order_id": order_id, "user_id": 7})
        assert (now["status"], now["attempts"][-1]["outcome"]) == ("UNKNOWN", None)
        assert metric("qc_payment_alerts_total", code="MISMATCH") > before, "nobody is told"
        found = await reconcile(w)
        assert [(each.seen.kind, each.verdict.end) for each in found.looked] == [(Kind.CAPTURED_NOT_RECORDED, End.LEFT)]
        human = await w.get("/v1/ops/attention", user=1, role=Role.MASTER)
        assert ("mismatch", order_id) in [(each["why"], each["order_id"]) for each in human["items"]]
        assert await w.captures(payment["payment_id"]) == 1


async def test_the_end_of_an_attempt_stays_when_later_readings_say_the_same(tmp_path: Path) -> None:
    """An operator reads in the journal when something happened, not when somebody last looked."""
    async with process(tmp_path, payment_window_s=5) as w:
        order_id, payment, key = await to_pay(w)
        await w.faults(confirm=[{"kind": "http", "status": 500, "forever": True}])
        await w.confirm(payment, key)
        ends: set[str] = set()
        for _ in range(6):
            await asyncio.sleep(60)
            [*_, last] = (await w.get(f"/v1/orders/{order_id}/payment"))["attempts"]
            ends |= {last["ended_at"]} if last["outcome"] == "later" else set()
        assert len(ends) == 1
