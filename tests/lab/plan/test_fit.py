"""The largest batch that fits, on GPUs whose memory is chosen so that it decides."""

import json
from dataclasses import replace

import pytest

from cbalign.errors import UsageError
from cbalign.experiment.experiment import Experiment
from cbalign.experiment.load import LoadedExperiment
from cbalign.lab.plan.fit import fit_batch
from cbalign.lab.plan.gpus import CONTEXT, GPUS
from cbalign.lab.plan.plan import Planner

LARGE = GPUS["h100-80gb"]


def planner(*, batch=8, total=None, queue=96, devices=1, pairs=100_000):
    """A planner of a small experiment on data that are not there."""
    size = {"layers": 1, "width": 32, "heads": 2}
    text = {"architecture": "bert-mini", "init": "random", "tokenizer": "captions", "vocabulary": 200}
    experiment = Experiment.model_validate_json(
        json.dumps(
            {
                "cbalign": 1,
                "name": "fitted",
                "model": {
                    "vision": {
                        "kind": "timm",
                        "architecture": "vit_tiny_patch16_224",
                        "image_size": 64,
                        "init": "random",
                        **size,
                    },
                    "text": {**text, **size, "intermediate": 64, "max_tokens": 8},
                    "fusion": {"layers": 1},
                    "joint_dim": 16,
                    "codebook": {"size": 32},
                    "queue": {"length": queue},
                },
                "data": {"train": {"source": "csv", "files": ["/nowhere/pairs.csv"], "root": "/nowhere"}},
                "train": {"batch_size": batch, "global_batch_size": total},
            }
        )
    )
    return Planner(LoadedExperiment(experiment, {}, "fitted.yaml"), devices=devices, pairs=pairs)


def gpu_with(usable):
    """A GPU on which a training can count on so many bytes."""
    return replace(LARGE, name="toy", memory=round((usable + CONTEXT) / 0.95))


def memory(plans, size):
    return plans.plan((), batch_size=size).memory.total


def test_the_batch_that_is_found_fits_and_the_next_does_not():
    plans = planner()
    found = fit_batch(plans, gpu_with(memory(plans, 24) + 1000))
    assert found.batch_size == 24
    assert found.limit == "memory"
    assert found.plan.memory.total <= found.gpu.usable < found.next_bytes
    assert found.next_bytes == memory(plans, found.next_batch_size)
    assert found.plan.experiment.train.batch_size == 24


def test_a_global_batch_is_kept_by_accumulating():
    plans = planner(total=96, devices=2)
    found = fit_batch(plans, gpu_with(memory(plans, 16) + 1000))
    assert found.batch_size == 16
    assert found.next_batch_size == 24, "the next that divides 96 pairs on 2 devices"
    assert found.plan.length.global_batch_size == 96
    assert found.plan.length.micro_steps == 3


@pytest.mark.parametrize(
    ("given", "most", "limit"),
    [
        ({"total": 96, "devices": 2}, 48, "nothing is left to accumulate"),
        ({"queue": 64}, 64, "model.queue.length 64"),
        ({"queue": 64, "devices": 4}, 16, "model.queue.length 64"),
        ({"queue": 0, "pairs": 100}, 96, "100 pairs"),
    ],
)
def test_what_limits_a_batch_that_has_memory_enough_is_said(given, most, limit):
    found = fit_batch(planner(**given), LARGE)
    assert found.batch_size == most
    assert limit in found.limit
    assert found.next_bytes is None


def test_a_gpu_too_small_for_one_pair_gets_none():
    found = fit_batch(planner(queue=4), gpu_with(1000))
    assert found.batch_size is None
    assert found.plan.experiment.train.batch_size == 1
    assert found.next_bytes == found.plan.memory.total


def test_a_global_batch_that_the_devices_cannot_share_is_refused():
    with pytest.raises(UsageError, match="not a multiple of 3 devices"):
        fit_batch(planner(total=64, devices=3), LARGE)
