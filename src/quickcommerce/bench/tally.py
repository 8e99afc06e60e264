"""What the buyers were told, counted as the answers come in."""

from collections import Counter
from dataclasses import dataclass, field

EXAMPLES = 5


@dataclass
class Tally:
    """Counts of one run. Latencies and lags are microseconds, one sample per request; `order_at_s` are the intended
    starts, in seconds, of the samples of `order_us`.

    `span_s` is the time from the first intended start to the last order's answer.
    """

    sent: int = 0
    accepted: int = 0
    out_of_stock: int = 0
    order_errors: int = 0
    wrong_bodies: int = 0
    retried: int = 0
    units: int = 0
    captured: int = 0
    checking: int = 0
    paid: dict[str, int] = field(default_factory=dict)
    errors: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    first_placed_at: str = ""
    span_s: float = 0.0
    order_us: list[int] = field(default_factory=list)
    order_at_s: list[float] = field(default_factory=list)
    confirm_us: list[int] = field(default_factory=list)
    lag_us: list[int] = field(default_factory=list)

    @property
    def answered(self) -> int:
        """Orders that came to an end: accepted, sold out or an error."""
        return self.accepted + self.out_of_stock + self.order_errors

    def answer(self, at_s: float, latency_us: int) -> None:
        """An order intended at `at_s` seconds had its answer, or gave up, `latency_us` after that."""
        self.order_us.append(latency_us)
        self.order_at_s.append(at_s)
        self.span_s = max(self.span_s, at_s + latency_us / 1_000_000)

    def accept(self, placed_at: str, units: int, *, retried: bool) -> None:
        """An order was placed. `placed_at` is RFC 3339 UTC with six digits, whose text order is time order."""
        self.accepted += 1
        self.units += units
        self.retried += retried
        self.first_placed_at = min(self.first_placed_at or placed_at, placed_at)

    def pay(self, order_id: str, units: int, *, known: bool) -> None:
        """A payment was captured, or (`known` false) is being checked and has to become so."""
        self.paid[order_id] = units
        self.captured += known
        self.checking += not known

    def wrong(self, fault: str) -> None:
        """An accepted order's body says something it should not."""
        self.wrong_bodies += 1
        self.example(fault)

    def fail(self, what: str, detail: str) -> None:
        """An answer that is an error, by step and status and code, such as `order 503 unavailable`."""
        self.errors[what] += 1
        self.example(f"{what}: {detail}" if detail else what)

    def example(self, text: str) -> None:
        """Keeps the first few, for people."""
        if len(self.examples) < EXAMPLES:
            self.examples.append(text)
