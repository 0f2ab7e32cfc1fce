"""Training of classifiers of texts about images: NLVR2 and SNLI-VE."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor

from cbalign.data.batch import LabelledBatch
from cbalign.engine.task import Progress, StepOutput
from cbalign.objectives.classification import distilled_cross_entropy
from cbalign.tasks.classification.model import ClassifyingNetwork
from cbalign.tasks.learner import DistilledLearner

N = TypeVar("N", bound=ClassifyingNetwork)


class ClassificationLearner(DistilledLearner[N, LabelledBatch]):
    """Learns the classes of statements or premises; implements `cbalign.engine.task.Learner`.

    The student takes the images of an item one by one, then token ids and attention mask, and returns logits (B, C).
    """

    def step(self, batch: LabelledBatch, progress: Progress) -> StepOutput:
        """(1-α) CE + α H(softmax(teacher), student), averaged over the batch (ALBEF, models/model_ve.py)."""
        alpha = self.distillation(progress)
        images, second = self.read_images(batch.images, batch.teacher_images)
        logits = self.model.student(*images.unbind(dim=1), batch.input_ids, batch.attention_mask)
        teacher_logits = self._teacher_logits(batch, second) if alpha > 0 else None
        loss = distilled_cross_entropy(logits, batch.labels, teacher_logits, alpha).mean()
        right = (logits.detach().argmax(dim=1) == batch.labels).float().mean()
        return StepOutput(loss, {"classification": loss.detach()}, {"accuracy": 100 * right})

    @torch.no_grad()
    def _teacher_logits(self, batch: LabelledBatch, images: Tensor) -> Tensor:
        logits: Tensor = self.model.teacher.network(*images.unbind(dim=1), batch.input_ids, batch.attention_mask)
        return logits
