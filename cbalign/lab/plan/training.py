"""What a plan needs from each kind of task: its model, a training step and the training texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias, assert_never, cast

import torch
from torch import Tensor

from cbalign.data.batch import Batch, LabelledBatch, QuestionBatch
from cbalign.data.loader import Loader
from cbalign.data.source import open_source, texts_of
from cbalign.data.text import Tokenizer, VocabularyInfo
from cbalign.engine.distribution import World
from cbalign.engine.task import Task
from cbalign.experiment.data import DataSection
from cbalign.experiment.experiment import Experiment
from cbalign.models.answering import AnsweringNetwork
from cbalign.models.build import (
    build_answering,
    build_entailment,
    build_image_pairs,
    build_text_assignment,
)
from cbalign.models.entailment import EntailmentNetwork
from cbalign.models.image_pairs import ImagePairNetwork, TextAssignmentNetwork
from cbalign.models.momentum import Distilled
from cbalign.models.pretrained import vocabulary_size
from cbalign.parts import ItemKind
from cbalign.tasks.align.learner import AlignmentLearner
from cbalign.tasks.align.network import AlignmentModel, build_model
from cbalign.tasks.align.open import open_learner
from cbalign.tasks.align.section import PretrainTask, RetrievalTask
from cbalign.tasks.classify import Classification
from cbalign.tasks.entailment.section import EntailmentTask
from cbalign.tasks.finetune import Setup
from cbalign.tasks.nlvr2.learner import TextAssignment
from cbalign.tasks.nlvr2.section import NLVR2Task
from cbalign.tasks.vqa.learner import Answering
from cbalign.tasks.vqa.section import VQATask

Model: TypeAlias = (
    AlignmentModel
    | Distilled[EntailmentNetwork]
    | Distilled[ImagePairNetwork]
    | Distilled[TextAssignmentNetwork]
    | Distilled[AnsweringNetwork]
)

# Of VQA v2's questions, whose annotators mostly agree; no more than the number of tokens of `[CLS] yes [SEP]` and one.
ANSWERS_PER_QUESTION = 3
ANSWER_TOKENS = 4


@dataclass(frozen=True)
class TrainingTexts:
    """The texts of the training data: one for each item, and all of them."""

    count: int
    text: Callable[[int], str]
    all: Callable[[], Iterator[str]]


def training_texts(data: DataSection, items: ItemKind) -> TrainingTexts:
    """Open the training data of a task that learns from a kind of items.

    Raises:
        CbalignError: they cannot be opened.
    """
    source = open_source(data.train, items)
    return TrainingTexts(len(source), lambda i: source.item(i).text, lambda: texts_of(source))


def untrained(experiment: Experiment, vocabulary: int) -> Model:
    """The model of a task with random initial values."""
    section, task = experiment.model, experiment.task
    match task:
        case PretrainTask() | RetrievalTask():
            return build_model(experiment, VocabularyInfo(vocabulary, cls_id=1, mask_id=2), pretrained=False)
        case EntailmentTask():
            return build_entailment(section, vocabulary, pretrained=False)
        case NLVR2Task(stage="text-assignment"):
            return build_text_assignment(section, vocabulary, pretrained=False)
        case NLVR2Task():
            return build_image_pairs(section, vocabulary, pretrained=False)
        case VQATask():
            return build_answering(section, vocabulary, pretrained=False)
        case _:
            assert_never(task)


def on_meta(experiment: Experiment, vocabulary: int | None = None) -> Model:
    """The model of a task without values, on the meta device.

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
    """A task with a batch, both on fake tensors."""

    task: Task[Any] | AlignmentLearner
    batch: Any  # the task's own kind of batch


def planned(experiment: Experiment, model: Model, length: int, world: World) -> Planned:
    """The task of an experiment around `model`, with a batch of texts of `length` tokens."""
    tokenizer = cast(Tokenizer, _Vocabulary(model.student.text.vocabulary))
    kind = experiment.task
    if isinstance(model, AlignmentModel):
        return Planned(open_learner(experiment, model, world), _pairs(experiment, length))
    setup: Setup[Any, Any] = Setup(experiment, model, tokenizer, cast(Loader[Any], None), world, dict)
    if isinstance(kind, VQATask):
        return Planned(Answering(setup, (), {}), _questions(experiment, length))
    if isinstance(model.student, TextAssignmentNetwork):
        return Planned(TextAssignment(setup), _pairs(experiment, length))
    images = 2 if isinstance(kind, NLVR2Task) else 1
    return Planned(Classification(setup, (), {}), _labelled(experiment, length, images))


@dataclass(frozen=True)
class _Vocabulary:
    """The attributes of a tokenizer that a step uses."""

    vocabulary_size: int
    cls_id: int = 1
    mask_id: int = 2


def _pairs(experiment: Experiment, length: int) -> Batch:
    size = experiment.train.batch_size
    return Batch(
        images=_images(experiment),
        teacher_images=_teacher_images(experiment),
        input_ids=_ids(size, length),
        attention_mask=torch.ones(size, length, dtype=torch.int64),
        image_ids=torch.arange(size),
        indices=torch.arange(size),
    )


def _labelled(experiment: Experiment, length: int, images: int) -> LabelledBatch:
    size = experiment.train.batch_size
    return LabelledBatch(
        images=_images(experiment, images),
        teacher_images=_teacher_images(experiment, images),
        input_ids=_ids(size, length),
        attention_mask=torch.ones(size, length, dtype=torch.int64),
        labels=torch.zeros(size, dtype=torch.int64),
        indices=torch.arange(size),
    )


def _questions(experiment: Experiment, length: int) -> QuestionBatch:
    size = experiment.train.batch_size
    answers = size * ANSWERS_PER_QUESTION
    return QuestionBatch(
        images=_images(experiment),
        teacher_images=_teacher_images(experiment),
        input_ids=_ids(size, length),
        attention_mask=torch.ones(size, length, dtype=torch.int64),
        answer_ids=_ids(answers, ANSWER_TOKENS),
        answer_mask=torch.ones(answers, ANSWER_TOKENS, dtype=torch.int64),
        answer_weights=torch.ones(answers),
        question_of_answer=torch.arange(answers) // ANSWERS_PER_QUESTION,
        indices=torch.arange(size),
    )


def _ids(rows: int, length: int) -> Tensor:
    return torch.zeros(rows, length, dtype=torch.int64)


def _images(experiment: Experiment, *each: int) -> Tensor:
    side = experiment.model.vision.image_size
    return torch.empty(experiment.train.batch_size, *each, 3, side, side, dtype=torch.uint8)


def _teacher_images(experiment: Experiment, *each: int) -> Tensor | None:
    return _images(experiment, *each) if experiment.data.augmentation.two_views else None
