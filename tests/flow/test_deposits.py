"""Virtual accounts: goods are held until the due date, the deposit pays, and what comes late or goes back is told."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from flow.acts import MILK, cancel, order, payment_of, taken
from flow.heard import at_pg, changed, say, states, told
from flow.invariants import check
from flow.mismatches import call_pg
from flow.truth import rest
from quickcommerce import roles
from quickcommerce.kit.auth import Role
from quickcommerce.kit.clock import from_rfc3339
from quickcommerce.payment import reconcile, store, toss_payment
from quickcommerce.payment.capture import Captures
from quickcommerce.payment.flow import Payments
from quickcommerce.payment.model import Asked, Found, Reading, Unknown
from quickcommerce.payment.toss import Toss
from world import Clock, World

DAY_S = 86_400
OPEN_S = 30 * 60
"""The time to pay is over long before a deposit comes."""


@pytest.fixture(autouse=True)
def _hours_of_looking_at_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What happens wakes the loops at once; their looking by themselves only takes time here."""
    monkeypatch.setattr(roles, "POLL_S", 5.0)


@asynccontextmanager
async def shop(folder: Path, **settings: Any) -> AsyncIterator[World]:
    """A shop that takes deposits for at most a day."""
    async with told(folder, **({"virtual_account_max_s": DAY_S, "payment_window_s": 600} | settings)) as w:
        yield w


async def opened(
    w: World, hours: int = 2, lines: tuple[tuple[int, int], ...] = ((MILK, 2),)
) -> tuple[dict[str, Any], dict[str, Any], str]:
    """An order whose buyer has an account to pay into: the order, its payment, and the payment's key."""
    placed = await order(w, lines)
    payment = await payment_of(w, placed)
    key = await w.authenticate(payment, method="VIRTUAL_ACCOUNT", validHours=hours, customerName="김하나")
    answer = await w.confirm(payment, key)
    assert (answer.status_code, answer.json()["status"]) == (202, "AWAITING_DEPOSIT"), answer.text
    await rest(w)
    return placed, answer.json(), key


async def deposit(w: World, key: str, *, error: bool = False) -> httpx2.Response:
    """What the buyer's bank does."""
    answer = await w.http.post("/_toss/emulator/deposit", json={"paymentKey": key, "error": error})
    assert answer.status_code == 200, answer.text
    return answer


async def attention(w: World) -> list[tuple[str, str, str | None]]:
    found = (await w.get("/v1/ops/attention", user=1, role=Role.MASTER))["items"]
    return [(each["why"], each["payment_id"], each["code"]) for each in found]


@pytest.mark.usefixtures("both")
async def test_a_deposit_within_its_time_pays_the_order_however_long_its_window_is_over(tmp_path: Path) -> None:
    async with shop(tmp_path) as w:
        placed, payment, key = await opened(w)
        account = payment["virtual_account"]
        assert account["account_number"].startswith("X")
        assert (account["bank"], account["holder"]) == ("20", "김하나")
        assert 7_190 <= (from_rfc3339(account["due_at"]) - w.clock()) / 1_000_000 <= 7_200
        await asyncio.sleep(OPEN_S)
        assert await w.status(placed["order_id"]) == "PAYING", "goods are let go that somebody is about to pay for"
        assert await w.stock(MILK) == (1_000, 2, 0)
        again = await w.confirm(payment, key)
        assert (again.status_code, again.json()["status"]) == (202, "AWAITING_DEPOSIT")
        await deposit(w, key)
        await w.until_status(placed["order_id"], "PAID", within_s=5)
        now = await payment_of(w, placed)
        assert (now["status"], now["captured"]) == ("CAPTURED", payment["amount"])
        assert "virtual_account" not in now
        assert await w.captures(payment["payment_id"]) == 1
        timeline = (await w.get(f"/v1/orders/{placed['order_id']}/timeline"))["items"]
        assert [each["what"] for each in timeline] == ["placed", "paying", "awaiting deposit", "paid"]
        await rest(w)
        await check(w)


async def test_without_any_webhook_a_deposit_is_found(tmp_path: Path) -> None:
    async with shop(tmp_path) as w:
        await w.http.put("/_toss/emulator/webhook", json={"url": None})
        placed, _, key = await opened(w)
        await deposit(w, key)
        await w.until_status(placed["order_id"], "PAID", within_s=660)
        await rest(w)
        await check(w)


