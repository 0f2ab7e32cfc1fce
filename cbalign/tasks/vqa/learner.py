"""Visual question answering: likely answers are those that annotators gave (ALBEF, VQA.py)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from cbalign.data.answer_list import ANSWERS_FILE, answers_of, never_given, read_answers, require_covered, write_answers
from cbalign.data.items import ItemSource, Question, texts_of
from cbalign.data.open_items import open_questions
from cbalign.data.question_batch import QuestionBatch, QuestionCollation
from cbalign.engine.distribution import World
from cbalign.engine.task import Progress, StepOutput
from cbalign.evaluation.answering import evaluate_answers
from cbalign.evaluation.sections.evaluations import VQAEvaluation
from cbalign.models.answer_graphs import TorchAnswerer
from cbalign.models.answering import AnsweringNetwork
from cbalign.models.build import build_answering
from cbalign.objectives.answering import answer_losses, weighted_answers
from cbalign.tasks.batches import make_loader
from cbalign.tasks.finetune import FineTuning, Setup, data_facts, open_splits
from cbalign.tasks.start import Start
from cbalign.tasks.vqa.section import VQATask

DECODER_FROM = (
    ("decoder.embeddings.", "text.embeddings."),
    ("decoder.layers.", "fusion.layers."),
    ("decoder.head.", "masked_language_head."),
)
"""Where the parts of the answer decoder come from in a pretrained model (ALBEF, VQA.py)."""


class Answering(FineTuning[AnsweringNetwork, QuestionBatch]):
    """Learns to answer questions; keeps `cbalign.engine.task.Task`.

    Args:
        setup: the parts.
        answers: the closed list that evaluation chooses from.
        sources: the questions of each split that an evaluation names.
    """

    def __init__(
        self,
        setup: Setup[AnsweringNetwork, QuestionBatch],
        answers: tuple[str, ...],
        sources: Mapping[str, ItemSource[Question]],
    ) -> None:
        super().__init__(setup)
        self._answers = answers
        self._sources = sources
        self._evaluations = [e for e in setup.experiment.evaluate if isinstance(e, VQAEvaluation)]
        self._corrupt_limit = setup.experiment.data.corrupt_limit
        self._undistilled = setup.experiment.legacy.undistilled_answers

    def step(self, batch: QuestionBatch, progress: Progress) -> StepOutput:
        """Each answer's loss times the share of annotators who gave it, per question."""
        alpha = 0.0 if self._undistilled else self.distillation(progress)
        logits: Tensor = self.model.student(*_inputs(batch, batch.images))
        taught = self._teacher_logits(batch) if alpha > 0 else None
        losses = answer_losses(logits, batch.answer_ids, batch.answer_mask, taught, alpha)
        loss = weighted_answers(losses, batch.answer_weights, len(batch))
        return StepOutput(loss, {"answering": loss.detach()})

    @torch.no_grad()
    def _teacher_logits(self, batch: QuestionBatch) -> Tensor:
        images = batch.images if batch.teacher_images is None else batch.teacher_images
        logits: Tensor = self.model.teacher.network(*_inputs(batch, images))
        return logits

    def evaluate(self, progress: Progress) -> Mapping[str, float]:
        """Accuracies on the splits that the spec lists, without intervals."""
        answerer = TorchAnswerer(self.model.student, self.tokenizer, self._answers, self.world.device)
        metrics: dict[str, float] = {}
        for section in self._evaluations:
            results = evaluate_answers(
                answerer,
                self._sources[section.on],
                section.model_copy(update={"bootstrap": 0}),
                corrupt_limit=self._corrupt_limit,
                process_group=self.world,
            )
            for result in results:
                metrics |= {f"{section.on}/{name}": value for name, value in result.flat().items()}
        return metrics

    def save_assets(self, folder: Path) -> None:
        """The tokenizer and the list of answers."""
        super().save_assets(folder)
        write_answers(self._answers, folder)


def open_vqa(start: Start, task: VQATask, world: World) -> Answering:
    """The task `vqa`, ready to train."""
    experiment = start.experiment
    sources = open_splits(experiment, open_questions)
    train = sources["train"]
    answers = _closed_list(task, train) if start.assets is None else read_answers(start.assets / ANSWERS_FILE)
    tokenizer = start.tokenizer(lambda: _texts(train, answers))
    if lost := never_given(answers, tokenizer):
        examples = ", ".join(f"{answer!r} reads as {given!r}" for answer, given in islice(lost.items(), 3))
        start.tell(
            f"warning: {len(lost):,} of {len(answers):,} answers can never be given, because to the tokenizer they are "
            f"the same as another: {examples}{', …' * (len(lost) > 3)}"
        )
    torch.manual_seed(experiment.train.seed)
    model = build_answering(experiment.model, tokenizer.vocabulary_size, pretrained=start.published)
    start.fill(model, DECODER_FROM)
    setup = Setup(
        experiment,
        model.to(world.device),
        tokenizer,
        make_loader(QuestionCollation(train, tokenizer), QuestionBatch, experiment, world),
        world,
        lambda: {"answers": len(answers), **data_facts(sources), **start.facts()},
    )
    return Answering(setup, answers, sources)


def _closed_list(task: VQATask, train: ItemSource[Question]) -> tuple[str, ...]:
    if task.answer_list is None:
        return answers_of(train, task.answer_minimum)
    answers = read_answers(task.answer_list)
    require_covered(answers, train, task.answer_list)
    return answers


def _texts(train: ItemSource[Question], answers: tuple[str, ...]) -> Iterator[str]:
    yield from texts_of(train)
    yield from answers


def _inputs(batch: QuestionBatch, images: Tensor) -> tuple[Tensor, ...]:
    return (
        images,
        batch.input_ids,
        batch.attention_mask,
        batch.answer_ids,
        batch.answer_mask,
        batch.question_of_answer,
    )
