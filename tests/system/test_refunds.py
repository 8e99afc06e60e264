"""Money back, from a real shop over real connections."""

import asyncio
from collections import Counter
from pathlib import Path

from system.process import until
from system.shop import running
from system.wire import dialled, request

ASKERS, PART = 50, 200


async def test_fifty_who_ask_at_once_get_back_what_was_paid_and_no_more(tmp_path: Path) -> None:
    async with running(tmp_path, log_level="WARNING") as shop:
        order = await shop.order([(1, 2)])
        await shop.pay(order)
        payment = await shop.get(f"/v1/orders/{order['order_id']}/payment")
        body = {"reason": "too much", "amount": PART}
        path = f"/v1/payments/{payment['payment_id']}/refunds"
        asks = [request("POST", path, shop.auth() | {"Idempotency-Key": f"tap-{at}"}, body) for at in range(ASKERS)]
        async with dialled(shop.url, ASKERS) as lines:
            await asyncio.gather(*(line.send(ask) for line, ask in zip(lines, asks, strict=True)))
            answers = await asyncio.gather(*(line.answer() for line in lines))
        fit = payment["amount"] // PART
        told = Counter((answer.status, answer.json.get("code")) for answer in answers)
        assert told == {(201, None): fit, (409, "invalid-state"): ASKERS - fit}

        async def back() -> list[int] | None:
            ledger = (await shop.http.get(f"{shop.pg_url}/emulator/ledger")).json()
            cancels = [cancel["amount"] for each in ledger["payments"] for cancel in each["cancels"]]
            return cancels if len(cancels) >= fit else None

        await until("all that was accepted is back", back)
        assert await back() == [PART] * fit

        async def whole() -> bool:
            now = await shop.get(f"/v1/orders/{order['order_id']}/payment")
            return (now["status"], now["refunded"]) == ("REFUNDED", payment["amount"])

        await until("the shop says so too", whole)
        assert (await shop.terminate()).code == 0
