"""Coupons over HTTP: a MASTER makes policies, anybody sees what can be had, users are issued theirs."""

import re
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import msgspec
from litestar import Response, get, post
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from quickcommerce.coupon.flow import Coupons, Issued, Issuing
from quickcommerce.coupon.model import Coupon, DiscountType, Policy, PolicyDraft
from quickcommerce.kit import web
from quickcommerce.kit.auth import Role
from quickcommerce.kit.batch import GroupCommit
from quickcommerce.kit.clock import rfc3339
from quickcommerce.kit.ids import PolicyId, is_id
from quickcommerce.kit.openapi import EVERY_ROLE, Doc
from quickcommerce.kit.problem import CouponNotUsable, NotFound, Unavailable
from quickcommerce.kit.web import AnyRequest

MASTER = (Role.MASTER,)
USER = (Role.USER,)
"""Coupons are for buyers: those who run the shop are issued none."""
_ID = re.compile(r"[1-9][0-9]{0,15}")


class Discount(msgspec.Struct, kw_only=True):
    """What a coupon takes off its line, and when. Amounts in won; `discount_value` in per cent or won."""

    policy_id: str
    name: str
    discount_type: DiscountType
    discount_value: int
    min_order_amount: int
    max_discount_amount: int
    starts_at: str
    ends_at: str


class PolicyView(Discount, kw_only=True):
    """A policy, and how many of its coupons are issued."""

    total_quantity: int
    issued: int


class PolicyOffer(Discount, kw_only=True):
    """A policy whose coupons can be had now, and how many are left."""

    left: int


class PolicyPage(msgspec.Struct):
    """A page of policies, those that end first first."""

    items: list[PolicyOffer]
    next_cursor: str | None


class CouponView(Discount, kw_only=True):
    """A coupon of a user; `order_id` is the order that it is spent on."""

    coupon_id: int
    status: Literal["ISSUED", "USED"]
    order_id: str | None
    issued_at: str


class CouponPage(msgspec.Struct):
    """A page of coupons, newest first."""

    items: list[CouponView]
    next_cursor: str | None


@dataclass(frozen=True)
class Web:
    """What the routes need."""

    coupons: Coupons
    issuing: GroupCommit[Issuing, Issued]


def _discount(policy: Policy) -> dict[str, Any]:
    """The members of `Discount`."""
    same = {name: getattr(policy, name) for name in Discount.__struct_fields__ if not name.endswith("_at")}
    return same | {"starts_at": rfc3339(policy.starts_us), "ends_at": rfc3339(policy.ends_us)}


def _view(coupon: Coupon) -> CouponView:
    return CouponView(
        **_discount(coupon.policy),
        coupon_id=coupon.coupon_id,
        status="USED" if coupon.order_id else "ISSUED",
        order_id=coupon.order_id,
        issued_at=rfc3339(coupon.issued_us),
    )


def _before(request: AnyRequest) -> tuple[int, int] | None:
    """`cursor` of a user's coupons: when the last one was issued, and its id. Raises InvalidRequest."""
    position = web.cursor(request, lambda identity: _ID.fullmatch(identity) is not None)
    return position and (position[0], int(position[1]))


@post(
    "/v1/coupons",
    status_code=201,
    opt={
        "doc": Doc(
            "Make a coupon policy",
            MASTER,
            takes=PolicyDraft,
            gives={201: PolicyView},
            problems=(Unavailable,),
        )
    },
)
async def create(request: AnyRequest, state: State) -> Response[bytes]:
    """Make a coupon policy."""
    parts: Web = state.coupons_web
    (await web.caller(request)).need(*MASTER)
    policy = await parts.coupons.create(web.decode(await web.raw_body(request), PolicyDraft))
    view = PolicyView(**_discount(policy), total_quantity=policy.total_quantity, issued=policy.issued)
    return web.answer(view, 201)


@get(
    "/v1/coupon-policies",
    opt={
        "doc": Doc(
            "Coupons that can be had now, those that end first first",
            gives={200: PolicyPage},
            problems=(Unavailable,),
            query=("limit", "cursor"),
        )
    },
)
async def offered(request: AnyRequest, state: State) -> Response[bytes]:
    """Coupons that can be had now."""
    parts: Web = state.coupons_web
    limit, after = web.page_limit(request), web.cursor(request, partial(is_id, "pol"))
    policies, last = web.paged(await parts.coupons.offered(after, limit + 1), limit)
    items = [PolicyOffer(**_discount(one), left=one.left) for one in policies]
    return web.answer(PolicyPage(items, web.next_cursor((last.ends_us, last.policy_id)) if last else None))


@post(
    "/v1/coupons/{policy_id:str}/issue",
    status_code=201,
    opt={
        "doc": Doc(
            "Be issued a coupon; asking again gives the same one",
            USER,
            takes=web.Nothing,
            gives={200: CouponView, 201: CouponView},
            problems=(NotFound, CouponNotUsable, Unavailable),
        )
    },
)
async def issue(request: AnyRequest, state: State, policy_id: FromPath[str]) -> Response[bytes]:
    """Be issued a coupon: 201, or 200 with the one that the caller has already."""
    parts: Web = state.coupons_web
    caller = await web.caller(request)
    caller.need(*USER)
    if not is_id("pol", policy_id):
        raise NotFound("there is no such coupon")
    await web.nothing(request)
    issued = await parts.issuing.submit(Issuing(PolicyId(policy_id), caller.user_id))
    return web.answer(_view(issued.coupon), 201 if issued.new else 200)


@get(
    "/v1/coupons",
    opt={
        "doc": Doc(
            "Own coupons, newest first",
            EVERY_ROLE,
            gives={200: CouponPage},
            problems=(Unavailable,),
            query=("limit", "cursor"),
        )
    },
)
async def page(request: AnyRequest, state: State) -> Response[bytes]:
    """Own coupons, newest first."""
    parts: Web = state.coupons_web
    caller = await web.caller(request)
    limit, before = web.page_limit(request), _before(request)
    coupons, last = web.paged(await parts.coupons.page(caller.user_id, before, limit + 1), limit)
    more = web.next_cursor((last.issued_us, str(last.coupon_id))) if last else None
    return web.answer(CouponPage([_view(one) for one in coupons], more))


def routes() -> list[HTTPRouteHandler]:
    """The coupon routes; they find their `Web` in the app's state as `coupons_web`."""
    return [create, offered, issue, page]
