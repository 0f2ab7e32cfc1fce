"""Contrast of the student's images and texts with each other by softmax (Radford et al., ICML 2021, figure 3)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from cbalign.objectives.classification import cross_entropy
from cbalign.objectives.contrastive import paired_positives, shared_positives
from cbalign.objectives.features import Embeddings
from cbalign.objectives.objective import Objective, ObjectiveContext, Term
from cbalign.objectives.sections.clip import ClipSection
from cbalign.objectives.step import Step, TextRequest


class Clip(Objective):
    """The symmetric loss of CLIP over the global batch; gradients reach the features of all processes."""

    def __init__(self, section: ClipSection, context: ObjectiveContext) -> None:
        super().__init__(section, context)
        self.positives = section.positives

    def texts(self, step: Step) -> Sequence[TextRequest]:
        """Request the captions of the student."""
        return (step.captions,)

    def forward(self, step: Step) -> Term:
        """Compute the loss; logs the temperature."""
        with step.full_precision():
            targets = batch_positives(step, self.positives)
            loss = symmetric_contrast(step.embeddings, step.gathered, targets, step.temperature)
        return Term(loss, {"temperature": step.temperature})


def batch_positives(step: Step, positives: str) -> Tensor:
    """Targets (B, M) of this process's pairs among those of the global batch, each row with the sum one.

    Args:
        step: the step.
        positives: `pair`, or `image` for all captions of the same image.
    """
    ids = step.batch.image_ids
    if positives == "image":
        return shared_positives(ids, step.image_ids)
    return paired_positives(len(ids), len(ids) * step.world.size, step.first, ids)


def symmetric_contrast(own: Embeddings, every: Embeddings, targets: Tensor, temperature: Tensor) -> Tensor:
    """L = (H(y, softmax(v·T/γ)) + H(y, softmax(t·V/γ))) / 2, averaged over the rows.

    V and T are the student's features of the global batch, with gradient; nothing is detached.

    Args:
        own: embeddings (B, d) of this process's batch.
        every: embeddings (M, d) of the global batch.
        targets: y (B, M), rows with the sum one.
        temperature: γ, a scalar.
    """
    image_to_text = cross_entropy(own.image @ every.text.T / temperature, targets)
    text_to_image = cross_entropy(own.text @ every.image.T / temperature, targets)
    return (image_to_text + text_to_image) / 2
