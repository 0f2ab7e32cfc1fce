"""From ranks to recall, with bootstrap intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cbalign.encoders import IntArray

_CHUNK_DRAWS = 1 << 22
_SEED = 0
CONFIDENCE = 95  # per cent


@dataclass(frozen=True)
class RetrievalMetrics:
    """Of one direction. `rK`: per cent of the queries that find a right item among the first K."""

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
class Direction:
    """One direction of retrieval: the rank of every query, what follows from them, and how certain it is."""

    ranks: IntArray  # (Q,)
    metrics: RetrievalMetrics
    interval: Interval | None

    @classmethod
    def of(cls, ranks: IntArray, resamples: int) -> Direction:
        """Metrics of ranks (Q,), with an interval from `resamples` bootstrap samples unless that is 0."""
        return cls(ranks, RetrievalMetrics.of(ranks), bootstrap(ranks, resamples) if resamples else None)


def bootstrap(ranks: IntArray, resamples: int) -> Interval:
    """Percentile intervals over queries drawn with replacement; the same for the same ranks.

    The draws depend on the number of queries only, so two models on the same queries are resampled alike.
    """
    generator = np.random.default_rng(_SEED)
    rows = max(1, _CHUNK_DRAWS // len(ranks))
    parts = []
    for start in range(0, resamples, rows):
        drawn = generator.integers(len(ranks), size=(min(rows, resamples - start), len(ranks)))
        parts.append(np.stack(_columns(ranks[drawn])))
    samples = np.concatenate(parts, axis=1)  # (metrics, resamples)
    tail = (100 - CONFIDENCE) / 2
    low, high = np.percentile(samples, [tail, 100 - tail], axis=1).tolist()
    return Interval(RetrievalMetrics(*low), RetrievalMetrics(*high))


def _columns(ranks: IntArray) -> list[np.ndarray[tuple[int], np.dtype[np.float64]]]:
    """Each metric (S,) of S samples of ranks (S, Q), in the order of `RetrievalMetrics`."""
    recalls = [100 * (ranks <= k).mean(axis=1) for k in (1, 5, 10)]
    return [*recalls, ranks.mean(axis=1), np.median(ranks, axis=1)]
