"""One small model, trained once through the public API, and its bundle."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import cbalign

OLD_RUNS = Path(__file__).parents[1] / "compatibility/runs"
COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (40, 60, 220), "black": (10, 10, 10)}
THINGS = ("cat", "dog", "car", "cup", "hat")

SPEC = {
    "cbalign": 1,
    "name": "mine",
    "model": {
        "vision": {
            "architecture": "vit_tiny_patch16_224", "image_size": 16, "patch_size": 8, "layers": 1, "width": 16,
            "heads": 2, "init": "random",
        },
        "text": {
            "architecture": "bert-mini", "layers": 1, "width": 16, "heads": 2, "intermediate": 16, "init": "random",
            "tokenizer": "captions", "vocabulary": 100,
        },
        "fusion": {"layers": 1},
        "joint_dim": 8,
        "codebook": {"size": 6},
        "queue": {"length": 8},
    },
    "data": {
        "train": {"source": "scenes", "split": "train", "size": 12, "render_size": 32},
        "validation": {"source": "scenes", "split": "validation", "size": 6, "render_size": 32},
    },
    "train": {
        "duration": "4 steps", "batch_size": 4, "device": "cpu", "precision": "fp32",
        "schedule": {"warmup": "1 step"}, "log_every": "2 steps", "checkpoint_every": "2 steps", "keep_checkpoints": 2,
    },
    "evaluate": [{"on": "validation", "protocols": ["dual", "rerank", "code"], "top_k": 4, "bootstrap": 10}],
}  # fmt: skip


def make_pairs(seed=0):
    rng = np.random.default_rng(seed)
    noise = lambda colour: np.clip(rng.normal(colour, 20, (20, 24, 3)), 0, 255).astype(np.uint8)  # noqa: E731
    return [(Image.fromarray(noise(rgb)), f"a {name} {what}") for name, rgb in COLOURS.items() for what in THINGS]


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """The folder that the session's run and bundle are in."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def pairs():
    return make_pairs()


@pytest.fixture(scope="session")
def pictures(pairs):
    return [image for image, _ in pairs]


@pytest.fixture(scope="session")
def lines():
    """What `on_step` was called with while the run was trained."""
    return []


@pytest.fixture(scope="session")
def run(home, pairs, lines):
    return cbalign.train(
        SPEC, data=pairs, validation=pairs[::4], runs=home / "runs", on_step=lines.append, progress=False
    )


@pytest.fixture(scope="session")
def bundle(run, home):
    return cbalign.export(run, home / "exports/mine")


@pytest.fixture(scope="session")
def run_model(run):
    return cbalign.load(run, device="cpu")


@pytest.fixture(scope="session")
def bundle_model(bundle):
    return bundle.load(device="cpu")


@pytest.fixture(scope="session")
def checkpoint_model(run):
    return cbalign.load(str(run.checkpoints[-1]), device="cpu")


@pytest.fixture(params=["run", "checkpoint", "bundle"])
def model(request):
    return request.getfixturevalue(f"{request.param}_model")


@pytest.fixture(scope="session")
def folder(home, pictures):
    """Image files."""
    place = home / "pictures"
    place.mkdir()
    for number, picture in enumerate(pictures):
        picture.save(place / f"{number}.png")
    return place


@pytest.fixture
def old_run(tmp_path):
    """Copies a small stored run of a task."""

    def copy(name):
        (found,) = OLD_RUNS.glob(f"{name}-2*")
        return Path(shutil.copytree(found, tmp_path / "runs" / os.path.basename(found)))

    return copy
