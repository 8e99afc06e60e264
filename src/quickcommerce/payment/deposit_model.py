"""A virtual account: one payment's own account at a bank, into which its buyer pays until a due date. Pure."""

import msgspec


class Account(msgspec.Struct, frozen=True):
    """Where a deposit is to be paid to. `bank` is the PG's code of it; `due_us` is when it closes, microseconds UTC."""

    bank: str
    number: str
    holder: str
    due_us: int


class Awaiting(msgspec.Struct, frozen=True):
    """The PG has opened an account for this payment, and no money has come yet. `secret`: see `Found`.

    `account` is None where no buyer is told of it, because the shop takes none or it cannot be read. Nobody is to pay
    into it, so it is closed.
    """

    account: Account | None
    secret: str = ""


def awaited_until(account: Account, created_us: int, hold_us: int) -> int:
    """Until when goods are held for a deposit: to its due date, but at most so long from when the payment was made."""
    return min(account.due_us, created_us + hold_us)
