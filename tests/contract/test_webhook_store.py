"""The rows of webhooks: each transmission once, taken by one at a time, with all that tells of the same attempt."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from quickcommerce.kit.db import Database
from quickcommerce.kit.ids import OrderId, PaymentId
from quickcommerce.payment import store, webhook_store
from quickcommerce.payment.model import Ended, Status
from quickcommerce.payment.store import NEVER_US, Attempt, Payment
from quickcommerce.payment.toss_webhooks import Told
from quickcommerce.payment.webhook_store import Key, State, Webhook
from quickcommerce.payment.webhooks import Webhooks
from stores import EVERY, Clock, opened

WEBHOOK = Webhook(
    "t-1", PaymentId("pay_1"), 1, "PAYMENT_STATUS_CHANGED", "DONE", "T1", State.WAITING, 0, 1_000, "", 1_000, 0
)


@pytest.fixture(params=EVERY)
async def db(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    async with opened(request.param, tmp_path / "payment.db", "events", "cursor", "payment") as found:
        yield found.db


def webhook(number: int, **changes: object) -> Webhook:
    return msgspec.structs.replace(WEBHOOK, transmission_id=f"t-{number}", **changes)


async def add(db: Database, *webhooks: Webhook) -> None:
    await db.run(lambda tx: webhook_store.insert(tx, webhooks))


async def take(db: Database, now_us: int, limit: int = 8, token: str = "mine") -> list[str]:
    taken = await db.run(lambda tx: webhook_store.take(tx, now_us, limit, token, now_us + 500))
    assert {(each.lease_token, each.due_us) for each in taken} <= {(token, now_us + 500)}
    return [each.transmission_id for each in taken]


async def test_what_is_due_is_taken_once_and_again_when_its_lease_ends(db: Database) -> None:
    await add(db, webhook(1), webhook(2, due_us=1_001), webhook(3, state=State.FORGED, due_us=0))
    assert await take(db, 999) == []
    assert await take(db, 1_000) == ["t-1"]
    assert await take(db, 1_400, token="other") == ["t-2"]
    assert await take(db, 1_499) == []
    assert await take(db, 1_500, token="third") == ["t-1"]


async def test_all_that_tells_of_an_attempt_is_taken_together_and_the_longest_due_first(db: Database) -> None:
    other, third = PaymentId("pay_2"), PaymentId("pay_3")
    await add(
        db, webhook(1, due_us=30), webhook(2, due_us=20), webhook(3, payment_id=other, due_us=10),
        webhook(4, attempt=2, due_us=40), webhook(5, payment_id=third, due_us=50), webhook(6, due_us=60),
    )  # fmt: skip
    assert await take(db, 59, limit=2) == ["t-1", "t-2", "t-3"]
    assert await take(db, 59, limit=2) == ["t-4", "t-5"]


async def test_of_many_who_look_at_the_same_moment_each_webhook_has_one(db: Database) -> None:
    await add(db, *(webhook(n, payment_id=PaymentId(f"pay_{n}")) for n in range(20)))
    taken = await asyncio.gather(*(take(db, 1_000, token=token) for token in "abcdef"))
    found = [each for part in taken for each in part]
    assert len(found) == len(set(found)), "two read the same"


async def test_only_whoever_has_the_lease_ends_it_or_puts_it_off(db: Database) -> None:
    await add(db, webhook(1), webhook(2))
    assert await take(db, 1_000) == ["t-1", "t-2"]
    mine = [webhook(n, lease_token="mine") for n in (1, 2)]
    theirs = [webhook(n, lease_token="theirs") for n in (1, 2)]
    assert await db.run(lambda tx: webhook_store.end(tx, theirs, State.READ, 1_100)) == 0
    await db.run(lambda tx: webhook_store.again(tx, theirs, 1_050))
    assert await take(db, 1_100) == []
    await db.run(lambda tx: webhook_store.again(tx, mine[:1], 1_050))
    assert await db.run(lambda tx: webhook_store.end(tx, mine[1:], State.READ, 1_100)) == 1
    again, ended = (
        await db.read(lambda tx: webhook_store.get(tx, "t-1")),
        await db.read(lambda tx: webhook_store.get(tx, "t-2")),
    )
    assert again == webhook(1, tries=1, due_us=1_050)
    assert ended == webhook(2, state=State.READ, due_us=NEVER_US, ended_us=1_100)
    assert await take(db, 2**61) == ["t-1"]


async def test_what_came_long_ago_is_forgotten_a_few_at_a_time(db: Database) -> None:
    await add(db, *(webhook(n, came_us=1_000 + n) for n in range(5)))
    assert await db.run(lambda tx: webhook_store.prune(tx, 1_003, 2)) == 2
    assert await db.run(lambda tx: webhook_store.prune(tx, 1_003, 2)) == 1
    assert await db.run(lambda tx: webhook_store.prune(tx, 1_003, 2)) == 0
    assert await db.read(lambda tx: webhook_store.known(tx, [f"t-{n}" for n in range(9)])) == {"t-3", "t-4"}
    await add(db, webhook(5, state=State.FORGED), webhook(6, state=State.READ))
    counted = await db.read(lambda tx: webhook_store.counts(tx, ["pay_1", "pay_2"]))
    assert counted == {("pay_1", False): 3, ("pay_1", True): 1}


PAYMENT = PaymentId("pay_01ARZ3NDEKTSV4RRFFQ69G5FAV")


async def asked(db: Database, *keys: tuple[int, str, str]) -> None:
    """A payment whose PG was asked so: attempt, key, and the secret that came of it."""
    made = Payment(
        PAYMENT, OrderId("ord_1"), 7, 5_000, "우유", Status.UNKNOWN, 2, 0, 0, 9_000, keys[-1][1], len(keys), 0, 0, 1,
        NEVER_US, "", "", 1_000, 1_500, 0, 0,
    )  # fmt: skip
    await db.run(lambda tx: store.insert(tx, [made]))
    for number, key, secret in keys:
        attempt = Attempt(PAYMENT, number, key, f"i-{number}", None, None, None, 1_000, None)
        await db.run(lambda tx, attempt=attempt: store.start(tx, [attempt]))  # type: ignore[misc]
        if secret:
            end = (PAYMENT, number, Ended.CAPTURED, None, None, 1_100, secret)
            await db.run(lambda tx, end=end: store.end(tx, *end))  # type: ignore[misc]


def told(transmission_id: str, key: str = "", secret: str = "") -> Told:
    return Told(transmission_id, "PAYMENT_STATUS_CHANGED", PAYMENT, key, "DONE", "T1", secret)


async def test_the_secret_of_a_key_is_that_of_the_attempt_which_captured_it(db: Database) -> None:
    await asked(db, (1, "A", ""), (2, "B", "secret-b"), (3, "B", ""))
    assert await db.read(lambda tx: webhook_store.keys(tx, [PAYMENT, "pay_2"])) == [
        Key(PAYMENT, 1, "A", ""), Key(PAYMENT, 2, "B", "secret-b"), Key(PAYMENT, 3, "B", ""),
    ]  # fmt: skip
    heard = Webhooks(db, Clock())
    verdicts = await heard.take(
        [
            told("1", "A", "anything"), told("2", "B", "secret-b"), told("3", "B", "secret-x"), told("4", "B"),
            told("5", "C", "secret-b"), told("6", "", "secret-b"), None, told("1", "A", "once more"),
        ]
    )  # fmt: skip
    assert verdicts == ["waiting", "waiting", "forged", "forged", "ignored", "waiting", "ignored", "repeated"]
    assert heard.taken.is_set()
    rows = await db.read(lambda tx: tx.all("SELECT transmission_id, attempt, state FROM webhook ORDER BY 1"))
    assert [tuple(row) for row in rows] == [
        ("1", 1, "waiting"), ("2", 3, "waiting"), ("3", 3, "forged"), ("4", 3, "forged"), ("6", 3, "waiting"),
    ]  # fmt: skip


async def test_the_same_transmission_in_many_processes_at_once_is_one(db: Database) -> None:
    await asked(db, (1, "A", ""))
    shops = [Webhooks(db, Clock()) for _ in range(6)]
    verdicts = await asyncio.gather(*(each.take([told("t", "A"), told(f"t{n}", "A")]) for n, each in enumerate(shops)))
    assert sorted(first for first, _ in verdicts) == ["repeated"] * 5 + ["waiting"]
    assert {second for _, second in verdicts} == {"waiting"}
