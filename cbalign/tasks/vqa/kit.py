"""Builds everything of the task `vqa`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch

from cbalign.data.answer_list import ANSWERS_FILE, answers_of, never_given, read_answers, require_covered, write_answers
from cbalign.data.batch import QuestionBatch, QuestionCollation
from cbalign.data.items import Question
from cbalign.data.source import Source, texts_of
from cbalign.data.text import Tokenizer, VocabularyInfo
from cbalign.engine.distribution import World
from cbalign.experiment.experiment import Experiment
from cbalign.models.momentum import Distilled
from cbalign.tasks.initialisation import Initialisation, Notice
from cbalign.tasks.standard import StandardKit, example_fields
from cbalign.tasks.vqa.graphs import TorchAnswerer
from cbalign.tasks.vqa.learner import AnsweringLearner
from cbalign.tasks.vqa.network import AnsweringNetwork, build_answering
from cbalign.tasks.vqa.parity import AnsweringExportable
from cbalign.tasks.vqa.section import VQATask

# For plans: VQA v2's annotators mostly agree, and `[CLS] yes [SEP]` with one more token is a typical answer.
ANSWERS_PER_QUESTION = 3
ANSWER_TOKENS = 4


@dataclass(frozen=True)
class AnswerAssets:
    """Implements `cbalign.tasks.training.Assets`: the tokenizer and the closed list of answers."""

    tokenizer: Tokenizer
    answers: tuple[str, ...]

    def save(self, folder: Path) -> None:
        """Write tokenizer and answers."""
        self.tokenizer.save(folder)
        write_answers(self.answers, folder)

    def describe(self) -> Mapping[str, object]:
        """Return the number of answers."""
        return {"answers": len(self.answers)}


class VQAKit(StandardKit[Distilled[AnsweringNetwork], AnswerAssets]):
    """Implements `cbalign.tasks.kit.TaskKit`.

    Args:
        section: the task in a spec.
    """

    aliases = (
        ("decoder.embeddings.", "text.embeddings."),
        ("decoder.layers.", "fusion.layers."),
        ("decoder.head.", "objectives.masked_language.head.{owner}"),
    )

    def __init__(self, section: VQATask) -> None:
        self._section = section

    def build_model(
        self, experiment: Experiment, vocabulary: VocabularyInfo, *, initialise: bool
    ) -> Distilled[AnsweringNetwork]:
        """Build towers, fusion layers and decoder, with their teacher."""
        return build_answering(experiment.model, vocabulary.size, initialise=initialise)

    def learner(
        self,
        experiment: Experiment,
        model: Distilled[AnsweringNetwork],
        vocabulary: VocabularyInfo,
        world: World,
    ) -> AnsweringLearner:
        """Wrap the model with its training step."""
        return AnsweringLearner(
            model,
            experiment.model.teacher,
            experiment.train.optimizer,
            undistilled=experiment.legacy.undistilled_answers,
        )

    def collation(self, source: Source[Question], tokenizer: Tokenizer) -> QuestionCollation:
        """Return the collation of questions with all their answers."""
        return QuestionCollation(source, tokenizer)

    def make_assets(self, initialisation: Initialisation, train: Source[Question]) -> AnswerAssets:
        """Build the closed list and the tokenizer, and report answers that the tokenizer cannot tell apart."""
        if initialisation.assets is None:
            answers = _closed_list(self._section, train)
        else:
            answers = read_answers(initialisation.assets / ANSWERS_FILE)
        tokenizer = initialisation.tokenizer(lambda: _texts(train, answers))
        _report_lost(answers, tokenizer, initialisation.notice)
        return AnswerAssets(tokenizer, answers)

    def read_assets(self, folder: Path) -> AnswerAssets:
        """Read tokenizer and answers."""
        return AnswerAssets(Tokenizer.load(folder), read_answers(folder / ANSWERS_FILE))

    def evaluable(
        self, model: Distilled[AnsweringNetwork], assets: AnswerAssets, device: torch.device
    ) -> TorchAnswerer:
        """Return the student as an `Answerer`."""
        return TorchAnswerer(model.student, assets.tokenizer, assets.answers, device)

    def example_batch(self, experiment: Experiment, text_length: int) -> QuestionBatch:
        """Return questions with `ANSWERS_PER_QUESTION` answers each."""
        answers = experiment.train.batch_size * ANSWERS_PER_QUESTION
        return QuestionBatch(
            **example_fields(experiment, text_length),
            answer_ids=torch.zeros(answers, ANSWER_TOKENS, dtype=torch.int64),
            answer_mask=torch.ones(answers, ANSWER_TOKENS, dtype=torch.int64),
            answer_weights=torch.ones(answers),
            question_of_answer=torch.arange(answers) // ANSWERS_PER_QUESTION,
        )

    def exportable(self, model: TorchAnswerer, source: Source[Question]) -> AnsweringExportable:
        """Prepare the model for export."""
        return AnsweringExportable.of(model, source)


def _closed_list(section: VQATask, train: Source[Question]) -> tuple[str, ...]:
    if section.answer_list is None:
        return answers_of(train, section.answer_minimum)
    answers = read_answers(section.answer_list)
    require_covered(answers, train, section.answer_list)
    return answers


def _texts(train: Source[Question], answers: tuple[str, ...]) -> Iterator[str]:
    yield from texts_of(train)
    yield from answers


def _report_lost(answers: tuple[str, ...], tokenizer: Tokenizer, notice: Notice) -> None:
    lost = never_given(answers, tokenizer)
    if not lost:
        return
    examples = ", ".join(f"{answer!r} reads as {given!r}" for answer, given in islice(lost.items(), 3))
    notice(
        f"warning: {len(lost):,} of {len(answers):,} answers can never be given, because the tokenizer encodes them "
        f"like another one: {examples}{', …' * (len(lost) > 3)}"
    )
