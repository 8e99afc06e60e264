"""The promises I1 to I9, read straight from the three databases and from the PG's own ledger.

`always` holds at every instant, whatever is under way. `check` is for the end of a scenario, when everything has come
to rest: then orders, payments, stock, history and the PG must tell one story.
"""

from collections import Counter, defaultdict

import msgspec

from flow.truth import Truth, read, rows, untaken
from quickcommerce import events
from quickcommerce.kit.clock import SECOND_US
from quickcommerce.order.model import CLOSED, HOLDING, NEXT, Status
from quickcommerce.payment.model import MONEY_TAKEN
from quickcommerce.payment.model import Status as Pay
from quickcommerce.payment.refund_model import RefundStatus
from world import World

LATE_US = 10 * SECOND_US
"""An order whose time ended this long ago, and which nobody has ended, is stuck."""


async def always(w: World) -> Truth:
    """What holds at every instant."""
    truth = await read(w)
    _stock(truth)
    _quota(truth)
    _orders(truth)
    _attempts(truth)
    _refunds(truth)
    _booked(truth)
    return truth


async def check(w: World, *, dead: int = 0, foreign: int = 0) -> Truth:
    """What holds at rest. `dead` letters are expected; `foreign` events were told by no order or payment of ours."""
    truth = await always(w)
    assert len(truth.letters) == dead, f"I6: {dead} dead letters were expected: {truth.letters}"
    _money(truth)
    _stuck(truth)
    _history(truth)
    await _events(w, truth, foreign)
    told = await w.app.operations.invariants()
    assert told.holds, f"the shop itself sees {[each for each in told.invariants if not each.holds]}"
    return truth


def _stock(truth: Truth) -> None:
    """I1, I2: counters, entries and the lines of orders agree, unit by unit."""
    held: Counter[int] = Counter()
    gone: Counter[int] = Counter()
    entries: dict[tuple[str, int, str], int] = {}
    put_in: Counter[int] = Counter()
    moved: dict[tuple[str, int, str], int] = {}
    for entry in truth.entries:
        if entry["kind"] == "PUT_IN":
            put_in[entry["product_id"]] += entry["quantity"]
        else:
            moved[entry["cause"], entry["product_id"], entry["kind"]] = entry["quantity"]
    returned = {cause for cause, _, kind in moved if kind == "RETURN"}
    for order_id, order in truth.orders.items():
        status, units = order["status"], truth.lines[order_id]
        assert units, f"{order_id} has no lines"
        ended = any(change["to_status"] in CLOSED and change["step"] == 0 for change in truth.changes[order_id])
        kinds = ["RELEASE"] * ended
        if status in HOLDING:
            held.update(units)
        elif status not in CLOSED:
            kinds += ["LATE_HOLD"] * ended + ["SELL"]
            if order_id in returned:
                assert status == Status.REFUNDED, f"I2: the goods of {order_id} came back, and it is {status}"
                kinds += ["RETURN"]
            else:
                gone.update(units)
        entries |= {(order_id, product, kind): quantity for product, quantity in units.items() for kind in kinds}
    for product in truth.products:
        name, on_hand = product["product_id"], product["on_hand"]
        reserved, sold = product["reserved"], product["sold"]
        assert reserved + sold <= on_hand, f"I1: product {name} is oversold: {product}"
        assert min(reserved, sold) >= 0, f"I1: product {name} counts below zero: {product}"
        assert reserved == held[name], f"I2: product {name} holds {reserved}, its live orders {held[name]}"
        assert sold == gone[name], f"I2: product {name} has sold {sold}, its paid orders {gone[name]}"
        assert on_hand == put_in[name], f"I2: product {name} has {on_hand} on hand, {put_in[name]} were put in"
    assert moved == entries, f"I7: stock entries {moved} do not tell the orders' {entries}"


