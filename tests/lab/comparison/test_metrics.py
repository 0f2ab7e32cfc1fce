"""Whether a difference between two models is a clear one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from cbalign.evaluation.metrics import RetrievalMetrics, bootstrap, paired_difference
from cbalign.lab.comparison.metrics import judge_change

RANKS = st.lists(st.integers(1, 30), min_size=2, max_size=40).map(np.array)


@given(ranks=RANKS)
def test_a_model_does_not_differ_from_itself(ranks):
    interval = paired_difference(ranks, ranks, 50)
    assert interval.low == interval.high == RetrievalMetrics(0, 0, 0, 0, 0)


@given(ranks=RANKS, seed=st.integers(0, 99))
def test_the_way_back_mirrors_the_way_there(ranks, seed):
    other = np.random.default_rng(seed).permutation(ranks)
    there, back = paired_difference(ranks, other, 200), paired_difference(other, ranks, 200)
    for name in ("r1", "r5", "r10", "mean_rank"):
        assert getattr(there.low, name) == pytest.approx(-getattr(back.high, name))
        assert getattr(there.high, name) == pytest.approx(-getattr(back.low, name))


def test_the_interval_is_scipys_paired_bootstrap():
    generator = np.random.default_rng(3)
    before = generator.integers(1, 12, 300)
    after = np.maximum(1, before + generator.integers(-2, 2, 300))

    def recall(a, b, axis):
        return 100 * ((b <= 1).mean(axis=axis) - (a <= 1).mean(axis=axis))

    theirs = stats.bootstrap(
        (before, after), recall, paired=True, method="percentile", n_resamples=4000, rng=generator
    ).confidence_interval
    ours = paired_difference(before, after, 4000)
    assert (ours.low.r1, ours.high.r1) == pytest.approx((theirs.low, theirs.high), abs=0.7)


def test_pairing_makes_intervals_narrow_where_queries_are_hard_for_both():
    generator = np.random.default_rng(5)
    before = generator.integers(1, 100, 400)
    after = np.where(np.arange(400) < 8, 1, before)
    paired = paired_difference(before, after, 500)
    alone = bootstrap(before, 500)
    assert paired.high.r5 - paired.low.r5 < (alone.high.r5 - alone.low.r5) / 2


@pytest.mark.parametrize(
    ("field", "delta", "low", "high", "said"),
    [
        ("r1", 0.6, -0.2, 1.4, "not a clear change"),
        ("r1", 0.6, 0.0, 1.4, "not a clear change"),
        ("r1", 0.6, 0.2, 1.4, "better"),
        ("r1", -0.6, -1.4, -0.2, "worse"),
        ("mean_rank", -0.6, -1.4, -0.2, "better"),
        ("mean_rank", 0.6, 0.2, 1.4, "worse"),
        ("r1", 0.0, 0.0, 0.0, "the same"),
    ],
)
def test_a_change_is_clear_when_its_interval_leaves_0_out(field, delta, low, high, said):
    assert judge_change(field, delta, low, high) == said
