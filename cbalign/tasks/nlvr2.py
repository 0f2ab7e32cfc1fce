"""NLVR2: is a statement about two images true? And the pretraining of its doubled layers (ALBEF, NLVR.py)."""

from __future__ import annotations

import torch

from cbalign.data.batch import LabelledBatch
from cbalign.data.collate import LabelledCollation
from cbalign.data.items import STATEMENT_LABELS, texts_of
from cbalign.data.open_items import open_statements
from cbalign.engine.distribution import World
from cbalign.models.build import build_image_pairs
from cbalign.models.image_pairs import ImagePairNetwork
from cbalign.spec.task import NLVR2Task
from cbalign.tasks.classify import Classification
from cbalign.tasks.finetune import Setup, data_facts, make_loader, open_splits
from cbalign.tasks.start import Start

FROM_FUSION = (("fusion.first.", "fusion.layers."), ("fusion.second.", "fusion.layers."))
"""Both copies of every layer are the pretrained one, where the model to start from has it once."""


def open_nlvr2(start: Start, task: NLVR2Task, world: World) -> Classification[ImagePairNetwork]:
    """The task `nlvr2`, ready to train in its stage."""
    experiment = start.experiment
    sources = open_splits(experiment, open_statements)
    train = sources["train"]
    tokenizer = start.tokenizer(lambda: texts_of(train))
    torch.manual_seed(experiment.train.seed)
    model = build_image_pairs(experiment.model, task, tokenizer.vocabulary_size, pretrained=start.published)
    start.fill(model, FROM_FUSION)
    setup = Setup(
        experiment,
        model.to(world.device),
        tokenizer,
        make_loader(LabelledCollation(train, tokenizer), LabelledBatch, experiment, world),
        world,
        lambda: {**data_facts(sources), **start.facts()},
    )
    return Classification(setup, STATEMENT_LABELS, sources)
