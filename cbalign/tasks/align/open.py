"""Pretraining and retrieval, opened: sources, tokenizer, model, loader."""

from __future__ import annotations

import torch

from cbalign.data.batch import PairCollation
from cbalign.data.items import Pair
from cbalign.data.source import Source, open_source, texts_of
from cbalign.engine.distribution import World
from cbalign.evaluation.sections.evaluations import RetrievalEvaluation
from cbalign.models.build import build_model
from cbalign.tasks.align.learner import PretrainTask
from cbalign.tasks.batches import make_loader
from cbalign.tasks.start import Start


def open_alignment(start: Start, world: World) -> PretrainTask:
    """Pretraining or retrieval, ready to train."""
    experiment = start.experiment
    for section in experiment.evaluate:
        if isinstance(section, RetrievalEvaluation) and section.zero_shot:
            start.require_unseen(getattr(experiment.data, section.on))
    train = open_source(experiment.data.train, "pairs")
    sources: dict[str, Source[Pair]] = {"train": train}
    for section in experiment.evaluate:
        sources.setdefault(section.on, open_source(getattr(experiment.data, section.on), "pairs"))
    tokenizer = start.tokenizer(lambda: texts_of(train))
    # One seed for all ranks: they start from the same weights.
    torch.manual_seed(experiment.train.seed)
    model = build_model(experiment, tokenizer.vocabulary_size, pretrained=start.published)
    start.fill(model)
    loader = make_loader(PairCollation(train, tokenizer), experiment, world)
    return PretrainTask(experiment, model.to(world.device), tokenizer, loader, sources, world, start.facts())