def _quota(truth: Truth) -> None:
    """I1, I2 of time sales: what is used of a quota is what orders have, that live or were paid and came not back."""
    used: Counter[str] = Counter()
    returned = {entry["cause"] for entry in truth.entries if entry["kind"] == "RETURN"}
    for order_id, units in truth.on_sale.items():
        if truth.orders[order_id]["status"] not in CLOSED and order_id not in returned:
            used.update(units)
    for sale in truth.sales:
        name = sale["time_sale_id"]
        assert sale["used"] <= sale["quota"], f"I1: more than its quota was sold under {sale}"
        assert sale["used"] == used[name], f"I2: {sale['used']} are used of {name}, and orders have {used[name]}"


def _orders(truth: Truth) -> None:
    """I5, I9: every change of an order is there once, in order, and legal; a key led to one order."""
    for order_id, order in truth.orders.items():
        real = [change for change in truth.changes[order_id] if change["step"] == 0]
        assert [change["version"] for change in real] == list(range(1, order["version"] + 1)), f"I9: gaps: {real}"
        before, at_us = None, 0
        for change in real:
            assert change["from_status"] == before, f"I9: {order_id} was {before}: {change}"
            after = Status(change["to_status"])
            legal = {Status.PLACED} if before is None else NEXT[Status(before)]
            assert after in legal, f"I9: {order_id} went from {before} to {after}"
            assert change["at_us"] > at_us, f"I9: {order_id} was changed before its last change: {real}"
            before, at_us = after, change["at_us"]
        assert (before, at_us) == (order["status"], order["updated_us"]), f"I9: {order_id} is not what was told of it"
        assert order["payable"] == order["total"] - order["discount"], f"I7: {order}"
        paid = before in (Status.PAID, Status.REFUNDED)
        assert order["paid"] == (order["payable"] if paid else 0), f"I3: {order}"
        whole = order["refunded"] == order["paid"]
        assert 0 <= order["refunded"] <= order["paid"], f"I8: {order}"
        assert before is not Status.REFUNDED or whole, f"I8: {order}"
        assert before is not Status.PAID or not whole or not order["payable"], f"I8: {order}"
    assert set(truth.changes) == set(truth.orders), "I9: changes of orders that do not exist"
    made = Counter(key["resource"] for key in truth.keys if key["resource"].startswith("ord_"))
    assert set(made) <= set(truth.orders), "I5: a key names an order that does not exist"
    assert not made or max(made.values()) == 1, f"I5: two keys name one order: {made}"


def _attempts(truth: Truth) -> None:
    """I3 at every instant: attempts are numbered, one has captured at most, and the PG captured at most once."""
    of_order = Counter(payment["order_id"] for payment in truth.payments.values())
    assert not of_order or max(of_order.values()) == 1, f"I3: an order has two payments: {of_order}"
    for payment_id, payment in truth.payments.items():
        attempts = truth.attempts[payment_id]
        assert [each["attempt"] for each in attempts] == list(range(1, payment["attempt"] + 1)), f"I3: {attempts}"
        assert len({each["idempotency_key"] for each in attempts}) == len(attempts), (
            f"I3: a key served twice {attempts}"
        )
        captured = [each["payment_key"] for each in attempts if each["outcome"] == "captured"]
        expected = [payment["payment_key"]] if payment["status"] in MONEY_TAKEN else []
        assert captured == expected, f"I3: {payment} has the attempts {attempts}"
        declined = sum(each["outcome"] == "declined" for each in attempts)
        assert declined == payment["declines"], f"I3: {payment} has the attempts {attempts}"
    for payment_id, captures in truth.captures.items():
        assert len(captures) == 1, f"I3: the buyer of {payment_id} was charged {len(captures)} times: {captures}"


