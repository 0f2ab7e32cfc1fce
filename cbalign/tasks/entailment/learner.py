"""SNLI-VE: does an image entail a text, contradict it, or neither? (ALBEF, VE.py)"""

from __future__ import annotations

import torch

from cbalign.data.batch import LabelledCollation
from cbalign.data.items import ENTAILMENT_LABELS
from cbalign.data.source import open_source, texts_of
from cbalign.engine.distribution import World
from cbalign.models.build import build_entailment
from cbalign.models.entailment import EntailmentNetwork
from cbalign.tasks.batches import make_loader
from cbalign.tasks.classify import Classification
from cbalign.tasks.finetune import Setup, data_facts, open_splits
from cbalign.tasks.start import Start


def open_entailment(start: Start, world: World) -> Classification[EntailmentNetwork]:
    """The task `entailment`, ready to train."""
    experiment = start.experiment
    sources = open_splits(experiment, lambda section: open_source(section, "premises"))
    train = sources["train"]
    tokenizer = start.tokenizer(lambda: texts_of(train))
    torch.manual_seed(experiment.train.seed)
    model = build_entailment(experiment.model, tokenizer.vocabulary_size, pretrained=start.published)
    start.fill(model)
    setup = Setup(
        experiment,
        model.to(world.device),
        tokenizer,
        make_loader(LabelledCollation(train, tokenizer), experiment, world),
        world,
        lambda: {**data_facts(sources), **start.facts()},
    )
    return Classification(setup, ENTAILMENT_LABELS, sources)
