"""Payments and refunds that need a human, over HTTP."""

from typing import Annotated

import msgspec
from litestar import Response, get
from litestar.datastructures import State

from quickcommerce.kit import web
from quickcommerce.kit.auth import Role
from quickcommerce.kit.clock import rfc3339
from quickcommerce.kit.ids import is_id
from quickcommerce.kit.openapi import Doc
from quickcommerce.kit.problem import Unavailable
from quickcommerce.kit.web import AnyRequest
from quickcommerce.payment.attention import Attentions
from quickcommerce.payment.attention_store import Why

IDS = ("pay", "ref", "mis")
"""What an item may be: a payment, a refund, or a mismatch of PG, payments and orders."""


class AttentionView(msgspec.Struct):
    """A payment, or a refund of one, that needs a human."""

    why: Why
    payment_id: str
    refund_id: Annotated[str | None, msgspec.Meta(description="Null where it is the payment itself.")]
    order_id: Annotated[str | None, msgspec.Meta(description="Null for money at the PG that belongs to no order.")]
    amount: int
    status: str
    code: str | None
    message: str | None
    since_at: str


class AttentionList(msgspec.Struct):
    """Payments and refunds that need a human, the longest first."""

    items: list[AttentionView]
    total: int
    next_cursor: str | None


@get(
    "/v1/ops/attention",
    opt={
        "doc": Doc(
            "Payments and refunds that need a human",
            (Role.MASTER,),
            gives={200: AttentionList},
            problems=(Unavailable,),
            query=("limit", "cursor"),
        )
    },
)
async def attention(request: AnyRequest, state: State) -> Response[bytes]:
    """Payments and refunds that the shop cannot end by itself, or has not for long."""
    attentions: Attentions = state.attentions
    (await web.caller(request)).need(Role.MASTER)
    limit, after = web.page_limit(request), web.cursor(request, lambda each: any(is_id(kind, each) for kind in IDS))
    found = await attentions.look(after, limit + 1)
    shown, last = web.paged(found.items, limit)
    views = [
        AttentionView(
            each.why, each.payment_id, each.refund_id, each.order_id, each.amount, each.status, each.code,
            each.message, rfc3339(each.since_us),
        )
        for each in shown
    ]  # fmt: skip
    return web.answer(AttentionList(views, found.total, web.next_cursor((last.since_us, last.id)) if last else None))
