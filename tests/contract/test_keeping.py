"""What is remembered so that nothing happens twice: found again, kept long enough, and no longer than that."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from quickcommerce.kit import idempotency, inbox, outbox, repeating
from quickcommerce.kit.db import Database, Duplicate, Tx
from quickcommerce.kit.idempotency import Claim, Kept
from quickcommerce.kit.outbox import SHARDS
from quickcommerce.kit.policy import Backoff
from stores import EVERY, message, opened

MINE, YOURS = Claim(7, "key", "f1"), Claim(8, "key", "f2")


@pytest.fixture(params=EVERY)
async def shop(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    async with opened(request.param, tmp_path / "shop.db", "events", "cursor", "shop") as store:
        yield store.db


@pytest.fixture(autouse=True)
def _no_waiting_between_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeating, "_BACKOFF", Backoff(base_s=0, cap_s=0))


async def test_a_key_leads_to_what_it_made_for_its_own_user_only(shop: Database) -> None:
    await shop.run(lambda tx: idempotency.keep(tx, [(MINE, "ord_1")], 1))
    found = await shop.read(lambda tx: idempotency.find(tx, [MINE, YOURS, Claim(7, "KEY", "f1")]))
    assert found == {"7:key": Kept("f1", "ord_1")}
    assert await shop.read(lambda tx: idempotency.find(tx, [])) == {}


async def test_a_key_can_make_one_thing_only_and_the_second_is_undone_whole(shop: Database) -> None:
    await shop.run(lambda tx: idempotency.keep(tx, [(MINE, "ord_1")], 1))
    with pytest.raises(Duplicate):
        await shop.run(lambda tx: idempotency.keep(tx, [(YOURS, "ord_2"), (MINE, "ord_3")], 2))
    assert await shop.read(lambda tx: idempotency.find(tx, [MINE, YOURS])) == {"7:key": Kept("f1", "ord_1")}


async def test_only_old_keys_are_forgotten_the_oldest_first_and_so_many_at_a_time(shop: Database) -> None:
    claims = [Claim(user, "k", "f") for user in range(1, 8)]
    for at, claim in enumerate(claims):
        await shop.run(lambda tx, claim=claim, at=at: idempotency.keep(tx, [(claim, "ord")], at))  # type: ignore[misc]

    async def left() -> list[int]:
        found = await shop.read(lambda tx: idempotency.find(tx, claims))
        return [claim.user_id for claim in claims if claim.scoped in found]

    assert await shop.run(lambda tx: idempotency.prune(tx, 4, 3)) == 3
    assert await left() == [4, 5, 6, 7]
    assert await shop.run(lambda tx: idempotency.prune(tx, 4, 3)) == 1
    assert await shop.run(lambda tx: idempotency.prune(tx, 4, 3)) == 0
    assert await left() == [5, 6, 7]


async def test_only_old_inbox_rows_are_forgotten_and_those_of_one_group_are_its_own(shop: Database) -> None:
    rows = [("group", "evt_1", 1), ("other", "evt_1", 5), ("group", "evt_2", 2), ("group", "evt_3", 3)]
    await shop.run(lambda tx: tx.insert("inbox", "consumer, event_id, at_us", rows))

    async def left() -> list[tuple[str, str]]:
        return [(row[0], row[1]) for row in await shop.read(lambda tx: tx.all("SELECT * FROM inbox ORDER BY at_us"))]

    assert await shop.run(lambda tx: inbox.prune(tx, 3, 1)) == 1
    assert await left() == [("group", "evt_2"), ("group", "evt_3"), ("other", "evt_1")]
    assert await shop.run(lambda tx: inbox.prune(tx, 3, 100)) == 1
    assert await left() == [("group", "evt_3"), ("other", "evt_1")]


async def test_what_is_pending_in_an_outbox_is_what_not_every_reader_has_taken(shop: Database) -> None:
    messages = [message(f"order-{key}", 0) for key in range(20)]
    await shop.run(lambda tx: outbox.append(tx, messages))
    nobody = dict.fromkeys(range(SHARDS), 0)

    async def pending(cursors: dict[int, int]) -> int:
        return await shop.read(lambda tx: outbox.pending(tx, cursors))

    async def stored(tx: Tx) -> list[int]:
        return [one.seq for one in await outbox.after(tx, nobody, 100)]

    assert await pending(nobody) == 20
    assert await shop.read(stored) == list(range(1, 21))
    one_shard = messages[0].shard
    in_it = sum(one.shard == one_shard for one in messages)
    assert await pending(nobody | {one_shard: 20}) == 20 - in_it
    assert await pending(dict.fromkeys(range(SHARDS), 20)) == 0
