"""Tiny statements and premises in the published forms and ALBEF's, and specs that learn them in seconds."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220), "white": (240, 240, 240)}
LABELS = ("contradiction", "neutral", "entailment")

MODEL = """\
model:
  vision:
    {architecture: vit_tiny_patch16_224, image_size: 16, patch_size: 8, layers: 1, width: 16, heads: 2, init: random}
  text:
    {architecture: bert-mini, layers: 1, width: 16, heads: 2, intermediate: 16, init: random, tokenizer: captions,
     vocabulary: 100, dropout: 0}
  fusion: {layers: 1}
  joint_dim: 8
  queue: {length: 8}
"""
TRAIN = """\
  augmentation: {crop_scale: [1, 1], flip: false, randaugment: {operations: 0}, two_views: false}
train:
  duration: 4 steps
  batch_size: 4
  precision: fp32
  device: cpu
  schedule: {kind: cosine, warmup: 0 steps}
  log_every: 2 steps
  evaluate_every: 2 steps
  checkpoint_every: 2 steps
"""
PRETRAIN = f"""\
cbalign: 1
name: pretrained
{MODEL}\
  codebook: {{size: 6}}
data:
  train: {{source: csv, files: [pairs.csv]}}
{TRAIN}"""
ENTAILMENT = f"""\
cbalign: 1
name: entails
task: {{kind: entailment}}
{MODEL}\
data:
  train: {{source: snli-ve, files: [ve.jsonl]}}
  validation: {{source: snli-ve, files: [ve.json]}}
evaluate: [{{kind: accuracy, on: validation}}]
{TRAIN}"""


def with_data(spec: str) -> str:
    """`evaluate` stands between data and its augmentation above: put it last."""
    lines = spec.splitlines(keepends=True)
    evaluate = [line for line in lines if line.startswith("evaluate")]
    return "".join([line for line in lines if not line.startswith("evaluate")] + evaluate)


NLVR2 = f"""\
cbalign: 1
name: statements
task: {{kind: nlvr2}}
{MODEL}\
data:
  train: {{source: nlvr2, files: [nlvr2.jsonl]}}
  validation: {{source: nlvr2, files: [nlvr2.jsonl]}}
evaluate: [{{kind: accuracy, on: validation}}]
{TRAIN}"""
ASSIGNMENT = f"""\
cbalign: 1
name: assigned
task: {{kind: nlvr2, stage: text-assignment}}
{MODEL}\
data:
  train: {{source: csv, files: [pairs.csv]}}
{TRAIN}"""


def write_tasks(folder: Path) -> Path:
    """Images, lists and specs `pretrain.yaml`, `entailment.yaml`, `nlvr2.yaml`, `assignment.yaml` in a folder."""
    names = list(COLOURS)
    for i in range(24):
        Image.new("RGB", (20, 20), COLOURS[names[i % 4]]).save(folder / f"{i}.jpg")
        for position in (0, 1):
            Image.new("RGB", (20, 20), COLOURS[names[(i + position) % 4]]).save(folder / f"dev-{i}-0-img{position}.png")
    rows = "".join(f"{i}.jpg,a {names[i % 4]} square number {i}\n" for i in range(24))
    (folder / "pairs.csv").write_text("image,caption\n" + rows)
    published, listed = [], []
    for i in range(24):
        said = names[i % 4] if i % 3 == 2 else names[(i + 1) % 4]
        text, label = f"a {said} square" if i % 3 != 1 else f"square number {i}", LABELS[i % 3]
        published.append({"Flickr30K_ID": str(i), "sentence2": text, "gold_label": label, "pairID": f"{i}.jpg#0r1"})
        listed.append({"image": str(i), "sentence": text, "label": label})
    (folder / "ve.jsonl").write_text("".join(json.dumps(line) + "\n" for line in published))
    (folder / "ve.json").write_text(json.dumps(listed))
    statements = [
        {
            "identifier": f"dev-{i}-0-{sentence}",
            "sentence": f"the left square is {names[(i + sentence) % 4]}",
            "label": str(sentence == 0),
        }
        for i in range(12)
        for sentence in (0, 1)
    ]
    (folder / "nlvr2.jsonl").write_text("".join(json.dumps(line) + "\n" for line in statements))
    for name, spec in (
        ("pretrain", PRETRAIN),
        ("entailment", ENTAILMENT),
        ("nlvr2", NLVR2),
        ("assignment", ASSIGNMENT),
    ):
        (folder / f"{name}.yaml").write_text(with_data(spec))
    return folder
