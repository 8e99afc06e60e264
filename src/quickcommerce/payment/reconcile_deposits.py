"""Deposits that the bank took back after they had paid: what the PG's list says of that. Pure.

Its row says no more than that a deposit is awaited, as the row of an account that was just opened does, and the capture
may stand in the list of another day. So it is a suspicion, as every mismatch.
"""

from collections.abc import Iterable, Iterator

from quickcommerce.payment.reconcile_model import Kind, Mismatch, PaymentFact, Span, Transaction


def taken_back(
    span: Span, waiting: Iterable[Transaction], moved: Iterable[Transaction], payments: Iterable[PaymentFact]
) -> Iterator[Mismatch]:
    """Payments that we hold as captured, and of which the PG said last, within the span, that a deposit is awaited.

    `waiting`: the rows that say so; `moved`: all others. A deposit that came after it, for the first time or again, is
    the answer to it.
    """
    captures = [each for each in moved if not each.cancel]
    said: dict[tuple[str, str], Transaction] = {}
    for each in waiting:
        key = each.payment_id, each.payment_key
        if key not in said or each.at_us >= said[key].at_us:
            said[key] = each
    for each in captures:
        key = each.payment_id, each.payment_key
        if key in said and each.at_us > said[key].at_us:
            del said[key]
    for payment in payments:
        last = said.get((payment.payment_id, payment.payment_key or ""))
        if last and payment.captured and span.holds(last.at_us):
            yield Mismatch(
                Kind.RECORDED_NOT_CAPTURED, payment.payment_id, payment.payment_id, payment.order_id, last.at_us,
                payment_key=last.payment_key, transaction_key=last.transaction_key, our_won=payment.captured,
            )  # fmt: skip
