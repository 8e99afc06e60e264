"""Coupons: policies are made, users are issued one coupon of each, orders spend them and give them back.

How many of a policy are issued is one row, and a list of requests touches it once. Rows are taken in the order of
their ids, policies before coupons; an order that spends takes coupons before products.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import msgspec

from quickcommerce.coupon import store
from quickcommerce.coupon.model import RATE_MAX, Coupon, DiscountType, Policy, PolicyDraft
from quickcommerce.kit.clock import LAST_US, Clock, from_rfc3339
from quickcommerce.kit.db import Database, Tx, Unmatched
from quickcommerce.kit.ids import Ids, PolicyId
from quickcommerce.kit.problem import CouponNotUsable, InvalidRequest, NotFound, Problem


class Issuing(msgspec.Struct, frozen=True):
    """A user asks for a coupon of a policy."""

    policy_id: PolicyId
    user_id: int


class Issued(msgspec.Struct, frozen=True):
    """The user's coupon of that policy; `new` unless they had it already."""

    coupon: Coupon
    new: bool


Answer = Issued | Problem


@dataclass(frozen=True)
class Coupons:
    """The coupons of store A."""

    db: Database
    clock: Clock
    ids: Ids

    async def create(self, draft: PolicyDraft) -> Policy:
        """Make a policy. Raises InvalidRequest with a pointer for each field that does not fit the others."""
        policy = _policy(self.ids.policy(), draft)
        if policy.ends_us <= self.clock():
            ended = {"pointer": "/ends_at", "detail": "must be in the future"}
            raise InvalidRequest("ends_at: must be in the future", errors=[ended])
        await self.db.run(lambda tx: store.add_policy(tx, policy))
        return policy

    async def offered(self, after: tuple[int, str] | None, limit: int) -> list[Policy]:
        """Policies whose coupons can be had now, those that end first first, behind `after` (ends_us, policy_id)."""
        return await self.db.scan(lambda tx: store.offered(tx, self.clock(), after, limit))

    async def page(self, user_id: int, before: tuple[int, int] | None, limit: int) -> list[Coupon]:
        """A user's coupons, newest first, older than `before` (issued_us, coupon_id)."""
        return await self.db.scan(lambda tx: store.page(tx, user_id, before, self.clock(), limit))

    async def issue(self, requests: list[Issuing]) -> list[Answer]:
        """One answer for each request, in order. Optimistic at first; with the policies locked where that fails."""
        try:
            return await self.db.run(lambda tx: self._issue(tx, requests, locked=False))
        except Unmatched:
            # A parallel transaction issued what was left.
            return await self.db.run(lambda tx: self._issue(tx, requests, locked=True))

    async def _issue(self, tx: Tx, requests: list[Issuing], *, locked: bool) -> list[Answer]:
        now = self.clock()
        policies = await store.policies(tx, [request.policy_id for request in requests], locked=locked)
        held = await store.held(tx, [(request.policy_id, request.user_id) for request in requests], now)
        new: list[Coupon] = []
        taken: Counter[PolicyId] = Counter()
        answers: list[Answer] = []
        for request in requests:
            policy, whose = policies.get(request.policy_id), (request.policy_id, request.user_id)
            if policy is None:
                answers.append(NotFound("there is no such coupon"))
            elif whose in held:
                answers.append(Issued(held[whose], new=False))
            elif reason := policy.withheld(now, policy.left - taken[policy.policy_id]):
                answers.append(CouponNotUsable(reason))
            else:
                held[whose] = Coupon(self.ids.coupon(), policy, request.user_id, None, now, now)
                new.append(held[whose])
                taken[policy.policy_id] += 1
                answers.append(Issued(held[whose], new=True))
        for policy_id, count in sorted(taken.items()):
            await store.take(tx, policy_id, count)
        await store.add(tx, new)
        return answers

    async def of(self, tx: Tx, coupon_ids: Collection[int], at_us: int, *, locked: bool) -> Mapping[int, Coupon]:
        """Coupons by id, as they are at this time; those that do not exist are left out."""
        return await store.of(tx, coupon_ids, at_us, locked=locked)

    async def spend(self, tx: Tx, spent: Mapping[int, str]) -> None:
        """Spend coupons (coupon id -> order id), only if none of them is spent yet; else the transaction is undone."""
        for coupon_id, order_id in sorted(spent.items()):
            await store.spend(tx, coupon_id, order_id)

    async def spend_again(self, tx: Tx, coupon_id: int, order_id: str) -> bool:
        """Spend a coupon on an order that has ended; False where it is spent on another by now."""
        return await store.spend_if_unspent(tx, coupon_id, order_id)

    async def give_back(self, tx: Tx, order_ids: Collection[str]) -> None:
        """Make what these orders spent usable again, in the transaction that ends them."""
        await store.give_back(tx, order_ids)


def _policy(policy_id: PolicyId, draft: PolicyDraft) -> Policy:
    """The policy that a draft describes. Raises InvalidRequest."""
    faults: dict[str, str] = {}
    window = {name: _time(getattr(draft, name)) for name in ("starts_at", "ends_at")}
    starts_us, ends_us = window["starts_at"], window["ends_at"]
    if draft.discount_type is DiscountType.RATE and draft.discount_value > RATE_MAX:
        faults["discount_value"] = f"a rate is 1 to {RATE_MAX} per cent"
    for name, at_us in window.items():
        if at_us is None:
            faults[name] = "expected an RFC 3339 time from 1970 to 9999, such as 2026-01-31T09:00:00Z"
    if starts_us is not None and ends_us is not None and starts_us >= ends_us:
        faults["ends_at"] = "must be later than starts_at"
    if faults or starts_us is None or ends_us is None:
        errors = [{"pointer": f"/{name}", "detail": detail} for name, detail in faults.items()]
        raise InvalidRequest("the coupon does not fit together", errors=errors)
    return Policy(
        policy_id=policy_id,
        name=draft.name,
        discount_type=draft.discount_type,
        discount_value=draft.discount_value,
        min_order_amount=draft.min_order_amount,
        max_discount_amount=draft.max_discount_amount,
        total_quantity=draft.total_quantity,
        issued=0,
        starts_us=starts_us,
        ends_us=ends_us,
    )


def _time(text: str) -> int | None:
    """Microseconds UTC, or None for what is no time that can be told again."""
    try:
        at_us = from_rfc3339(text)
    except ValueError:
        return None
    return at_us if 0 <= at_us <= LAST_US else None
