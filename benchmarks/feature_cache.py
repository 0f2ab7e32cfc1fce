"""Measure an epoch of training with frozen towers, with and without their features on disk.

    python -m benchmarks.feature_cache [--architecture tf_efficientnet_lite0] [--images 256] [--all-objectives]

The image tower reads 224 pixels and the text tower has the size of MiniLM; both have random weights, which cost as much
as others. The images are smooth random JPEG files of 500 x 375 pixels, one caption each; augmentation is
RandAugment with four views. One process trains three epochs by the engine, as `cbalign train` does, first with
`train.feature_cache: off`, then with the features computed before the first step; the last epoch of each is compared.
Exits with 1 if the ratio is below `BAR`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from cbalign.engine.reporter import Silent
from cbalign.engine.tracker import Record
from cbalign.experiment.load import load_experiment
from cbalign.tasks.train import train_experiment

BAR = 20.0
EPOCHS = 3
SPEC = """\
cbalign: 1
name: frozen
model:
  vision: {{architecture: {architecture}, image_size: 224, init: random, train: frozen}}
  text: {{architecture: all-minilm-l6-v2, layers: 6, width: 384, heads: 12, intermediate: 1536, init: random,
         tokenizer: captions, vocabulary: 500, max_tokens: 25, train: frozen}}
  fusion: {{layers: 2}}
  queue: {{length: 0}}
  codebook: {{size: 256}}
objectives: {{matching: {{weight: {fused}}}, masked_language: {{weight: {fused}}}}}
data:
  train: {{source: csv, files: [pairs.csv]}}
  augmentation: {{crop_scale: [0.5, 1], views: 4}}
train:
  duration: {epochs} epochs
  batch_size: 32
  device: cpu
  precision: fp32
  schedule: {{kind: cosine, warmup: 0 steps}}
  log_every: 1 epoch
  evaluate_every: null
"""


class Stopwatch(Silent):
    """Times epochs by their log lines, and notes when the training began."""

    def __init__(self) -> None:
        self.begun = time.monotonic()
        self.ends: list[float] = []
        self.losses: list[Mapping[str, float]] = []

    def start(self, total_steps: int, done: int) -> None:
        self.ends.append(time.monotonic())

    def record(self, record: Record) -> None:
        if record.kind == "train":
            self.ends.append(time.monotonic())
            self.losses.append(record.values)

    @property
    def last_epoch(self) -> float:
        return self.ends[-1] - self.ends[-2]

    @property
    def prepared(self) -> float:
        return self.ends[0] - self.begun


def write_data(folder: Path, images: int) -> None:
    """Smooth random pictures of 500 x 375 pixels and captions of about ten words."""
    random = np.random.default_rng(0)
    words = [f"word{i}" for i in range(200)]
    rows = ["image,caption"]
    for i in range(images):
        small = Image.fromarray(random.integers(0, 255, (24, 32, 3), np.uint8))
        small.resize((500, 375), Image.Resampling.BICUBIC).save(folder / f"{i}.jpg", quality=90)
        rows.append(f"{i}.jpg,{' '.join(random.choice(words, 10))} {i}")
    (folder / "pairs.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def measure(spec: Path, cache: str) -> Stopwatch:
    """Train once."""
    watch = Stopwatch()
    train_experiment(load_experiment(spec, [f"train.feature_cache={cache}"]), spec.parent / cache, watch)
    return watch


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--architecture", default="vit_tiny_patch16_224")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--all-objectives", action="store_true", help="with fusion: matching and masked language")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["CBALIGN_CACHE"] = str(folder / "cache")
        write_data(folder, given.images)
        spec = folder / "frozen.yaml"
        fused = float(given.all_objectives)
        spec.write_text(SPEC.format(architecture=given.architecture, fused=fused, epochs=EPOCHS), encoding="utf-8")
        off, kept = measure(spec, "off"), measure(spec, "auto")
        size = sum(path.stat().st_size for path in (folder / "cache").rglob("*") if path.is_file())
    ratio = off.last_epoch / kept.last_epoch
    difference = max(abs(a["loss"] - b["loss"]) for a, b in zip(off.losses, kept.losses, strict=True))
    print(f"epoch without the cache  {off.last_epoch:8.2f} s  ({given.images / off.last_epoch:,.0f} pairs/s)")
    print(f"epoch with the cache     {kept.last_epoch:8.2f} s  ({given.images / kept.last_epoch:,.0f} pairs/s)")
    print(f"features, once           {kept.prepared:8.2f} s  ({size / 1e6:,.1f} MB on disk)")
    print(f"largest difference of a loss {difference:.1e}")
    print(f"ratio {ratio:.1f} (at least {BAR:g}){'' if ratio >= BAR else ': FAILED'}")
    print(json.dumps({"architecture": given.architecture, "ratio": ratio, "difference": difference}))
    return 0 if ratio >= BAR else 1


if __name__ == "__main__":
    sys.exit(main())
