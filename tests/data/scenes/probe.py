"""A classifier that looks for label bias: softmax regression on whatever features it is given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np


def accuracy(
    train: np.ndarray, train_labels: Sequence[str], test: np.ndarray, test_labels: Sequence[str], *, steps: int = 200
) -> float:
    """Share of the test items that a regression fitted to the training items gets right."""
    names = sorted(set(train_labels))
    targets = np.eye(len(names))[[names.index(label) for label in train_labels]]
    mean, scale = train.mean(0), train.std(0) + 0.2  # rare features count less
    train, test = (train - mean) / scale, (test - mean) / scale
    weights, bias = np.zeros((train.shape[1], len(names))), np.zeros(len(names))
    moment = np.zeros_like(weights)
    for _ in range(steps):
        logits = train @ weights + bias
        probabilities = np.exp(logits - logits.max(1, keepdims=True))
        probabilities /= probabilities.sum(1, keepdims=True)
        error = (probabilities - targets) / len(train)
        moment = 0.9 * moment + train.T @ error + 5e-3 * weights
        weights -= 0.05 * moment
        bias -= 0.5 * error.sum(0)
    right = (test @ weights + bias).argmax(1) == [names.index(label) for label in test_labels]
    return float(right.mean())


class WordCounts:
    """Counts of the words and pairs of words that occur five times in the training texts."""

    def __init__(self, texts: Sequence[str]) -> None:
        counts = Counter(gram for text in texts for gram in _grams(text))
        self._columns = {gram: i for i, gram in enumerate(sorted(g for g, n in counts.items() if n >= 5))}

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        features = np.zeros((len(texts), len(self._columns)))
        for row, text in enumerate(texts):
            for gram in _grams(text):
                if gram in self._columns:
                    features[row, self._columns[gram]] += 1
        return features


def _grams(text: str) -> list[str]:
    words = text.split()
    return [*words, *(f"{first} {second}" for first, second in pairwise(words))]
