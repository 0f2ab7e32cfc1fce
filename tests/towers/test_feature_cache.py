"""Features of frozen image towers that are kept on disk."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cbalign.data.feature_store import FeatureStore
from cbalign.engine.checkpoint import read_model
from tests.towers.pictures import logged, train

TOLERANCE = 1e-5
"""Of losses in float32: batches of another size round in another way, so that few features differ in the last bit of
float16."""


def assert_close(found: list[dict], expected: list[dict], tolerance: float) -> None:
    assert len(found) == len(expected) > 6
    for one, other in zip(found, expected):
        assert one.keys() == other.keys()
        for name, value in other.items():
            assert one[name] == (pytest.approx(value, abs=tolerance, rel=tolerance) if name != "kind" else value), name


@pytest.mark.parametrize("task", ["pretrain", "nlvr2", "vqa"])
def test_training_gives_the_same_numbers_with_and_without_kept_features(task, pictures, cache):
    spec = pictures / f"{task}.yaml"
    plain = logged(train(spec, "train.feature_cache=off", runs="plain"))
    assert not cache.exists()
    computed = logged(train(spec, runs="first"))
    assert len(list(cache.iterdir())) == 2, "augmented features of the training, plain ones of the evaluation"
    read = logged(train(spec, runs="second"))
    assert_close(computed, plain, TOLERANCE)
    assert read == computed