@pytest.mark.usefixtures("both")
async def test_an_account_whose_reply_was_lost_is_found_and_no_second_is_opened(tmp_path: Path) -> None:
    async with shop(tmp_path) as w:
        await w.faults(confirm=[{"kind": "drop-after"}], get=[{"kind": "http", "status": 503, "repeat": 2}])
        placed = await order(w)
        payment = await payment_of(w, placed)
        key = await w.authenticate(payment, method="VIRTUAL_ACCOUNT", validHours=2)
        assert (await w.confirm(payment, key)).status_code == 202

        async def awaited() -> bool:
            return bool((await payment_of(w, placed))["status"] == "AWAITING_DEPOSIT")

        await w.until("the account is known", awaited, within_s=30)
        await deposit(w, key)
        await w.until_status(placed["order_id"], "PAID", within_s=10)
        await rest(w)
        await check(w)


@pytest.mark.parametrize(("hours", "held_s"), [(2, 7_200), (100, 10_800)], ids=["due-date", "the-shops-own-limit"])
async def test_where_no_deposit_comes_the_goods_are_for_sale_again(tmp_path: Path, hours: int, held_s: int) -> None:
    async with shop(tmp_path, virtual_account_max_s=10_800) as w:
        placed, payment, key = await opened(w, hours)
        began_us = from_rfc3339(placed["placed_at"])
        await asyncio.sleep(held_s - 30)
        assert await w.stock(MILK) == (1_000, 2, 0)
        await w.until_status(placed["order_id"], "EXPIRED", within_s=120)
        waited_s = (w.clock() - began_us) / 1_000_000
        assert held_s <= waited_s <= held_s + 60
        assert await w.stock(MILK) == (1_000, 0, 0)
        assert (await at_pg(w, key))["status"] in ("EXPIRED", "CANCELED"), "an order that has ended may still be paid"
        refused = await w.http.post("/_toss/emulator/deposit", json={"paymentKey": key})
        assert refused.status_code == 400
        assert await w.captures(payment["payment_id"]) == 0
        await w.at_rest()
        await check(w)


async def test_an_account_that_cannot_be_closed_holds_the_goods_until_it_is_known(tmp_path: Path) -> None:
    """The PG is down when the time is over; the buyer paid a moment before."""
    async with shop(tmp_path) as w:
        placed, payment, key = await opened(w)
        await w.http.put("/_toss/emulator/webhook", json={"url": None})
        await asyncio.sleep(7_000)
        down = [{"kind": "http", "status": 503, "forever": True}]
        await w.faults(get=down, cancel=down)
        await deposit(w, key)
        await asyncio.sleep(3_600)
        assert await w.status(placed["order_id"]) == "PAYING"
        assert await w.stock(MILK) == (1_000, 2, 0)
        await w.faults(get=[], cancel=[])
        await w.until_status(placed["order_id"], "PAID", within_s=95)
        assert await w.captures(payment["payment_id"]) == 1
        await rest(w)
        await check(w)


async def test_doubt_about_an_account_holds_no_goods_for_ever_and_its_late_money_is_not_lost(tmp_path: Path) -> None:
    """Nothing can be read for longer than goods are held: they go to others, and the money is for a human to send back,
    since it goes only to an account that the buyer names.
    """
    async with shop(tmp_path, unknown_hold_s=1_200, late_money="refund") as w:
        placed, payment, key = await opened(w)
        await w.http.put("/_toss/emulator/webhook", json={"url": None})
        await asyncio.sleep(7_000)
        down = [{"kind": "http", "status": 503, "forever": True}]
        await w.faults(get=down, cancel=down)
        await deposit(w, key)
        await w.until_status(placed["order_id"], "EXPIRED", within_s=1_800)
        assert await attention(w) == [("unknown", payment["payment_id"], None)]
        await w.faults(get=[], cancel=[])
        needed = [("refused", payment["payment_id"], "INVALID_REFUND_ACCOUNT_INFO")]

        async def owed() -> bool:
            return await attention(w) == needed

        await w.until("a human is told why", owed, within_s=300)
        seen = await w.http.get(f"/orders/{placed['order_id']}", headers=w.auth() | {"Accept-Language": "en"})
        assert "came after the order had ended" in seen.text
        # The human asks the buyer for an account, and gives the money back at the PG.
        account = {"bank": "20", "accountNumber": "12345678", "holderName": "Kim"}
        await call_pg(w, f"{key}/cancel", cancelReason="by hand", refundReceiveAccount=account)

        async def back() -> bool:
            return bool((await payment_of(w, placed))["status"] == "REFUNDED")

        await w.until("it is in the books", back, within_s=300)
        assert await attention(w) == []
        await w.at_rest()


