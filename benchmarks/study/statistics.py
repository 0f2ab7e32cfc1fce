"""Means and paired intervals over queries and seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.study.records import Record

RESAMPLES = 4000
LEVEL = 95


@dataclass(frozen=True)
class Effect:
    """A difference of R@1 in points, with its interval."""

    difference: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.difference:+.1f} ({self.low:+.1f} to {self.high:+.1f})"


def hits(records: Sequence[Record], protocol: str, k: int = 1) -> np.ndarray:
    """Return the share of an image's queries that are hits, the mean of both directions: (seeds, images) in per cent.

    Texts of an image follow each other and are equally many.
    """
    rows = []
    for record in records:
        images, texts = (np.array(ranks) <= k for ranks in record.ranks[protocol].values())
        rows.append((images + texts.reshape(len(images), -1).mean(axis=1)) / 2)
    return 100 * np.stack(rows)


def paired_effect(before: np.ndarray, after: np.ndarray) -> Effect:
    """Bootstrap of the difference of means over images and seeds, with images paired.

    Args:
        before, after: (seeds, images) of two methods on the same images. Seeds are drawn for each method by itself,
            because a seed means nothing to another method.
    """
    generator = np.random.default_rng(0)
    differences = np.empty(RESAMPLES)
    for sample in range(RESAMPLES):
        images = generator.integers(before.shape[1], size=before.shape[1])
        drawn = [values[generator.integers(len(values), size=len(values))] for values in (before, after)]
        differences[sample] = drawn[1].mean(axis=0)[images].mean() - drawn[0].mean(axis=0)[images].mean()
    tail = (100 - LEVEL) / 2
    low, high = np.percentile(differences, [tail, 100 - tail])
    return Effect(float(after.mean() - before.mean()), float(low), float(high))
