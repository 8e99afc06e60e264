"""How long payments wait until they are looked at again, and so how far ahead the next look can be."""

from collections.abc import Mapping

from quickcommerce.kit.clock import SECOND_US
from quickcommerce.kit.policy import Backoff
from quickcommerce.payment.model import Status

BACKOFF = Backoff(base_s=1, cap_s=20)
"""1-2 s, 2-4 s, 4-8 s, 8-16 s, then 20-40 s: an outcome is known soon after the PG answers again."""
SPREAD_S = 10
"""Within so many seconds after a rest of the PG those come back who were held back by it."""
LET_GO = Backoff(base_s=45, cap_s=45)
"""45-90 s: no order waits any more for an outcome that has let go of it; but the buyer's money may be on its way."""

LOOK = Backoff(base_s=300, cap_s=300)
"""5-10 minutes: how often an account is looked at into which a deposit is awaited. A webhook is sooner."""
SKEW_S = 10
"""By so much may the clocks of processes differ: a lease that another has just taken is none of the future."""


def doubt_us(lease_s: float) -> int:
    """The longest that nobody looks what became of a request, under a lease or not, in microseconds."""
    return int(max(lease_s + SKEW_S, BACKOFF.longest_s, LET_GO.longest_s) * SECOND_US)


def longest_us(lease_s: float) -> Mapping[Status, int]:
    """The longest that a payment waits in each status, under a lease or not, in microseconds.

    What is due later than that was put there by a clock that has been set back since: by that clock it may be due.
    """
    doubt = doubt_us(lease_s)
    deposit = max(doubt, int(LOOK.longest_s * SECOND_US))
    return {
        Status.CAPTURING: doubt, Status.UNKNOWN: doubt, Status.RETRY: doubt, Status.AWAITING_DEPOSIT: deposit
    }  # fmt: skip
