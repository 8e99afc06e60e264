"""Latencies as a summary: exact percentiles over every sample, no buckets."""

import math
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
