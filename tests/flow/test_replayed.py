"""Dead letters that are replayed later than others: none of them sells, charges, or says what is over."""

from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from flow.acts import BEEF, MILK, order, paid, payment_of, refund, taken, to_pay
from flow.invariants import check
from flow.process import process
from flow.staging import forgetful_orders
from flow.test_late import TIMES, lost
from flow.truth import rest
from quickcommerce.kit.auth import Role
from quickcommerce.order import timeline_store
from world import World

pytestmark = pytest.mark.usefixtures("both")


@asynccontextmanager
async def buried(w: World, event: str) -> AsyncIterator[None]:
    """Meanwhile a defect of ours keeps the shop from taking events of this kind."""
    handlers: list[Any] = [app.parts.subscriptions[1].consumer.handlers for app in w.apps]  # type: ignore[attr-defined]

    async def fail(*_: object) -> None:
        raise RuntimeError("a defect of today")

    with ExitStack() as stack:
        for each in handlers:
            stack.enter_context(patch.dict(each, {event: fail}))
        yield


async def letters(w: World) -> list[tuple[str, str]]:
    """The dead letters: kind and id, the oldest first."""
    found = (await w.get("/v1/ops/dead-letters", role=Role.MASTER))["items"]
    return [(each["event_type"], each["id"]) for each in found]


async def replay(w: World, letter_id: str) -> int:
    answer = await w.http.post(f"/v1/ops/dead-letters/{letter_id}/replay", headers=w.auth(1, Role.MASTER))
    await w.at_rest()
    return answer.status_code


async def late_and_back(folder: Path) -> None:
    """Late money whose news is a dead letter is given back by hand; then somebody replays the letter."""
    async with process(folder, **TIMES) as w:
        order_id, payment, key = await to_pay(w)
        await lost(w, order_id, payment, key)
        async with buried(w, "PaymentSettled"):
            await w.faults(get=[])
            await w.until("the news is buried", lambda: letters(w), within_s=95)
        assert (await refund(w, payment)).json()["status"] == "DONE"
        await w.at_rest()
        found = dict(await letters(w))
        assert set(found) <= {"PaymentSettled", "PaymentRefunded"}
        assert await replay(w, found["PaymentSettled"]) == 200
        if "PaymentRefunded" in found:
            assert await replay(w, found["PaymentRefunded"]) == 200
        shown = await w.get(f"/v1/orders/{order_id}")
        assert (shown["status"], shown["refunded"]) == ("REFUNDED", 5_800), "goods are sold for money that went back"
        await rest(w)
        await check(w)


async def test_late_money_that_went_back_before_its_news_came_sells_nothing(tmp_path: Path) -> None:
    await late_and_back(tmp_path)


async def test_control_late_money_that_went_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def noted(*_: object) -> bool:
        return True

    monkeypatch.setattr(timeline_store, "noted", noted)
    with pytest.raises(AssertionError, match="goods are sold for money that went back"):
        await late_and_back(tmp_path)


async def test_a_refund_before_its_payments_news_is_put_right_by_replaying_both(tmp_path: Path) -> None:
    """The goods of late money that cannot be had again: nothing is held, and nothing goes back twice."""
    async with process(tmp_path, **TIMES) as w:
        order_id, payment, key = await to_pay(w, [(MILK, 2), (BEEF, 1)])
        await lost(w, order_id, payment, key)
        await taken(w, BEEF, 5)
        async with buried(w, "PaymentSettled"):
            await w.faults(get=[])
            await w.until("the news is buried", lambda: letters(w), within_s=95)
        assert (await refund(w, payment)).json()["status"] == "DONE"
        await w.at_rest()
        for _, letter_id in await letters(w):
            assert await replay(w, letter_id) == 200
        assert (await w.status(order_id), await w.stock(MILK)) == ("EXPIRED", (1_000, 0, 0))
        await rest(w)
        await check(w)


async def old_news(folder: Path, *, forgetful: bool) -> None:
    """That paying has started is a dead letter; the card is refused; then the letter is replayed."""
    async with process(folder) as w:
        placed = await order(w)
        payment = await payment_of(w, placed)
        async with buried(w, "PaymentStarted"):
            await w.confirm(payment, await w.authenticate(payment, method="CARD_REFUSED"))
            [(_, letter_id)] = await w.until("the news is buried", lambda: letters(w))
        await w.at_rest()
        with forgetful_orders() if forgetful else nullcontext():
            assert await replay(w, letter_id) == 200
            assert await w.status(placed["order_id"]) == "PLACED", (
                "the order says that it is being paid, and nobody pays"
            )
        assert (await w.confirm(payment, await w.authenticate(payment))).status_code == 200
        await w.until_status(placed["order_id"], "PAID")
        await rest(w)
        await check(w)


async def test_that_paying_has_started_is_old_news_after_the_card_was_refused(tmp_path: Path) -> None:
    await old_news(tmp_path, forgetful=False)


async def test_control_old_news(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="nobody pays"):
        await old_news(tmp_path, forgetful=True)


async def test_that_a_card_was_refused_is_old_news_while_the_next_one_is_tried(tmp_path: Path) -> None:
    async with process(tmp_path) as w:
        placed = await order(w)
        payment = await payment_of(w, placed)
        async with buried(w, "PaymentDeclined"):
            await w.confirm(payment, await w.authenticate(payment, method="CARD_REFUSED"))
            [(_, letter_id)] = await w.until("the news is buried", lambda: letters(w))
        await w.faults(confirm=[{"kind": "slow", "ms": 20_000}])
        await w.confirm(payment, await w.authenticate(payment))
        await w.at_rest()
        assert await replay(w, letter_id) == 200
        assert await w.status(placed["order_id"]) == "PAYING", (
            "the buyer may cancel or pay again while they are charged"
        )
        await w.until_status(placed["order_id"], "PAID")
        await rest(w)
        await check(w)


async def test_money_whose_news_comes_last_of_all_is_still_money(tmp_path: Path) -> None:
    """That it was captured is never old news: a replay makes the order PAID, and its refund counts then."""
    async with process(tmp_path) as w:
        async with buried(w, "PaymentSettled"):
            payment = await paid(w)
            await w.until("the news is buried", lambda: letters(w))
        assert (await refund(w, payment, amount=1_000)).json()["status"] == "DONE"
        await w.at_rest()
        for _, letter_id in await letters(w):
            assert await replay(w, letter_id) == 200
        shown = await w.get(f"/v1/orders/{payment['order_id']}")
        assert (shown["status"], shown["refunded"]) == ("PAID", 1_000)
        await rest(w)
        await check(w)
