"""News from the PG over HTTP: no login, a strict body, and always the same answer to what can be read."""

from pathlib import Path
from typing import Any

import pytest

from quickcommerce.kit.session import COOKIE
from world import World

from .shop import refused, shop

ID = "tosspayments-webhook-transmission-id"


async def kept(w: World) -> list[tuple[Any, ...]]:
    sql = "SELECT transmission_id, event_type, status, state, tries FROM webhook ORDER BY transmission_id"
    return await w.app.stores.payment.read(lambda tx: tx.all(sql))


async def captured(w: World) -> tuple[str, str]:
    """A payment that is captured: its id, and its key."""
    order = (await w.order()).json()
    payment = await w.get(f"/v1/orders/{order['order_id']}/payment")
    key = await w.authenticate(payment)
    assert (await w.confirm(payment, key)).status_code == 200
    return payment["payment_id"], key


@pytest.mark.parametrize(
    "body",
    [
        {"eventType": "PAYMENT_STATUS_CHANGED"},
        {"eventType": "PAYMENT_STATUS_CHANGED", "data": []},
        {"eventType": "PAYMENT_STATUS_CHANGED", "data": {"paymentKey": "k", "status": "DONE"}},
        {"eventType": "PAYMENT_STATUS_CHANGED", "data": {"orderId": 5, "status": "DONE"}},
        {"eventType": "CANCEL_STATUS_CHANGED", "data": "CANCELED"},
        {"eventType": 7},
        {"createdAt": "2026-01-01T09:00:00", "status": "DONE"},
        {"orderId": "order-0001", "status": 1},
        {},
    ],
    ids=str,
)
async def test_what_cannot_be_read_is_refused_and_not_kept(tmp_path: Path, body: Any) -> None:
    async with shop(tmp_path, loops=False) as w:
        await captured(w)
        assert refused(await w.http.post("/webhooks/toss", json=body)) == "invalid-request"
        assert await kept(w) == []


@pytest.mark.parametrize(
    "body",
    [
        {"eventType": "BILLING_DELETED", "data": {"billingKey": "b"}},
        {"eventType": "payout.changed", "entityBody": {}, "orderId": 5, "status": None},
        {"eventType": "PAYMENT_STATUS_CHANGED", "data": {"orderId": "order-0001", "paymentKey": "k", "status": "DONE"}},
        {
            "eventType": "PAYMENT_STATUS_CHANGED",
            "data": {"orderId": "pay_01ARZ3NDEKTSV4RRFFQ69G5FAV", "status": "DONE"},
        },
        {"createdAt": "x", "orderId": "of another shop", "status": "DONE", "secret": None},
    ],
    ids=str,
)
async def test_what_is_no_news_of_ours_is_answered_and_not_kept(tmp_path: Path, body: Any) -> None:
    async with shop(tmp_path, loops=False) as w:
        await captured(w)
        answer = await w.http.post("/webhooks/toss", json=body)
        assert (answer.status_code, answer.json()) == (200, {})
        assert await kept(w) == []


async def test_nobody_is_told_whether_the_secret_was_right_or_the_news_was_new(tmp_path: Path) -> None:
    """Without a login or an Origin, with whatever cookie; and a payment's own key that nobody paid with is no news."""
    async with shop(tmp_path, loops=False) as w:
        payment_id, key = await captured(w)
        told = (await w.http.get(f"/_toss/v1/payments/{key}", auth=("test_gsk_local", ""))).json()
        answers = []
        for number, facts in enumerate(
            [{}, {}, {"secret": "ps_wrong"}, {"paymentKey": "tgen_other"}, {"newField": {"of": ["Toss"]}}]
        ):
            body = {"eventType": "PAYMENT_STATUS_CHANGED", "data": told | facts}
            headers = {ID: f"id-{max(number, 1)}", "Cookie": f"{COOKIE}=stale", "Origin": "https://elsewhere.example"}
            answers.append(await w.http.post("/webhooks/toss", json=body, headers=headers))
        assert {(each.status_code, each.content) for each in answers} == {(200, b"{}")}
        news = "PAYMENT_STATUS_CHANGED"
        assert await kept(w) == [
            ("id-1", news, "DONE", "waiting", 0),
            ("id-2", news, "DONE", "forged", 0),
            ("id-4", news, "DONE", "waiting", 0),
        ]
        assert (await w.get(f"/v1/orders/{(await _order_of(w, payment_id))}/payment"))["captured"] == 5_800


@pytest.mark.parametrize("headers", [[], [(ID, "")], [(ID, "x" * 101)], [(ID, "a"), (ID, "b")]], ids=str)
async def test_without_a_usable_id_the_same_text_is_the_same_news(tmp_path: Path, headers: Any) -> None:
    async with shop(tmp_path, loops=False) as w:
        payment_id, _ = await captured(w)
        for status in ("DONE", "DONE", "CANCELED"):
            body = {"orderId": payment_id, "status": status, "secret": "ps_wrong"}
            assert (await w.http.post("/webhooks/toss", json=body, headers=headers)).status_code == 200
        assert [(len(each[0]), *each[1:]) for each in sorted(await kept(w), key=lambda row: row[2])] == [
            (64, "DEPOSIT_CALLBACK", "CANCELED", "forged", 0),
            (64, "DEPOSIT_CALLBACK", "DONE", "forged", 0),
        ]


async def test_texts_longer_than_anything_of_toss_are_cut_and_kept(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        payment_id, key = await captured(w)
        data = {"orderId": payment_id, "paymentKey": key, "status": "가" * 500, "lastTransactionKey": "x" * 500}
        body = {"eventType": "CANCEL_STATUS_CHANGED", "data": data | {"secret": "비밀" * 1_000}}
        assert (await w.http.post("/webhooks/toss", json=body, headers={ID: "long"})).status_code == 200
        assert await kept(w) == [("long", "CANCEL_STATUS_CHANGED", "가" * 40, "forged", 0)]


async def test_no_buyer_sees_the_secret_of_a_payment(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        payment_id, key = await captured(w)
        secret = (await w.http.get(f"/_toss/v1/payments/{key}", auth=("test_gsk_local", ""))).json()["secret"]
        [(stored,)] = await w.app.stores.payment.read(lambda tx: tx.all("SELECT secret FROM payment_attempt"))
        assert stored == secret
        order_id = await _order_of(w, payment_id)
        for path in (f"/v1/orders/{order_id}/payment", f"/v1/orders/{order_id}", f"/v1/orders/{order_id}/timeline"):
            assert secret not in (await w.http.get(path, headers=w.auth())).text


async def _order_of(w: World, payment_id: str) -> str:
    sql = "SELECT order_id FROM payment WHERE payment_id = ?"
    row = await w.app.stores.payment.read(lambda tx: tx.one(sql, (payment_id,)))
    assert row
    return str(row[0])