@pytest.mark.usefixtures("both")
async def test_a_deposit_that_the_bank_takes_back_is_for_a_human_and_unpays_nothing(tmp_path: Path) -> None:
    async with shop(tmp_path) as w:
        placed, payment, key = await opened(w)
        await deposit(w, key)
        await w.until_status(placed["order_id"], "PAID", within_s=10)
        await deposit(w, key, error=True)

        async def seen() -> bool:
            return bool(await attention(w))

        await w.until("a human is told", seen, within_s=30)
        assert await attention(w) == [("mismatch", payment["payment_id"], "recorded-not-captured")]
        assert await w.status(placed["order_id"]) == "PAID"
        assert (await payment_of(w, placed))["status"] == "CAPTURED"
        assert await w.stock(MILK) == (1_000, 0, 2)


async def reversed_unheard(folder: Path) -> None:
    async with shop(folder, reconcile_every_s=300) as w:
        placed, payment, key = await opened(w, 12)
        await deposit(w, key)
        await w.until_status(placed["order_id"], "PAID", within_s=10)
        await w.http.put("/_toss/emulator/webhook", json={"url": None})
        await asyncio.sleep(2 * 3_600)
        assert await attention(w) == []
        await deposit(w, key, error=True)
        await asyncio.sleep(900)
        needed = [("mismatch", payment["payment_id"], "recorded-not-captured")]
        assert await attention(w) == needed, "the goods are gone, the PG has no money, and nobody is told"
        assert await w.status(placed["order_id"]) == "PAID"
        await deposit(w, key)

        async def gone() -> bool:
            return await attention(w) == []

        await w.until("it is paid again", gone, within_s=2 * 3_600)
        await w.at_rest()
        await check(w)


async def test_a_deposit_that_is_taken_back_is_found_without_any_webhook(tmp_path: Path) -> None:
    await reversed_unheard(tmp_path)


async def test_control_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile, "taken_back", lambda *_: ())
    with pytest.raises(AssertionError, match="nobody is told"):
        await reversed_unheard(tmp_path)


async def news(folder: Path) -> None:
    async with shop(folder) as w:
        await w.faults(webhook=[{"kind": "out-of-order"}, {"kind": "duplicate"}, {"kind": "drop-after"}])
        placed, payment, key = await opened(w)
        waiting = await at_pg(w, key)
        await deposit(w, key)
        await w.until_status(placed["order_id"], "PAID", within_s=660)
        flat = {"orderId": payment["payment_id"], "status": "DONE", "secret": waiting["secret"]}
        for body in (changed(waiting), flat, flat | {"secret": "ps_no"}):
            assert (await say(w, body)).status_code == 200
        await asyncio.sleep(120)
        assert "forged" in await states(w), "the secret of the account was not remembered"
        assert await w.status(placed["order_id"]) == "PAID"
        assert await w.captures(payment["payment_id"]) == 1
        await w.at_rest()
        await check(w)


@pytest.mark.usefixtures("both")
async def test_news_of_an_account_in_any_order_and_twice_pays_once(tmp_path: Path) -> None:
    await news(tmp_path)