def _refunds(truth: Truth) -> None:
    """I8 at every instant: what is back and what is owed is never more than was captured, here and at the PG."""
    assert set(truth.refunds) <= set(truth.payments), "I8: refunds of payments that do not exist"
    for payment_id, payment in truth.payments.items():
        refunds = truth.refunds[payment_id]
        assert [each["seq"] for each in refunds] == list(range(1, len(refunds) + 1)), f"I8: {refunds}"
        assert all(each["amount"] > 0 for each in refunds), f"I8: {refunds}"
        sums = {status: sum(each["amount"] for each in refunds if each["status"] == status) for status in RefundStatus}
        done, owed = sums[RefundStatus.DONE], sums[RefundStatus.PENDING]
        assert (payment["refunded"], payment["refunding"]) == (done, owed), f"I8: {payment} has the refunds {refunds}"
        assert done + owed <= payment["captured"], f"I8: more goes back than came: {payment}, {refunds}"
        whole = done == payment["captured"] > 0
        fits = {Pay.REFUNDED} if whole else {Pay.PARTLY_REFUNDED} if done else set(Pay) - {Pay.REFUNDED}
        assert payment["status"] in fits, f"I8: {payment} has the refunds {refunds}"
        back = truth.cancels.get(payment_id, [])
        assert sum(back) <= payment["captured"], f"I8: the PG gave back {back} of {payment}"
        assert done <= sum(back) <= done + owed, f"I8: the PG gave back {back}, the shop says {refunds}"
        for each in refunds:
            tries = truth.tries[each["refund_id"]]
            assert [one["attempt"] for one in tries] == list(range(1, each["attempt"] + 1)), f"I8: {each}: {tries}"
            assert len({one["idempotency_key"] for one in tries}) == len(tries), f"I8: a key served twice: {tries}"
    keys = [
        each["transaction_key"] for refunds in truth.refunds.values() for each in refunds if each["transaction_key"]
    ]
    assert len(set(keys)) == len(keys), f"I8: two refunds claim the same money: {keys}"
    made = Counter(key["resource"] for key in truth.refund_keys)
    assert set(made) <= {each["refund_id"] for refunds in truth.refunds.values() for each in refunds}, f"I5: {made}"
    assert not made or max(made.values()) == 1, f"I5: two keys name one refund: {made}"


def _booked(truth: Truth) -> None:
    """I7 of money at every instant: a posting for each capture and each refund that is done, debits beside credits."""
    assert set(truth.booked) <= set(truth.payments), "I7: money of payments that do not exist"
    for payment_id, payment in truth.payments.items():
        due: Counter[tuple[str, str, int]] = Counter()
        if payment["captured"]:
            due.update(
                {(payment_id, "receivable", payment["captured"]), (payment_id, "captured", -payment["captured"])}
            )
        for refund in truth.refunds[payment_id]:
            if refund["status"] == RefundStatus.DONE:
                name, amount = refund["refund_id"], refund["amount"]
                due.update({(name, "refunded", amount), (name, "receivable", -amount)})
        booked = [(each["posting"], each["account"], each["amount"]) for each in truth.booked[payment_id]]
        assert Counter(booked) == due, f"I7: {payment} is booked as {booked}"


def _money(truth: Truth) -> None:
    """I3, I4 at rest: who paid has a paid order, who did not has none, and the PG says the same."""
    payments = {payment["order_id"]: payment for payment in truth.payments.values()}
    assert set(payments) <= set(truth.orders), "I4: a payment of an order that does not exist"
    assert set(truth.captures) <= set(truth.payments), "I4: the PG captured for a payment that does not exist"
    buried = {letter["subject"] for letter in truth.letters if letter["event_type"] == "PaymentSettled"}
    for order_id, order in truth.orders.items():
        payment, status = payments.get(order_id), order["status"]
        if not order["payable"]:
            assert payment is None, f"I4: {order_id} has nothing to pay, and a payment: {payment}"
            continue
        assert payment, f"I4: {order_id} is {status} and has no payment"
        facts = ("user_id", "expires_us")
        assert [payment[fact] for fact in facts] == [order[fact] for fact in facts], f"{payment} is not of {order}"
        assert payment["amount"] == order["payable"], f"I3: {payment['amount']} asked for {order['payable']}"
        taken = truth.captures.get(payment["payment_id"], [])
        if payment["status"] in MONEY_TAKEN:
            assert taken == [(payment["payment_key"], order["payable"])], f"I3: {payment}, but the PG has {taken}"
            assert payment["captured"] == order["payable"], f"I3: {payment}"
            if status in (Status.PAID, Status.REFUNDED):
                assert payment["refunded"] == order["refunded"], f"I8: {order} and {payment} differ"
            else:
                whole = payment["refunded"] + payment["refunding"] == payment["captured"]
                assert whole or order_id in buried, f"I4: {order_id} is paid for and is {status}"
            continue
        assert not taken, f"I4: the PG has {taken} for {order_id}, which is {status}, its payment {payment['status']}"
        assert payment["captured"] == 0, f"I3: {payment}"
        fits = {
            Status.PLACED: {Pay.READY, Pay.DECLINED},
            Status.FAILED: {Pay.FAILED},
            Status.CANCELLED: {Pay.CLOSED, Pay.UNKNOWN},
            Status.EXPIRED: {Pay.CLOSED, Pay.UNKNOWN},
        }
        ended = [each["ended_us"] or 0 for each in truth.attempts[payment["payment_id"]]]
        if max(ended, default=0) > order["updated_us"]:
            # It was let go of in doubt, and only later did the PG say that it took no money.
            fits[Status.EXPIRED] = fits[Status.EXPIRED] | {Pay.DECLINED}
        assert payment["status"] in fits.get(status, set()), f"I4: {order_id} is {status}, its payment {payment}"


