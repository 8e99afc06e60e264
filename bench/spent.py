"""CPU that was spent over a span of time, by whom, and which limit was reached."""

from dataclasses import dataclass

from bench import processes
from bench.figures import Figure
from bench.shapes import Shop

ANSWERING = ("api-", "shop", "yardstick")
"""How the names of processes begin that answer buyers."""
FULL = 0.95
"""The share of what there is from which on a limit counts as reached."""


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

    def limit(self, span_s: float, vcpu: float | None, *names: str) -> str:
        """Which limit of CPU was reached in so many seconds, in a sentence. Processes whose names begin so might use
        `vcpu` CPUs together, or had no limit of their own.
        """
        used = [seconds for name, seconds in self.by_name.items() if name.startswith(names)]
        reached = f"the limit of {vcpu:g} vCPU was reached" if vcpu else ""
        if vcpu and sum(used) >= FULL * vcpu * span_s:
            return reached
        if self.stolen_s > (1 - FULL) * self.all_s:
            return "the host of this machine gave CPU to others"
        if self.idle <= 1 - FULL:
            return f"the CPU of the machine was used up, most of it by {self._greediest(*names)}"
        # Now and then; while the machine has no CPU left it is not what keeps them.
        if vcpu and self.throttled_s > (1 - FULL) * vcpu * span_s:
            return reached
        if max(used, default=0.0) >= FULL * span_s:
            return "a process used a core or more, and Python works on one at a time"
        return "no limit of CPU was reached"

    def _greediest(self, *names: str) -> str:
        """Who used most: processes whose names begin so together, or one of the others."""
        together = {name: seconds for name, seconds in self.by_name.items() if not name.startswith(names)}
        together["those that are measured"] = self.of(*names)
        return max(together, key=lambda name: together[name])

    @property
    def others_s(self) -> float:
        """What belongs to none of the shop: wrk, the bench, and whatever else ran on the machine."""
        return self.all_s - self.idle_s - self.stolen_s - sum(self.by_name.values())

    def cores(self, span_s: float, *names: str) -> float:
        """CPUs that processes whose names begin so had on average over so many seconds."""
        return self.of(*names) / max(span_s, 1e-9)

    def servers(self, span_s: float) -> list[Figure]:
        """What the servers used over so many seconds, where there are any."""
        servers = {"MariaDB": ("mariadb",), "the other servers": ("redis", "sentinel", "kafka", "elasticsearch")}
        return [
            Figure(f"CPU of {title}", self.cores(span_s, *names), "cores")
            for title, names in servers.items()
            if any(name.startswith(names) for name in self.by_name)
        ]

    def machine(self, span_s: float) -> list[Figure]:
        """What nobody of the shop used over so many seconds."""
        return [
            Figure("CPU of the load and all else", self.others_s / max(span_s, 1e-9), "cores"),
            Figure("machine idle", 100 * self.idle, "%"),
            Figure("CPU that the host gave to others", 100 * self.stolen_s / self.all_s, "%"),
        ]
