"""Each guard has a scenario that holds with it, and a control in which it alone is switched off and the scenario fails.

The controls prove that the scenarios can see.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import msgspec
import pytest

from flow import guards
from flow.staging import cut, uncount
from quickcommerce.kit import idempotency
from quickcommerce.kit.db import Tx, marks
from quickcommerce.kit.ids import OrderId
from quickcommerce.kit.inbox import Inbox
from quickcommerce.kit.outbox import Message
from quickcommerce.order import store as order_store
from quickcommerce.payment import capture, refund_store, refunding
from quickcommerce.payment import store as payment_store
from quickcommerce.payment.attempts import Attempts, Confirming
from quickcommerce.payment.flow import Payments
from quickcommerce.payment.model import Found, conclude
from quickcommerce.stock import store as stock_store

pytestmark = pytest.mark.usefixtures("both")


async def test_stock_check(tmp_path: Path) -> None:
    await guards.stock_check(tmp_path)


async def test_control_stock_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut(monkeypatch, stock_store, "hold", " AND on_hand - reserved - sold >= ...")
    with pytest.raises(AssertionError, match="sold to two buyers"):
        await guards.stock_check(tmp_path)


async def test_control_stock_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uncount(monkeypatch, stock_store, "hold")
    with pytest.raises(AssertionError, match="sold to two buyers"):
        await guards.stock_check(tmp_path)


async def test_idempotency_row(tmp_path: Path) -> None:
    await guards.idempotency_row(tmp_path)


async def test_control_idempotency_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def keep(*_: object) -> None:
        """Forget it."""

    monkeypatch.setattr(idempotency, "keep", keep)
    with pytest.raises(AssertionError, match="one tap, two orders"):
        await guards.idempotency_row(tmp_path)


async def test_inbox(tmp_path: Path) -> None:
    await guards.inbox(tmp_path)


async def test_control_inbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fresh(_: Inbox, tx: Tx, messages: list[Message]) -> list[Message]:
        ids = [message.id for message in messages]
        await tx.run(f"DELETE FROM inbox WHERE event_id IN ({marks(ids)})", ids)
        return messages

    monkeypatch.setattr(Inbox, "_fresh", fresh)
    with pytest.raises(AssertionError, match="nobody pays"):
        await guards.inbox(tmp_path)


async def test_lease_token(tmp_path: Path) -> None:
    await guards.lease_token(tmp_path)


async def test_control_lease_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut(monkeypatch, payment_store, "move", " AND lease_token = ?")
    cut(monkeypatch, payment_store, "move_if_same", " AND lease_token = ?")
    with pytest.raises(AssertionError, match="told to take another card"):
        await guards.lease_token(tmp_path)


async def test_control_lease_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uncount(monkeypatch, payment_store, "move")
    with pytest.raises(AssertionError, match="I6: events taken"):
        await guards.lease_token(tmp_path)


async def test_state_in_where(tmp_path: Path) -> None:
    await guards.state_in_where(tmp_path)


async def test_control_state_in_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut(monkeypatch, payment_store, "move", " AND status = ?")
    cut(monkeypatch, payment_store, "move_if_same", " AND status = ?")
    with pytest.raises(AssertionError, match="charged for goods that went back"):
        await guards.state_in_where(tmp_path)


async def test_order_state_in_where(tmp_path: Path) -> None:
    await guards.order_state_in_where(tmp_path)


async def test_control_order_state_in_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut(monkeypatch, order_store, "move", " AND status = ? AND version = ?")
    with pytest.raises(AssertionError, match="paid, and its buyer is told that it is PAYING"):
        await guards.order_state_in_where(tmp_path)


async def test_control_order_state_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uncount(monkeypatch, order_store, "move")
    with pytest.raises(AssertionError, match="a change is told that did not happen"):
        await guards.order_state_in_where(tmp_path)


async def test_amount_check(tmp_path: Path) -> None:
    await guards.amount_check(tmp_path)


async def test_control_amount_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guarded = Attempts._confirming

    def believing(self: Attempts, request: Confirming, known: Any, steps: Any) -> Any:
        payment, _ = known[request.payment_id]
        return guarded(self, msgspec.structs.replace(request, amount=payment.amount), known, steps)

    monkeypatch.setattr(Attempts, "_confirming", believing)
    with pytest.raises(AssertionError, match="a sum that nobody asked the buyer for"):
        await guards.amount_check(tmp_path)


async def test_amount_read_back(tmp_path: Path) -> None:
    await guards.amount_read_back(tmp_path)


async def test_control_amount_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guarded = conclude

    def believing(reading: Any, asked: Any, **known: Any) -> Any:
        if isinstance(reading, Found):
            reading = msgspec.structs.replace(reading, amount=asked.amount)
        return guarded(reading, asked, **known)

    monkeypatch.setattr(capture, "conclude", believing)
    with pytest.raises(AssertionError, match="go out for 100"):
        await guards.amount_read_back(tmp_path)


async def test_read_back_before_repeat(tmp_path: Path) -> None:
    await guards.read_back(tmp_path)


async def test_control_read_back_before_repeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture, "may_ask_again", lambda *_: True)
    with pytest.raises(AssertionError, match="charge the card again"):
        await guards.read_back(tmp_path)


async def test_close_before_release(tmp_path: Path) -> None:
    await guards.close_before_release(tmp_path)


async def test_control_close_before_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def close(_: Payments, order_ids: Collection[OrderId]) -> set[OrderId]:
        return set(order_ids)

    monkeypatch.setattr(Payments, "close", close)
    with pytest.raises(AssertionError, match="2 were bought, and 0 are held, 0 sold"):
        await guards.close_before_release(tmp_path)


async def test_refund_sum(tmp_path: Path) -> None:
    await guards.refund_sum(tmp_path)


async def test_control_refund_sum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut(monkeypatch, payment_store, "owe", " AND captured - refunded - refunding >= ?")
    with pytest.raises(AssertionError, match="promised their money twice"):
        await guards.refund_sum(tmp_path)


async def test_refund_lease(tmp_path: Path) -> None:
    await guards.refund_lease(tmp_path)


async def test_control_refund_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut(monkeypatch, refund_store, "move", " AND lease_token = ?")
    with pytest.raises(AssertionError, match="the shop believes what is not so"):
        await guards.refund_lease(tmp_path)


async def test_refund_read_back(tmp_path: Path) -> None:
    await guards.refund_read_back(tmp_path)


async def test_control_refund_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refunding, "not_given_back", lambda *_: True)
    with pytest.raises(AssertionError, match="give the money back again"):
        await guards.refund_read_back(tmp_path)
