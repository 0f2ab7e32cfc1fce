"""Retrieval metrics of ranks, with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cbalign.data.arrays import IntArray

_CHUNK_DRAWS = 1 << 22
_SEED = 0
CONFIDENCE = 95  # per cent


@dataclass(frozen=True)
class RetrievalMetrics:
    """The metrics of one direction. `rK`: per cent of queries with a right item among the first K."""

    r1: float
    r5: float
    r10: float
    mean_rank: float
    median_rank: float

    @classmethod
    def of(cls, ranks: IntArray) -> RetrievalMetrics:
        """The metrics of ranks (Q,) that count from 1."""
        return cls(*(float(column[0]) for column in _columns(ranks[None])))


@dataclass(frozen=True)
class Interval:
    """The 95 % interval of each metric."""

    low: RetrievalMetrics
    high: RetrievalMetrics


@dataclass(frozen=True)
class DirectionResult:
    """One direction of retrieval: the rank of every query, the metrics and their intervals."""

    ranks: IntArray  # (Q,)
    metrics: RetrievalMetrics
    interval: Interval | None

    @classmethod
    def of(cls, ranks: IntArray, resamples: int) -> DirectionResult:
        """Metrics of ranks (Q,), with an interval from `resamples` bootstrap samples unless that is 0."""
        return cls(ranks, RetrievalMetrics.of(ranks), bootstrap(ranks, resamples) if resamples else None)

    def to_json(self) -> dict[str, object]:
        """Return JSON values, with the rank of every query."""
        return {
            "metrics": asdict(self.metrics),
            "interval_95": None if self.interval is None else asdict(self.interval),
            "ranks": self.ranks.tolist(),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> DirectionResult:
        """Read the values that `to_json` returns; raises KeyError or TypeError where they are malformed."""
        interval = values["interval_95"]
        return cls(
            np.asarray(values["ranks"], np.int64),
            RetrievalMetrics(**values["metrics"]),
            None
            if interval is None
            else Interval(RetrievalMetrics(**interval["low"]), RetrievalMetrics(**interval["high"])),
        )


def bootstrap(ranks: IntArray, resamples: int) -> Interval:
    """Percentile intervals over queries drawn with replacement; the same for the same ranks.

    The draws depend on the number of queries only, so two models on the same queries are resampled alike.
    """
    return _percentiles([np.stack(_columns(ranks[drawn])) for drawn in _draws(len(ranks), resamples)])


def paired_difference(before: IntArray, after: IntArray, resamples: int) -> Interval:
    """Percentile intervals of the change of each metric from one model to another.

    Both are measured on the same drawn queries, so what makes a query hard for both cancels.

    Args:
        before, after: (Q,) ranks of the same queries in the same order.
        resamples: bootstrap samples.
    """
    drawn = _draws(len(before), resamples)
    return _percentiles([np.stack(_columns(after[d])) - np.stack(_columns(before[d])) for d in drawn])


def mean_interval(values: NDArray[np.float64], resamples: int) -> tuple[float, float]:
    """Ends of the percentile interval of the mean of values (Q,), over items drawn with replacement.

    The draws depend on Q only; of the differences of two models on the same items it is the paired interval.
    """
    means = np.concatenate([values[drawn].mean(axis=1) for drawn in _draws(len(values), resamples)])
    tail = (100 - CONFIDENCE) / 2
    low, high = np.percentile(means, [tail, 100 - tail]).tolist()
    return low, high


def _draws(queries: int, resamples: int) -> Iterator[IntArray]:
    """Positions (S, Q) of queries drawn with replacement, as many rows at a time as memory should hold."""
    generator = np.random.default_rng(_SEED)
    rows = max(1, _CHUNK_DRAWS // queries)
    for start in range(0, resamples, rows):
        yield generator.integers(queries, size=(min(rows, resamples - start), queries))


def _percentiles(parts: Sequence[NDArray[np.float64]]) -> Interval:
    """Ends of the interval of each metric, from samples (metrics, S)."""
    samples = np.concatenate(parts, axis=1)
    tail = (100 - CONFIDENCE) / 2
    low, high = np.percentile(samples, [tail, 100 - tail], axis=1).tolist()
    return Interval(RetrievalMetrics(*low), RetrievalMetrics(*high))


def _columns(ranks: IntArray) -> list[np.ndarray[tuple[int], np.dtype[np.float64]]]:
    """Each metric (S,) of S samples of ranks (S, Q), in the order of `RetrievalMetrics`."""
    recalls = [100 * (ranks <= k).mean(axis=1) for k in (1, 5, 10)]
    return [*recalls, ranks.mean(axis=1), np.median(ranks, axis=1)]
