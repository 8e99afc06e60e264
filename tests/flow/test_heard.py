"""What the PG says by itself is a hint: it makes the shop read sooner, and whoever lies, repeats or mixes up changes
nothing.
"""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from flow.acts import deliver, every, order, paid, payment_of, pg_client, refund, to_pay
from flow.heard import at_pg, changed, kept, read, reads, say, states, told, unknown
from flow.invariants import check
from flow.mismatches import call_pg, key_of
from flow.probe import Probe
from flow.process import day, process
from flow.test_webhooks import MINUTES
from flow.truth import rest
from quickcommerce import roles
from quickcommerce.kit.clock import from_rfc3339
from quickcommerce.kit.problem import Unavailable
from quickcommerce.payment import webhook_reading, webhook_store, webhooks
from quickcommerce.payment.attempts import Attempts
from quickcommerce.payment.model import Asked, Found, Reading, Unreadable
from quickcommerce.payment.webhooks import KEPT_MAX, Proof, Webhooks
from quickcommerce.settings import Settings
from world import World

LEASE_S = Settings(profile="test").webhook_lease_s


async def of_order(w: World, order_id: str) -> dict[str, Any]:
    return await payment_of(w, {"order_id": order_id, "user_id": 7})


async def settled(w: World, order_id: str) -> list[str]:
    """The events that told of a capture of this order."""
    _, to_order, _ = w.app.parts.subscriptions
    return [each.id for each in await every(w, to_order) if (each.subject, each.type) == (order_id, "PaymentSettled")]


async def test_a_capture_whose_reply_was_lost_is_known_as_soon_as_the_pg_tells(tmp_path: Path) -> None:
    async with told(tmp_path) as w:
        await w.faults(webhook=[{"kind": "slow", "ms": 20_000}], get=[{"kind": "http", "status": 503, "repeat": 4}])
        await w.faults(confirm=[{"kind": "drop-after"}])
        order_id, payment, key = await to_pay(w)
        assert (await w.confirm(payment, key)).status_code == 202

        async def looked() -> Any:
            return (await reads(w)) == 4

        await w.until("it was read in vain", looked)
        by_itself_us = from_rfc3339((await of_order(w, order_id))["next_attempt_at"])
        await w.until_status(order_id, "PAID")
        assert w.clock() < by_itself_us, "the due loop was sooner"
        assert await w.captures(payment["payment_id"]) == 1
        await rest(w)
        await check(w)


@pytest.mark.usefixtures("both")
async def test_confirms_webhooks_and_the_due_loop_capture_once_and_say_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[str] = []
    take_due = Attempts.take_due

    async def counted(self: Attempts, limit: int) -> Any:
        jobs = await take_due(self, limit)
        taken.extend(payment.payment_id for payment, _ in jobs)
        return jobs

    monkeypatch.setattr(Attempts, "take_due", counted)
    async with told(tmp_path, answer_within_s=10) as w:
        order_id, payment, key = await to_pay(w)
        news = changed(await at_pg(w, key), status="DONE")
        # The reply is lost, and the first reading too: all of them come upon an outcome that nobody knows.
        await w.faults(confirm=[{"kind": "drop-after"}], webhook=[{"kind": "drop-before", "forever": True}])
        await w.faults(get=[{"kind": "http", "status": 503}, {"kind": "slow", "ms": 3_000, "forever": True}])
        first = asyncio.create_task(w.confirm(payment, key))

        async def captured() -> bool:
            return await w.captures(payment["payment_id"]) == 1

        await w.until("the PG has captured it", captured, within_s=10)
        came = len(await kept(w))
        joined = [asyncio.create_task(w.confirm(payment, key)) for _ in range(19)]
        hints = [asyncio.create_task(say(w, news, f"retried-{n % 4}")) for n in range(7)]
        await asyncio.sleep(0)
        assert not any(each.done() for each in (first, *joined)), "control: they are all under way"
        answers = [await each for each in (first, *joined)]
        assert {(await each).status_code for each in hints} == {200}
        assert len(await kept(w)) - came == 4, "control: the hints were taken"
        assert set(taken) == {payment["payment_id"]}, "control: the due loop was at it too"
        assert {each.status_code for each in answers} == {200}
        assert len({each.content for each in answers}) == 1, "parallel confirms are told different things"
        await w.until_status(order_id, "PAID")
        again = await asyncio.gather(*(w.confirm(payment, key) for _ in range(3)))
        assert {each.status_code for each in again} == {200}
        assert len({each.content for each in again}) == 1
        assert await w.captures(payment["payment_id"]) == 1
        await w.at_rest()
        assert len(await settled(w, order_id)) == 1
        await check(w)


