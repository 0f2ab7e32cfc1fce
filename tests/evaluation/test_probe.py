from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize

from cbalign.evaluation.calibration import BINS, Calibration
from cbalign.evaluation.linear import fit_linear
from cbalign.evaluation.probe import choose_l2, nearest_votes

from .conftest import unit_rows


@pytest.mark.parametrize("l2", [1e-1, 1e-3])
def test_the_linear_probe_is_the_minimum_that_scipy_finds(l2: float) -> None:
    generator = np.random.default_rng(0)
    x, y = unit_rows(generator, 60, 5).astype(np.float64), generator.integers(3, size=60)
    found = fit_linear(x, y, 3, l2)

    def loss(flat: np.ndarray) -> float:
        weights, bias = flat[:15].reshape(5, 3), flat[15:]
        logits = x @ weights + bias
        rows = [math.log(math.fsum(map(math.exp, row))) - row[label] for row, label in zip(logits, y, strict=True)]
        return math.fsum(rows) / 60 + l2 / 2 * float((weights**2).sum())

    minimum = optimize.minimize(loss, np.zeros(18), method="BFGS", options={"gtol": 1e-7})
    mine = np.concatenate([found.weights.ravel(), found.bias])
    assert loss(mine) == pytest.approx(minimum.fun, abs=1e-9)
    assert found.weights.ravel() == pytest.approx(minimum.x[:15], abs=1e-3)


def test_separable_classes_are_separated_and_noise_gets_a_strong_weight() -> None:
    generator = np.random.default_rng(1)
    centres = np.eye(4)
    y = generator.integers(4, size=80)
    x = centres[y] + 0.1 * generator.standard_normal((80, 4))
    assert (fit_linear(x, y, 4, choose_l2(x, y, 4)).logits(x).argmax(axis=1) == y).all()
    assert choose_l2(x, np.zeros(80, np.int64), 4) == 1e-1


@given(st.integers(0, 1000), st.integers(1, 9))
def test_votes_are_those_of_a_loop_over_the_nearest(seed: int, neighbours: int) -> None:
    generator = np.random.default_rng(seed)
    learned, vectors = (unit_rows(generator, count, 3).astype(np.float64) for count in (7, 4))
    labels = generator.integers(3, size=7)
    votes = nearest_votes(learned, labels, vectors, 3, neighbours, 0.1)
    for vector, found in zip(vectors, votes, strict=True):
        cosine = [float(vector @ other) for other in learned]
        expected = [0.0, 0.0, 0.0]
        for i in sorted(range(7), key=lambda i: -cosine[i])[:neighbours]:
            expected[labels[i]] += math.exp((cosine[i] - 1) / 0.1)
        assert found.tolist() == pytest.approx(expected, rel=1e-5)


@given(st.integers(0, 1000), st.integers(1, 40), st.integers(1, 6))
def test_calibration_equals_a_loop_over_bins(seed: int, queries: int, k: int) -> None:
    generator = np.random.default_rng(seed)
    scores = generator.standard_normal((queries, k)).astype(np.float32) * 3
    right = generator.random((queries, k)) < 0.4
    found = Calibration.of(scores, right)
    each = []
    for row, fits in zip(scores, right, strict=True):
        weights = [math.exp(float(one)) for one in row]
        each.append((max(weights) / math.fsum(weights), bool(fits[int(np.argmax(row))])))
    each.sort(key=lambda one: one[0])
    count = min(BINS, queries)
    sizes = [queries // count + (b < queries % count) for b in range(count)]
    error, start = 0.0, 0
    for size, reliability in zip(sizes, found.bins, strict=True):
        part = each[start : start + size]
        confidence, accuracy = (math.fsum(one[i] for one in part) / size for i in (0, 1))
        assert reliability.queries == size
        assert (reliability.confidence, reliability.accuracy) == pytest.approx((100 * confidence, 100 * accuracy))
        error += size / queries * abs(accuracy - confidence)
        start += size
    assert found.calibration_error == pytest.approx(100 * error, abs=1e-6)


def test_a_model_that_is_right_as_often_as_it_says_is_calibrated_and_ties_are_wrong() -> None:
    generator = np.random.default_rng(2)
    scores = generator.standard_normal((20_000, 4)).astype(np.float32)
    shares = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    drawn = (generator.random((20_000, 1)) > shares.cumsum(axis=1)).sum(axis=1)
    right = np.arange(4) == drawn[:, None]
    assert Calibration.of(scores, right).calibration_error < 2
    assert Calibration.of(10 * scores, right).calibration_error > 20
    tied = Calibration.of(np.zeros((5, 2), np.float32), np.array([[True, False]] * 5))
    assert (tied.confidence, tied.calibration_error) == (50, 50)
