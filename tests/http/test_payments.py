"""The payment of an order, as its buyer's client reads it."""

from pathlib import Path
from typing import Any

from quickcommerce.kit.auth import Role

from .shop import counts, refused, shop

NOW, THEN = "2026-01-01T00:00:00.000000Z", "2026-01-01T00:00:01.000000Z"


async def test_the_payment_object_is_what_clients_were_promised(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        order = (await w.order()).json()
        path = f"/v1/orders/{order['order_id']}/payment"
        payment = await w.get(path)
        assert payment == {
            "payment_id": payment["payment_id"],
            "order_id": order["order_id"],
            "status": "READY",
            "amount": 5_800,
            "captured": 0,
            "refunded": 0,
            "attempts": [],
            "next_attempt_at": None,
            "pg_payment_key": None,
        }
        await w.faults(confirm=[{"kind": "slow", "ms": 1_000, "repeat": 2}])
        refusal, money = await w.authenticate(payment, method="CARD_REFUSED"), await w.authenticate(payment)
        assert (await w.confirm(payment, refusal)).status_code == 402
        confirmed = (await w.confirm(payment, money)).json()
        later = "2026-01-01T00:00:02.000000Z"
        assert confirmed == await w.get(path)
        assert confirmed == payment | {
            "status": "CAPTURED",
            "captured": 5_800,
            "pg_payment_key": money,
            "attempts": [
                attempt(1, refusal, "declined", "REJECT_CARD_PAYMENT", NOW, THEN),
                attempt(2, money, "captured", None, THEN, later),
            ],
        }


def attempt(
    number: int, key: str, outcome: str | None, code: str | None, start: str, end: str | None
) -> dict[str, Any]:
    return {
        "attempt": number,
        "payment_key": key,
        "outcome": outcome,
        "code": code,
        "started_at": start,
        "ended_at": end,
    }


async def test_a_payment_is_there_before_its_event_arrives(tmp_path: Path) -> None:
    """A bus that is down stops nobody from paying: the payment is made from the order, once."""
    async with shop(tmp_path, loops=False) as w:
        order = (await w.order()).json()
        assert (await counts(w))["payments"] == 0
        path = f"/v1/orders/{order['order_id']}/payment"
        made = await w.get(path)
        assert await w.get(path, user=1, role=Role.MASTER) == made
        assert (await counts(w))["payments"] == 1
        assert (await w.confirm(made, await w.authenticate(made))).status_code == 200
    async with shop(tmp_path, seed=2) as w:
        await w.until_status(order["order_id"], "PAID")
        assert (await w.at_rest())["payments"] == 1, "the event that came late opened no second one"


async def test_an_order_that_ended_before_it_had_a_payment_has_a_closed_one(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        order = (await w.order()).json()
        await w.http.post(f"/v1/orders/{order['order_id']}/cancel", headers=w.auth())
        payment = await w.get(f"/v1/orders/{order['order_id']}/payment")
        assert (payment["status"], payment["captured"]) == ("CLOSED", 0)
        assert refused(await w.confirm(payment, await w.authenticate(payment))) == "invalid-state"


async def test_while_the_outcome_is_unknown_the_payment_says_when_it_is_looked_at_next(tmp_path: Path) -> None:
    async with shop(tmp_path) as w:
        order = (await w.order()).json()
        path = f"/v1/orders/{order['order_id']}/payment"
        payment = await w.get(path)
        key = await w.authenticate(payment)
        await w.faults(confirm=[{"kind": "drop-after"}], get=[{"kind": "drop-before", "repeat": 3}])
        assert (await w.confirm(payment, key)).status_code == 202

        async def unknown() -> Any:
            now = await w.get(path)
            return now if now["status"] == "UNKNOWN" else None

        now = await w.until("the outcome is unknown", unknown)
        assert now["next_attempt_at"] > now["attempts"][0]["started_at"]
        assert now["attempts"] == [attempt(1, key, None, None, now["attempts"][0]["started_at"], None)]
        assert (now["captured"], now["pg_payment_key"]) == (0, key)
        await w.until_status(order["order_id"], "PAID")
        done = await w.get(path)
        assert (done["status"], done["captured"], done["next_attempt_at"]) == ("CAPTURED", 5_800, None)
        assert await w.captures(payment["payment_id"]) == 1