async def test_what_is_known_costs_the_pg_no_reading(tmp_path: Path) -> None:
    async with told(tmp_path) as w:
        for _ in range(5):
            payment = await paid(w)
            assert (await refund(w, payment, amount=1_000)).json()["status"] == "DONE"
        await asyncio.sleep(30)
        assert await states(w) == ["known"] * 10
        assert await reads(w) == 0
        assert [each["tries"] for each in await kept(w) if each["tries"] > 1] == []


async def test_doubled_late_lost_and_mixed_up_news_change_nothing(tmp_path: Path) -> None:
    mix = {"duplicate": 0.3, "out-of-order": 0.3, "drop-after": 0.1, "drop-before": 0.1, "ok": 0.2}
    async with told(tmp_path) as w:
        await w.faults(webhook=[{"mix": mix, "seed": 5}] * 200, confirm=[{"kind": "drop-after", "repeat": 4}])
        placed = []
        for number in range(12):
            order_id, payment, key = await to_pay(w)
            assert (await w.confirm(payment, key)).status_code in (200, 202)
            await w.until_status(order_id, "PAID")
            if number % 3 == 0:
                assert (await refund(w, payment, amount=1_000)).status_code == 201
            if number % 3 == 1:
                assert (await refund(w, payment)).status_code == 201
            placed.append(order_id)
        for _ in range(len(MINUTES)):
            # By the PG's own clock: the shop need not live through these days.
            ahead = await w.http.post("/_toss/emulator/clock", json={"advance_s": 60 * MINUTES[-1]})
            assert ahead.status_code == 200
            await asyncio.sleep(10)
        assert {await w.status(order_id) for order_id in placed} == {"PAID", "REFUNDED"}
        assert [await settled(w, order_id) for order_id in placed if len(await settled(w, order_id)) > 1] == []
        assert "waiting" not in await states(w)
        await rest(w)
        await check(w)


async def test_what_somebody_cancels_at_the_pg_is_in_the_books_at_once(tmp_path: Path) -> None:
    async with told(tmp_path) as w:
        payment = await paid(w)
        await w.until_status(payment["order_id"], "PAID")
        key = await key_of(w, payment)
        await call_pg(w, f"{key}/cancel", cancelReason="by hand", cancelAmount=1_000)

        async def known(won: int) -> bool:
            return bool((await w.get(f"/v1/orders/{payment['order_id']}"))["refunded"] == won)

        await w.until("a part is told", lambda: known(1_000), within_s=15)
        await call_pg(w, f"{key}/cancel", cancelReason="by hand")
        await w.until("all of it is told", lambda: known(payment["amount"]), within_s=15)
        assert await w.status(payment["order_id"]) == "REFUNDED"
        assert (await of_order(w, payment["order_id"]))["status"] == "REFUNDED"
        await rest(w)
        await check(w)


