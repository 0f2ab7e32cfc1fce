"""From an experiment to a task that can be trained: sources, tokenizer, model, loader."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch

from cbalign.data.loader import PairLoader
from cbalign.data.source import PairSource, open_source
from cbalign.data.text import Tokenizer
from cbalign.data.vocabulary import build_tokenizer
from cbalign.engine.distribution import World
from cbalign.models.build import build_model
from cbalign.spec.experiment import Experiment
from cbalign.tasks.pretrain import PretrainTask


def open_task(experiment: Experiment, world: World, *, assets: Path | None = None) -> PretrainTask:
    """The task of an experiment, ready to train.

    Args:
        experiment: a complete spec.
        world: the processes that train together, and this one's device.
        assets: folder of a checkpoint to go on from: its tokenizer is used, and initial weights are not read
            because the checkpoint's replace them.
    """
    train = open_source(experiment.data.train)
    sources: dict[str, PairSource] = {"train": train}
    for section in experiment.evaluate:
        split = getattr(experiment.data, section.on)
        sources.setdefault(section.on, open_source(split))
    if assets is None:
        tokenizer = build_tokenizer(experiment.model.text, lambda: _captions(train))
    else:
        tokenizer = Tokenizer.load(assets)
    # One seed for all ranks: they start from the same weights.
    torch.manual_seed(experiment.train.seed)
    model = build_model(experiment, tokenizer.vocabulary_size, pretrained=assets is None).to(world.device)
    loader = PairLoader(
        train,
        tokenizer,
        image_size=experiment.model.vision.image_size,
        batch_size=experiment.train.batch_size,
        augmentation=experiment.data.augmentation,
        seed=experiment.train.seed,
        workers=experiment.data.workers,
        corrupt_limit=experiment.data.corrupt_limit,
        rank=world.rank,
        world_size=world.size,
    )
    return PretrainTask(experiment, model, tokenizer, loader, sources, world)


def _captions(source: PairSource) -> Iterable[str]:
    for i in range(len(source)):
        yield from source.entry(i).captions
