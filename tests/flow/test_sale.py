"""A hundred units, a thousand buyers, one moment."""

import asyncio
from pathlib import Path

import pytest

from flow.acts import payment_of
from flow.invariants import always, check
from flow.probe import Probe
from flow.process import process
from flow.truth import rest
from quickcommerce.catalog.model import Entry

pytestmark = pytest.mark.usefixtures("both")

HOT = 9


async def test_a_thousand_buyers_of_a_hundred_units_get_exactly_a_hundred(tmp_path: Path) -> None:
    probe = Probe()
    async with process(tmp_path, probe, goods=[Entry(HOT, "한정 딸기", 9_900, 100, "Strawberries", "fruit")]) as w:
        probe.sql = []
        answers = await asyncio.gather(*(w.order([(HOT, 1)], user=user) for user in range(1, 1_001)))
        statements, probe.sql = probe.sql, None
        won = [user for user, answer in enumerate(answers, 1) if answer.status_code == 201]
        lost = [answer for answer in answers if answer.status_code == 409]
        assert (len(won), len(lost)) == (100, 900)
        # Two processes each serve their own in order.
        assert w.others or won == list(range(1, 101)), "a later buyer was served before an earlier one"
        assert {(each["requested"], each["available"]) for answer in lost for each in answer.json()["errors"]} == {
            (1, 0)
        }
        assert await w.stock(HOT) == (100, 100, 0)
        lists = sum(sql.startswith("INSERT INTO orders") for sql in statements)
        touched = sum(sql.startswith("UPDATE product") for sql in statements)
        assert w.others or touched == lists <= 3, f"the hot row was locked {touched} times for {lists} lists of orders"
        await rest(w)
        await always(w)

        async def pay(user: int) -> None:
            payment = await payment_of(w, {"order_id": answers[user - 1].json()["order_id"], "user_id": user})
            body = {"payment_key": await w.authenticate(payment), "amount": payment["amount"]}
            path = f"/v1/payments/{payment['payment_id']}/confirm"
            assert (await w.http.post(path, json=body, headers=w.auth(user))).status_code == 200

        await asyncio.gather(*(pay(user) for user in won[:70]))
        await asyncio.sleep(620)
        assert await w.stock(HOT) == (100, 0, 70), "what was not paid for must be for sale again"
        again = await asyncio.gather(*(w.order([(HOT, 1)], user=user) for user in range(2_001, 2_041)))
        assert sorted(answer.status_code for answer in again) == [201] * 30 + [409] * 10
        await asyncio.sleep(620)
        await rest(w)
        await check(w)