async def test_what_the_pg_says_of_an_earlier_card_leaves_the_present_one_alone(tmp_path: Path) -> None:
    async with told(tmp_path) as w:
        await w.faults(webhook=[{"kind": "slow", "ms": 4_000}], confirm=[{"kind": "ok"}, {"kind": "slow", "ms": 8_000}])
        placed = await order(w)
        payment = await payment_of(w, placed)
        assert (await w.confirm(payment, await w.authenticate(payment, method="CARD_REFUSED"))).status_code == 402
        confirming = asyncio.create_task(w.confirm(payment, await w.authenticate(payment)))
        await asyncio.sleep(6)
        assert (await payment_of(w, placed))["status"] == "CAPTURING"
        assert await states(w) == ["known"]
        await confirming
        await w.until_status(placed["order_id"], "PAID")
        await w.at_rest()
        await check(w)


async def test_money_that_an_earlier_card_gave_after_all_is_found(tmp_path: Path) -> None:
    """The bank refused the first card, as we were told; and the PG has captured it all the same."""
    async with process(tmp_path, loops=False) as w:
        order_id, payment, key = await to_pay(w)
        await w.faults(confirm=[{"kind": "error", "code": "NOT_AVAILABLE_BANK"}])
        assert (await w.confirm(payment, key)).status_code == 402
        await call_pg(w, "confirm", paymentKey=key, orderId=payment["payment_id"], amount=payment["amount"])
        assert (await say(w, changed(await at_pg(w, key)))).status_code == 200
        await read(w)
        await deliver(w)
        assert await w.status(order_id) == "PAID"


async def test_a_capture_of_a_process_that_died_is_known_long_before_its_lease_ends(tmp_path: Path) -> None:
    clock = day()
    async with process(tmp_path, clock=clock, loops=False) as w:
        order_id, payment, key = await to_pay(w)
        hangs = asyncio.Event()

        async def dies(asked: Asked) -> Any:
            await call_pg(w, "confirm", paymentKey=key, orderId=asked.payment_id, amount=asked.amount)
            hangs.set()
            await asyncio.Event().wait()

        with pg_client(w, confirm=dies):
            confirming = asyncio.create_task(w.confirm(payment, key))
            await hangs.wait()
            confirming.cancel()
        news = changed(await at_pg(w, key))
    async with process(tmp_path, clock=clock) as w:
        assert (await of_order(w, order_id))["status"] == "CAPTURING"
        assert (await say(w, news)).status_code == 200
        await w.until_status(order_id, "PAID", within_s=10)
        assert await w.captures(payment["payment_id"]) == 1
        await w.at_rest()
        await check(w)


async def test_what_was_stored_is_read_by_whoever_comes_after(tmp_path: Path) -> None:
    """Dead between storing and reading, then in the middle of reading: nobody takes it for done."""
    clock = day()
    async with process(tmp_path, clock=clock, loops=False) as w:
        order_id, payment, key = await unknown(w, captured=True)
        assert (await say(w, changed(await at_pg(w, key)), "once")).status_code == 200
    async with process(tmp_path, clock=clock, loops=False) as w:
        assert (await say(w, changed(await at_pg(w, key)), "once")).status_code == 200
        store, reading = w.app.stores.payment, w.app.flows.webhook_reading
        until_us = clock() + int(LEASE_S * 1_000_000)
        await store.run(lambda tx: webhook_store.take(tx, clock(), 8, "whoever died", until_us))
        await reading.step()
        assert (await of_order(w, order_id))["status"] == "UNKNOWN", "two are at it"
    async with process(tmp_path, clock=clock, loops=False) as w:
        await asyncio.sleep(LEASE_S)
        await read(w)
        assert (await of_order(w, order_id))["status"] == "CAPTURED"
        assert await states(w) == ["read"]
        assert await w.captures(payment["payment_id"]) == 1


async def test_a_pg_that_cannot_be_read_is_read_later(tmp_path: Path) -> None:
    async with process(tmp_path, loops=False) as w:
        order_id, _, key = await unknown(w, captured=True)
        assert (await say(w, changed(await at_pg(w, key)))).status_code == 200

        async def unread(_: Asked) -> Reading:
            return Unreadable("down")

        with pg_client(w, read=unread):
            for _ in range(20):
                await read(w)
                await asyncio.sleep(300)
        assert (await of_order(w, order_id))["status"] == "UNKNOWN"
        [waiting] = await kept(w)
        assert (waiting["state"], waiting["tries"]) == ("waiting", 20)
        await read(w)
        assert (await of_order(w, order_id))["status"] == "CAPTURED"


