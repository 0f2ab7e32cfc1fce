"""Instance alignment L_ica: the four contrastive terms of CODIS (eq. 4-5); the cross-modal two are ALBEF's L_ita."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from cbalign.objectives.classification import cross_entropy
from cbalign.objectives.features import Embeddings, Keys
from cbalign.objectives.objective import Objective, ObjectiveContext, Term
from cbalign.objectives.sections.contrastive import ContrastiveSection
from cbalign.objectives.step import Step, TextRequest


class Contrastive(Objective):
    """L_ica of the student's embeddings with the teacher's of the batch, local or global, and the queues."""

    def __init__(self, section: ContrastiveSection, context: ObjectiveContext) -> None:
        super().__init__(section, context)
        self.section = section

    def texts(self, step: Step) -> Sequence[TextRequest]:
        """Request the captions, of student and teacher."""
        return step.captions, step.teacher_captions

    def forward(self, step: Step) -> Term:
        """Compute L_ica; logs the temperature."""
        student, teacher = step.embeddings, step.teacher_embeddings
        local = self.section.contrast_over == "batch"
        keys, first = (step.local_keys, 0) if local else (step.keys, step.first)
        temperature = step.temperature
        with step.full_precision():
            loss = instance_alignment(
                student,
                teacher,
                keys.images,
                keys.texts,
                self._positives(step.batch.image_ids, keys.images, first),
                temperature,
                distillation=step.distillation,
                intra_modal=self.section.intra_modal,
                reduction=self.section.reduction,
            )
        return Term(loss, {"temperature": temperature})

    def _positives(self, image_ids: Tensor, keys: Keys, first: int) -> Tensor:
        if self.section.positives == "image":
            return shared_positives(image_ids, keys.image_ids)
        return paired_positives(len(image_ids), len(keys.features), first, image_ids)


def instance_alignment(
    student: Embeddings,
    teacher: Embeddings,
    image_keys: Keys,
    text_keys: Keys,
    positives: Tensor,
    temperature: Tensor,
    *,
    distillation: float,
    intra_modal: bool,
    reduction: Literal["mean", "sum"],
) -> Tensor:
    """L_ica = H(i2t) + H(t2i) [+ H(i2i) + H(t2t)], summed or averaged.

    p_i2t = softmax(v·Q_t/γ) and so on. Cross-modal targets are α softmax(teacher similarities/γ) + (1-α) positives,
    intra-modal ones the positives alone (TCL's choice). Gradients reach the student and γ, never the teacher.

    Args:
        student, teacher: embeddings of this batch.
        image_keys, text_keys: Q_v and Q_t.
        positives: (B, M) rows of weights that sum to one, see `shared_positives` and `paired_positives`.
        temperature: γ, a scalar.
        distillation: α.
    """
    image_to_text = student.image @ text_keys.features.T / temperature
    text_to_image = student.text @ image_keys.features.T / temperature
    if distillation > 0:
        with torch.no_grad():
            teacher_i2t = (teacher.image @ text_keys.features.T / temperature).softmax(dim=1)
            teacher_t2i = (teacher.text @ image_keys.features.T / temperature).softmax(dim=1)
        i2t_targets = distillation * teacher_i2t + (1 - distillation) * positives
        t2i_targets = distillation * teacher_t2i + (1 - distillation) * positives
    else:
        i2t_targets = t2i_targets = positives
    terms = [cross_entropy(image_to_text, i2t_targets), cross_entropy(text_to_image, t2i_targets)]
    if intra_modal:
        terms.append(cross_entropy(student.image @ image_keys.features.T / temperature, positives))
        terms.append(cross_entropy(student.text @ text_keys.features.T / temperature, positives))
    total = torch.stack(terms).sum()
    return total / len(terms) if reduction == "mean" else total


def shared_positives(image_ids: Tensor, key_image_ids: Tensor) -> Tensor:
    """Targets (B, M) that share one unit among all keys of the same image (ALBEF, models/model_retrieval.py)."""
    same = (image_ids[:, None] == key_image_ids[None, :]).float()
    return same / same.sum(dim=1, keepdim=True)


def paired_positives(batch: int, keys: int, first: int, like: Tensor) -> Tensor:
    """Targets (B, M) that are one at the pair itself: key `first + i` for row i (ALBEF, models/model_pretrain.py)."""
    targets = torch.zeros(batch, keys, device=like.device)
    rows = torch.arange(batch, device=like.device)
    targets[rows, first + rows] = 1.0
    return targets
