"""Latencies as a summary: exact percentiles over every sample, no buckets."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Latency:
    """A summary of samples, in milliseconds; all zero without samples."""

    count: int
    mean_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float


@dataclass(frozen=True)
class Second:
    """One second of a run: requests that were meant to start in it and their latency, and answers that came in it."""

    at_s: int
    started: int
    answered: int
    p50_ms: float
    p99_ms: float


CURVE = (1, 5, 10, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 99.99, 100)
"""The percentages at which a latency curve is drawn."""


def percentile(ordered: Sequence[int], percent: float) -> int:
    """The smallest sample that at least `percent` of all samples do not exceed (nearest rank); 0 without samples."""
    if not ordered:
        return 0
    rank = math.ceil(percent / 100 * len(ordered))
    return ordered[max(rank, 1) - 1]


def summary(samples_us: Sequence[int]) -> Latency:
    """Summarizes samples that are in microseconds."""
    ordered = sorted(samples_us)
    return Latency(
        count=len(ordered),
        mean_ms=sum(ordered) / len(ordered) / 1_000 if ordered else 0.0,
        p50_ms=percentile(ordered, 50) / 1_000,
        p95_ms=percentile(ordered, 95) / 1_000,
        p99_ms=percentile(ordered, 99) / 1_000,
        max_ms=percentile(ordered, 100) / 1_000,
    )


def curve(samples_us: Sequence[int]) -> list[tuple[float, float]]:
    """Pairs of a percentage and the latency (ms) that so many of the samples (microseconds) do not exceed."""
    ordered = sorted(samples_us)
    return [(percent, percentile(ordered, percent) / 1_000) for percent in CURVE]


def over_time(at_s: Sequence[float], samples_us: Sequence[int]) -> list[Second]:
    """The run second by second. `at_s` are the intended starts of the samples."""
    started: dict[int, list[int]] = defaultdict(list)
    answered = Counter(int(at + us / 1_000_000) for at, us in zip(at_s, samples_us, strict=True))
    for at, us in zip(at_s, samples_us, strict=True):
        started[int(at)].append(us)
    seconds = []
    for second in range(max((*answered, *started), default=-1) + 1):
        ordered = sorted(started[second])
        p50_ms, p99_ms = (percentile(ordered, percent) / 1_000 for percent in (50, 99))
        seconds.append(Second(second, len(ordered), answered[second], p50_ms, p99_ms))
    return seconds