async def test_a_deposits_news_without_a_key_is_read_by_its_order(tmp_path: Path) -> None:
    async with process(tmp_path, loops=False) as w:
        order_id, payment, _ = await unknown(w, captured=True)
        body = {
            "createdAt": "2026-01-01T09:00:00",
            "secret": "ps_x",
            "status": "DONE",
            "orderId": payment["payment_id"],
        }
        assert (await say(w, body)).status_code == 200
        await read(w)
        assert (await of_order(w, order_id))["status"] == "CAPTURED"


async def forged_done(folder: Path) -> None:
    """Somebody says that a payment of which nothing is known yet is paid. The PG has no money."""
    async with process(folder, loops=False) as w:
        order_id, payment, key = await unknown(w, captured=False)
        assert (await say(w, changed(await at_pg(w, key), status="DONE"))).status_code == 200
        await read(w)
        await deliver(w)
        assert await w.status(order_id) == "PAYING", "goods go out for a text that anybody can write"
        assert (await of_order(w, order_id))["captured"] == 0
        assert await w.captures(payment["payment_id"]) == 0


async def test_nobody_pays_by_saying_so(tmp_path: Path) -> None:
    await forged_done(tmp_path)


async def test_control_reading_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it the webhook itself is believed."""
    guarded = webhook_store.take

    async def believing(*args: Any, **named: Any) -> Any:
        heard = await guarded(*args, **named)
        said.extend(heard)
        return heard

    said: list[Any] = []

    async def what_it_says(_: Any, asked: Asked) -> Reading:
        if not said:
            return Unreadable("nothing was said")
        return Found(asked.payment_key, asked.payment_id, asked.amount, "KRW", said[-1].status, "", "")

    monkeypatch.setattr(webhook_store, "take", believing)
    monkeypatch.setattr("quickcommerce.payment.breaker.Sparing.read", what_it_says)
    with pytest.raises(AssertionError, match="goods go out"):
        await forged_done(tmp_path)


FORGED: dict[str, dict[str, Any]] = {
    "wrong-secret": {"secret": "ps_guessed"},
    "no-secret": {"secret": None},
    "another-currency": {"secret": "ps_guessed", "currency": "USD"},
    "another-sum": {"secret": "ps_guessed", "totalAmount": 1},
}


@pytest.mark.parametrize("facts", FORGED.values(), ids=FORGED)
async def test_whoever_has_not_the_secret_of_a_payment_is_kept_and_not_heard(
    tmp_path: Path, facts: dict[str, Any]
) -> None:
    async with process(tmp_path) as w:
        payment = await paid(w)
        await w.until_status(payment["order_id"], "PAID")
        key = await key_of(w, payment)
        body = changed(await at_pg(w, key), status="CANCELED", **facts)
        before = await reads(w)
        assert (await say(w, body)).status_code == 200
        await asyncio.sleep(60)
        assert await states(w) == ["forged"]
        assert await reads(w) == before, "a forged webhook makes the shop ask the PG"
        assert (await of_order(w, payment["order_id"]))["status"] == "CAPTURED"
        assert await w.status(payment["order_id"]) == "PAID"


async def test_the_pg_is_the_only_truth_also_for_whoever_has_the_secret(tmp_path: Path) -> None:
    """The body says CANCELED or DONE, at whatever time, under whatever id, and the PG says otherwise."""
    async with process(tmp_path) as w:
        payment = await paid(w)
        await w.until_status(payment["order_id"], "PAID")
        key = await key_of(w, payment)
        true = await at_pg(w, key)
        old = {"tosspayments-webhook-transmission-time": "2020-01-01T00:00:00+09:00"}
        for status in ("CANCELED", "PARTIAL_CANCELED", "ABORTED", "WAITING_FOR_DEPOSIT", "EXPIRED", "NEW_STATUS", ""):
            assert (await say(w, changed(true, status=status), headers=old)).status_code == 200
        await asyncio.sleep(30)
        assert "waiting" not in await states(w)
        assert await w.status(payment["order_id"]) == "PAID"
        await call_pg(w, f"{key}/cancel", cancelReason="by hand")
        assert (await say(w, changed(true, status="PARTIAL_CANCELED"))).status_code == 200
        await w.until_status(payment["order_id"], "REFUNDED", within_s=10)
        for body in (changed(true), changed(true, status="DONE", balanceAmount=5_800)):
            assert (await say(w, body)).status_code == 200
        await asyncio.sleep(30)
        assert (await of_order(w, payment["order_id"]))["status"] == "REFUNDED", "what had ended came back"
        await w.at_rest()
        await check(w)


async def repeated(folder: Path) -> None:
    async with process(folder, loops=False) as w:
        _, _, key = await unknown(w, captured=True)
        body = changed(await at_pg(w, key))
        for _ in range(8):
            assert (await say(w, body, "the-same")).status_code == 200, "the PG sends it again for three days"
        await read(w)
        before = await reads(w)
        for _ in range(8):
            assert (await say(w, body | {"data": body["data"] | {"status": "CANCELED"}}, "the-same")).status_code == 200
        await read(w)
        assert (await states(w), await reads(w)) == (["read"], before)


async def test_a_transmission_that_came_before_has_no_second_effect(tmp_path: Path) -> None:
    await repeated(tmp_path)


async def test_control_a_transmission_that_came_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def none(*_: Any) -> set[str]:
        return set()

    monkeypatch.setattr(webhook_store, "known", none)
    with pytest.raises(AssertionError, match="for three days"):
        await repeated(tmp_path)


async def flood(folder: Path) -> tuple[int, int]:
    """A thousand made-up transmissions about a payment without a secret yet. Returns those kept, and readings."""
    async with process(folder, loops=False) as w:
        _, _, key = await unknown(w, captured=False)
        body = changed(await at_pg(w, key))
        before = await reads(w)
        for _ in range(20):
            answers = await asyncio.gather(*(say(w, body) for _ in range(50)))
            assert {each.status_code for each in answers} == {200}
            await read(w)
        return len(await kept(w)), await reads(w) - before


async def test_a_flood_of_made_up_news_is_one_reading_at_a_time_and_ends(tmp_path: Path) -> None:
    assert await flood(tmp_path) == (KEPT_MAX, KEPT_MAX // 50)


async def test_control_a_flood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a bound whoever knows the number of an order makes the shop store and read without an end."""
    monkeypatch.setattr(webhooks, "KEPT_MAX", 10_000)
    assert await flood(tmp_path) == (1_000, 20)


