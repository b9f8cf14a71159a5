"""What is counted while work goes on: plain numbers, made into metrics only when somebody asks for them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence

# Seconds. From a greeting to a training that takes an hour.
LATENCIES = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)
# Seconds. From a disk that keeps nothing back to one that is overwhelmed.
COMMITS = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

# A yard may have thousands of models; whoever reads the figures keeps each of them for ever.
MODELS = 200
OTHERS = "(others)"


def within(known: Mapping[str, object], model: str) -> str:
    """The model that something is counted for: itself, or `OTHERS` where there are figures of `MODELS` already."""
    return model if model in known or len(known) < MODELS else OTHERS


class Histogram:
    """How many values fell below each of some bounds, and their sum. For one thread that observes; any may read."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value; one on a bound is below it."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def with_those_of(self, other: Histogram) -> Histogram:
        """A new one with the values of both, which have the same bounds."""
        both = Histogram(self.bounds)
        both.counts = [mine + its for mine, its in zip(self.counts, other.counts, strict=True)]
        both.total = self.total + other.total
        return both

    def cumulative(self) -> list[tuple[float, int]]:
        """Each bound, the last one infinite, and how many values were not above it."""
        found, number = [], 0
        for bound, count in zip((*self.bounds, float("inf")), tuple(self.counts), strict=True):
            number += count
            found.append((bound, number))
        return found
