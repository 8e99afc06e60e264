"""The shop's tables as SQLAlchemy's ORM sees them; `qc migrate` makes them."""

from sqlalchemy import BigInteger, LargeBinary, String
from sqlalchemy.dialects.mysql import MEDIUMBLOB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

BYTES = LargeBinary().with_variant(MEDIUMBLOB(), "mysql")


class Base(DeclarativeBase):
    """What SQLAlchemy asks for; numbers are of 64 bits, as the shop's are."""

    type_annotation_map = {int: BigInteger, str: String(300), bytes: BYTES}  # noqa: RUF012 - SQLAlchemy's own way


class ProductRow(Base):
    """A product with its price in won and its counters."""

    __tablename__ = "product"

    product_id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    name_en: Mapped[str]
    price: Mapped[int]
    price_version: Mapped[int]
    on_hand: Mapped[int]
    reserved: Mapped[int]
    sold: Mapped[int]

    @property
    def available(self) -> int:
        """Units that nobody has, as read."""
        return self.on_hand - self.reserved - self.sold


class OrderRow(Base):
    """An order; times are microseconds UTC, money is won, `placed` is what was answered, without its checkout_url."""

    __tablename__ = "orders"

    order_id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[int]
    status: Mapped[str]
    version: Mapped[int]
    total: Mapped[int]
    discount: Mapped[int]
    payable: Mapped[int]
    paid: Mapped[int]
    refunded: Mapped[int]
    placed_us: Mapped[int]
    expires_us: Mapped[int]
    updated_us: Mapped[int]
    lease_token: Mapped[str]
    due_us: Mapped[int]
    trace: Mapped[str]
    placed: Mapped[bytes]
    payment_version: Mapped[int]


class LineRow(Base):
    """A line of an order."""

    __tablename__ = "order_line"

    order_id: Mapped[str] = mapped_column(primary_key=True)
    product_id: Mapped[int] = mapped_column(primary_key=True)
    line: Mapped[int]
    name: Mapped[str]
    name_en: Mapped[str]
    quantity: Mapped[int]
    unit_price: Mapped[int]
    discount: Mapped[int]
    amount: Mapped[int]
    coupon_id: Mapped[int | None]
    time_sale_id: Mapped[str | None]


class ChangeRow(Base):
    """Something that happened to an order."""

    __tablename__ = "order_change"

    order_id: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    at_us: Mapped[int]
    what: Mapped[str]
    cause: Mapped[str]
    from_status: Mapped[str | None]
    to_status: Mapped[str]


class KeyRow(Base):
    """An Idempotency-Key and the order that it led to."""

    __tablename__ = "idempotency"

    scoped_key: Mapped[str] = mapped_column(primary_key=True)
    fingerprint: Mapped[str]
    resource: Mapped[str]
    at_us: Mapped[int]


class EventRow(Base):
    """An event that waits for a relay."""

    __tablename__ = "outbox"

    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    shard: Mapped[int]
    event_id: Mapped[str]
    type: Mapped[str]
    source: Mapped[str]
    subject: Mapped[str]
    time_us: Mapped[int]
    trace: Mapped[str]
    data: Mapped[bytes]