async def test_control_the_secret_of_an_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes with the account, a day before the deposit."""

    async def forgotten(*_: Any) -> None:
        pass

    end = store.end

    async def without(*facts: Any) -> None:
        await end(*facts[:7])

    monkeypatch.setattr(store, "learn", forgotten)
    monkeypatch.setattr(store, "end", without)
    with pytest.raises(AssertionError, match="was not remembered"):
        await news(tmp_path)


@pytest.mark.usefixtures("both")
async def test_an_account_that_somebody_closes_at_the_pg_ends_the_attempt_at_once(tmp_path: Path) -> None:
    """Within the time to pay the buyer may use a card; and money that never came is no money that went back."""
    async with shop(tmp_path) as w:
        placed, payment, key = await opened(w)
        await call_pg(w, f"{key}/cancel", cancelReason="by hand")
        await w.until_status(placed["order_id"], "PLACED", within_s=15)
        now = await payment_of(w, placed)
        assert (now["status"], now["captured"], now["refunded"]) == ("DECLINED", 0, 0)
        card = await w.authenticate(payment)
        assert (await w.confirm(payment, card)).status_code == 200
        await w.until_status(placed["order_id"], "PAID")
        await w.at_rest()
        await check(w)


async def held(folder: Path) -> None:
    async with shop(folder) as w:
        placed, _, key = await opened(w)
        await asyncio.sleep(OPEN_S)
        assert await w.stock(MILK) == (1_000, 2, 0), "the goods of a buyer who is at the bank go to another"
        assert await w.status(placed["order_id"]) == "PAYING"
        assert (await at_pg(w, key))["status"] == "WAITING_FOR_DEPOSIT"


async def test_goods_stay_with_whoever_has_an_account_to_pay_into(tmp_path: Path) -> None:
    await held(tmp_path)


async def test_control_goods_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Payments, "_let_go", lambda *_: True)
    with pytest.raises(AssertionError, match="go to another"):
        await held(tmp_path)


async def closed_first(folder: Path) -> None:
    async with shop(folder, virtual_account_max_s=1_800) as w:
        placed, _, key = await opened(w, 100)
        await asyncio.sleep(1_800)
        await w.until_status(placed["order_id"], "EXPIRED", within_s=120)
        assert (await at_pg(w, key))["status"] == "CANCELED", "gone goods, and a deposit still taken for them"


async def test_an_account_is_closed_before_its_goods_are_let_go(tmp_path: Path) -> None:
    await closed_first(tmp_path)


async def test_control_closed_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def only_said(_: Toss, asked: Asked) -> Reading:
        return Found(asked.payment_key, asked.payment_id, asked.amount, "KRW", "EXPIRED", "", "")

    monkeypatch.setattr(Toss, "withdraw", only_said)
    with pytest.raises(AssertionError, match="still taken for them"):
        await closed_first(tmp_path)


@pytest.mark.usefixtures("both")
async def test_while_a_deposit_is_awaited_nothing_else_pays_or_ends_the_order(tmp_path: Path) -> None:
    async with shop(tmp_path) as w:
        placed, payment, _ = await opened(w)
        other = await w.authenticate(payment)
        assert (await w.confirm(payment, other)).status_code == 409
        assert (await cancel(w, placed["order_id"])).status_code == 409
        await taken(w, MILK, 998)
        assert (await w.order([(MILK, 1)], user=9)).status_code == 409


async def test_many_who_wait_for_days_keep_no_other_order_from_ending(tmp_path: Path) -> None:
    async with shop(tmp_path) as w:
        for _ in range(3):
            await opened(w)
        await asyncio.sleep(1_300)
        probe = w.app.flows.orders
        asked: list[int] = []
        close = probe.payments.close

        async def counted(order_ids: Any) -> Any:
            asked.append(len(order_ids))
            return await close(order_ids)

        object.__setattr__(probe.payments, "close", counted)
        await asyncio.sleep(300)
        assert sum(asked) <= 3 * 11, "each is asked for every second"


async def unwanted(w: World) -> tuple[dict[str, Any], dict[str, Any], str]:
    """An order whose buyer asks for an account that stays open for a week: the order, its payment, and the key."""
    placed = await order(w)
    payment = await payment_of(w, placed)
    return placed, payment, await w.authenticate(payment, method="VIRTUAL_ACCOUNT", validHours=168)


async def off(folder: Path) -> None:
    async with told(folder) as w:
        placed, payment, key = await unwanted(w)
        answer = await w.confirm(payment, key)
        assert answer.status_code == 402, "the goods are held for as long as anybody likes, for no money"
        assert answer.json()["pg_code"] == "METHOD_NOT_ACCEPTED"
        assert (await at_pg(w, key))["status"] == "CANCELED", "what is paid into it is late money"
        assert (await w.http.post("/_toss/emulator/deposit", json={"paymentKey": key})).status_code == 400
        await asyncio.sleep(590)
        assert (await w.confirm(payment, key)).status_code == 402
        assert len((await payment_of(w, placed))["attempts"]) == 1
        await w.until_status(placed["order_id"], "EXPIRED", within_s=30)
        assert await w.stock(MILK) == (1_000, 0, 0)
        await w.at_rest()
        await check(w)


async def test_where_they_are_off_nobody_holds_goods_by_asking_for_an_account(tmp_path: Path) -> None:
    await off(tmp_path)


async def test_control_where_they_are_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(_: Captures, __: Asked) -> Unknown:
        return Unknown("NO_ANSWER", "not captured yet")

    monkeypatch.setattr(Captures, "_refuse", nothing)
    with pytest.raises(AssertionError, match="for no money"):
        await off(tmp_path)


async def test_whoever_may_not_use_an_account_pays_with_a_card_instead(tmp_path: Path) -> None:
    async with told(tmp_path) as w:
        placed, payment, key = await unwanted(w)
        assert (await w.confirm(payment, key)).status_code == 402
        assert (await w.confirm(payment, await w.authenticate(payment))).status_code == 200
        await w.until_status(placed["order_id"], "PAID")
        assert await w.captures(payment["payment_id"]) == 1
        await w.at_rest()
        await check(w)


async def test_an_account_that_cannot_be_read_is_closed_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody could tell the buyer where to pay to."""
    monkeypatch.setattr(toss_payment, "_account", lambda _: None)
    async with shop(tmp_path) as w:
        _, payment, key = await unwanted(w)
        assert (await w.confirm(payment, key)).status_code == 402
        assert (await at_pg(w, key))["status"] == "CANCELED"