FALSE: dict[str, dict[str, Any]] = {"of-the-payment": {}, "of-a-deposit": {"flat": True}}
"""What anybody can make up who was sent back by the PG, or has the number of a payment."""


async def shut_out(folder: Path, *, flat: bool = False) -> None:
    async with told(folder) as w:
        payment = await paid(w)
        await w.until_status(payment["order_id"], "PAID")
        key = await key_of(w, payment)
        body = changed({"orderId": payment["payment_id"], "paymentKey": key, "status": "CANCELED", "secret": "guessed"})
        made_up = body["data"] | {"createdAt": "x"} if flat else body
        for _ in range(2 * KEPT_MAX):
            assert (await say(w, made_up)).status_code == 200
        await call_pg(w, f"{key}/cancel", cancelReason="by hand")
        try:
            await w.until_status(payment["order_id"], "REFUNDED", within_s=10)
        except AssertionError as error:
            raise AssertionError("what others made up keeps out what the PG says") from error
        assert (await states(w)).count("forged") == KEPT_MAX, "whoever makes up news fills the disk"
        await w.at_rest()
        await check(w)


@pytest.mark.parametrize("about", FALSE.values(), ids=FALSE)
async def test_no_flood_of_made_up_news_shuts_out_what_the_pg_says(tmp_path: Path, about: dict[str, bool]) -> None:
    await shut_out(tmp_path, **about)


