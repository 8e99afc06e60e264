"""The coupons of store A and their policies as rows."""

from collections.abc import Collection, Iterable
from typing import Any

from quickcommerce.coupon.model import Coupon, DiscountType, Policy
from quickcommerce.kit.db import LOCK, Params, Tx, marks
from quickcommerce.kit.ids import PolicyId

_POLICY = (
    "policy_id, name, discount_type, discount_value, min_order_amount, max_discount_amount, total_quantity, issued,"
    " starts_us, ends_us"
)
_JOINED = (
    "SELECT c.coupon_id, c.user_id, c.order_id, c.issued_us, p."
    + _POLICY.replace(", ", ", p.")
    + " FROM coupon c JOIN coupon_policy p ON p.policy_id = c.policy_id"
)
_SPEND = "UPDATE coupon SET order_id = ? WHERE coupon_id = ? AND order_id IS NULL"
_Pairs = Collection[tuple[PolicyId, int]]


async def add_policy(tx: Tx, policy: Policy) -> None:
    """Store a new policy."""
    row = (
        policy.policy_id, policy.name, policy.discount_type, policy.discount_value, policy.min_order_amount,
        policy.max_discount_amount, policy.total_quantity, policy.issued, policy.starts_us, policy.ends_us,
    )  # fmt: skip
    await tx.insert("coupon_policy", _POLICY, [row])


async def policies(tx: Tx, policy_ids: Iterable[PolicyId], *, locked: bool) -> dict[PolicyId, Policy]:
    """Policies by id; `locked` keeps them as read until the transaction's end."""
    ids = sorted(set(policy_ids))
    where = f"policy_id IN ({marks(ids)}) ORDER BY policy_id {LOCK if locked else ''}"
    return {row[0]: _policy(row) for row in await tx.all(f"SELECT {_POLICY} FROM coupon_policy WHERE {where}", ids)}


async def offered(tx: Tx, now_us: int, after: tuple[int, str] | None, limit: int) -> list[Policy]:
    """Policies whose coupons can be had now, those that end first first, behind `after` (ends_us, policy_id)."""
    ends_us, policy_id = after or (now_us, "")
    rows = await tx.all(
        f"SELECT {_POLICY} FROM coupon_policy WHERE ends_us > ? AND starts_us <= ? AND issued < total_quantity"
        " AND ends_us >= ? AND (ends_us > ? OR policy_id > ?) ORDER BY ends_us, policy_id LIMIT ?",
        (now_us, now_us, ends_us, ends_us, policy_id, limit),
    )
    return [_policy(row) for row in rows]


async def take(tx: Tx, policy_id: PolicyId, count: int) -> None:
    """Count coupons as issued. So many must be left. One row, however many users."""
    await tx.write(
        "UPDATE coupon_policy SET issued = issued + ? WHERE policy_id = ? AND total_quantity - issued >= ?",
        (count, policy_id, count),
        rows=1,
    )


async def add(tx: Tx, coupons: Iterable[Coupon]) -> None:
    """Store new coupons; a second one of the same policy and user is refused by the unique index."""
    await tx.insert(
        "coupon",
        "coupon_id, policy_id, user_id, order_id, issued_us",
        [(one.coupon_id, one.policy.policy_id, one.user_id, one.order_id, one.issued_us) for one in coupons],
    )


async def held(tx: Tx, pairs: _Pairs, now_us: int) -> dict[tuple[PolicyId, int], Coupon]:
    """The coupons that these (policy, user) have already."""
    policy_ids = sorted({policy_id for policy_id, _ in pairs})
    user_ids = sorted({user_id for _, user_id in pairs})
    rows = await tx.all(
        f"{_JOINED} WHERE c.policy_id IN ({marks(policy_ids)}) AND c.user_id IN ({marks(user_ids)})",
        [*policy_ids, *user_ids],
    )
    coupons = (_coupon(row, now_us) for row in rows)
    return {(one.policy.policy_id, one.user_id): one for one in coupons}


async def of(tx: Tx, coupon_ids: Iterable[int], now_us: int, *, locked: bool) -> dict[int, Coupon]:
    """Coupons by id; `locked` keeps them until the transaction's end. Their policies stay free for those who issue."""
    ids = sorted(set(coupon_ids))
    if locked:
        await tx.all(f"SELECT 1 FROM coupon WHERE coupon_id IN ({marks(ids)}) ORDER BY coupon_id {LOCK}", ids)
    rows = await tx.all(f"{_JOINED} WHERE c.coupon_id IN ({marks(ids)}) ORDER BY c.coupon_id", ids)
    return {row[0]: _coupon(row, now_us) for row in rows}


async def page(tx: Tx, user_id: int, before: tuple[int, int] | None, now_us: int, limit: int) -> list[Coupon]:
    """A user's coupons, newest first, older than `before` (issued_us, coupon_id)."""
    params: Params
    older, params = "", (user_id, limit)
    if before:
        older = "AND (c.issued_us < ? OR (c.issued_us = ? AND c.coupon_id < ?))"
        params = (user_id, before[0], *before, limit)
    rows = await tx.all(
        f"{_JOINED} WHERE c.user_id = ? {older} ORDER BY c.issued_us DESC, c.coupon_id DESC LIMIT ?", params
    )
    return [_coupon(row, now_us) for row in rows]


async def spend(tx: Tx, coupon_id: int, order_id: str) -> None:
    """Spend a coupon on an order. It must not be spent yet."""
    await tx.write(_SPEND, (order_id, coupon_id), rows=1)


async def spend_if_unspent(tx: Tx, coupon_id: int, order_id: str) -> bool:
    """As `spend`; returns whether it was not spent yet."""
    return await tx.run(_SPEND, (order_id, coupon_id)) == 1


async def give_back(tx: Tx, order_ids: Iterable[str]) -> None:
    """Make what these orders spent usable again."""
    ids = sorted(set(order_ids))
    if ids:
        await tx.write(f"UPDATE coupon SET order_id = NULL WHERE order_id IN ({marks(ids)})", ids)


def _policy(row: Any) -> Policy:
    policy_id, name, discount_type, *rest = row
    return Policy(policy_id, name, DiscountType(discount_type), *rest)


def _coupon(row: Any, now_us: int) -> Coupon:
    coupon_id, user_id, order_id, issued_us, *policy = row
    return Coupon(coupon_id, _policy(policy), user_id, order_id, issued_us, now_us)
