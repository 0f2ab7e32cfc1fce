"""Time several calls in turns, for a fair comparison on a busy machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

MAX_SPREAD = 2.0
"""Largest ratio of the 90th to the 50th percentile of times that are compared with others."""


@dataclass(frozen=True)
class Speed:
    """Time of one call over `batch` items, in milliseconds, and items per second from the median."""

    batch: int
    p50: float
    p90: float
    p99: float

    @property
    def per_second(self) -> float:
        """Items per second."""
        return 1000 * self.batch / self.p50

    @property
    def is_steady(self) -> bool:
        """Whether the times are close enough together to be compared with others."""
        return self.p90 <= MAX_SPREAD * self.p50

    @classmethod
    def of(cls, batch: int, seconds: list[float]) -> Speed:
        """Compute the percentiles of measured times."""
        return cls(batch, *(float(value) for value in 1000 * np.percentile(seconds, [50, 90, 99])))


def interleaved(calls: Mapping[str, Callable[[], object]], rounds: int, warmup: int = 2) -> dict[str, list[float]]:
    """Time each call once per round and return the seconds.

    The first call rotates between rounds, so that temporary slowdowns of the machine affect all calls equally.
    """
    for _ in range(warmup):
        for call in calls.values():
            call()
    names = list(calls)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        first = turn % max(1, len(names))
        for name in (*names[first:], *names[:first]):
            start = time.perf_counter()
            calls[name]()
            seconds[name].append(time.perf_counter() - start)
    return seconds
