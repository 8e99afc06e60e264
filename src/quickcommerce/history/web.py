"""The history over HTTP."""

from functools import partial

import msgspec
from litestar import Response, get
from litestar.datastructures import State

from quickcommerce.events import Order
from quickcommerce.history.flow import WORD_MAX, Found, Index, Query, words_of
from quickcommerce.kit import web
from quickcommerce.kit.auth import Caller, Role
from quickcommerce.kit.days import moment
from quickcommerce.kit.ids import is_id
from quickcommerce.kit.openapi import EVERY_ROLE, IDS, Doc, Parameter
from quickcommerce.kit.problem import InvalidRequest, Unavailable
from quickcommerce.kit.web import AnyRequest

STATUSES = frozenset({"PLACED", "PAYING", "PAID", "REFUNDED", "FAILED", "EXPIRED", "CANCELLED"})
KEYWORD_MAX = 200
_MOMENT = {"anyOf": [{"type": "string", "format": "date"}, {"type": "string", "format": "date-time"}]}
CONDITIONS = {
    "order_id": Parameter(IDS["order_id"], "One order."),
    "user_id": Parameter(IDS["user_id"], "The orders of one buyer; another's are shown to a MASTER only."),
    "keyword": Parameter(
        {"type": "string", "maxLength": KEYWORD_MAX},
        "Words that all stand in the names of the goods, each whole or as the beginning of one, in any case.",
    ),
    "status": Parameter({"type": "string", "enum": sorted(STATUSES)}, "Where the order stands."),
    "from": Parameter(_MOMENT, "Placed at this time or later; a date begins with its day in Asia/Seoul."),
    "to": Parameter(_MOMENT, "Placed before this time; a date ends with its day in Asia/Seoul."),
}
"""What a search may ask for."""


class HistoryPage(msgspec.Struct):
    """A page of orders, newest first, and how many match in all."""

    items: list[Order]
    total: int
    next_cursor: str | None


@get(
    "/v1/history/orders",
    opt={
        "doc": Doc(
            "Search orders: users their own, MASTER all",
            EVERY_ROLE,
            gives={200: HistoryPage},
            problems=(Unavailable,),
            query=(*CONDITIONS, "limit", "cursor"),
            parameters=CONDITIONS,
        )
    },
)
async def search(request: AnyRequest, state: State) -> Response[bytes]:
    """Search orders."""
    index: Index = state.history
    caller = await web.caller(request)
    limit = web.page_limit(request)
    query = _query(request, caller, limit)
    found = await index.search(query) if query else Found([], 0)
    hits, last = web.paged(found.hits, limit)
    return web.answer(
        {
            "items": [msgspec.Raw(body) for _, _, body in hits],
            "total": found.total,
            "next_cursor": web.next_cursor(last[:2]) if last else None,
        }
    )


def _query(request: AnyRequest, caller: Caller, limit: int) -> Query | None:
    """What the request looks for, or None where nothing can match or the caller may see nothing of it."""
    user_id = web.integer(request, "user_id", low=1, high=2**53 - 1)
    status = web.one(request, "status")
    if status is not None and status not in STATUSES:
        raise InvalidRequest("status must be one of " + ", ".join(sorted(STATUSES)))
    keyword = web.one(request, "keyword") or ""
    if len(keyword) > KEYWORD_MAX:
        raise InvalidRequest(f"keyword may have at most {KEYWORD_MAX} characters")
    order_id = web.one(request, "order_id")
    if order_id is not None and not is_id("ord", order_id):
        raise InvalidRequest("order_id must be the id of an order")
    words = tuple(word[:WORD_MAX] for word in words_of(keyword))
    query = Query(
        limit=limit + 1,
        order_id=order_id,
        user_id=user_id if caller.role is Role.MASTER else caller.user_id,
        status=status,
        words=words,
        from_us=_moment(request, "from", day_end=False),
        to_us=_moment(request, "to", day_end=True),
        before=web.cursor(request, partial(is_id, "ord")),
    )
    foreign = user_id is not None and not caller.may_see(user_id)
    # Names are found by letters and digits: no name has a word that has neither.
    wordless = bool(keyword.strip()) and not words
    return None if foreign or wordless else query


def _moment(request: AnyRequest, name: str, *, day_end: bool) -> int | None:
    """A date or a timestamp as microseconds UTC; `day_end` takes a date to the end of its day."""
    text = web.one(request, name)
    if text is None:
        return None
    try:
        # An unescaped + of an offset arrives as a blank.
        return moment(text.replace(" ", "+"), day_end=day_end)
    except ValueError as error:
        raise InvalidRequest(f"{name} must be a date such as 2026-01-31 or an RFC 3339 time") from error
