"""Training of visual question answering: answers that annotators gave become likely (ALBEF, VQA.py)."""

from __future__ import annotations

import torch
from torch import Tensor

from cbalign.data.batch import QuestionBatch
from cbalign.engine.task import Progress, StepOutput
from cbalign.experiment.model import TeacherSection
from cbalign.experiment.training import AdamWSection
from cbalign.models.momentum import Distilled
from cbalign.tasks.learner import DistilledLearner
from cbalign.tasks.vqa.loss import answer_losses, weighted_answers
from cbalign.tasks.vqa.network import AnsweringNetwork


class AnsweringLearner(DistilledLearner[AnsweringNetwork, QuestionBatch]):
    """Learns to answer questions; implements `cbalign.engine.task.Learner`.

    Args:
        model, teacher, optimizer: see `DistilledLearner`.
        undistilled: whether to ignore the teacher, as the published code did.
    """

    def __init__(
        self,
        model: Distilled[AnsweringNetwork],
        teacher: TeacherSection,
        optimizer: AdamWSection,
        *,
        undistilled: bool = False,
    ) -> None:
        super().__init__(model, teacher, optimizer)
        self._undistilled = undistilled

    def step(self, batch: QuestionBatch, progress: Progress) -> StepOutput:
        """Weight each answer's loss by the share of annotators who gave it, and average over questions."""
        alpha = 0.0 if self._undistilled else self.distillation(progress)
        images, second = self.read_images(batch.images, batch.teacher_images)
        logits: Tensor = self.model.student(*_inputs(batch, images))
        teacher_logits = self._teacher_logits(batch, second) if alpha > 0 else None
        losses = answer_losses(logits, batch.answer_ids, batch.answer_mask, teacher_logits, alpha)
        loss = weighted_answers(losses, batch.answer_weights, len(batch))
        return StepOutput(loss, {"answering": loss.detach()})

    @torch.no_grad()
    def _teacher_logits(self, batch: QuestionBatch, images: Tensor) -> Tensor:
        logits: Tensor = self.model.teacher.network(*_inputs(batch, images))
        return logits


def _inputs(batch: QuestionBatch, images: Tensor) -> tuple[Tensor, ...]:
    return (
        images,
        batch.input_ids,
        batch.attention_mask,
        batch.answer_ids,
        batch.answer_mask,
        batch.question_of_answer,
    )
