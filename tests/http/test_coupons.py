"""Coupons: made by a MASTER, seen by anybody while they can be had, one for each who asks, and never one too many."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from quickcommerce.coupon.flow import Issuing
from quickcommerce.kit.auth import Role
from quickcommerce.kit.clock import SECOND_US, rfc3339
from quickcommerce.kit.web import next_cursor
from world import EPOCH_US, World

from .routes import POLICY, auth, find, policy, scene, send
from .shop import refused, shop


async def make(w: World, **changes: object) -> httpx2.Response:
    """What a MASTER does."""
    return await w.http.post("/v1/coupons", json=POLICY | changes, headers=w.auth(1, Role.MASTER))


async def ask(w: World, policy_id: str, user: int = 7) -> httpx2.Response:
    """What a user does. A user may ask without a body."""
    return await w.http.post(f"/v1/coupons/{policy_id}/issue", headers=w.auth(user))


async def offers(w: World, query: str = "") -> Any:
    answer = await w.http.get(f"/v1/coupon-policies?{query}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def at(seconds: float) -> str:
    """A time after the virtual world began."""
    return rfc3339(EPOCH_US + round(seconds * SECOND_US))


async def test_a_policy_is_answered_as_it_was_asked_for_and_can_be_had_at_once(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        answer = await make(w)
        assert answer.status_code == 201
        made = answer.json()
        assert made == POLICY | {"policy_id": made["policy_id"], "issued": 0}
        offered = {name: made[name] for name in made if name not in ("issued", "total_quantity")}
        assert await offers(w) == {"items": [offered | {"left": 100}], "next_cursor": None}
        await ask(w, made["policy_id"])
        assert [one["left"] for one in (await offers(w))["items"]] == [99]


async def test_a_user_has_one_coupon_of_a_policy_however_often_they_ask(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        made = (await make(w)).json()
        first = await ask(w, made["policy_id"])
        coupon = first.json()
        shared = {name: made[name] for name in made if name not in ("issued", "total_quantity")}
        assert first.status_code == 201
        assert 0 < coupon["coupon_id"] < 2**53
        assert coupon == shared | {
            "coupon_id": coupon["coupon_id"],
            "status": "ISSUED",
            "order_id": None,
            "issued_at": coupon["issued_at"],
        }
        again = [await ask(w, made["policy_id"]), *await asyncio.gather(*(ask(w, made["policy_id"]) for _ in range(9)))]
        assert {(answer.status_code, answer.content) for answer in again} == {(200, first.content)}
        assert await w.get("/v1/coupons") == {"items": [coupon], "next_cursor": None}
        assert await w.get("/v1/coupons", user=8) == {"items": [], "next_cursor": None}


async def test_five_hundred_buyers_of_a_hundred_coupons_get_exactly_a_hundred(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        policy_id = (await make(w)).json()["policy_id"]
        answers = await asyncio.gather(*(ask(w, policy_id, user) for user in range(1, 501)))
        won = [user for user, answer in enumerate(answers, 1) if answer.status_code == 201]
        lost = [answer for answer in answers if answer.status_code != 201]
        assert won == list(range(1, 101)), "a later buyer was served before an earlier one, or too many or too few were"
        assert {(refused(answer), answer.json()["detail"]) for answer in lost} == {
            ("coupon-not-usable", "all of these coupons are gone")
        }
        assert len({answer.json()["coupon_id"] for answer in answers[:100]}) == 100
        assert await counted(w, policy_id) == (100, 100, 100)
        assert (await offers(w))["items"] == [], "what is gone is not offered"
        again = await asyncio.gather(*(ask(w, policy_id, user) for user in range(1, 501)))
        assert [answer.status_code for answer in again] == [200] * 100 + [409] * 400
        assert [answer.content for answer in again[:100]] == [answer.content for answer in answers[:100]]


async def test_impatient_buyers_who_ask_three_times_at_once_take_no_coupon_of_others(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        policy_id = await policy(w, total_quantity=50)
        users = [user for user in range(1, 51) for _ in range(3)]
        answers = await asyncio.gather(*(ask(w, policy_id, user) for user in users))
        assert sorted(answer.status_code for answer in answers) == [200] * 100 + [201] * 50
        assert await counted(w, policy_id) == (50, 50, 50)


async def counted(w: World, policy_id: str) -> tuple[int, ...]:
    """How many are issued as the policy counts them, as there are coupons, and as there are users who have one."""
    sql = (
        "SELECT p.issued, COUNT(*), COUNT(DISTINCT c.user_id) FROM coupon_policy p JOIN coupon c"
        " ON c.policy_id = p.policy_id WHERE p.policy_id = ? GROUP BY p.policy_id, p.issued"
    )
    row = await w.app.stores.shop.read(lambda tx: tx.one(sql, (policy_id,)))
    assert row
    return row


@pytest.mark.parametrize("who", ["user"])
async def test_what_cannot_be_had_now_is_refused_with_the_reason(tmp_path: Path, who: str) -> None:
    async with shop(tmp_path, loops=False) as w:
        there = await scene(w)
        gone = await policy(w, total_quantity=1)
        await ask(w, gone, 99)
        reasons = {
            await policy(w, starts_at=at(3_600)): "this coupon cannot be had yet",
            await policy(w, starts_at=at(-7_200), ends_at=at(1)): "this coupon cannot be had any more",
            gone: "all of these coupons are gone",
        }
        w.clock.jump(2)
        for policy_id, reason in reasons.items():
            issue = find("POST /v1/coupons/{policy_id}/issue")
            answer = await send(w, issue, there, who, url=f"/v1/coupons/{policy_id}/issue")
            assert (refused(answer), answer.json()["detail"]) == ("coupon-not-usable", reason)
        assert [one["policy_id"] for one in (await offers(w))["items"]] == [there.policy_id]
        mine = await w.http.get("/v1/coupons", headers=auth(w, who))
        assert mine.json()["items"] == []


@pytest.mark.parametrize("who", ["user"])
async def test_a_coupon_that_nobody_made_is_not_found(tmp_path: Path, who: str) -> None:
    async with shop(tmp_path, loops=False) as w:
        there = await scene(w)
        issue = find("POST /v1/coupons/{policy_id}/issue")
        for absent in ("pol_" + "0" * 26, there.order["order_id"], "5"):
            assert refused(await send(w, issue, there, who, url=f"/v1/coupons/{absent}/issue")) == "not-found"


async def test_the_window_opens_and_closes_to_the_microsecond(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        policy_id = await policy(w, starts_at=at(100), ends_at=at(200))
        seen = {}
        for user, seconds in enumerate((99.999_999, 100, 199.999_999, 200), 1):
            w.clock.jump((EPOCH_US + round(seconds * SECOND_US) - w.clock()) / SECOND_US)
            seen[seconds] = ((await ask(w, policy_id, user)).status_code, len((await offers(w))["items"]))
        assert seen == {99.999_999: (409, 0), 100: (201, 1), 199.999_999: (201, 1), 200: (409, 0)}
        again = await ask(w, policy_id, 2)
        assert again.status_code == 200, "who has it is not told that it cannot be had"


async def test_offers_that_end_first_come_first_and_each_once(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        made = [(await policy(w, name=f"coupon {n}", ends_at=at(1_000 + n // 3)), 1_000 + n // 3) for n in range(12)]
        expected = [policy_id for policy_id, _ in sorted(made, key=lambda one: (one[1], one[0]))]
        seen: list[str] = []
        page = await offers(w, "limit=5")
        while True:
            seen += [one["policy_id"] for one in page["items"]]
            if page["next_cursor"] is None:
                break
            page = await offers(w, f"limit=5&cursor={page['next_cursor']}")
        assert seen == expected


@pytest.mark.parametrize("identity", ["", "a", "-1", "01", "1.0", "\u0661", "9" * 17, "9" * 5_000, "1 OR 1=1"])
async def test_a_cursor_of_another_list_is_no_cursor_of_coupons(tmp_path: Path, identity: str) -> None:
    async with shop(tmp_path, loops=False) as w:
        answer = await w.http.get(f"/v1/coupons?cursor={next_cursor((1, identity))}", headers=w.auth())
        assert refused(answer) == "invalid-request"


BAD: dict[str, tuple[dict[str, Any], list[str]]] = {
    "a rate of more than all": ({"discount_value": 101}, ["/discount_value"]),
    "a rate of nothing": ({"discount_value": 0}, ["/discount_value"]),
    "an amount of nothing": ({"discount_type": "AMOUNT", "discount_value": 0}, ["/discount_value"]),
    "an amount beyond 10^10": ({"discount_type": "AMOUNT", "discount_value": 10**10 + 1}, ["/discount_value"]),
    "another type": ({"discount_type": "rate"}, ["/discount_type"]),
    "a negative minimum": ({"min_order_amount": -1}, ["/min_order_amount"]),
    "no most": ({"max_discount_amount": 0}, ["/max_discount_amount"]),
    "a most of null": ({"max_discount_amount": None}, ["/max_discount_amount"]),
    "a fraction": ({"max_discount_amount": 1.5}, ["/max_discount_amount"]),
    "none at all": ({"total_quantity": 0}, ["/total_quantity"]),
    "2^63 of them": ({"total_quantity": 2**63}, ["/total_quantity"]),
    "no name": ({"name": ""}, ["/name"]),
    "a blank name": ({"name": " \u3000 "}, ["/name"]),
    "a name of two lines": ({"name": "a\nb"}, ["/name"]),
    "a long name": ({"name": "a" * 101}, ["/name"]),
    "it ends when it starts": ({"ends_at": POLICY["starts_at"]}, ["/ends_at"]),
    "it ends before": ({"ends_at": "2025-12-31T23:59:59Z"}, ["/ends_at"]),
    "no time": ({"starts_at": "tomorrow"}, ["/starts_at"]),
    "no offset": ({"starts_at": "2026-01-01T00:00:00"}, ["/starts_at"]),
    "a day that is not": ({"ends_at": "2026-02-30T00:00:00Z"}, ["/ends_at"]),
    "before 1970": ({"starts_at": "1970-01-01T00:00:00+00:01"}, ["/starts_at"]),
    "after 9999": ({"ends_at": "9999-12-31T23:59:59-00:01"}, ["/ends_at"]),
    "a long time": ({"ends_at": "2027-01-01T00:00:00." + "0" * 40 + "Z"}, ["/ends_at"]),
    "two times and a rate": (
        {"starts_at": "x", "ends_at": "", "discount_value": 999}, ["/discount_value", "/starts_at", "/ends_at"],
    ),
    "more than it has": ({"issued": 5}, ["/issued"]),
    "over before it began": (
        {"starts_at": "2025-01-01T00:00:00Z", "ends_at": "2025-12-31T23:59:59Z"}, ["/ends_at"],
    ),
}  # fmt: skip


async def test_a_policy_that_makes_no_sense_is_refused_with_pointers(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        told = {}
        for name, (changes, _) in BAD.items():
            answer = await make(w, **changes)
            assert refused(answer) == "invalid-request", name
            told[name] = [each["pointer"] for each in answer.json()["errors"]]
        assert told == {name: pointers for name, (_, pointers) in BAD.items()}
        for missing in POLICY:
            body = {name: POLICY[name] for name in POLICY if name != missing}
            answer = await w.http.post("/v1/coupons", json=body, headers=w.auth(1, Role.MASTER))
            assert refused(answer) == "invalid-request", missing
        assert (await offers(w))["items"] == []


async def test_the_widest_policy_is_taken_and_its_texts_come_back_as_they_were(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        widest = {
            "name": "<script>alert(1)</script> ' OR 1=1 -- \U0001f389",
            "discount_type": "AMOUNT",
            "discount_value": 10**10,
            "min_order_amount": 0,
            "max_discount_amount": 10**10,
            "total_quantity": 10**9,
            "starts_at": "1970-01-01T00:00:00.000000Z",
            "ends_at": "9999-12-31T23:59:59.999999Z",
        }
        made = (await make(w, **widest)).json()
        assert made == widest | {"policy_id": made["policy_id"], "issued": 0}
        assert (await ask(w, made["policy_id"])).json()["name"] == widest["name"]
        seoul = (await make(w, starts_at="2026-01-01T09:00:00+09:00")).json()
        assert seoul["starts_at"] == POLICY["starts_at"]


async def test_who_asked_before_the_shop_stops_has_their_coupon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with shop(tmp_path, loops=False) as w:
        policy_id, run = await policy(w), w.app.stores.shop.run

        async def slow(work: Any) -> Any:
            await asyncio.sleep(1)
            return await run(work)

        monkeypatch.setattr(w.app.stores.shop, "run", slow)
        issuing = w.app.flows.issuing
        asked = [asyncio.create_task(issuing.submit(Issuing(policy_id, user))) for user in range(1, 101)]
        await asyncio.sleep(0)
    assert all(issued.new for issued in await asyncio.gather(*asked))


ODD_NAMES = {
    b'"\\ud800"': 400,
    b'"a\\u0000"': 400,
    b'"\xed\xa0\x80"': 400,
    b'"a\\u007f"': 400,
    b'"\\u202e\\u200b10%"': 400,
    b'"\\ud83c\\udf89"': 201,
    '"쿠폰 \U0001f469\u200d\U0001f467"'.encode(): 201,
}


async def test_a_name_is_any_text_of_one_line_and_nothing_else(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        statuses = {}
        for name in ODD_NAMES:
            body = json.dumps(POLICY | {"name": "NAME"}).encode().replace(b'"NAME"', name)
            headers = w.auth(1, Role.MASTER) | {"Content-Type": "application/json"}
            statuses[name] = (await w.http.post("/v1/coupons", content=body, headers=headers)).status_code
        assert statuses == ODD_NAMES


async def test_more_who_ask_than_may_wait_are_told_at_once_and_can_ask_again(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        policy_id = await policy(w, total_quantity=2_000)
        answers = await asyncio.gather(*(ask(w, policy_id, user) for user in range(1, 1_501)))
        turned_away = [user for user, answer in enumerate(answers, 1) if answer.status_code != 201]
        assert turned_away, "the queue was never full"
        assert {refused(answers[user - 1]) for user in turned_away} == {"unavailable"}
        assert await counted(w, policy_id) == (1_500 - len(turned_away),) * 3
        assert (await ask(w, policy_id, turned_away[0])).status_code == 201


async def test_goods_that_are_not_there_and_other_prices_are_told_before_a_coupon(tmp_path: Path) -> None:
    """A buyer who is told of the coupon would come back without it, and be refused again."""
    async with shop(tmp_path, loops=False) as w:
        for line, code in (({"product_id": 12_345}, "not-found"), ({"expected_price": 1}, "price-changed")):
            bad = {"product_id": 1, "quantity": 1, "coupon_id": 999}
            lines = [bad, line | {"quantity": 1}] if "product_id" in line else [bad | line]
            answer = await w.http.post("/v1/orders", json={"lines": lines}, headers=w.auth())
            assert refused(answer) == code
