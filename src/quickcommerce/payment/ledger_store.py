"""The money ledger: what moved at the PG, as double entries that are appended and never changed.

Three accounts: `receivable` is what the PG owes the shop, `captured` what buyers have paid, `refunded` what went back
to them. A capture debits the first and credits the second; money that goes back debits the third and credits the first.
So all entries sum to zero, and what each account holds can be told without asking anything else. What the PG takes for
its service is in its settlement, which is not ours to book.
"""

from enum import StrEnum

from quickcommerce.kit.db import Tx
from quickcommerce.kit.ids import PaymentId, RefundId


class Account(StrEnum):
    """What money is in, from the shop's side."""

    RECEIVABLE = "receivable"
    CAPTURED = "captured"
    REFUNDED = "refunded"


async def capture(tx: Tx, payment_id: PaymentId, amount: int, at_us: int) -> None:
    """A payment was captured: so many won, at a time. In the transaction that says so of the payment."""
    await _post(tx, payment_id, payment_id, Account.RECEIVABLE, Account.CAPTURED, amount, at_us)


async def refund(tx: Tx, payment_id: PaymentId, refund_id: RefundId, amount: int, at_us: int) -> None:
    """Money of a payment went back: so many won, at a time. In the transaction that says so of the payment."""
    await _post(tx, payment_id, refund_id, Account.REFUNDED, Account.RECEIVABLE, amount, at_us)


async def _post(
    tx: Tx, payment_id: str, posting: str, debit: Account, credit: Account, amount: int, at_us: int
) -> None:
    # The key of an entry is its posting's: nothing is ever booked twice.
    await tx.insert(
        "ledger_entry",
        "payment_id, posting, account, amount, at_us",
        [(payment_id, posting, debit, amount, at_us), (payment_id, posting, credit, -amount, at_us)],
    )


async def balances(tx: Tx) -> dict[str, int]:
    """What each account holds, in won: debits above zero, credits below. Reads all entries."""
    rows = await tx.all("SELECT account, SUM(amount) FROM ledger_entry GROUP BY account")
    held = {account: int(amount) for account, amount in rows}
    return {account.value: held.pop(account, 0) for account in Account} | held


async def astray(tx: Tx, after: str, since: str) -> int:
    """How many payments of orders behind `after`, or with a refund behind `since`, the ledger tells otherwise than
    they tell themselves; and by how many won all its entries fail to sum to zero.
    """
    sums = {
        account: f"COALESCE(SUM(CASE WHEN e.account = '{account}' THEN e.amount ELSE 0 END), 0)" for account in Account
    }
    row = await tx.one(
        "SELECT COUNT(*) FROM (SELECT p.payment_id FROM ("
        " SELECT payment_id FROM payment WHERE order_id > ? UNION SELECT payment_id FROM refund WHERE refund_id > ?"
        ") AS found JOIN payment p ON p.payment_id = found.payment_id"
        " LEFT JOIN ledger_entry e ON e.payment_id = p.payment_id GROUP BY p.payment_id, p.captured, p.refunded"
        f" HAVING {sums[Account.CAPTURED]} <> -p.captured OR {sums[Account.REFUNDED]} <> p.refunded"
        f" OR {sums[Account.RECEIVABLE]} <> p.captured - p.refunded) AS astray",
        (after, since),
    )
    return (row[0] if row else 0) + abs(sum((await balances(tx)).values()))
