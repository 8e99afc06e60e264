"""How long to wait before trying again: exponential steps, each with jitter as wide as the step itself."""

import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Backoff:
    """`delay_s(n)` is uniform in [step, 2 * step], where step = min(cap_s, base_s * 2**n).

    With a base of one second that is 1-2 s, 2-4 s, 4-8 s and so on. Jitter as wide as the wait spreads a crowd that
    failed together, so that it does not come back together (M. Brooker, "Exponential Backoff and Jitter", AWS
    Architecture Blog, 2015); the lower bound keeps a repeat from following its failure at once.
    """

    base_s: float
    cap_s: float

    def step_s(self, tries: int) -> float:
        """The shortest wait after `tries` earlier failures (0 for the first failure), in seconds."""
        return min(self.cap_s, self.base_s * 2.0 ** min(tries, 60))

    @property
    def longest_s(self) -> float:
        """The longest that anybody waits, in seconds."""
        return 2 * self.cap_s

    def delay_s(self, tries: int, rng: random.Random) -> float:
        """The wait before the next try, in seconds."""
        step = self.step_s(tries)
        return step + rng.uniform(0, step)
