"""What became of everything, read straight from the files of a shop that does not run: its databases, the PG's ledger.

Nothing of the shop's own code takes part, so a mistake of its cannot hide itself here.
"""

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

Row = dict[str, Any]
HOLDING = {"PLACED", "PAYING"}
GAVE_BACK = {"FAILED", "EXPIRED", "CANCELLED"}
FINAL = {"PAID", *GAVE_BACK}
PAID_FOR = {"PAID", "REFUNDED"}
MONEY_TAKEN = {"CAPTURED", "PARTLY_REFUNDED", "REFUNDED"}
"""Statuses of payments."""


@dataclass(frozen=True)
class Truth:
    """Everything there is. `captures` are (payment key, amount) by payment id, from the PG's ledger."""

    orders: dict[str, Row]
    lines: dict[str, Counter[int]]
    products: dict[int, Row]
    entries: list[Row]
    keys: dict[str, str]
    payments: dict[str, Row]
    captures: dict[str, list[tuple[str, int]]]
    documents: dict[str, tuple[int, str]]
    letters: list[Row]

    @property
    def statuses(self) -> Counter[str]:
        """How many orders there are in each status."""
        return Counter(order["status"] for order in self.orders.values())


def rows(path: Path, sql: str) -> list[Row]:
    """The rows of a query."""
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(sql)]


Ask = Callable[[str], list[Row]]
"""Reads the rows of a query from one store."""


def gathered(shop: Ask, payment: Ask, toss: Ask, documents: dict[str, tuple[int, str]]) -> Truth:
    """Everything there is, from wherever it is kept."""
    lines: dict[str, Counter[int]] = defaultdict(Counter)
    for line in shop("SELECT order_id, product_id, quantity FROM order_line"):
        lines[line["order_id"]][line["product_id"]] += line["quantity"]
    captures: dict[str, list[tuple[str, int]]] = defaultdict(list)
    moved = "SELECT order_id, payment_key, m.amount FROM movement m JOIN payment USING (payment_key)"
    for capture in toss(f"{moved} WHERE kind = 'capture'"):
        captures[capture["order_id"]].append((capture["payment_key"], capture["amount"]))
    letters = "SELECT letter_id, event_type, reason FROM dead_letter"
    return Truth(
        orders={row["order_id"]: row for row in shop("SELECT * FROM orders")},
        lines=lines,
        products={row["product_id"]: row for row in shop("SELECT * FROM product")},
        entries=shop("SELECT * FROM stock_entry"),
        keys={row["scoped_key"]: row["resource"] for row in shop("SELECT * FROM idempotency")},
        payments={row["order_id"]: row for row in payment("SELECT * FROM payment")},
        captures=captures,
        documents=documents,
        letters=shop(letters) + payment(letters),
    )


def read(folder: Path, ledger: Path | None = None) -> Truth:
    """Everything there is in a folder; `ledger` where the PG has a folder of its own."""
    shop, payment, history, toss = (
        partial(rows, path / f"{name}.db")
        for name, path in (("shop", folder), ("payment", folder), ("history", folder), ("toss", ledger or folder))
    )
    for ask in (shop, payment, history, toss):
        assert ask("PRAGMA integrity_check") == [{"integrity_check": "ok"}], f"{ask.args[0].name} is damaged"
    documents = {row["order_id"]: (row["version"], row["status"]) for row in history("SELECT * FROM document")}
    return gathered(shop, payment, toss, documents)


def exact(folder: Path, ledger: Path | None = None) -> Truth:
    """What holds at every instant, whatever the process died of."""
    return checked(read(folder, ledger))


def settled(folder: Path, ledger: Path | None = None) -> Truth:
    """What holds once nothing is under way any more: every part tells the same story."""
    return at_rest(exact(folder, ledger))


def checked(truth: Truth) -> Truth:
    """See `exact`."""
    _stock(truth)
    _money(truth)
    made = Counter(truth.keys.values())
    assert made.keys() <= truth.orders.keys(), "a key names an order that is not there"
    assert not made or max(made.values()) == 1, f"two keys name one order: {made.most_common(1)}"
    assert truth.payments.keys() <= truth.orders.keys(), "a payment of an order that is not there"
    return truth


def at_rest(truth: Truth) -> Truth:
    """See `settled`."""
    assert not truth.letters, f"events that nobody could handle: {truth.letters}"
    assert truth.payments.keys() == truth.orders.keys(), "an order nobody can pay: its event was lost"
    told = {order_id: (order["version"], order["status"]) for order_id, order in truth.orders.items()}
    assert truth.documents == told, "the history shows something else than is"
    for order_id, order in truth.orders.items():
        payment = truth.payments[order_id]
        paid = payment["status"] in MONEY_TAKEN
        assert paid == (order["status"] in PAID_FOR), (
            f"{order_id} is {order['status']}, its payment {payment['status']}"
        )
        assert paid == bool(truth.captures.get(payment["payment_id"])), f"the PG disagrees about {payment}"
    return truth


def _stock(truth: Truth) -> None:
    """No unit is sold twice and none is lost: the counters are what the orders say."""
    reserved: Counter[int] = Counter()
    sold: Counter[int] = Counter()
    returned = {entry["cause"] for entry in truth.entries if entry["kind"] == "RETURN"}
    for order_id, order in truth.orders.items():
        assert truth.lines[order_id], f"{order_id} has no lines"
        assert order["status"] in HOLDING | FINAL | PAID_FOR, order
        if order["status"] in HOLDING:
            reserved.update(truth.lines[order_id])
        elif order["status"] in PAID_FOR and order_id not in returned:
            sold.update(truth.lines[order_id])
    assert truth.lines.keys() == truth.orders.keys(), "lines of an order that is not there hold no stock and never end"
    put_in: Counter[int] = Counter()
    for entry in truth.entries:
        if entry["kind"] == "PUT_IN":
            put_in[entry["product_id"]] += entry["quantity"]
    for name, product in truth.products.items():
        counted = (product["on_hand"], product["reserved"], product["sold"])
        assert counted == (put_in[name], reserved[name], sold[name]), f"product {name}: on hand, reserved, sold"
        assert product["reserved"] + product["sold"] <= product["on_hand"], f"oversold: {product}"


def _money(truth: Truth) -> None:
    """Nobody is charged twice, for nothing, or another sum than they were told."""
    order_of = {payment["payment_id"]: order_id for order_id, payment in truth.payments.items()}
    for payment_id, captures in truth.captures.items():
        assert payment_id in order_of, f"the PG captured for a payment that is not there: {payment_id}"
        order = truth.orders[order_of[payment_id]]
        assert [amount for _, amount in captures] == [order["payable"]], f"{captures} were captured for {order}"
        assert order["status"] not in GAVE_BACK, f"{order} was paid for, and its goods are given back"
    for order_id, order in truth.orders.items():
        if order["status"] in PAID_FOR:
            payment = truth.payments[order_id]
            assert truth.captures.get(payment["payment_id"]) == [(payment["payment_key"], order["payable"])], order
            assert (order["paid"], payment["captured"]) == (order["payable"], order["payable"]), order
        else:
            assert order["paid"] == 0, order
