"""What a run will do: every buyer's basket and moment, fixed by a seed before the first request."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field


class UsageError(Exception):
    """The run cannot start as it was asked for; the message says what to do about it."""


@dataclass(frozen=True)
class OrdersPlan:
    """The load plan: `buyers` different users, one order each, evenly over `ramp_up_s` seconds.

    `pay_share` (0 to 1) of the orders is paid through the emulator at `pg_url`. A basket has 1 to `lines_max`
    different products, 1 to `quantity_max` of each. `drain_s` bounds the wait for the rest of the loop. Buyers ask the
    shop at `url` and at `others`, further processes of it, in turn.
    """

    url: str
    pg_url: str
    jwt_secret: str = field(repr=False)
    buyers: int = 10_000
    ramp_up_s: float = 16.0
    pay_share: float = 0.2
    seed: int = 1
    lines_max: int = 5
    quantity_max: int = 5
    connections: int = 256
    drain_s: float = 30.0
    others: tuple[str, ...] = ()

    @property
    def intended_per_s(self) -> float:
        """The rate at which orders are sent whether or not the shop keeps up (infinite without a ramp-up)."""
        return self.buyers / self.ramp_up_s if self.ramp_up_s else float("inf")


@dataclass(frozen=True, slots=True)
class Basket:
    """One buyer's order: sent `at_s` seconds after the start; `lines` are (product id, quantity)."""

    at_s: float
    lines: tuple[tuple[int, int], ...]
    pays: bool

    @property
    def units(self) -> int:
        """Pieces of goods in the basket."""
        return sum(quantity for _, quantity in self.lines)


def baskets(plan: OrdersPlan, product_ids: Sequence[int]) -> list[Basket]:
    """All baskets in order of arrival: the same for the same plan and products.

    Arrivals are evenly spaced, as a thread group's ramp-up is, and never wait for an answer (open loop).
    """
    rng = random.Random(plan.seed)  # noqa: S311  a load plan must repeat, not surprise
    paying = set(rng.sample(range(plan.buyers), round(plan.buyers * plan.pay_share)))
    lines_max = min(plan.lines_max, len(product_ids))
    gap_s = plan.ramp_up_s / plan.buyers
    return [
        Basket(
            at_s=buyer * gap_s,
            lines=tuple(
                (product_id, rng.randint(1, plan.quantity_max))
                for product_id in rng.sample(product_ids, rng.randint(1, lines_max))
            ),
            pays=buyer in paying,
        )
        for buyer in range(plan.buyers)
    ]
