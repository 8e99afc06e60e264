"""Everything there is, read straight from the three databases and from the PG's own ledger.

It is read past whatever a test has put around the stores, so that looking changes nothing that is counted.
"""

from collections import Counter, defaultdict
from typing import Any

import msgspec

from quickcommerce.kit.bus import Subscription
from quickcommerce.kit.db import Database
from world import World

Row = dict[str, Any]


class Truth(msgspec.Struct, frozen=True):
    """Everything there is, as rows."""

    now_us: int
    products: list[Row]
    entries: list[Row]
    orders: dict[str, Row]
    lines: dict[str, Counter[int]]
    sales: list[Row]
    on_sale: dict[str, Counter[str]]
    """Units of each order by time sale."""
    changes: dict[str, list[Row]]
    keys: list[Row]
    payments: dict[str, Row]
    attempts: dict[str, list[Row]]
    captures: dict[str, list[tuple[str, int]]]
    refunds: dict[str, list[Row]]
    tries: dict[str, list[Row]]
    booked: dict[str, list[Row]]
    """The money ledger's entries of each payment."""
    cancels: dict[str, list[int]]
    refund_keys: list[Row]
    documents: dict[str, Row]
    letters: list[Row]


async def rows(db: Database, columns: str, table: str) -> list[Row]:
    """All rows of a table. Reads the store itself, past whatever a test has put around it."""
    names = columns.split()
    db = getattr(db, "inner", db)
    order = ", ".join(str(at + 1) for at in range(len(names)))
    found = await db.scan(lambda tx: tx.all(f"SELECT {', '.join(names)} FROM {table} ORDER BY {order}"))
    return [dict(zip(names, row, strict=True)) for row in found]


async def rest(w: World, *, within_s: float = 120) -> None:
    """Wait until every group has taken every event. Touches nothing that a probe counts."""

    async def drained() -> bool:
        return not [each for subscription in w.app.parts.subscriptions for each in await untaken(subscription)]

    await w.until("every event is taken", drained, within_s=within_s)


async def untaken(subscription: Subscription) -> list[Row]:
    """The events of its outbox that a group has not taken yet."""
    store, name = subscription.consumer.db, subscription.consumer.name
    known = await rows(store, "consumer source shard seq", "bus_cursor")
    mine = (name, subscription.source.name)
    cursors = {each["shard"]: each["seq"] for each in known if (each["consumer"], each["source"]) == mine}
    outbox = await rows(subscription.source, "shard seq event_id type subject", "outbox")
    return [each for each in outbox if each["seq"] > cursors.get(each["shard"], 0)]


async def until(w: World, order_id: str, status: str, *, within_s: float = 120) -> None:
    """Wait until an order has this status. Touches nothing that a probe counts."""

    async def reached() -> bool:
        orders = await rows(w.app.stores.shop, "order_id status", "orders")
        return {"order_id": order_id, "status": status} in orders

    await w.until(f"{order_id} is {status}", reached, within_s=within_s)


async def back(w: World, payment_id: str, amount: int, *, within_s: float = 90) -> None:
    """Wait until so much of a payment is back. Touches nothing that a probe counts."""

    async def reached() -> bool:
        payments = await rows(w.app.stores.payment, "payment_id refunded", "payment")
        return {"payment_id": payment_id, "refunded": amount} in payments

    await w.until(f"{amount} won of {payment_id} are back", reached, within_s=within_s)


def _grouped(found: list[Row], key: str) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in found:
        groups[row[key]].append(row)
    return groups


async def read(w: World) -> Truth:
    """Everything there is now."""
    shop, payment, history = w.app.stores.shop, w.app.stores.payment, w.app.stores.history
    orders = await rows(
        shop, "order_id user_id status version total discount payable paid refunded expires_us updated_us", "orders"
    )
    lines: dict[str, Counter[int]] = defaultdict(Counter)
    on_sale: dict[str, Counter[str]] = defaultdict(Counter)
    for line in await rows(shop, "order_id product_id quantity time_sale_id", "order_line"):
        lines[line["order_id"]][line["product_id"]] += line["quantity"]
        if line["time_sale_id"]:
            on_sale[line["order_id"]][line["time_sale_id"]] += line["quantity"]
    changes = await rows(shop, "order_id version step at_us from_status to_status what cause", "order_change")
    payments = await rows(
        payment,
        "payment_id order_id user_id amount status version captured refunded refunding expires_us payment_key attempt"
        " declines",
        "payment",
    )
    attempts = await rows(payment, "payment_id attempt payment_key outcome idempotency_key ended_us", "payment_attempt")
    refund = "payment_id seq refund_id amount status restock attempt ended_us transaction_key"
    refunds = await rows(payment, refund, "refund")
    tries = await rows(payment, "refund_id attempt idempotency_key outcome ended_us", "refund_attempt")
    booked = await rows(payment, "payment_id posting account amount", "ledger_entry")
    refund_keys = await rows(payment, "scoped_key resource", "idempotency")
    products = await rows(shop, "product_id on_hand reserved sold", "product")
    entries = await rows(shop, "cause product_id kind quantity", "stock_entry")
    keys = await rows(shop, "scoped_key resource", "idempotency")
    # Behind all that must fit together: while the PG is asked, things go on.
    ledger = (await w.ledger())["payments"]
    letter = "letter_id consumer event_type subject reason"
    return Truth(
        w.clock(),
        products,
        entries,
        {order["order_id"]: order for order in orders},
        lines,
        await rows(shop, "time_sale_id quota used", "time_sale"),
        on_sale,
        _grouped(changes, "order_id"),
        keys,
        {each["payment_id"]: each for each in payments},
        _grouped(attempts, "payment_id"),
        {
            each["orderId"]: [(each["paymentKey"], capture["amount"]) for capture in each["captures"]]
            for each in ledger
            if each["captures"]
        },
        _grouped(refunds, "payment_id"),
        _grouped(tries, "refund_id"),
        _grouped(booked, "payment_id"),
        {each["orderId"]: [cancel["amount"] for cancel in each["cancels"]] for each in ledger if each["cancels"]},
        refund_keys,
        {each["order_id"]: each for each in await rows(history, "order_id version status body", "document")},
        await rows(shop, letter, "dead_letter") + await rows(payment, letter, "dead_letter"),
    )


STORED = {
    "shop": {
        "product": "product_id on_hand reserved sold price price_version",
        "stock_entry": "cause product_id kind quantity at_us",
        "orders": "order_id user_id status version payable paid refunded expires_us updated_us",
        "order_line": "order_id product_id quantity amount",
        "time_sale": "product_id price quota used starts_us ends_us",
        "order_change": "order_id version step at_us what cause from_status to_status",
        "dead_letter": "subject consumer event_type reason",
    },
    "payment": {
        "payment": "order_id status version amount captured refunded attempt declines payment_key expires_us",
        "payment_attempt": "payment_key attempt outcome code",
        "ledger_entry": "account amount",
        "refund": "payment_id seq amount status restock attempt code",
        "dead_letter": "subject consumer event_type reason",
    },
    "history": {"document": "order_id version status user_id placed_us body", "word": "word order_id"},
}
"""What is stored, without the ids and tokens that chance makes."""


async def state(w: World) -> dict[str, list[Row]]:
    """Everything that matters, to compare one end with another."""
    stores = w.app.stores.every()
    return {
        f"{store}.{table}": await rows(stores[store], columns, table)
        for store, tables in STORED.items()
        for table, columns in tables.items()
    }
