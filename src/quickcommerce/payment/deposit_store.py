"""The accounts into which deposits are awaited, as rows of store B."""

from collections.abc import Collection

from quickcommerce.kit.db import Tx, marks
from quickcommerce.kit.ids import PaymentId
from quickcommerce.payment.deposit_model import Account


async def keep(tx: Tx, payment_id: PaymentId, account: Account) -> None:
    """Remember where a payment's deposit is to be paid to, in the place of any earlier account."""
    facts = (account.bank, account.number, account.holder, account.due_us)
    sql = "UPDATE deposit_account SET bank = ?, number = ?, holder = ?, due_us = ? WHERE payment_id = ?"
    if not await tx.run(sql, (*facts, payment_id)):
        await tx.insert("deposit_account", "payment_id, bank, number, holder, due_us", [(payment_id, *facts)])


async def of_payments(tx: Tx, payment_ids: Collection[PaymentId]) -> dict[PaymentId, Account]:
    """The accounts of these payments, where they have any."""
    ids = sorted(payment_ids)
    rows = await tx.all(
        f"SELECT payment_id, bank, number, holder, due_us FROM deposit_account WHERE payment_id IN ({marks(ids)})", ids
    )
    return {payment_id: Account(*facts) for payment_id, *facts in rows}
