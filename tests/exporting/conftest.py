from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cbalign.engine.reporter import Silent
from cbalign.experiment.load import load_experiment
from cbalign.exporting.bundle import Exported, export_run
from cbalign.tasks.train import train_experiment

SPEC = """\
cbalign: 1
name: tiny
model:
  vision:
    {architecture: vit_tiny_patch16_224, image_size: 32, patch_size: 8, layers: 2, width: 24, heads: 3, init: random}
  text:
    {architecture: bert-mini, layers: 2, width: 24, heads: 3, intermediate: 48, init: random, tokenizer: captions,
     vocabulary: 100, max_tokens: 12}
  fusion: {layers: 2}
  joint_dim: 16
  codebook: {size: 12}
  queue: {length: 16}
data:
  train: {source: csv, files: [pairs.csv]}
  validation: {source: csv, files: [pairs.csv]}
  test: {source: csv, files: [pairs.csv]}
evaluate: [{kind: retrieval, on: validation, protocols: [dual, rerank, code], top_k: 8, bootstrap: 50}]
train:
  duration: 4 steps
  batch_size: 16
  precision: fp32
  device: cpu
  schedule: {kind: cosine, warmup: 1 step}
  optimizer: {lr: 1e-3}
"""

WORDS = ["red", "blue", "green", "dark", "light", "small", "large", "round", "square", "striped"]


def write_experiment(folder: Path, pictures: int = 40) -> Path:
    """A spec with pictures of its own: flat colours with noise, captions of one to nine words."""
    generator = np.random.default_rng(7)
    with open(folder / "pairs.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("image", "caption"))
        for number in range(pictures):
            colour = generator.integers(0, 200, 3)
            noise = generator.integers(0, 56, (20, 24, 3))
            Image.fromarray((colour + noise).astype(np.uint8)).save(folder / f"{number}.png")
            words = generator.choice(WORDS, 1 + number % 9)
            rows.writerow((f"{number}.png", f"{' '.join(words)} {number}"))
    (folder / "tiny.yaml").write_text(SPEC)
    return folder / "tiny.yaml"


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four steps with every part of the model."""
    folder = tmp_path_factory.mktemp("experiment")
    spec = load_experiment(write_experiment(folder))
    return train_experiment(spec, folder / "runs", Silent(), argv=["cbalign"]).run.folder


@pytest.fixture(scope="session")
def exported(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Its bundle, in every precision that a CPU runs."""
    return export_run(run, tmp_path_factory.mktemp("exports") / "tiny", precisions=("fp32", "fp16", "int8"))
