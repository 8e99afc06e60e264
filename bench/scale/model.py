"""The model of `docs/scale.md`: arithmetic over what was measured, and a simulation of the queue before a database.

CPU adds up: so much for an order, so much for its payment, whatever the rate. Waiting does not: it is simulated.
"""

import heapq
import math
import random
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

BUSY = 0.6
"""The share of its cores that a part may use at the rate that is planned for. The rest is for bursts, and for a
neighbour that is gone."""


@dataclass(frozen=True)
class Used:
    """CPU seconds of each part during a run of `took_s` seconds, in which so many orders were accepted and paid."""

    cpu_s: Mapping[str, float]
    took_s: float
    orders: int
    payments: int

    def work_s(self, part: str, idle_cores: float) -> float:
        """CPU seconds of a part beyond those it uses with nothing to do. What the noise makes negative is nothing."""
        return max(0.0, self.cpu_s[part] - idle_cores * self.took_s)


@dataclass(frozen=True)
class Part:
    """A role or a server: CPU microseconds for an order and, beside those, for its payment; `idle_cores` is what one
    of it uses with nothing to do.
    """

    name: str
    us_per_order: float
    us_per_payment: float
    idle_cores: float = 0.0

    def us(self, paid: float) -> float:
        """CPU microseconds for an order of which the share `paid` (0 to 1) is paid."""
        return self.us_per_order + paid * self.us_per_payment

    def cores(self, orders_per_s: float, *, shops: int = 1, paid: float = 1.0) -> float:
        """Cores of which it uses `BUSY` at this rate, where shops share the rate and each has its own."""
        return (orders_per_s * self.us(paid) / 1e6 + shops * self.idle_cores) / BUSY

    def most_per_s(self, cores: float, paid: float = 1.0) -> float:
        """Orders a second at which one of it, of so many cores, uses `BUSY` of them."""
        us = self.us(paid)
        return max(0.0, cores * BUSY - self.idle_cores) * 1e6 / us if us else math.inf

    def processes(self, orders_per_s: float, *, shops: int = 1, paid: float = 1.0) -> int:
        """How many of it are needed, of a core each, where shops share the rate and each has its own.

        Raises ValueError where it is busy with nothing to do.
        """
        return shops * _enough(orders_per_s / shops, self.most_per_s(1.0, paid))


def parts(idle_cores: Mapping[str, float], unpaid: Used, paid: Used) -> list[Part]:
    """Each part's share of an order, from a run in which nobody paid, and of its payment, from one in which all did."""
    made = []
    for name, idle in idle_cores.items():
        order_s = unpaid.work_s(name, idle) / max(unpaid.orders, 1)
        payment_s = (paid.work_s(name, idle) - order_s * paid.orders) / max(paid.payments, 1)
        made.append(Part(name, order_s * 1e6, max(0.0, payment_s * 1e6), idle))
    return made


def shops(every: Iterable[Part], single: Mapping[str, float], orders_per_s: float, paid: float = 1.0) -> int:
    """Into how many shops the stock must be split at this rate.

    `single` are the parts of which a shop has one, with its cores. Raises ValueError where one is busy with nothing.
    """
    return _enough(orders_per_s, min(part.most_per_s(single[part.name], paid) for part in every if part.name in single))


def _enough(orders_per_s: float, most_per_s: float) -> int:
    if not most_per_s:
        raise ValueError("a part is at its limit with nothing to do")
    return max(1, math.ceil(orders_per_s / most_per_s))


