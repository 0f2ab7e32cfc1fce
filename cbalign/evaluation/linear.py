"""Multinomial logistic regression, in numpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cbalign.data.arrays import IntArray

_Wide = NDArray[np.float64]
_STEPS = 2000
_TOLERANCE = 1e-6  # of the gradient's largest entry


@dataclass(frozen=True)
class LinearClassifier:
    """Logits of a linear classifier: x W + b with weights (d, C) and bias (C,)."""

    weights: _Wide
    bias: _Wide

    def logits(self, vectors: _Wide) -> _Wide:
        """Compute logits (N, C) of vectors (N, d)."""
        return vectors @ self.weights + self.bias


def fit_linear(vectors: _Wide, targets: IntArray, classes: int, l2: float) -> LinearClassifier:
    """Minimise mean cross-entropy + l2/2 ‖W‖² over weights and bias, both from 0.

    Accelerated gradient descent with constant momentum for strongly convex functions (Nesterov, 2004, 2.2.19), until no
    entry of the gradient exceeds 1e-6. The step is 1/L with L = (‖X‖² / N)/2 + l2, the bound of the curvature of
    softmax cross-entropy; X has a column of ones, whose weights, the bias, are not decayed.

    Args:
        vectors: (N, d).
        targets: (N,) classes.
        classes: C.
        l2: weight decay.
    """
    x = np.concatenate([vectors, np.ones((len(vectors), 1))], axis=1)
    decay = np.full((x.shape[1], 1), l2)
    decay[-1] = 0
    largest = float(np.linalg.eigvalsh(x.T @ x / len(x))[-1]) / 2 + l2
    wanted = np.zeros((len(x), classes))
    wanted[np.arange(len(x)), targets] = 1
    root = (l2 / largest) ** 0.5
    momentum = (1 - root) / (1 + root)
    weights = ahead = np.zeros((x.shape[1], classes))
    for _ in range(_STEPS):
        gradient = x.T @ (_softmax(x @ ahead) - wanted) / len(x) + decay * ahead
        following = ahead - gradient / largest
        ahead, weights = following + momentum * (following - weights), following
        if np.abs(gradient).max() < _TOLERANCE:
            break
    return LinearClassifier(weights[:-1], weights[-1])


def _softmax(logits: _Wide) -> _Wide:
    shifted: _Wide = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)