async def test_control_shuts_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all are counted alike, as if none had the secret."""
    counts, proof = webhook_store.counts, webhooks._proof

    async def together(tx: Any, payment_ids: Any) -> Any:
        found = await counts(tx, payment_ids)
        return found + Counter({(payment_id, not forged): many for (payment_id, forged), many in found.items()})

    monkeypatch.setattr(webhook_store, "counts", together)
    monkeypatch.setattr(webhooks, "_proof", lambda *secrets: min(proof(*secrets), Proof.NONE))
    with pytest.raises(AssertionError, match="keeps out what the PG says"):
        await shut_out(tmp_path)


async def stored_first(folder: Path) -> None:
    """Store B is down when the PG tells, and up again a minute later."""
    probe = Probe()
    async with told(folder, probe, loops=False) as w:
        await w.faults(webhook=[{"kind": "slow", "ms": 6_000}])
        order_id, _, _ = await unknown(w, captured=True)
        probe.down["payment"] = "it restarts"
        await asyncio.sleep(10)
        probe.down.clear()
        await asyncio.sleep(120)
        await read(w)
        assert (await of_order(w, order_id))["status"] == "CAPTURED", "what was answered was nowhere stored"


async def test_a_webhook_is_answered_when_it_is_stored(tmp_path: Path) -> None:
    await stored_first(tmp_path)


async def test_control_stored_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guarded = Webhooks.take

    async def answering(self: Webhooks, requests: Any) -> Any:
        try:
            return await guarded(self, requests)
        except Unavailable:
            return ["waiting"] * len(requests)

    monkeypatch.setattr(Webhooks, "take", answering)
    with pytest.raises(AssertionError, match="nowhere stored"):
        await stored_first(tmp_path)


async def test_old_webhooks_are_forgotten(tmp_path: Path) -> None:
    async with told(tmp_path, loops=False, inbox_keep_s=86_400) as w:
        await paid(w)
        for wait_s, left in ((86_000, 1), (600, 0)):
            await asyncio.sleep(wait_s)
            await roles._prune(w.app.settings, w.app.parts, w.clock)
            assert len(await kept(w)) == left


async def test_a_defect_in_reading_ends_no_loop_and_loses_no_webhook(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with process(tmp_path, loops=False) as w:
        order_id, _, key = await unknown(w, captured=True)
        assert (await say(w, changed(await at_pg(w, key)))).status_code == 200

        async def broken(*_: Any) -> Any:
            raise RuntimeError("a defect")

        with monkeypatch.context() as patch:
            patch.setattr(webhook_reading, "held_of", broken)
            await read(w)
        await asyncio.sleep(LEASE_S)
        await read(w)
        assert (await of_order(w, order_id))["status"] == "CAPTURED"


async def test_the_end_of_a_card_without_money_is_known_before_its_turn(tmp_path: Path) -> None:
    async with process(tmp_path, loops=False) as w:
        order_id, payment, key = await unknown(w, captured=False)
        await w.faults(confirm=[{"kind": "error", "code": "REJECT_CARD_PAYMENT"}])
        body = {"paymentKey": key, "orderId": payment["payment_id"], "amount": payment["amount"]}
        refused = await w.http.post("/_toss/v1/payments/confirm", json=body, auth=("test_gsk_local", ""))
        assert refused.status_code == 403
        assert (await say(w, changed(await at_pg(w, key)))).status_code == 200
        await read(w)
        await w.app.flows.captures.due()

        async def declined() -> bool:
            return bool((await of_order(w, order_id))["status"] == "DECLINED")

        await w.until("it is declined", declined, within_s=0.5)