@dataclass(frozen=True)
class Lists:
    """A group commit (`quickcommerce/kit/batch.py`): a list of n orders takes `a_s` + n x `b_s` seconds, at most
    `list_max` orders are in it, and `runners` lists are in flight. `list_max` 1 is a transaction an order.

    `enough` orders make a list beside another one. Where there may be several, each takes half of those that wait, or
    `whole` if that is more. Where a list has ended and fewer than `enough` wait, the next one begins when the first of
    them has waited for `gather_lists` times what that list took, and for `gather_max_s` at most.
    """

    a_s: float
    b_s: float
    runners: int
    list_max: int
    enough: int = 1
    whole: float = math.inf
    gather_lists: float = 0.0
    gather_max_s: float = 0.0

    def takes_s(self, orders: int) -> float:
        """Seconds that a list takes."""
        return self.a_s + orders * self.b_s

    def takes(self, waiting: int) -> int:
        """How many of those that wait a list takes."""
        half = max(self.whole, waiting // 2) if self.runners > 1 else waiting
        return int(min(waiting, half, self.list_max))

    @property
    def most_per_s(self) -> float:
        """Orders a second beyond which the queue grows without end."""
        return self.runners * self.list_max / self.takes_s(self.list_max)


def fitted(alone_s: float, list_s: float, list_size: float) -> tuple[float, float]:
    """The seconds of a list itself and of each order in it, from what lists of one and of `list_size` take.

    Where the noise is larger than the difference, an order counts no less than nothing and no more than a list of one.
    """
    each_s = (list_s - alone_s) / (list_size - 1) if list_size > 1 else 0.0
    b_s = min(max(0.0, each_s), alone_s)
    return alone_s - b_s, b_s


@dataclass(frozen=True)
class Simulated:
    """A simulated queue: when each order came, when its list began and when it ended, and how large the lists were."""

    came_s: Sequence[float]
    begun_s: Sequence[float]
    ended_s: Sequence[float]
    sizes: Sequence[int]

    @property
    def waits_s(self) -> list[float]:
        """From coming to the beginning of the list."""
        return [begun - came for came, begun in zip(self.came_s, self.begun_s, strict=True)]

    @property
    def answers_s(self) -> list[float]:
        """From coming to the end of the list."""
        return [ended - came for came, ended in zip(self.came_s, self.ended_s, strict=True)]

    @property
    def mean_answer_s(self) -> float:
        """The mean time to an answer."""
        return statistics.fmean(self.answers_s)

    @property
    def p99_answer_s(self) -> float:
        """The time in which 99 of 100 orders are answered."""
        return sorted(self.answers_s)[math.ceil(0.99 * len(self.came_s)) - 1]

    @property
    def mean_size(self) -> float:
        """Orders in a list."""
        return statistics.fmean(self.sizes)


def simulate(
    lists: Lists,
    per_s: float,
    *,
    orders: int,
    seed: int,
    evenly: bool = False,
    takes_s: Callable[[int], float] | None = None,
) -> Simulated:
    """So many orders that come at random (Poisson), or evenly, `per_s` a second, before an empty queue without a bound.

    Whoever begins a list takes the oldest of those that wait. `takes_s` in place of the lists' own says how long a list
    of a size takes. The same seed gives the same run.
    """
    rng = random.Random(seed)  # noqa: S311 - a simulation must repeat
    takes_s = takes_s or lists.takes_s
    came_s = list(accumulate(1 / per_s if evenly else rng.expovariate(per_s) for _ in range(orders)))
    begun_s: list[float] = []
    ended_s: list[float] = []
    sizes: list[int] = []
    enough = min(lists.enough, lists.list_max)
    in_flight: list[tuple[float, float]] = []
    """When the lists in flight end, the first one first, and when they began."""
    gathered_s = math.inf
    """When the list begins that gathers, if one does."""
    came = 0

    def begin(now_s: float) -> None:
        size = lists.takes(came - len(begun_s))
        if size:
            ends_s = now_s + takes_s(size)
            heapq.heappush(in_flight, (ends_s, now_s))
            begun_s.extend([now_s] * size)
            ended_s.extend([ends_s] * size)
            sizes.append(size)

    while len(begun_s) < orders:
        comes_s = came_s[came] if came < orders else math.inf
        ends_s = in_flight[0][0] if in_flight else math.inf
        now_s = min(comes_s, ends_s, gathered_s)
        working = len(in_flight) + (gathered_s < math.inf)
        if now_s == comes_s:
            came += 1
            if not working or (working < lists.runners and came - len(begun_s) >= enough):
                begin(now_s)
        elif now_s == gathered_s:
            gathered_s = math.inf
            begin(now_s)
        else:
            _, began_s = heapq.heappop(in_flight)
            waiting = came - len(begun_s)
            if waiting >= enough:
                begin(now_s)
            elif waiting and working == 1:
                for_s = min(lists.gather_lists * (now_s - began_s), lists.gather_max_s)
                gathered_s = max(now_s, came_s[len(begun_s)] + for_s)
    return Simulated(came_s, begun_s, ended_s, sizes)
