"""The PG refuses to give money back: whose word is the last, who is told, and what stays owed."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec
import pytest

from flow.acts import paid, payment_of, refund, to_pay
from flow.invariants import always, check
from flow.process import process
from flow.test_late import TIMES, lost
from flow.test_refunds import back, done, refunds
from flow.truth import rest
from quickcommerce.kit.auth import Role
from quickcommerce.payment import refund_steps
from quickcommerce.payment.refund_model import RUNS_S, Cancel, CancelReply, Means, Said
from quickcommerce.payment.refund_steps import RefundSteps
from world import World

GATEWAY = Said("HTTP_504", "", Means.TRANSIENT)
FINAL = Said("NOT_CANCELABLE_PAYMENT", "busy", Means.FINAL)
REFUSED = {"kind": "error", "code": "NOT_CANCELABLE_PAYMENT", "forever": True}


@contextmanager
def answers(w: World, *told: Said) -> Iterator[list[Cancel]]:
    """Instead of giving money back the PG answers this, then as it does. Yields what was asked."""
    ask, asked = w.app.flows.toss.cancel, list[Cancel]()

    async def cancel(request: Cancel) -> CancelReply:
        asked.append(request)
        return told[len(asked) - 1] if len(asked) <= len(told) else await ask(request)

    with patch.object(w.app.flows.toss, "cancel", cancel):
        yield asked


async def attention(w: World) -> list[tuple[str, str, int]]:
    found = (await w.get("/v1/ops/attention", role=Role.MASTER))["items"]
    return [(each["why"], each["status"], each["amount"]) for each in found]


async def slow_success(folder: Path) -> None:
    """A gateway gives up on the first request, the PG refuses the next for good, and then the first one happens."""
    async with process(folder) as w:
        payment = await paid(w)
        happen = w.app.flows.toss.cancel
        with answers(w, GATEWAY, *[FINAL] * 50) as asked:
            await refund(w, payment, key="tap", amount=1_000)
            await asyncio.sleep(10)
            assert len(asked) >= 2
            assert await attention(w) == [("refused", "PENDING", 1_000)], "nobody is told of the refusal"
            await happen(asked[0])
            w.clock.jump(RUNS_S)
            await asyncio.sleep(5)
        assert await refunds(w) == [("DONE", 1_000)], "the money went back, and the shop says that it failed"
        assert await attention(w) == []
        assert (await refund(w, payment)).json()["status"] == "DONE", "the rest cannot go back any more"
        assert await back(w, payment) == [1_000, 4_800]
        await rest(w)
        await check(w)


async def test_a_refusal_is_not_the_last_word_while_an_earlier_request_may_still_run(tmp_path: Path) -> None:
    await slow_success(tmp_path)


async def test_control_earlier_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refund_steps, "_may_run", lambda *_: False)
    with pytest.raises(AssertionError, match="nobody is told of the refusal"):
        await slow_success(tmp_path)


async def test_when_no_earlier_request_can_run_any_more_the_refusal_is_believed(tmp_path: Path) -> None:
    async with process(tmp_path) as w:
        payment = await paid(w)
        with answers(w, GATEWAY, *[FINAL] * 50) as asked:
            await refund(w, payment, amount=1_000)
            await asyncio.sleep(60)
            w.clock.jump(RUNS_S - 70)
            await asyncio.sleep(1)
            assert await refunds(w) == [("PENDING", 1_000)]
            w.clock.jump(2 * RUNS_S)
            await done(w)
            assert len(asked) < 12, "the PG is asked without end while it refuses"
        assert await refunds(w) == [("FAILED", 1_000)]
        assert await attention(w) == [("refused", "FAILED", 1_000)]
        assert (await refund(w, payment)).json()["amount"] == 5_800
        await rest(w)
        await check(w)


async def test_a_first_request_that_is_refused_frees_its_key_at_once(tmp_path: Path) -> None:
    async with process(tmp_path) as w:
        payment = await paid(w)
        with answers(w, FINAL):
            assert (await refund(w, payment, key="tap", amount=1_000)).status_code == 409
            assert (await refund(w, payment, key="tap", amount=1_000)).json()["status"] == "DONE"


async def late(w: World) -> tuple[str, dict[str, Any]]:
    """An order that has expired, and whose money the shop gives back, but the PG refuses."""
    order_id, payment, key = await to_pay(w)
    await lost(w, order_id, payment, key)
    await w.faults(get=[], cancel=[REFUSED])

    async def tried() -> bool:
        return await attention(w) == [("refused", "PENDING", 5_800)]

    await w.until("somebody is told", tried, within_s=95)
    return order_id, payment


async def owed_by_the_shop(folder: Path) -> None:
    """The PG refuses to give back what the shop has no use for. After days somebody mends that at the PG."""
    async with process(folder, late_money="refund", **TIMES) as w:
        order_id, payment = await late(w)
        notes = [each["cause"] for each in (await w.get(f"/v1/orders/{order_id}/timeline", role=Role.MASTER))["items"]]
        assert notes[-1] == "5800 won are to go back: the order is EXPIRED", "it says what has not happened"
        for _ in range(12):
            w.clock.jump(6 * 3_600)
            await asyncio.sleep(1)
        assert await attention(w) == [("refused", "PENDING", 5_800)], "nobody is told any more"
        await always(w)
        await w.faults(cancel=[])
        w.clock.jump(7_200)
        await done(w)
        assert await back(w, payment) == [5_800]
        await w.at_rest()
        await always(w)
        assert (await w.app.operations.invariants()).holds


async def test_what_the_shop_owes_by_itself_stays_owed_whatever_the_pg_says(tmp_path: Path) -> None:
    await owed_by_the_shop(tmp_path)


async def test_control_what_the_shop_owes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lease = RefundSteps._lease

    async def yielding(self: RefundSteps, *args: Any, **facts: Any) -> Any:
        job = await lease(self, *args, **facts)
        return refund_steps.Job(job.refund, msgspec.structs.replace(job.cancel, may_fail=True), job.fresh)

    monkeypatch.setattr(RefundSteps, "_lease", yielding)
    with pytest.raises(AssertionError, match="somebody is told"):
        await owed_by_the_shop(tmp_path)


async def test_an_obligation_that_the_pg_refuses_is_not_asked_for_all_the_time(tmp_path: Path) -> None:
    async with process(tmp_path, late_money="refund", **TIMES) as w:
        await late(w)
        with answers(w, *[FINAL] * 500) as asked:
            for _ in range(24 * 12):
                w.clock.jump(299)
                await asyncio.sleep(1)
        assert 10 <= len(asked) <= 35, "1-2 minutes at first, then up to 1-2 hours"


async def test_who_was_refused_behind_an_error_has_the_money_soon_after_the_pg_is_well(tmp_path: Path) -> None:
    async with process(tmp_path) as w:
        payment = await paid(w)
        with answers(w, GATEWAY, FINAL):
            assert (await refund(w, payment, key="tap", amount=1_000)).json()["status"] == "PENDING"
            await done(w, within_s=90)
        assert await back(w, payment) == [1_000]
        await w.at_rest()
        await check(w)


async def test_a_refund_that_was_promised_and_fails_is_told_to_its_buyer(tmp_path: Path) -> None:
    async with process(tmp_path) as w:
        payment = await paid(w)
        with answers(w, GATEWAY, *[FINAL] * 50):
            assert (await refund(w, payment, key="tap", amount=1_000)).json()["status"] == "PENDING"
            await asyncio.sleep(10)
            w.clock.jump(3 * RUNS_S)
            await done(w)
        await w.at_rest()
        path = f"/v1/orders/{payment['order_id']}/timeline"
        last = (await w.get(path))["items"][-1]
        assert (last["what"], last["from"], last["to"]) == ("refund failed", "PAID", "PAID")
        assert "1000 won" in last["cause"]
        assert last["cause"].endswith("NOT_CANCELABLE_PAYMENT")
        for language, text in (("en", "we are looking into it"), ("ko", "확인하고 있어요")):
            accepts = {"Accept": "text/html", "Accept-Language": language}
            page = await w.http.get(f"/orders/{payment['order_id']}", headers=w.auth() | accepts)
            assert text in page.text, "the buyer's page says nothing of it"
        mine = {"order_id": payment["order_id"], "user_id": 7}
        assert (await payment_of(w, mine))["refunded"] == 0
        assert (await w.get(f"/v1/orders/{payment['order_id']}"))["version"] == 3, "the order itself has not changed"
        await check(w)
