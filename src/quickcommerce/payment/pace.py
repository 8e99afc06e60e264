"""How many calls a second a PG is asked, and who waits for a turn how long: whoever waits longer has turns that others
cannot take.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

TURN_S: Final = 1.0
"""How long a capture waits for its turn, at most. What it is refused is room for the others."""
FIRM_TURN_S: Final = 3.0
"""The same of a reading."""
LAST_TURN_S: Final = 5.0
"""The same of what is asked once a payment has been read: a refund, the closing of an account, a capture once more.
Readings alone end nothing, and as many as there is room for would leave these no turn.
"""


@dataclass
class Pace:
    """At most `per_s` calls a second, in the order in which they came; 0: any number."""

    per_s: float
    now_s: Callable[[], float]
    _next_s: float = 0

    def wait_s(self, within_s: float) -> float | None:
        """Take a turn. Returns the seconds until it comes; None, and takes none, where that is over `within_s`."""
        if not self.per_s:
            return 0
        now_s = self.now_s()
        at_s = max(self._next_s, now_s)
        if at_s - now_s > within_s:
            return None
        self._next_s = at_s + 1 / self.per_s
        return at_s - now_s

    async def turn(self, within_s: float) -> bool:
        """Wait for a turn. False, at once, where there is none within so long."""
        wait_s = self.wait_s(within_s)
        if wait_s:
            await asyncio.sleep(wait_s)
        return wait_s is not None
