"""CPU that was spent over a span of time, by whom, and what was at its limit."""

from dataclasses import dataclass

from bench import processes
from bench.figures import Figure
from bench.shapes import Shop

ANSWERING = ("api-", "shop", "yardstick")
"""How the names of processes begin that answer buyers."""
FULL = 0.95
"""The share of what it may have from which on something is at its limit."""


@dataclass(frozen=True)
class Spent:
    """CPU seconds: of each process and server of a shop by name, of the machine in all, those of it in which nothing
    ran, and those that the host of a virtual one gave to others; `throttled_s` see `Shop`.
    """

    by_name: dict[str, float]
    all_s: float
    idle_s: float
    stolen_s: float
    throttled_s: float

    @staticmethod
    def so_far(shop: Shop) -> "Spent":
        """What is spent up to now."""
        return Spent(shop.cpu(), *processes.machine_cpu_s(), shop.throttled_s())

    def since(self, before: "Spent") -> "Spent":
        """What was spent in between."""
        return Spent(
            {name: seconds - before.by_name[name] for name, seconds in self.by_name.items()},
            self.all_s - before.all_s,
            self.idle_s - before.idle_s,
            self.stolen_s - before.stolen_s,
            self.throttled_s - before.throttled_s,
        )

    def of(self, *names: str) -> float:
        """What processes spent whose names begin so."""
        return sum(seconds for name, seconds in self.by_name.items() if name.startswith(names))

    @property
    def idle(self) -> float:
        """The share of the machine that nobody used."""
        return self.idle_s / self.all_s

    def limit(self, most_s: float, *names: str) -> str:
        """What kept a rate from being higher, or an answer from coming sooner, where processes whose names begin so may
        spend so much in all.
        """
        if self.of(*names) >= FULL * most_s or self.throttled_s > (1 - FULL) * most_s:
            return "the CPU that these processes may have"
        if self.stolen_s > (1 - FULL) * self.all_s:
            return "the machine's host, which gave CPU to others"
        if self.idle <= 1 - FULL:
            greediest = max(self.by_name, key=lambda name: self.by_name[name])
            return f"the CPU of the machine, most of it used by {greediest}"
        return "no CPU: they waited for each other, for an answer or for the disk"

    @property
    def others_s(self) -> float:
        """What belongs to none of the shop: wrk, the bench, and whatever else ran on the machine."""
        return self.all_s - self.idle_s - self.stolen_s - sum(self.by_name.values())

    def figures(self, span_s: float) -> list[Figure]:
        """Who used the machine, beside those that answer, over so many seconds."""
        span_s = max(span_s, 1e-9)
        return [
            Figure("CPU of MariaDB", self.of("mariadb") / span_s, "cores"),
            Figure(
                "CPU of the other servers", self.of("redis", "sentinel", "kafka", "elasticsearch") / span_s, "cores"
            ),
            Figure("CPU of the load and all else", self.others_s / span_s, "cores"),
            Figure("machine idle", 100 * self.idle, "%"),
            Figure("CPU that the host gave to others", 100 * self.stolen_s / self.all_s, "%"),
        ]