def _stuck(truth: Truth) -> None:
    """Nothing waits for somebody to look."""
    for order_id, order in truth.orders.items():
        late = order["status"] in HOLDING and order["expires_us"] + LATE_US <= truth.now_us
        assert not late, f"{order_id} is stuck: {order['status']} long after its time"
    for payment_id, payment in truth.payments.items():
        back = truth.cancels.get(payment_id, [])
        done = [each["amount"] for each in truth.refunds[payment_id] if each["status"] == RefundStatus.DONE]
        assert sorted(back) == sorted(done), f"I8: the PG gave back {back}, the shop says {truth.refunds[payment_id]}"
        assert payment["refunding"] == 0, f"I4: somebody still waits for their money: {truth.refunds[payment_id]}"
        if payment["status"] != Pay.UNKNOWN:
            open_ = [each for each in truth.attempts[payment_id] if each["ended_us"] is None]
            assert not open_, f"{payment_id} is {payment['status']}, with an attempt that never ended: {open_}"


def _history(truth: Truth) -> None:
    """What buyers find is what is."""
    found = {order_id: (each["version"], each["status"]) for order_id, each in truth.documents.items()}
    assert found == {order_id: (each["version"], each["status"]) for order_id, each in truth.orders.items()}, "I6"
    for order_id, document in truth.documents.items():
        shown = msgspec.json.decode(document["body"])
        assert (shown["version"], shown["status"]) == found[order_id], f"I6: {order_id} is shown as {shown}"
        assert shown["paid"] == truth.orders[order_id]["paid"], f"I6: {order_id} is shown as {shown}"


async def _events(w: World, truth: Truth, foreign: int) -> None:
    """I6: one event for each version, in order, each taken once by every group."""
    for subscription in w.app.parts.subscriptions:
        left = await untaken(subscription)
        assert not left, f"I6: {subscription.consumer.name} has not taken {left}"
    versions: dict[str, list[int]] = defaultdict(list)
    notices = 0
    sent = w.log.get(w.app.stores.shop.name, {})
    waiting = await rows(w.app.stores.shop, "seq event_id type data", "outbox")
    told_of = [(one.type, one.data) for one in sent.values()]
    told_of += [(each["type"], each["data"]) for each in waiting if each["event_id"] not in sent]
    for kind, data in told_of:
        event = events.decode(kind, data)
        if isinstance(event, events.OrderEvent):
            versions[event.order.order_id].append(event.order.version)
        else:
            notices += 1
    for order_id, told in versions.items():
        assert told == list(range(told[0], told[0] + len(told))), f"I6: {order_id} told its versions as {told}"
    inboxes = [await rows(store, "consumer event_id", "inbox") for store in (w.app.stores.shop, w.app.stores.payment)]
    taken = Counter(each["consumer"] for inbox in inboxes for each in inbox)
    due = {
        "payment": sum(order["version"] for order in truth.orders.values()) + notices,
        "order": sum(payment["version"] for payment in truth.payments.values()) + foreign,
    }
    assert taken == Counter(due), f"I6: events taken {dict(taken)}, told {due}"
