"""The rows of coupons: one for a user, spent once, back with the order that ends, all of a list or nothing."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from quickcommerce.coupon.flow import Answer, Coupons, Issued, Issuing
from quickcommerce.coupon.model import Coupon, DiscountType, PolicyDraft
from quickcommerce.kit import repeating
from quickcommerce.kit.clock import rfc3339
from quickcommerce.kit.db import Database, Tx
from quickcommerce.kit.ids import Ids, PolicyId
from quickcommerce.kit.policy import Backoff
from quickcommerce.kit.problem import CouponNotUsable, NotFound
from stores import EVERY, Clock, metric, opened, undone

DAY_S = 86_400
NOBODYS = PolicyId("pol_" + "0" * 26)


class Shop:
    """Coupons on a database, on a clock that the test moves."""

    def __init__(self, database: Database) -> None:
        self.db, self.clock = database, Clock()
        self.coupons = Coupons(database, self.clock, Ids(self.clock, random.Random(1)))
        self.draft = PolicyDraft(
            name="천원 쿠폰",
            discount_type=DiscountType.AMOUNT,
            discount_value=1_000,
            min_order_amount=5_000,
            max_discount_amount=1_000,
            total_quantity=10,
            starts_at=rfc3339(self.clock()),
            ends_at=rfc3339(self.clock() + DAY_S * 1_000_000),
        )

    async def policy(self, **changes: object) -> PolicyId:
        return (await self.coupons.create(msgspec.structs.replace(self.draft, **changes))).policy_id

    async def ask(self, *asked: tuple[PolicyId, int]) -> list[Answer]:
        """Ask for (policy, user), all in one list."""
        return await self.coupons.issue([Issuing(policy_id, user) for policy_id, user in asked])

    async def coupon(self, policy_id: PolicyId, user: int = 7) -> int:
        (answer,) = await self.ask((policy_id, user))
        assert isinstance(answer, Issued)
        return answer.coupon.coupon_id

    async def spend(self, spent: dict[int, str]) -> bool:
        """Whether they could be."""
        return not await undone(self.db, lambda tx: self.coupons.spend(tx, spent))

    async def of(self, *coupon_ids: int) -> dict[int, Coupon]:
        return dict(await self.db.read(lambda tx: self.coupons.of(tx, coupon_ids, self.clock(), locked=False)))

    async def spent(self, *coupon_ids: int) -> list[str | None]:
        found = await self.of(*coupon_ids)
        return [found[coupon_id].order_id for coupon_id in coupon_ids]


@pytest.fixture(params=EVERY)
async def shop(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Shop]:
    async with opened(request.param, tmp_path / "shop.db", "events", "cursor", "shop") as store:
        yield Shop(store.db)


@pytest.fixture(autouse=True)
def _no_waiting_between_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeating, "_BACKOFF", Backoff(base_s=0, cap_s=0))


def said(answers: list[Answer]) -> list[object]:
    """Each answer in short: whether the coupon is new, or what kind of refusal it is."""
    return [answer.new if isinstance(answer, Issued) else type(answer) for answer in answers]


async def test_a_list_is_answered_in_order_and_a_user_who_stands_in_it_twice_has_one_coupon(shop: Shop) -> None:
    scarce, plenty = await shop.policy(total_quantity=2), await shop.policy()
    answers = await shop.ask(
        (scarce, 1), (scarce, 1), (NOBODYS, 1), (plenty, 1), (scarce, 2), (scarce, 3), (scarce, 2), (plenty, 3)
    )
    assert said(answers) == [True, False, NotFound, True, True, CouponNotUsable, False, True]
    ids = [answer.coupon.coupon_id if isinstance(answer, Issued) else None for answer in answers]
    assert (ids[1], ids[6]) == (ids[0], ids[4])
    assert len({*ids} - {None}) == 4
    again = await shop.ask((scarce, 2), (plenty, 1), (scarce, 3), (plenty, 2))
    assert said(again) == [False, False, CouponNotUsable, True], "who has one of another policy has not one of this"
    offered = {one.policy_id: one.left for one in await shop.coupons.offered(None, 10)}
    assert offered == {plenty: 7}


async def test_what_is_asked_for_at_the_same_time_is_issued_exactly(shop: Shop) -> None:
    policy_id = await shop.policy()
    answers = await asyncio.gather(*(shop.ask((policy_id, user), (policy_id, user + 1)) for user in range(1, 40)))
    new = [one for of_list in answers for one in of_list if isinstance(one, Issued) and one.new]
    assert len(new) == len({answer.coupon.user_id for answer in new}) == 10
    assert await shop.db.read(lambda tx: tx.one("SELECT COUNT(*), COUNT(DISTINCT user_id) FROM coupon")) == (10, 10)


async def test_of_a_hundred_orders_at_once_one_spends_the_coupon(shop: Shop) -> None:
    coupon_id = await shop.coupon(await shop.policy())
    spent = await asyncio.gather(*(shop.spend({coupon_id: f"ord_{n}"}) for n in range(100)))
    assert spent.count(True) == 1
    assert await shop.spent(coupon_id) == [f"ord_{spent.index(True)}"]


async def test_an_order_spends_all_of_its_coupons_or_none(shop: Shop) -> None:
    first, second = await shop.coupon(await shop.policy()), await shop.coupon(await shop.policy())
    assert await shop.spend({second: "ord_1"})
    assert not await shop.spend({first: "ord_2", second: "ord_2"})
    assert await shop.spent(first, second) == [None, "ord_1"]
    assert not await shop.spend({first: "ord_2", 5: "ord_2"}), "there is no coupon 5"
    assert await shop.spend({first: "ord_1"})
    assert await shop.spend({})


async def test_what_an_order_spent_is_usable_again_when_it_ends_and_no_other_coupon_is(shop: Shop) -> None:
    coupons = [await shop.coupon(await shop.policy()) for _ in range(4)]
    await shop.spend(dict(zip(coupons, ("ord_1", "ord_1", "ord_2", "ord_3"), strict=True)))
    await shop.db.run(lambda tx: shop.coupons.give_back(tx, ["ord_3", "ord_1", "ord_9"]))
    assert await shop.spent(*coupons) == [None, None, "ord_2", None]
    await shop.db.run(lambda tx: shop.coupons.give_back(tx, []))
    assert await shop.spend({coupons[0]: "ord_4"})
    await shop.db.run(lambda tx: shop.coupons.give_back(tx, ["ord_1"]))
    assert await shop.spent(coupons[0]) == ["ord_4"], "an order that ended twice gives back what another has spent"


async def test_what_is_undone_leaves_the_coupon_as_it_was(shop: Shop) -> None:
    coupon_id = await shop.coupon(await shop.policy())

    async def broken(tx: Tx) -> None:
        await shop.coupons.spend(tx, {coupon_id: "ord_1"})
        await shop.coupons.give_back(tx, ["ord_1"])
        await shop.coupons.spend(tx, {coupon_id: "ord_2"})
        raise LookupError

    with pytest.raises(LookupError):
        await shop.db.run(broken)
    assert await shop.spent(coupon_id) == [None]


@pytest.mark.parametrize("locked", [False, True])
async def test_orders_see_coupons_as_they_are_now_and_absent_ones_not_at_all(shop: Shop, *, locked: bool) -> None:
    coupon_id = await shop.coupon(await shop.policy())
    before = metric("qc_db_statements_total", db=shop.db.name)
    found = await shop.db.run(lambda tx: shop.coupons.of(tx, [coupon_id, 5, 2**53 - 1], shop.clock(), locked=locked))
    looks = metric("qc_db_statements_total", db=shop.db.name) - before
    assert {one: (coupon.user_id, coupon.order_id) for one, coupon in found.items()} == {coupon_id: (7, None)}
    assert looks == 1 + locked, "a list of orders costs one look, however many coupons it names"
    assert await shop.db.run(lambda tx: shop.coupons.of(tx, [], shop.clock(), locked=locked)) == {}


async def test_the_window_of_use_is_that_of_the_moment_in_which_the_order_looked(shop: Shop) -> None:
    coupon_id = await shop.coupon(await shop.policy())
    before = (await shop.of(coupon_id))[coupon_id]
    shop.clock.advance(DAY_S - 0.000_001)
    last = (await shop.of(coupon_id))[coupon_id]
    shop.clock.advance(0.000_001)
    over = (await shop.of(coupon_id))[coupon_id]
    assert [one.off(5_000) for one in (before, last, over)] == [1_000, 1_000, "the coupon has expired"]
    assert before.off(4_999) == "the coupon needs a line of at least 5000 won"
    shop.clock.advance(-2 * DAY_S)
    assert (await shop.of(coupon_id))[coupon_id].off(5_000) == "the coupon cannot be used yet"
    assert await shop.spend({coupon_id: "ord_1"}), "late money may spend it again, as the order had it before"


async def test_a_list_of_every_coupon_of_a_user_has_each_once_in_pages(shop: Shop) -> None:
    made = []
    for at in range(25):
        made.append(await shop.coupon(await shop.policy()))
        await shop.coupon(await shop.policy(), user=8)
        shop.clock.advance(at % 2)
    seen: list[Coupon] = []
    while page := await shop.coupons.page(7, (seen[-1].issued_us, seen[-1].coupon_id) if seen else None, 4):
        seen += page
    assert sorted(one.coupon_id for one in seen) == sorted(made)
    assert seen == sorted(seen, key=lambda one: (one.issued_us, one.coupon_id), reverse=True)
