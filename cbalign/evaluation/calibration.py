"""Whether the confidence of re-ranking can be trusted: expected calibration error with bins of equal mass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cbalign.data.arrays import FloatArray

BINS = 10


@dataclass(frozen=True)
class ReliabilityBin:
    """Queries of similar confidence: their number, mean confidence and share of right first candidates, in per cent."""

    queries: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Calibration:
    """Calibration of the first candidate of Q queries.

    The confidence c of a query is its largest softmax of match scores over its candidates; it is right if the first
    candidate is (a wrong one with the same score counts as first). The queries are sorted by confidence and cut into
    `BINS` bins of equal size:

        ECE = Σ_b n_b/Q |mean of right in b − mean of c in b|

    (Naeini et al., AAAI 2015; with bins of equal mass as in Nixon et al., CVPR workshops 2019).

    Attributes:
        calibration_error: ECE in points, from 0 to 100.
        confidence: mean confidence in per cent; above the share of right ones, the model is overconfident.
        bins: reliability, from the least to the most confident queries.
    """

    calibration_error: float
    confidence: float
    bins: tuple[ReliabilityBin, ...]

    @classmethod
    def of(cls, scores: FloatArray, right: NDArray[np.bool_]) -> Calibration:
        """Measure match scores (Q, k) of candidates, with whether each is right (Q, k)."""
        wide = scores.astype(np.float64)
        confidence = 1 / np.exp(wide - wide.max(axis=1, keepdims=True)).sum(axis=1)
        best_wrong = np.where(right, -np.inf, wide).max(axis=1)
        correct = np.where(right, wide, -np.inf).max(axis=1) > best_wrong
        order = np.argsort(confidence, kind="stable")
        bins = tuple(
            ReliabilityBin(len(part), 100 * float(confidence[part].mean()), 100 * float(correct[part].mean()))
            for part in np.array_split(order, min(BINS, len(order)))
        )
        error = sum(each.queries * abs(each.accuracy - each.confidence) for each in bins) / len(order)
        return cls(error, 100 * float(confidence.mean()), bins)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Calibration:
        """Read the values that `asdict` returns; raises KeyError or TypeError where they are malformed."""
        bins = tuple(ReliabilityBin(**each) for each in values["bins"])
        return cls(values["calibration_error"], values["confidence"], bins)
