"""NLVR2: is a statement about two images true? And the pretraining of its doubled layers (ALBEF, NLVR.py)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from cbalign.data.batch import Batch, LabelledCollation, PairCollation
from cbalign.data.items import STATEMENT_LABELS
from cbalign.data.source import fingerprint, open_source, texts_of
from cbalign.engine.distribution import World
from cbalign.engine.task import Progress, StepOutput, Task
from cbalign.experiment.experiment import Experiment
from cbalign.models.build import build_image_pairs, build_text_assignment
from cbalign.models.image_pairs import ImagePairNetwork, TextAssignmentNetwork
from cbalign.models.momentum import Distilled
from cbalign.objectives.text_assignment import draw_assignments, text_assignment
from cbalign.tasks.batches import make_loader
from cbalign.tasks.classify import Classification
from cbalign.tasks.finetune import FineTuning, Setup, data_facts, open_splits
from cbalign.tasks.nlvr2.section import NLVR2Task
from cbalign.tasks.start import Start

FROM_FUSION = (("fusion.first.", "fusion.layers."), ("fusion.second.", "fusion.layers."))
"""Both copies of every layer are the pretrained one, where the model to start from has it once."""


class TextAssignment(FineTuning[TextAssignmentNetwork, Batch]):
    """Learns to which of two images a caption belongs; keeps `cbalign.engine.task.Task`."""

    def step(self, batch: Batch, progress: Progress) -> StepOutput:
        """Cross-entropy over first, second and neither; the images are encoded once."""
        network = self.model.student
        tokens = network.vision(batch.images)
        same_image = batch.image_ids[:, None] == batch.image_ids[None, :]
        drawn = draw_assignments(network.embed_images(tokens), same_image)
        logits = network.classify(tokens[drawn.first], tokens[drawn.second], batch.input_ids, batch.attention_mask)
        count = self.world.mean(drawn.valid.sum().float())
        loss = text_assignment(logits, drawn, count)
        right = ((logits.detach().argmax(dim=1) == drawn.label) & drawn.valid).sum() / count.clamp(min=1)
        return StepOutput(loss, {"text_assignment": loss.detach()}, {"accuracy": 100 * right})

    def evaluate(self, progress: Progress) -> Mapping[str, float]:
        """Nothing is measured: what counts is how well statements are learned afterwards."""
        return {}


def open_nlvr2(start: Start, task: NLVR2Task, world: World) -> Task[Any]:
    """The task `nlvr2`, ready to train in its stage."""
    if task.stage == "text-assignment":
        return _open_text_assignment(start, world)
    experiment = start.experiment
    sources = open_splits(experiment, lambda section: open_source(section, "statements"))
    train = sources["train"]
    tokenizer = start.tokenizer(lambda: texts_of(train))
    model = _model(start, tokenizer.vocabulary_size)
    setup = Setup(
        experiment,
        model.to(world.device),
        tokenizer,
        make_loader(LabelledCollation(train, tokenizer), experiment, world),
        world,
        lambda: {**data_facts(sources), **start.facts()},
    )
    return Classification(setup, STATEMENT_LABELS, sources)


def _open_text_assignment(start: Start, world: World) -> TextAssignment:
    experiment = start.experiment
    train = open_source(experiment.data.train, "pairs")
    tokenizer = start.tokenizer(lambda: texts_of(train))
    torch.manual_seed(experiment.train.seed)
    model = build_text_assignment(experiment.model, tokenizer.vocabulary_size, pretrained=start.published)
    start.fill(model, FROM_FUSION)
    setup = Setup(
        experiment,
        model.to(world.device),
        tokenizer,
        make_loader(PairCollation(train, tokenizer), experiment, world),
        world,
        lambda: {
            "data": {"train": train.describe()},
            "fingerprints": {"train": fingerprint(train)},
            **start.facts(),
        },
    )
    return TextAssignment(setup)


def _model(start: Start, vocabulary: int) -> Distilled[ImagePairNetwork]:
    experiment = start.experiment
    torch.manual_seed(experiment.train.seed)
    model = build_image_pairs(experiment.model, vocabulary, pretrained=start.published)
    start.fill(model, FROM_FUSION)
    if experiment.legacy.untrained_statement_teacher and start.assets is None:
        model.teacher.network.load_state_dict(_untrained(experiment, vocabulary).student.state_dict())
    return model


def _untrained(experiment: Experiment, vocabulary: int) -> Distilled[ImagePairNetwork]:
    """The model as ALBEF's NLVR.py has it before it loads a checkpoint: BERT's weights, the rest at random."""
    vision = experiment.model.vision.without_weights()
    return build_image_pairs(experiment.model.model_copy(update={"vision": vision}), vocabulary)
