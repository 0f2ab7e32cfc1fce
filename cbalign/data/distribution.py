"""Distributions of whole numbers: mean and percentiles."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

_PERCENTILES = (5, 50, 95, 99)


@dataclass(frozen=True)
class Distribution:
    """Least, mean and greatest of `count` numbers, and the percentiles p5, p50, p95 and p99."""

    count: int
    least: int
    mean: float
    p5: int
    p50: int
    p95: int
    p99: int
    greatest: int

    @classmethod
    def of(cls, counted: Counter[int]) -> Distribution | None:
        """Summarise numbers that were counted; None if there are none."""
        total = counted.total()
        if not total:
            return None
        ordered = sorted(counted)
        p5, p50, p95, p99 = (_at(ordered, counted, total * percent / 100) for percent in _PERCENTILES)
        mean = sum(number * times for number, times in counted.items()) / total
        return cls(total, ordered[0], mean, p5, p50, p95, p99, ordered[-1])


def _at(ordered: list[int], counted: Counter[int], rank: float) -> int:
    """Return the least number that at least `rank` of the numbers do not exceed."""
    below = 0
    for number in ordered:
        below += counted[number]
        if below >= rank:
            return number
    return ordered[-1]
