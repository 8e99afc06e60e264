"""How often one user may change things: a token bucket for each user, in this process."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from prometheus_client import Counter

from quickcommerce.kit.problem import TooManyRequests

USERS_MAX = 100_000
"""Buckets kept that are not full, at about 200 bytes each. Beyond it the user goes who asked longest ago."""

REFUSED = Counter("qc_rate_refused_total", "Requests refused because their user had sent too many")


@dataclass
class UserRate:
    """`burst_max` requests at once, and `per_s` a second after that, for each user; where either is 0, any number.

    A bucket is one number: the time at which it will be full again. From then on it says what no bucket says, and goes
    when another comes.
    """

    burst_max: int
    per_s: float
    now_s: Callable[[], float] = time.monotonic
    _full_at_s: OrderedDict[int, float] = field(default_factory=OrderedDict)
    """Who asked longest ago is first. A dict looks for its first past all that have gone: 10 us where it is full."""

    def take(self, user_id: int) -> None:
        """Count a request of this user. Raises TooManyRequests, which counts nothing."""
        if not self.burst_max or not self.per_s:
            return
        now_s = self.now_s()
        full_at_s = max(self._full_at_s.pop(user_id, now_s), now_s) + 1 / self.per_s
        wait_s = full_at_s - self.burst_max / self.per_s - now_s
        refused = wait_s > 1e-9
        # It stands last now, behind all who asked before.
        self._full_at_s[user_id] = full_at_s - 1 / self.per_s if refused else full_at_s
        self._forget(now_s)
        if refused:
            REFUSED.inc()
            raise TooManyRequests("this user sends too many requests", retry_after_s=math.ceil(wait_s))

    def _forget(self, now_s: float) -> None:
        """Drop the buckets that stand first and are full, and the first one where there are too many."""
        while next(iter(self._full_at_s.values())) <= now_s or len(self._full_at_s) > USERS_MAX:
            self._full_at_s.popitem(last=False)
