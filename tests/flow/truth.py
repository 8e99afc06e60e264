"""Everything there is, read straight from the three databases and from the PG's own ledger.

It is read past whatever a test has put around the stores, so that looking changes nothing that is counted.
"""

from collections import Counter, defaultdict
from typing import Any

import msgspec

from quickcommerce.kit.bus import Subscription
from quickcommerce.kit.db import Database, Tx
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
    cancels: dict[str, list[int]]
    refund_keys: list[Row]
    documents: dict[str, Row]
    letters: list[Row]


async def rows(db: Database, columns: str, table: str) -> list[Row]:
    """All rows of a table. Reads the store itself, past whatever a test has put around it."""
    return (await tables(db, {table: columns}))[table]


async def tables(db: Database, columns: dict[str, str]) -> dict[str, list[Row]]:
    """All rows of these tables at one moment. Reads past whatever a test has put around the store."""

    async def whole(tx: Tx) -> dict[str, list[Row]]:
        found = {}
        for table, names in ((table, names.split()) for table, names in columns.items()):
            order = ", ".join(str(at + 1) for at in range(len(names)))
            rows = await tx.all(f"SELECT {', '.join(names)} FROM {table} ORDER BY {order}")
            found[table] = [dict(zip(names, row, strict=True)) for row in rows]
        return found

    return await getattr(db, "inner", db).scan(whole)


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


SHOP = {
    "orders": "order_id user_id status version total discount payable paid refunded expires_us updated_us",
    "order_line": "order_id product_id quantity time_sale_id",
    "order_change": "order_id version step at_us from_status to_status what cause",
    "product": "product_id on_hand reserved sold",
    "stock_entry": "cause product_id kind quantity",
    "time_sale": "time_sale_id quota used",
    "idempotency": "scoped_key resource",
    "dead_letter": "letter_id consumer event_type subject reason",
}
PAYMENT = {
    "payment": "payment_id order_id user_id amount status version captured refunded refunding expires_us payment_key"
    " attempt declines",
    "payment_attempt": "payment_id attempt payment_key outcome idempotency_key ended_us",
    "refund": "payment_id seq refund_id amount status restock attempt ended_us transaction_key",
    "refund_attempt": "refund_id attempt idempotency_key outcome ended_us",
    "idempotency": "scoped_key resource",
    "dead_letter": "letter_id consumer event_type subject reason",
}


async def read(w: World) -> Truth:
    """Everything there is now: each store at one moment, at which the PG's ledger was as it is told here."""
    ledger = (await w.ledger())["payments"]
    while True:
        payment = await tables(w.app.stores.payment, PAYMENT)
        now = (await w.ledger())["payments"]
        if now == ledger:
            break
        # Meanwhile money has moved there, which these rows may not know.
        ledger = now
    shop = await tables(w.app.stores.shop, SHOP)
    documents = await rows(w.app.stores.history, "order_id version status body", "document")
    lines: dict[str, Counter[int]] = defaultdict(Counter)
    on_sale: dict[str, Counter[str]] = defaultdict(Counter)
    for line in shop["order_line"]:
        lines[line["order_id"]][line["product_id"]] += line["quantity"]
        if line["time_sale_id"]:
            on_sale[line["order_id"]][line["time_sale_id"]] += line["quantity"]
    return Truth(
        w.clock(),
        shop["product"],
        shop["stock_entry"],
        {order["order_id"]: order for order in shop["orders"]},
        lines,
        shop["time_sale"],
        on_sale,
        _grouped(shop["order_change"], "order_id"),
        shop["idempotency"],
        {each["payment_id"]: each for each in payment["payment"]},
        _grouped(payment["payment_attempt"], "payment_id"),
        {
            each["orderId"]: [(each["paymentKey"], capture["amount"]) for capture in each["captures"]]
            for each in ledger
            if each["captures"]
        },
        _grouped(payment["refund"], "payment_id"),
        _grouped(payment["refund_attempt"], "refund_id"),
        {each["orderId"]: [cancel["amount"] for cancel in each["cancels"]] for each in ledger if each["cancels"]},
        payment["idempotency"],
        {each["order_id"]: each for each in documents},
        shop["dead_letter"] + payment["dead_letter"],
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