LOST: dict[str, dict[str, Any]] = {
    "the-reply-that-opened-it": {"confirm": [{"kind": "drop-after"}], "get": [{"kind": "drop-before", "repeat": 2}]},
    "the-way-to-close-it": {"cancel": [{"kind": "drop-before", "repeat": 3}]},
    "the-reply-that-closed-it": {"cancel": [{"kind": "drop-after"}], "get": [{"kind": "drop-before", "repeat": 2}]},
}


@pytest.mark.usefixtures("both")
@pytest.mark.parametrize("lost", LOST.values(), ids=LOST)
async def test_an_account_that_nobody_wants_is_closed_whatever_is_lost(tmp_path: Path, lost: dict[str, Any]) -> None:
    async with told(tmp_path) as w:
        await w.http.put("/_toss/emulator/webhook", json={"url": None})
        placed, payment, key = await unwanted(w)
        await w.faults(**lost)
        assert (await w.confirm(payment, key)).status_code in (202, 402)
        await w.until_status(placed["order_id"], "PLACED", within_s=90)
        assert (await at_pg(w, key))["status"] == "CANCELED"
        assert (await w.confirm(payment, await w.authenticate(payment))).status_code == 200


async def test_a_deposit_that_is_sooner_than_the_closing_of_its_account_pays(tmp_path: Path) -> None:
    async with told(tmp_path) as w:
        placed, payment, key = await unwanted(w)
        await w.faults(cancel=[{"kind": "http", "status": 503, "repeat": 5}])
        assert (await w.confirm(payment, key)).status_code == 202
        await deposit(w, key)
        await w.until_status(placed["order_id"], "PAID", within_s=90)
        assert await w.captures(payment["payment_id"]) == 1
        await rest(w)
        await check(w)


async def test_accounts_that_are_open_when_they_are_switched_off_are_still_paid_into(tmp_path: Path) -> None:
    clock = Clock()
    async with shop(tmp_path, clock=clock) as w:
        paid_id, _, key = await opened(w)
        left, _, other = await opened(w)
    async with told(tmp_path, clock=clock) as w:
        await asyncio.sleep(OPEN_S)
        assert await w.stock(MILK) == (1_000, 4, 0)
        await deposit(w, key)
        await w.until_status(paid_id["order_id"], "PAID", within_s=15)
        await w.until_status(left["order_id"], "EXPIRED", within_s=7_200)
        assert (await at_pg(w, other))["status"] in ("EXPIRED", "CANCELED")
        await w.at_rest()
        await check(w)
