from __future__ import annotations

import numpy as np
import pytest

from cbalign.evaluation.metrics import DirectionResult, RetrievalMetrics, bootstrap


def test_metrics_of_hand_made_ranks() -> None:
    metrics = RetrievalMetrics.of(np.array([1, 1, 3, 6, 50]))
    assert metrics == RetrievalMetrics(r1=40, r5=60, r10=80, mean_rank=12.2, median_rank=3)


def test_the_interval_of_a_recall_is_that_of_its_standard_error() -> None:
    generator = np.random.default_rng(1)
    ranks = np.where(generator.random(2000) < 0.3, 1, 20)
    interval = bootstrap(ranks, 4000)
    share = (ranks == 1).mean()
    half_width = 100 * 1.96 * np.sqrt(share * (1 - share) / 2000)
    assert interval.low.r1 == pytest.approx(100 * share - half_width, abs=0.15)
    assert interval.high.r1 == pytest.approx(100 * share + half_width, abs=0.15)
    assert interval.low.r5 == interval.low.r1  # ranks are 1 or 20
    assert interval.low.mean_rank == pytest.approx(20 - 19 * interval.high.r1 / 100)


def test_intervals_agree_with_scipy() -> None:
    from scipy import stats

    ranks = np.random.default_rng(2).geometric(0.1, size=500)
    interval = bootstrap(ranks, 3000)
    expected = stats.bootstrap((ranks,), np.mean, n_resamples=3000, method="percentile", rng=0).confidence_interval
    assert interval.low.mean_rank == pytest.approx(expected.low, abs=0.1)
    assert interval.high.mean_rank == pytest.approx(expected.high, abs=0.1)


def test_intervals_are_the_same_every_time_and_can_be_left_out() -> None:
    ranks = np.arange(1, 60)
    assert bootstrap(ranks, 100) == bootstrap(ranks, 100)
    assert DirectionResult.of(ranks, 0).interval is None
