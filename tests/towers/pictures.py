"""Random pictures with captions, statements and questions, and specs whose image tower is frozen."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from cbalign.engine.reporter import Silent
from cbalign.experiment.load import load_experiment
from cbalign.tasks.train import Trained, train_experiment

MODEL = """\
model:
  vision:
    {architecture: vit_tiny_patch16_224, image_size: 16, patch_size: 8, layers: 2, width: 16, heads: 2, init: random,
     drop_path: 0.1, train: frozen}
  text:
    {architecture: bert-mini, layers: 1, width: 16, heads: 2, intermediate: 16, init: random, tokenizer: captions,
     vocabulary: 100, dropout: 0}
  fusion: {layers: 1}
  joint_dim: 8
  queue: {length: 8}
"""
TRAIN = """\
train:
  duration: 6 steps
  batch_size: 4
  precision: fp32
  device: cpu
  schedule: {kind: cosine, warmup: 0 steps}
  optimizer: {lr: 0.01}
  log_every: 1 steps
  evaluate_every: 3 steps
  checkpoint_every: 3 steps
"""
VIEWS = "{crop_scale: [0.5, 1], views: 3}"
SPECS = {
    "pretrain": (
        "pretrain",
        "{source: csv, files: [pairs.csv]}",
        "{kind: retrieval, on: validation, protocols: [dual, rerank], top_k: 2}",
        "  codebook: {size: 6}\n",
    ),
    "nlvr2": ("nlvr2", "{source: nlvr2, files: [nlvr2.jsonl]}", "{kind: accuracy, on: validation}", ""),
    "vqa": ("vqa", "{source: albef-vqa, files: [vqa.json], root: .}", "{kind: vqa, on: validation}", ""),
}
COUNT = 12


def write_pictures(folder: Path) -> Path:
    """Write 12 pictures, lists that name them, and the specs `pretrain.yaml`, `nlvr2.yaml` and `vqa.yaml`."""
    random = np.random.default_rng(0)
    for name in [f"{i}.png" for i in range(COUNT)] + [f"dev-{i}-0-img{p}.png" for i in range(COUNT) for p in (0, 1)]:
        Image.fromarray(random.integers(0, 255, (24, 20, 3), np.uint8)).save(folder / name)
    (folder / "pairs.csv").write_text("image,caption\n" + "".join(f"{i}.png,picture {i}\n" for i in range(COUNT)))
    statements = [
        {"identifier": f"dev-{i}-0-0", "sentence": f"the left is number {i % 3}", "label": str(i % 2 == 0)}
        for i in range(COUNT)
    ]
    (folder / "nlvr2.jsonl").write_text("".join(json.dumps(line) + "\n" for line in statements))
    questions = [
        {"question_id": i, "image": f"{i % 6}.png", "question": f"which number {i}", "answer": ["one", "two"][i % 2]}
        for i in range(COUNT)
    ]
    (folder / "vqa.json").write_text(json.dumps(questions))
    for name, (task, data, evaluation, more) in SPECS.items():
        (folder / f"{name}.yaml").write_text(
            f"cbalign: 1\nname: {name}\ntask: {{kind: {task}}}\n{MODEL}{more}"
            f"data:\n  train: {data}\n  validation: {data}\n  augmentation: {VIEWS}\n{TRAIN}evaluate: [{evaluation}]\n"
        )
    return folder


def train(spec: Path, *overrides: str, runs: str = "runs") -> Trained:
    """Train a spec in a folder next to it."""
    return train_experiment(load_experiment(spec, overrides), spec.parent / runs, Silent())


def rewind(trained: Trained, step: int, last: int) -> None:
    """Make a finished run look as if it had been killed after the checkpoint of `step`."""
    shutil.rmtree(trained.run.checkpoints / f"step-{last}")
    (trained.run.checkpoints / "latest").write_text(f"step-{step}\n")
    manifest = trained.run.manifest
    manifest.write_text(manifest.read_text().replace('"finished"', '"interrupted"'))


def logged(trained: Trained) -> list[dict[str, float]]:
    """All numbers that a run logged, without what depends on time."""
    return logged_by(trained.run.folder)


def logged_by(folder: Path) -> list[dict[str, float]]:
    """The same of the run in a folder."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in flattened(line).items() if k not in ("time", "samples_per_second")} for line in lines]


def flattened(line: dict) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, value in line.items():
        found |= flattened(value) if isinstance(value, dict) else {name: value}
    return found
