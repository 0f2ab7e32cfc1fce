"""The parts of a task that a plan needs: model, training step and training texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from cbalign.data.batch import TensorBatch
from cbalign.data.source import open_source, texts_of
from cbalign.data.text import VocabularyInfo
from cbalign.engine.distribution import World
from cbalign.engine.task import Learner
from cbalign.experiment.data import DataSection
from cbalign.experiment.experiment import Experiment
from cbalign.models.pretrained import vocabulary_size
from cbalign.parts import ItemKind
from cbalign.tasks.kit import kit_of

CLS_ID, MASK_ID = 1, 2  # placeholders: the vocabulary is not known yet


@dataclass(frozen=True)
class TrainingTexts:
    """The texts of the training data: one for each item, and all of them."""

    count: int
    text: Callable[[int], str]
    all: Callable[[], Iterator[str]]


def training_texts(data: DataSection, items: ItemKind) -> TrainingTexts:
    """Open the training data of a task with one kind of items.

    Raises:
        CbalignError: they cannot be opened.
    """
    source = open_source(data.train, items)
    return TrainingTexts(len(source), lambda i: source.item(i).text, lambda: texts_of(source))


def untrained(experiment: Experiment, vocabulary: int) -> nn.Module:
    """Build the model of a task without loading weights."""
    return kit_of(experiment).build_model(experiment, VocabularyInfo(vocabulary, CLS_ID, MASK_ID), initialise=False)


def on_meta(experiment: Experiment, vocabulary: int | None = None) -> nn.Module:
    """Build the model of a task on the meta device.

    Args:
        experiment: a complete spec.
        vocabulary: number of tokens that the tokenizer knows; None takes the largest that captions may give, or that of
            the text architecture.
    """
    if vocabulary is None:
        vocabulary = vocabulary_size(experiment.model.text)
    with torch.device("meta"):
        return untrained(experiment, vocabulary)


@dataclass(frozen=True)
class Planned:
    """A learner with a batch, both on fake tensors."""

    learner: Learner[Any]
    batch: TensorBatch


def planned(experiment: Experiment, model: nn.Module, length: int, world: World) -> Planned:
    """Wrap a model with its training step, and make a batch of texts of `length` tokens."""
    kit = kit_of(experiment)
    smallest = VocabularyInfo(1 + max(CLS_ID, MASK_ID), CLS_ID, MASK_ID)  # the cost of a step does not depend on it
    learner = kit.learner(experiment, model, smallest, world)
    return Planned(learner, kit.example_batch(experiment, length))
