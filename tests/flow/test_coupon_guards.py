"""The guards of coupons: each has a scenario that holds with it, and a control in which it alone is switched off.

As in `guards.py`, the worst moment is staged: a row is read as it was before another actor changed it.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from flow.process import process
from flow.staging import cut, stale, unchecked
from quickcommerce.coupon import store
from quickcommerce.coupon.flow import Issued, Issuing
from quickcommerce.coupon.model import DiscountType, PolicyDraft
from quickcommerce.kit.ids import PolicyId
from stores import undone
from world import World

pytestmark = pytest.mark.usefixtures("both")

DRAFT = PolicyDraft(
    "한정 쿠폰", DiscountType.RATE, 10, 0, 1_000, 1, "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"
)  # fmt: skip


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[World]:
    """A shop whose tables do not check themselves: here the first line of defence is looked at."""
    async with process(folder, loops=False) as w:
        unchecked(w)
        yield w


async def policy(w: World, total: int) -> PolicyId:
    return (await w.app.flows.coupons.create(msgspec.structs.replace(DRAFT, total_quantity=total))).policy_id


async def ask(w: World, policy_id: PolicyId, user: int) -> tuple[int, int | None]:
    """Returns the status, and the coupon if there is one."""
    answer = await w.http.post(f"/v1/coupons/{policy_id}/issue", headers=w.auth(user))
    return answer.status_code, answer.json().get("coupon_id")


async def count(w: World, sql: str) -> int:
    row = await w.app.stores.shop.read(lambda tx: tx.one(sql))
    assert row
    return int(row[0])


async def total(w: World) -> None:
    """Two lists of requests saw the same last coupon."""
    policy_id = await policy(w, 1)
    seen = await w.app.stores.shop.read(lambda tx: store.policies(tx, [policy_id], locked=False))
    assert (await ask(w, policy_id, 7))[0] == 201
    with stale(store, "policies", seen):
        second = await ask(w, policy_id, 8)
    assert second == (409, None), "two buyers have the only coupon"
    assert await count(w, "SELECT COUNT(*) FROM coupon") == 1
    assert await count(w, "SELECT issued FROM coupon_policy") == 1


async def test_total(tmp_path: Path) -> None:
    async with running(tmp_path) as w:
        await total(w)


async def test_control_total(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut(monkeypatch, store, "take", " AND total_quantity - issued >= ?")
    async with running(tmp_path) as w:
        with pytest.raises(AssertionError, match="two buyers have the only coupon"):
            await total(w)


async def one_for_each(w: World) -> None:
    """Two requests of one user, in two processes, saw that they have none yet."""
    policy_id = await policy(w, 10)
    first = await ask(w, policy_id, 7)
    with stale(store, "held", {}):
        second = await ask(w, policy_id, 7)
    assert second == (200, first[1]), "a buyer who asks twice at once has two coupons"
    assert await count(w, "SELECT COUNT(*) FROM coupon") == 1
    assert await count(w, "SELECT issued FROM coupon_policy") == 1, "a coupon is counted that nobody has"


async def test_one_for_each(tmp_path: Path) -> None:
    async with running(tmp_path) as w:
        await one_for_each(w)


async def test_control_one_for_each(tmp_path: Path) -> None:
    async with running(tmp_path) as w:
        shop = w.app.stores.shop
        drop = "DROP INDEX IF EXISTS coupon_once" + " ON coupon" * (shop.dialect == "mariadb")
        await shop.run(lambda tx: tx.run(drop))
        with pytest.raises(AssertionError, match="has two coupons"):
            await one_for_each(w)


async def spent_once(w: World) -> None:
    """Two orders saw the coupon before either had spent it."""
    coupons, shop = w.app.flows.coupons, w.app.stores.shop
    (issued,) = await coupons.issue([Issuing(await policy(w, 1), 7)])
    assert isinstance(issued, Issued)
    coupon_id = issued.coupon.coupon_id
    seen = await shop.read(lambda tx: coupons.of(tx, [coupon_id], w.clock(), locked=False))
    assert seen[coupon_id].order_id is None
    await shop.run(lambda tx: coupons.spend(tx, {coupon_id: "ord_1"}))
    assert await undone(shop, lambda tx: coupons.spend(tx, {coupon_id: "ord_2"})), "one coupon pays for two orders"
    mine = await w.get("/v1/coupons")
    assert [(one["status"], one["order_id"]) for one in mine["items"]] == [("USED", "ord_1")]
    await shop.run(lambda tx: coupons.give_back(tx, ["ord_1"]))
    mine = await w.get("/v1/coupons")
    assert [(one["status"], one["order_id"]) for one in mine["items"]] == [("ISSUED", None)]


async def test_spent_once(tmp_path: Path) -> None:
    async with running(tmp_path) as w:
        await spent_once(w)


async def test_control_spent_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut(monkeypatch, store, "spend", " AND order_id IS NULL")
    async with running(tmp_path) as w:
        with pytest.raises(AssertionError, match="one coupon pays for two orders"):
            await spent_once(w)
