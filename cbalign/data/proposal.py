"""A spec for data that were found: what is told from the data is set, and each such line says why."""

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

FEW = 50_000  # pairs; towers of the published size would learn so few by heart
LEAST_STEPS = 2000
BATCH = 64


@dataclass(frozen=True)
class Proposal:
    """The text of a spec, what it uses of what was found, and what it leaves out."""

    text: str
    used: tuple[FoundPairs, ...]
    left_out: tuple[FoundPairs, ...]


def propose(found: Sequence[FoundPairs], name: str, folder: Path, schema: str) -> Proposal:
    """A spec that trains on the largest source of each split; data whose names tell no split are for training.

    Args:
        found: at least one.
        name: of the experiment.
        folder: where the spec will be; its paths are relative to that.
        schema: what the first line names for editors.
    """
    by_split: dict[Split, FoundPairs] = {}
    for each in sorted(found, key=lambda pairs: pairs.entries):
        by_split[each.split or "train"] = each
    if "train" not in by_split:
        _, by_split["train"] = by_split.popitem()
    by_split = {split: by_split[split] for split in get_args(Split) if split in by_split}
    used = tuple(by_split.values())
    head = [f"# yaml-language-server: $schema={schema}", "# Written by `cbalign init` for what it found:"]
    head += [f"#   {split}: {pairs.told}" for split, pairs in by_split.items()]
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
        yield "# No validation data were found: with some, `evaluate` measures retrieval on them.\nevaluate: []\n"


def _model(train: FoundPairs) -> Iterator[str]:
    # [CLS], and words that the tokenizer breaks in two.
    tokens = min(64, max(16, round(1.5 * train.words) + 1))
    yield f"model:\n  # The longest caption looked at has {train.words} words.\n"
    if train.entries >= FEW:
        yield f"  text: {{architecture: bert-base-uncased, max_tokens: {tokens}}}\n"
        yield "  # The published towers; their initial weights come from the hub.\n"
        yield "  vision: {architecture: vit_base_patch16_224, image_size: 256, init: pretrained}\n"
        return
    side = min(128, max(32, train.side // 16 * 16))
    yield f"  text: {{architecture: all-minilm-l6-v2, max_tokens: {tokens}, pooling: mean}}"
    yield "  # its weights come with cbalign[quickstart]\n"
    yield f"  # Small towers for {train.entries:,} entries; the shorter side of most images is {train.side} pixels.\n"
    yield f"  vision: {{architecture: vit_tiny_patch16_224, image_size: {side}, layers: 6, init: random}}\n"
    yield "  fusion: {layers: 2}\n"
    yield "  # Each code should get several entries, and a teacher must move in a training this short.\n"
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
    """The section with its paths told from where the spec is, and without what goes without saying."""

    def told(value: Data) -> Data:
        if isinstance(value, list):
            return [told(each) for each in value]
        return os.path.relpath(str(value), folder)

    relative = {
        key: told(value) if key in ("files", "file", "root", "shards") else value for key, value in settings.items()
    }
    usual = {"root": ".", "delimiter": ",", "image": "image", "caption": "caption"}
    return {key: value for key, value in relative.items() if usual.get(key) != value}


def _indented(text: str, by: int) -> str:
    return "".join(f"{' ' * by}{line}\n" for line in text.splitlines())
