"""Placing an order: one transaction, one session, the ORM's rows."""

import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from bench.yardstick import ids
from bench.yardstick.guard import Guard, Short
from bench.yardstick.model import Basket, Line, Order, OrderPlaced, Problem, Want
from bench.yardstick.tables import ChangeRow, EventRow, KeyRow, LineRow, OrderRow, ProductRow

PAYMENT_WINDOW_US = 600_000_000
PAYABLE_MIN_WON = 100
SHARDS = 16


@dataclass(frozen=True)
class Claim:
    """An Idempotency-Key with its user's id before it, and the fingerprint of its request."""

    scoped: str
    fingerprint: str


@dataclass(frozen=True)
class Placed:
    """What is answered: the order's id and its bytes; `replayed` when an earlier call made it."""

    order_id: str
    body: bytes
    replayed: bool


@dataclass(frozen=True)
class Orders:
    """Places orders; `guard` keeps their stock."""

    sessions: async_sessionmaker[AsyncSession]
    guard: Guard

    async def place(self, user_id: int, basket: Basket, claim: Claim | None, trace: str) -> Placed:
        """One order. Raises Problem."""
        async with self.sessions() as session:
            if claim and (earlier := await _replay(session, claim)):
                return earlier
            products = await _products(session, basket.lines)
            _check(basket.lines, products)
            short = await self.guard.take(basket.lines, products)
            if short:
                raise _out_of_stock(basket.lines, short)
            try:
                order, body = _order(user_id, basket.lines, products)
                await _write(session, order, body, products, claim, trace)
                if await self.guard.keep(session, basket.lines):
                    await session.commit()
                    return Placed(order.order_id, body, replayed=False)
            except IntegrityError:
                # Another call with this key was faster.
                await self.guard.give_back(basket.lines)
                await session.rollback()
                if claim and (earlier := await _replay(session, claim)):
                    return earlier
                raise
            except BaseException:
                await self.guard.give_back(basket.lines)
                raise
            # Units that were seen are gone.
            await session.rollback()
            products = await _products(session, basket.lines)
            left = [products[want.product_id].available for want in basket.lines]
            short = [(at, left[at]) for at, want in enumerate(basket.lines) if left[at] < want.quantity]
            raise _out_of_stock(basket.lines, short)


async def _replay(session: AsyncSession, claim: Claim) -> Placed | None:
    kept = await session.get(KeyRow, claim.scoped)
    if kept is None:
        return None
    if kept.fingerprint != claim.fingerprint:
        raise Problem("idempotency-key-reused", "this Idempotency-Key was used for another request")
    order = await session.get_one(OrderRow, kept.resource)
    return Placed(order.order_id, order.placed, replayed=True)


async def _products(session: AsyncSession, wants: Sequence[Want]) -> dict[int, ProductRow]:
    asked = [want.product_id for want in wants]
    found = await session.scalars(
        select(ProductRow).where(ProductRow.product_id.in_(asked)).execution_options(populate_existing=True)
    )
    return {product.product_id: product for product in found}


def _check(wants: Sequence[Want], products: Mapping[int, ProductRow]) -> None:
    """Raises Problem for goods that are not there, other prices, and coupons, of which there are none here."""
    unknown = [at for at, want in enumerate(wants) if want.product_id not in products]
    if unknown:
        raise Problem(
            "not-found",
            "a product of the basket does not exist",
            [{"pointer": f"/lines/{at}/product_id", "detail": "no such product"} for at in unknown],
        )
    moved = [
        {
            "pointer": f"/lines/{at}/expected_price",
            "detail": "the price has changed",
            "product_id": want.product_id,
            "expected_price": want.expected_price,
            "price": products[want.product_id].price,
        }
        for at, want in enumerate(wants)
        if want.expected_price not in (None, products[want.product_id].price)
    ]
    if moved:
        raise Problem("price-changed", "a price is not the one expected", moved)
    for at, want in enumerate(wants):
        if want.coupon_id is not None:
            none = "you have no such coupon"
            raise Problem("coupon-not-usable", none, [{"pointer": f"/lines/{at}/coupon_id", "detail": none}])


def _out_of_stock(wants: Sequence[Want], short: Sequence[Short]) -> Problem:
    return Problem(
        "out-of-stock",
        "there is not enough stock for the basket",
        [
            {
                "pointer": f"/lines/{at}/quantity",
                "detail": "not enough stock",
                "product_id": wants[at].product_id,
                "requested": wants[at].quantity,
                "available": available,
            }
            for at, available in short
        ],
    )


def _order(user_id: int, wants: Sequence[Want], products: Mapping[int, ProductRow]) -> tuple[Order, bytes]:
    lines = [
        Line(
            product_id=want.product_id, name=products[want.product_id].name, quantity=want.quantity,
            unit_price=products[want.product_id].price, discount=0,
            amount=products[want.product_id].price * want.quantity, coupon_id=None,
        )
        for want in wants
    ]  # fmt: skip
    total = sum(line.amount for line in lines)
    if 0 < total < PAYABLE_MIN_WON:
        raise Problem("coupon-not-usable", f"what is left to pay must be 0 or at least {PAYABLE_MIN_WON} won")
    now_us = time.time_ns() // 1_000
    order = Order(
        order_id=ids.make("ord"), user_id=user_id, status="PLACED", version=1, lines=lines, total=total, discount=0,
        payable=total, paid=0, refunded=0, currency="KRW", placed_at=_rfc3339(now_us),
        expires_at=_rfc3339(now_us + PAYMENT_WINDOW_US), updated_at=_rfc3339(now_us),
    )  # fmt: skip
    return order, order.model_dump_json().encode()


async def _write(
    session: AsyncSession,
    order: Order,
    body: bytes,
    products: Mapping[int, ProductRow],
    claim: Claim | None,
    trace: str,
) -> None:
    """The rows of an order, sent to the database but not committed."""
    now_us = time.time_ns() // 1_000
    if claim:
        session.add(
            KeyRow(scoped_key=claim.scoped, fingerprint=claim.fingerprint, resource=order.order_id, at_us=now_us)
        )
    session.add(
        OrderRow(
            **order.model_dump(include={"order_id", "user_id", "status", "version", "total", "discount", "payable"}),
            paid=0, refunded=0, placed_us=now_us, expires_us=now_us + PAYMENT_WINDOW_US, updated_us=now_us,
            lease_token="", due_us=now_us + PAYMENT_WINDOW_US, trace=trace, placed=body, payment_version=0,
        )
    )  # fmt: skip
    session.add_all(
        LineRow(
            order_id=order.order_id, line=at, name_en=products[line.product_id].name_en, time_sale_id=None,
            **line.model_dump(),
        )
        for at, line in enumerate(order.lines)
    )  # fmt: skip
    session.add(
        ChangeRow(
            order_id=order.order_id, version=1, step=0, at_us=now_us, what="placed", cause="buyer", from_status=None,
            to_status=order.status,
        )
    )  # fmt: skip
    names_en = [products[line.product_id].name_en for line in order.lines]
    event = OrderPlaced(order=order, names_en=names_en, cause="buyer")
    session.add(
        EventRow(
            shard=zlib.crc32(order.order_id.encode()) % SHARDS, event_id=ids.make("evt"), type="OrderPlaced",
            source="shop", subject=order.order_id, time_us=now_us, trace=trace, data=event.model_dump_json().encode(),
        )
    )  # fmt: skip
    await session.flush()


def _rfc3339(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
